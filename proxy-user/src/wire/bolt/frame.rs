//! A whole frame: its parts, its checksum, and another id in place.

use super::{BoltError, Head, Headers};

/// A complete frame.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    head: Head,
    bytes: &'a [u8],
}

impl<'a> Frame<'a> {
    /// The frame of `head` at the front of `bytes`, which may go on behind it.
    ///
    /// # Errors
    /// It is not complete.
    pub fn new(head: Head, bytes: &'a [u8]) -> Result<Self, BoltError> {
        let need = head.total_len();
        let bytes = bytes.get(..need).ok_or(BoltError::Short { have: bytes.len(), need })?;
        Ok(Self { head, bytes })
    }

    /// Its fixed part.
    #[must_use]
    pub const fn head(&self) -> &Head {
        &self.head
    }

    /// Class name (UTF-8 by convention).
    #[must_use]
    pub fn class(&self) -> &'a [u8] {
        self.part(self.head.fixed_len(), self.head.headers_at())
    }

    /// Header map.
    #[must_use]
    pub fn headers(&self) -> Headers<'a> {
        Headers::new(self.part(self.head.headers_at(), self.head.content_at()))
    }

    /// Content.
    #[must_use]
    pub fn content(&self) -> &'a [u8] {
        let start = self.head.content_at();
        self.part(start, start + self.head.content_len as usize)
    }

    /// Compares the checksum, if the frame has one.
    ///
    /// # Errors
    /// It is wrong.
    pub fn check_crc(&self) -> Result<(), BoltError> {
        if !self.head.version.has_crc() {
            return Ok(());
        }
        let Some((covered, trailer)) = self.bytes.split_last_chunk() else {
            return Err(BoltError::Short { have: self.bytes.len(), need: self.head.total_len() });
        };
        let (found, computed) = (u32::from_be_bytes(*trailer), crc32fast::hash(covered));
        if found == computed { Ok(()) } else { Err(BoltError::Crc { found, computed }) }
    }

    fn part(&self, start: usize, end: usize) -> &'a [u8] {
        self.bytes.get(start..end).unwrap_or_default()
    }
}

/// Writes another id into the frame of `head` at the front of `bytes`, and its CRC anew. A frame without CRC need not
/// be complete: the fixed part is enough.
///
/// # Errors
/// Bytes that this needs are missing; nothing is changed then.
pub fn patch_id(bytes: &mut [u8], head: &Head, id: u32) -> Result<(), BoltError> {
    let need = if head.version.has_crc() { head.total_len() } else { head.fixed_len() };
    let have = bytes.len();
    let frame = bytes.get_mut(..need).ok_or(BoltError::Short { have, need })?;
    if let Some(place) = frame.get_mut(head.version.id_at()..).and_then(<[u8]>::first_chunk_mut) {
        *place = id.to_be_bytes();
    }
    if head.version.has_crc()
        && let Some((covered, trailer)) = frame.split_last_chunk_mut()
    {
        *trailer = crc32fast::hash(covered).to_be_bytes();
    }
    Ok(())
}
