//! What a codec says of a message: the neutral head.

use super::Body;

/// A part of the decoded slice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// Offset of its first byte.
    pub start: u32,
    /// Offset behind its last byte.
    pub end: u32,
}

impl Span {
    /// The part of `bytes`; empty if it is not there.
    #[must_use]
    pub fn of<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        bytes.get(self.start as usize..self.end as usize).unwrap_or_default()
    }

    /// Whether it has no bytes: the message has no such part.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.end <= self.start
    }

    /// The part from `start` with `len` bytes. Offsets above 4 GiB do not occur: heads are capped far below.
    #[must_use]
    pub fn new(start: usize, len: usize) -> Self {
        let at = |offset: usize| u32::try_from(offset).unwrap_or(u32::MAX);
        Self { start: at(start), end: at(start.saturating_add(len)) }
    }
}

/// A message: its head, and how its body is framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// What it is.
    pub kind: Kind,
    /// Bytes of the head, from the front of the slice.
    pub len: usize,
    /// What follows the head.
    pub body: Body,
    /// The message must be complete before it is passed on (a checksum spans it): `len` and the body's length together
    /// are in the slice.
    pub whole: bool,
    /// Where the request id is.
    pub id: Option<IdPlace>,
    /// What is to be remembered of a request, for its answer.
    pub asked: Asked,
    /// The codec's own.
    pub own: u8,
    /// Form of the protocol (a version): part of the key of a connection pool in [`super::PoolMode::Multiplex`].
    pub variant: u8,
    /// The connection may carry another message after this one, as far as its sender says.
    pub keep: bool,
    /// The sender waits for an interim answer before it sends the body (HTTP's `Expect: 100-continue`).
    pub expects: bool,
    /// How long the sender waits. To be believed from trusted peers only.
    pub timeout: Timeout,
    /// Of a response.
    pub status: Status,
    /// What routes match.
    pub keys: Keys,
    /// The part of the head that has the headers, for [`super::Codec::header`].
    pub headers: Span,
}

impl Head {
    /// Bytes of the whole message; `None` if only its end tells.
    #[must_use]
    pub fn total(&self) -> Option<u64> {
        let head = self.len as u64;
        match self.body {
            Body::None => Some(head),
            Body::Length(left) => Some(head.saturating_add(left)),
            Body::Chunked(_) | Body::UntilClose | Body::Tunnel => None,
        }
    }
}

/// What a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Asks, and gets an answer.
    Request,
    /// Asks, and gets none: neither a response nor an error.
    OneWay,
    /// The answer.
    Response,
    /// Goes before the answer, which is still to come (HTTP 1xx other than 101).
    Interim,
    /// Asks the neighbour if it lives; is answered here.
    Heartbeat,
    /// Answers a heartbeat of ours.
    HeartbeatReply,
    /// Its sender wants no more requests on this connection.
    GoAway,
}

/// Where the id of a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdPlace {
    /// The id.
    pub value: u64,
    /// Offset of its first byte.
    pub at: u32,
    /// Its bytes on the wire.
    pub width: u8,
}

/// What an answer needs of its request: kept by the engine while the request is under way, told to
/// [`super::Session::asked`] before an answer is decoded, and to [`super::Codec::reply`]. Small, and opaque but for
/// the id.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// The client's id.
    pub id: u64,
    /// The codec's own.
    pub notes: [u8; 8],
}

/// How long the sender of a request waits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Timeout {
    /// It does not say.
    #[default]
    Unset,
    /// For ever.
    Never,
    /// Milliseconds.
    Millis(u32),
}

/// Status of a response.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// The protocol's own number.
    pub wire: u32,
    /// The HTTP status that means the same; 0 in what is no response.
    pub http: u16,
}

/// What routes match, as far as the protocol has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Keys {
    /// Name of an RPC service.
    pub service: Span,
    /// Method of that service; HTTP's method.
    pub method: Span,
    /// Host with port, as sent.
    pub host: Span,
    /// Path without the query, as sent: not decoded, not normalised.
    pub path: Span,
    /// Query without the question mark.
    pub query: Span,
    /// The path has dot segments, empty segments, a backslash, or encoded dots, slashes or NUL: two readers may
    /// resolve it to two places.
    pub path_is_odd: bool,
}
