//! How a head changes on its way through.

use std::net::IpAddr;

use super::Asked;

/// One change to the headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderEdit<'a> {
    /// One header of this name with this value, whatever was there.
    Set(&'a [u8], &'a [u8]),
    /// One more.
    Add(&'a [u8], &'a [u8]),
    /// None of this name.
    Remove(&'a [u8]),
}

/// The header that tells an upstream who the client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoteStyle {
    /// `X-Forwarded-For`.
    XForwardedFor,
    /// `Forwarded` (RFC 7239).
    Forwarded,
    /// Both.
    Both,
    /// The header that is named, as a list like `X-Forwarded-For`.
    Named,
}

/// The client's address, for the upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientNote<'a> {
    /// The peer.
    pub address: IpAddr,
    /// How HTTP says it.
    pub style: NoteStyle,
    /// The header of [`NoteStyle::Named`]; also what says it in a protocol without a custom of its own (Bolt).
    pub header: &'a [u8],
    /// What the peer says of clients before it stays, and the peer is appended; else it is thrown away.
    pub trusted: bool,
}

/// Another path of a request; its query stays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PathEdit<'a> {
    /// As sent.
    #[default]
    Keep,
    /// This instead of so many bytes in front, which end where a segment does; `/` if nothing is left.
    Front(usize, &'a [u8]),
    /// This.
    Whole(&'a [u8]),
}

impl<'a> PathEdit<'a> {
    /// The two parts that `path` then has.
    #[must_use]
    pub fn parts(self, path: &'a [u8]) -> (&'a [u8], &'a [u8]) {
        match self {
            Self::Keep => (path, b""),
            Self::Front(len, with) => match path.get(len..).unwrap_or_default() {
                [] if with.is_empty() => (b"/", b""),
                rest => (with, rest),
            },
            Self::Whole(with) => (with, b""),
        }
    }
}

/// What to change in a head. The default changes what the protocol itself demands of a proxy, no more.
#[derive(Clone, Copy, Debug, Default)]
pub struct Edits<'a> {
    /// Another id.
    pub id: Option<u64>,
    /// Changes to headers, in order.
    pub headers: &'a [HeaderEdit<'a>],
    /// Another host (HTTP).
    pub host: Option<&'a [u8]>,
    /// Another path (HTTP).
    pub path: PathEdit<'a>,
    /// Who the client is.
    pub client: Option<ClientNote<'a>>,
    /// Of a response: what its request noted. A codec may need it to speak the client's version.
    pub asked: Asked,
    /// Of a response: the connection to the client closes after it.
    pub close: bool,
}

/// What [`super::Codec::forward`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forwarded {
    /// Bytes of the message that are done with; the rest goes out as it comes.
    pub used: usize,
    /// Only the payload of a chunked body may be passed on, without its framing: the client is too old for it.
    pub dechunk: bool,
    /// The client's connection ends with this message.
    pub close: bool,
}
