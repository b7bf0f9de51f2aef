//! How much one push may have. Empty texts, references and packed bodies make much of few bytes, so what is kept is counted
//! before it is made.

use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};

use crate::registry::source::MAX_ENDPOINTS;

/// Most texts, names and other fields of a push: a whole set, and as much again as its frame may need.
pub(super) const MAX_ENTRIES: usize = MAX_ENDPOINTS + (1 << 16);

/// What is left of it.
#[derive(Debug)]
pub(super) struct Budget {
    entries: usize,
    bytes: usize,
}

impl Budget {
    /// For a push of so many bytes.
    pub(super) fn of(bytes: usize) -> Self {
        Self { entries: MAX_ENTRIES, bytes }
    }

    /// Takes the room of one text.
    pub(super) fn text(&mut self, text: &str) -> Result<(), String> {
        self.entry()?;
        let left = self.bytes.checked_sub(text.len());
        self.bytes = left.ok_or("its texts are longer than itself: they refer to each other")?;
        Ok(())
    }

    /// Counts the fields of a Protobuf message, and those within the messages that `shape` names.
    pub(super) fn message(&mut self, mut bytes: &[u8], shape: &Shape) -> Result<(), String> {
        let broken = |error: prost::DecodeError| error.to_string();
        while !bytes.is_empty() {
            self.entry()?;
            let (tag, wire) = decode_key(&mut bytes).map_err(broken)?;
            if wire != WireType::LengthDelimited {
                skip_field(wire, tag, &mut bytes, DecodeContext::default()).map_err(broken)?;
                continue;
            }
            let length = decode_varint(&mut bytes).map_err(broken)?;
            let split = usize::try_from(length).ok().and_then(|length| bytes.split_at_checked(length));
            let (within, rest) = split.ok_or("it ends within a field")?;
            if let Some((_, shape)) = shape.0.iter().find(|(inner, _)| *inner == tag) {
                self.message(within, shape)?;
            }
            bytes = rest;
        }
        Ok(())
    }

    fn entry(&mut self) -> Result<(), String> {
        let left = self.entries.checked_sub(1);
        self.entries = left.ok_or_else(|| format!("it has more than {MAX_ENTRIES} entries"))?;
        Ok(())
    }
}

/// The fields of a message that are messages with many fields of their own.
pub(super) struct Shape(&'static [(u32, &'static Shape)]);

const BOXES: Shape = Shape(&[]);
const ZONE: Shape = Shape(&[(2, &BOXES)]);
const SEGMENT: Shape = Shape(&[(3, &ZONE)]);
const NAMED_SEGMENT: Shape = Shape(&[(2, &SEGMENT)]);
/// `ReceivedData`, and the body in its place.
pub(super) const DATA: Shape = Shape(&[(7, &ZONE)]);
/// `MultiReceivedData`.
pub(super) const MULTI: Shape = Shape(&[(8, &NAMED_SEGMENT)]);
