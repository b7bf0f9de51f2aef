//! The fixed part of a frame.

use super::{BoltError, command};

/// Form of the protocol that a frame has. A peer answers in the form that it saw first on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Version {
    /// Protocol 1.
    V1,
    /// Protocol 2.
    V2 {
        /// 1 or 2.
        ver1: u8,
        /// Bit 0 asks for a CRC, if `ver1` is 2.
        switch: u8,
    },
}

impl Version {
    /// Protocol 2 with a CRC at the end of each frame.
    pub const V2_CRC: Self = Self::V2 { ver1: 2, switch: 1 };

    /// Whether frames end with a CRC.
    #[must_use]
    pub const fn has_crc(self) -> bool {
        matches!(self, Self::V2 { ver1: 2, switch } if switch & 1 == 1)
    }

    /// Offset of the request id.
    #[must_use]
    pub const fn id_at(self) -> usize {
        match self {
            Self::V1 => 5,
            Self::V2 { .. } => 6,
        }
    }
}

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Asks for an answer.
    Request {
        /// Milliseconds that the caller waits; -1: no timeout, 0: not said.
        timeout: i32,
    },
    /// Asks for none.
    OneWay {
        /// As in a request.
        timeout: i32,
    },
    /// An answer.
    Response {
        /// See [`super::status`].
        status: u16,
    },
}

/// The fixed part of a frame. Lengths are below 2^15 (class, header) and 2^31 (content).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Form of the protocol.
    pub version: Version,
    /// What it is.
    pub kind: Kind,
    /// See [`super::command`]; others occur.
    pub command: u16,
    /// Version of the command: 1.
    pub ver2: u8,
    /// Request id; an answer has that of its request.
    pub id: u32,
    /// Serialization, see [`super::codec`].
    pub codec: u8,
    /// Bytes of the class name.
    pub class_len: u16,
    /// Bytes of the header map.
    pub header_len: u16,
    /// Bytes of the content.
    pub content_len: u32,
}

/// The caps that hold before a frame is buffered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameLimits {
    /// Bytes of a frame with all its parts.
    pub max_frame: usize,
}

impl Default for FrameLimits {
    fn default() -> Self {
        Self { max_frame: 16 << 20 }
    }
}

/// What [`Head::parse`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// The fixed part is not complete: it has this many bytes, or more.
    More(usize),
    /// Complete. What follows it may still be missing: see [`Head::total_len`].
    Head(Head),
}

/// Bytes of the fixed part of v1.
const REQUEST_LEN: usize = 22;
const RESPONSE_LEN: usize = 20;
/// v2 has two bytes more.
const V2_MORE: usize = 2;

impl Head {
    /// Reads the fixed part at the front of `bytes`. A fault is told as soon as its byte is there.
    ///
    /// # Errors
    /// [`BoltError`] for what is no Bolt or passes `limits`.
    pub fn parse(bytes: &[u8], limits: FrameLimits) -> Result<Parsed, BoltError> {
        let Some((&proto, after)) = bytes.split_first() else { return Ok(Parsed::More(RESPONSE_LEN)) };
        match proto {
            1 => Self::parse_common(bytes, after, None, limits),
            2 => {
                let Some((&ver1, after)) = after.split_first() else {
                    return Ok(Parsed::More(RESPONSE_LEN + V2_MORE));
                };
                if !matches!(ver1, 1 | 2) {
                    return Err(BoltError::Version(ver1));
                }
                Self::parse_common(bytes, after, Some(ver1), limits)
            }
            other => Err(BoltError::Protocol(other)),
        }
    }

    /// `rest` begins with the kind.
    fn parse_common(
        bytes: &[u8],
        rest: &[u8],
        ver1: Option<u8>,
        limits: FrameLimits,
    ) -> Result<Parsed, BoltError> {
        let more = if ver1.is_some() { V2_MORE } else { 0 };
        let fixed = match rest.first() {
            None | Some(0) => RESPONSE_LEN + more,
            Some(1 | 2) => REQUEST_LEN + more,
            Some(other) => return Err(BoltError::Kind(*other)),
        };
        if bytes.len() < fixed {
            return Ok(Parsed::More(fixed));
        }
        let Some((&[kind, c0, c1, ver2, i0, i1, i2, i3, codec], rest)) = rest.split_first_chunk() else {
            return Ok(Parsed::More(fixed));
        };
        let (version, rest) = match (ver1, rest.split_first()) {
            (Some(ver1), Some((&switch, rest))) => (Version::V2 { ver1, switch }, rest),
            _ => (Version::V1, rest),
        };
        let (kind, lengths) = match (kind, rest) {
            (0, [s0, s1, lengths @ ..]) => {
                (Kind::Response { status: u16::from_be_bytes([*s0, *s1]) }, lengths)
            }
            (kind, [t0, t1, t2, t3, lengths @ ..]) => {
                let timeout = i32::from_be_bytes([*t0, *t1, *t2, *t3]);
                (if kind == 2 { Kind::OneWay { timeout } } else { Kind::Request { timeout } }, lengths)
            }
            _ => return Ok(Parsed::More(fixed)),
        };
        let Some(&[l0, l1, h0, h1, n0, n1, n2, n3]) = lengths.first_chunk() else {
            return Ok(Parsed::More(fixed));
        };
        let head = Self {
            version,
            kind,
            command: u16::from_be_bytes([c0, c1]),
            ver2,
            id: u32::from_be_bytes([i0, i1, i2, i3]),
            codec,
            class_len: u16::from_be_bytes([l0, l1]),
            header_len: u16::from_be_bytes([h0, h1]),
            content_len: u32::from_be_bytes([n0, n1, n2, n3]),
        };
        head.check(limits)?;
        Ok(Parsed::Head(head))
    }

    fn check(&self, limits: FrameLimits) -> Result<(), BoltError> {
        let negative = [
            (self.class_len > i16::MAX.unsigned_abs(), "the class name"),
            (self.header_len > i16::MAX.unsigned_abs(), "the header map"),
            (self.content_len > i32::MAX.unsigned_abs(), "the content"),
        ];
        if let Some((_, what)) = negative.iter().find(|(is, _)| *is) {
            return Err(BoltError::Negative(what));
        }
        if self.total_len() > limits.max_frame {
            return Err(BoltError::TooLong { len: self.total_len() as u64, max: limits.max_frame as u64 });
        }
        Ok(())
    }

    /// Bytes of the fixed part.
    #[must_use]
    pub const fn fixed_len(&self) -> usize {
        let v1 = match self.kind {
            Kind::Request { .. } | Kind::OneWay { .. } => REQUEST_LEN,
            Kind::Response { .. } => RESPONSE_LEN,
        };
        match self.version {
            Version::V1 => v1,
            Version::V2 { .. } => v1 + V2_MORE,
        }
    }

    /// Offset of the header map.
    #[must_use]
    pub const fn headers_at(&self) -> usize {
        self.fixed_len() + self.class_len as usize
    }

    /// Offset of the content.
    #[must_use]
    pub const fn content_at(&self) -> usize {
        self.headers_at() + self.header_len as usize
    }

    /// Bytes of the whole frame, with its CRC.
    #[must_use]
    pub const fn total_len(&self) -> usize {
        self.content_at() + self.content_len as usize + if self.version.has_crc() { 4 } else { 0 }
    }

    /// A heartbeat that wants an answer. Java answers it whether it is a request or one-way.
    #[must_use]
    pub const fn is_heartbeat(&self) -> bool {
        self.command == command::HEARTBEAT && !matches!(self.kind, Kind::Response { .. })
    }

    /// The answer to a heartbeat.
    #[must_use]
    pub const fn is_heartbeat_reply(&self) -> bool {
        self.command == command::HEARTBEAT && matches!(self.kind, Kind::Response { .. })
    }
}
