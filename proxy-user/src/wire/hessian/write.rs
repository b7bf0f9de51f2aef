//! Values to bytes, each in its shortest form, as sofa-hessian writes them.

/// Appends values to a buffer. Whoever uses it keeps the grammar: a list's and a map's end, a definition before its object.
#[derive(Debug, Default)]
pub struct Writer {
    bytes: Vec<u8>,
    classes: i32,
}

impl Writer {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// What was written.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// A class's definition; gives its number for [`Writer::object`].
    pub fn define(&mut self, class: &str, fields: &[&str]) -> i32 {
        self.bytes.push(b'O');
        self.int(i32::try_from(class.encode_utf16().count()).unwrap_or(i32::MAX));
        self.cesu8(class.encode_utf16());
        self.int(i32::try_from(fields.len()).unwrap_or(i32::MAX));
        for field in fields {
            self.text(field);
        }
        self.classes += 1;
        self.classes - 1
    }

    /// Begin of an object; the values of its fields follow.
    pub fn object(&mut self, class: i32) {
        self.bytes.push(b'o');
        self.int(class);
    }

    /// Begin of a list of so many; they follow, and then [`Writer::end`].
    pub fn list(&mut self, length: usize) {
        self.bytes.push(b'V');
        match u8::try_from(length) {
            Ok(length) => self.bytes.extend_from_slice(&[0x6e, length]),
            Err(_) => {
                self.bytes.push(b'l');
                let length = i32::try_from(length).unwrap_or(i32::MAX);
                self.bytes.extend_from_slice(&length.to_be_bytes());
            }
        }
    }

    /// Begin of a map; keys and values follow, and then [`Writer::end`].
    pub fn map(&mut self) {
        self.bytes.push(b'M');
    }

    /// End of a list or map.
    pub fn end(&mut self) {
        self.bytes.push(b'z');
    }

    /// Nothing.
    pub fn null(&mut self) {
        self.bytes.push(b'N');
    }

    /// Yes or no.
    pub fn bool(&mut self, value: bool) {
        self.bytes.push(if value { b'T' } else { b'F' });
    }

    /// 32 bits.
    pub fn int(&mut self, value: i32) {
        let [_, high, middle, low] = value.to_be_bytes();
        match value {
            -0x10..=0x2f => self.bytes.push(low.wrapping_add(0x90)),
            -0x800..=0x7ff => self.bytes.extend_from_slice(&[middle.wrapping_add(0xc8), low]),
            -0x4_0000..=0x3_ffff => self.bytes.extend_from_slice(&[high.wrapping_add(0xd4), middle, low]),
            _ => {
                self.bytes.push(b'I');
                self.bytes.extend_from_slice(&value.to_be_bytes());
            }
        }
    }

    /// 64 bits.
    pub fn long(&mut self, value: i64) {
        let [_, _, _, _, _, high, middle, low] = value.to_be_bytes();
        match (value, i32::try_from(value)) {
            (-0x08..=0x0f, _) => self.bytes.push(low.wrapping_add(0xe0)),
            (-0x800..=0x7ff, _) => self.bytes.extend_from_slice(&[middle.wrapping_add(0xf8), low]),
            (-0x4_0000..=0x3_ffff, _) => {
                self.bytes.extend_from_slice(&[high.wrapping_add(0x3c), middle, low]);
            }
            (_, Ok(value)) => {
                self.bytes.push(0x77);
                self.bytes.extend_from_slice(&value.to_be_bytes());
            }
            _ => {
                self.bytes.push(b'L');
                self.bytes.extend_from_slice(&value.to_be_bytes());
            }
        }
    }

    /// A text.
    pub fn text(&mut self, text: &str) {
        let units: Vec<u16> = text.encode_utf16().collect();
        let mut rest = units.as_slice();
        while rest.len() > CHUNK {
            let (mut chunk, mut after) = rest.split_at(CHUNK);
            // Java readers want both halves of a character in one chunk.
            if let Some((0xd800..=0xdbff, before)) = chunk.split_last() {
                (chunk, after) = (before, rest.get(CHUNK - 1..).unwrap_or_default());
            }
            self.chunk(b's', chunk);
            rest = after;
        }
        match u8::try_from(rest.len()) {
            Ok(length @ ..=0x1f) => {
                self.bytes.push(length);
                self.cesu8(rest.iter().copied());
            }
            _ => self.chunk(b'S', rest),
        }
    }

    fn chunk(&mut self, tag: u8, units: &[u16]) {
        self.bytes.push(tag);
        self.bytes.extend_from_slice(&u16::try_from(units.len()).unwrap_or(u16::MAX).to_be_bytes());
        self.cesu8(units.iter().copied());
    }

    fn cesu8(&mut self, units: impl Iterator<Item = u16>) {
        for unit in units {
            let [high, low] = unit.to_be_bytes();
            let last = 0x80 | low & 0x3f;
            match unit {
                0..=0x7f => self.bytes.push(low),
                0x80..=0x7ff => self.bytes.extend_from_slice(&[0xc0 | high << 2 | low >> 6, last]),
                _ => self.bytes.extend_from_slice(&[
                    0xe0 | high >> 4,
                    0x80 | (high & 0x0f) << 2 | low >> 6,
                    last,
                ]),
            }
        }
    }
}

/// Units in a chunk, as sofa-hessian writes them.
const CHUNK: usize = 0x8000;
