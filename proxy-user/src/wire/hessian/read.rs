//! Bytes to values. Every value takes at least a byte of the input, and there are not too many, so what is kept is bounded by it.

use std::rc::Rc;

use thiserror::Error;

use super::value::{Class, Document, Node, Value};

/// Bytes that are not this Hessian, or more of it than is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum HessianError {
    /// They end within a value.
    #[error("hessian: the bytes end within a value, at {0}")]
    Short(usize),
    /// A byte where no value begins so.
    #[error("hessian: byte {tag:#04x} at {at} begins no {what}")]
    Tag {
        /// The byte.
        tag: u8,
        /// Its place.
        at: usize,
        /// What was to begin.
        what: &'static str,
    },
    /// A number that counts nothing, or refers to nothing.
    #[error("hessian: a {0} out of range")]
    Range(&'static str),
    /// Values within values within values.
    #[error("hessian: nested deeper than {MAX_DEPTH}")]
    Deep,
    /// Too many values.
    #[error("hessian: more than {MAX_VALUES} values")]
    Many,
}

/// Reads the value at the front of `bytes`; what follows it is left.
///
/// # Errors
/// [`HessianError`] for what is not this Hessian, too deep or too much.
pub fn read(bytes: &[u8]) -> Result<Document, HessianError> {
    let mut reader =
        Reader { bytes, at: 0, nodes: Vec::new(), classes: Vec::new(), types: 0, values: 0, depth: 0 };
    let root = reader.value()?;
    Ok(Document { root, nodes: reader.nodes })
}

/// For fuzzing: whatever the bytes are, no panic, and no more containers than bytes.
pub fn fuzz(data: &[u8]) {
    if let Ok(document) = read(data) {
        assert!(document.nodes.len() <= data.len());
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    nodes: Vec<Node>,
    classes: Vec<Rc<Class>>,
    /// Types named so far; their names say nothing to anybody here.
    types: i32,
    values: usize,
    depth: usize,
}

impl<'a> Reader<'a> {
    fn value(&mut self) -> Result<Value, HessianError> {
        self.count()?;
        let at = self.at;
        let tag = self.byte()?;
        Ok(match tag {
            b'N' => Value::Null,
            b'T' => Value::Bool(true),
            b'F' => Value::Bool(false),
            b'I' | 0x80..=0xd7 => Value::Int(self.int_of(tag, at)?),
            0xd8..=0xef => Value::Long(i64::from(tag) - 0xe0),
            0xf0..=0xff => Value::Long((i64::from(tag) - 0xf8) << 8 | i64::from(self.byte()?)),
            0x38..=0x3f => Value::Long((i64::from(tag) - 0x3c) << 16 | i64::from(self.u16()?)),
            0x77 => Value::Long(i64::from(i32::from_be_bytes(self.array()?))),
            b'L' => Value::Long(i64::from_be_bytes(self.array()?)),
            b'd' => Value::Date(i64::from_be_bytes(self.array()?)),
            0x67 => Value::Double(0.0),
            0x68 => Value::Double(1.0),
            0x69 => Value::Double(f64::from(i8::from_be_bytes(self.array()?))),
            0x6a => Value::Double(f64::from(i16::from_be_bytes(self.array()?))),
            0x6b => Value::Double(f64::from(f32::from_be_bytes(self.array()?))),
            b'D' => Value::Double(f64::from_be_bytes(self.array()?)),
            0x00..=0x1f | b's' | b'S' => Value::Text(self.text_of(tag)?),
            0x20..=0x2f | b'b' | b'B' => Value::Bytes(self.bytes_of(tag)?),
            b'J' => self.reference(i32::from(self.peek_byte()?), 1)?,
            b'K' => {
                let [high, low] = self.array()?;
                self.reference(i32::from(u16::from_be_bytes([high, low])), 0)?
            }
            b'R' => {
                let index = i32::from_be_bytes(self.array()?);
                self.reference(index, 0)?
            }
            b'V' | b'v' | b'M' | b'O' | b'o' => self.deeper(tag)?,
            _ => return Err(HessianError::Tag { tag, at, what: "value" }),
        })
    }

    fn count(&mut self) -> Result<(), HessianError> {
        self.values += 1;
        if self.values > MAX_VALUES { Err(HessianError::Many) } else { Ok(()) }
    }

    fn deeper(&mut self, tag: u8) -> Result<Value, HessianError> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(HessianError::Deep);
        }
        let value = match tag {
            b'V' => self.list(),
            b'v' => self.short_list(),
            b'M' => self.map(),
            b'O' => self.definition().and_then(|()| self.value()),
            _ => self.object(),
        };
        self.depth -= 1;
        value
    }

    fn list(&mut self) -> Result<Value, HessianError> {
        self.kind()?;
        // How many there are, the end mark says too.
        match self.peek() {
            Some(0x6e) => self.skip(2)?,
            Some(b'l') => self.skip(5)?,
            _ => {}
        }
        let index = self.reserve(Node::List(Vec::new()));
        let mut items = Vec::new();
        while self.peek() != Some(b'z') {
            items.push(self.value()?);
        }
        self.skip(1)?;
        Ok(self.fill(index, Node::List(items)))
    }

    fn short_list(&mut self) -> Result<Value, HessianError> {
        let kind = self.int("type reference")?;
        if !(0..self.types).contains(&kind) {
            return Err(HessianError::Range("type reference"));
        }
        let length = self.int("length")?;
        let index = self.reserve(Node::List(Vec::new()));
        let mut items = Vec::new();
        for _ in 0..length {
            items.push(self.value()?);
        }
        Ok(self.fill(index, Node::List(items)))
    }

    fn map(&mut self) -> Result<Value, HessianError> {
        self.kind()?;
        let index = self.reserve(Node::Map(Vec::new()));
        let mut pairs = Vec::new();
        while self.peek() != Some(b'z') {
            pairs.push((self.value()?, self.value()?));
        }
        self.skip(1)?;
        Ok(self.fill(index, Node::Map(pairs)))
    }

    fn definition(&mut self) -> Result<(), HessianError> {
        let length = self.int("length")?;
        let name = self.units(usize::try_from(length).map_err(|_| HessianError::Range("length"))?)?;
        let count = self.int("number of fields")?;
        let mut fields = Vec::new();
        if !(0..=MAX_FIELDS).contains(&count) {
            return Err(HessianError::Range("number of fields"));
        }
        for _ in 0..count {
            self.count()?;
            let tag = self.byte()?;
            fields.push(self.text_of(tag)?);
        }
        self.classes.push(Rc::new(Class { name: text(&name), fields }));
        Ok(())
    }

    fn object(&mut self) -> Result<Value, HessianError> {
        let class = usize::try_from(self.int("definition")?).ok().and_then(|index| self.classes.get(index));
        let class = Rc::clone(class.ok_or(HessianError::Range("definition"))?);
        let index = self.reserve(Node::List(Vec::new()));
        let mut values = Vec::new();
        for _ in &class.fields {
            values.push(self.value()?);
        }
        Ok(self.fill(index, Node::Object { class, values }))
    }

    /// A type's name or number, if there is one.
    fn kind(&mut self) -> Result<(), HessianError> {
        match self.peek() {
            Some(b't') => {
                self.skip(1)?;
                let length = self.u16()?;
                self.units(usize::from(length))?;
                self.types += 1;
            }
            Some(0x75) => {
                self.skip(1)?;
                self.int("type reference")?;
            }
            _ => {}
        }
        Ok(())
    }

    fn reference(&mut self, index: i32, ahead: usize) -> Result<Value, HessianError> {
        self.skip(ahead)?;
        match usize::try_from(index) {
            Ok(index) if index < self.nodes.len() => Ok(Value::Node(index)),
            _ => Err(HessianError::Range("reference")),
        }
    }

    /// A container's number is that of its begin, not of its end.
    fn reserve(&mut self, node: Node) -> usize {
        self.nodes.push(node);
        self.nodes.len() - 1
    }

    fn fill(&mut self, index: usize, node: Node) -> Value {
        if let Some(slot) = self.nodes.get_mut(index) {
            *slot = node;
        }
        Value::Node(index)
    }

    fn int(&mut self, what: &'static str) -> Result<i32, HessianError> {
        let at = self.at;
        match self.byte()? {
            tag @ (b'I' | 0x80..=0xd7) => self.int_of(tag, at),
            tag => Err(HessianError::Tag { tag, at, what }),
        }
    }

    fn int_of(&mut self, tag: u8, at: usize) -> Result<i32, HessianError> {
        Ok(match tag {
            b'I' => i32::from_be_bytes(self.array()?),
            0x80..=0xbf => i32::from(tag) - 0x90,
            0xc0..=0xcf => (i32::from(tag) - 0xc8) << 8 | i32::from(self.byte()?),
            0xd0..=0xd7 => (i32::from(tag) - 0xd4) << 16 | i32::from(self.u16()?),
            _ => return Err(HessianError::Tag { tag, at, what: "number" }),
        })
    }

    fn text_of(&mut self, mut tag: u8) -> Result<String, HessianError> {
        let mut all = Vec::new();
        loop {
            let length = match tag {
                0x00..=0x1f => usize::from(tag),
                b's' | b'S' => usize::from(self.u16()?),
                _ => return Err(HessianError::Tag { tag, at: self.at - 1, what: "string" }),
            };
            all.append(&mut self.units(length)?);
            if tag != b's' {
                return Ok(text(&all));
            }
            tag = self.byte()?;
        }
    }

    /// UTF-16 units, each written as UTF-8 writes a character of its value.
    fn units(&mut self, count: usize) -> Result<Vec<u16>, HessianError> {
        if count > self.bytes.len() - self.at {
            return Err(HessianError::Short(self.bytes.len()));
        }
        let mut units = Vec::with_capacity(count);
        for _ in 0..count {
            let at = self.at;
            let tag = self.byte()?;
            let more = |byte: u8| u16::from(byte & 0x3f);
            units.push(match tag {
                0x00..=0x7f => u16::from(tag),
                0xc0..=0xdf => u16::from(tag & 0x1f) << 6 | more(self.byte()?),
                0xe0..=0xef => u16::from(tag & 0x0f) << 12 | more(self.byte()?) << 6 | more(self.byte()?),
                _ => return Err(HessianError::Tag { tag, at, what: "character" }),
            });
        }
        Ok(units)
    }

    fn bytes_of(&mut self, mut tag: u8) -> Result<Vec<u8>, HessianError> {
        let mut all = Vec::new();
        loop {
            let length = match tag {
                0x20..=0x2f => usize::from(tag - 0x20),
                b'b' | b'B' => usize::from(self.u16()?),
                _ => return Err(HessianError::Tag { tag, at: self.at - 1, what: "byte string" }),
            };
            let end = self.at.saturating_add(length);
            all.extend_from_slice(self.bytes.get(self.at..end).ok_or(HessianError::Short(self.bytes.len()))?);
            self.at = end;
            if tag != b'b' {
                return Ok(all);
            }
            tag = self.byte()?;
        }
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn peek_byte(&self) -> Result<u8, HessianError> {
        self.peek().ok_or(HessianError::Short(self.at))
    }

    fn byte(&mut self) -> Result<u8, HessianError> {
        let [byte] = self.array()?;
        Ok(byte)
    }

    fn u16(&mut self) -> Result<u16, HessianError> {
        Ok(u16::from_be_bytes(self.array()?))
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], HessianError> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let array = rest.first_chunk().copied().ok_or(HessianError::Short(self.bytes.len()))?;
        self.at += N;
        Ok(array)
    }

    fn skip(&mut self, count: usize) -> Result<(), HessianError> {
        if self.bytes.len() - self.at < count {
            return Err(HessianError::Short(self.bytes.len()));
        }
        self.at += count;
        Ok(())
    }
}

fn text(units: &[u16]) -> String {
    String::from_utf16_lossy(units)
}

const MAX_DEPTH: usize = 64;
/// A value of one byte may take two hundred of memory. 100,000 endpoints have 200,000 values.
const MAX_VALUES: usize = 500_000;
/// They are looked for by name.
const MAX_FIELDS: i32 = 1_000;
