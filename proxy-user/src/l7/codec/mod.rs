//! Codecs: what weir knows of a protocol. Pure functions over byte slices, for any I/O engine.
//!
//! A codec never sees a socket, a clock or a route. It tells where in the bytes received the head of a message ends,
//! what its routing keys are, and how its body is framed ([`Head`]); the engine decides, and passes the bytes on:
//! a body as it came, a head by [`Codec::forward`], or in place by [`Codec::patch_id`]. All offsets count from the
//! first byte of the slice that was decoded.
//!
//! One message, as an engine sees it:
//!
//! 1. [`detect`] on the first bytes, unless the listener names its codec; a [`Session`] for each side.
//! 2. [`Codec::decode`] on all bytes not consumed yet: [`Decoded::More`], a [`Head`], or a [`Refusal`].
//! 3. By [`Kind`]: a request or response goes on; a heartbeat is answered by [`Codec::heartbeat_reply`] and goes nowhere.
//! 4. [`Codec::forward`] writes the head as it must leave. It consumes [`Head::len`] bytes, or the whole message if
//!    [`Head::whole`] says that it must be there as one.
//! 5. [`Head::body`] is fed with what follows ([`Body::advance`]) until it is done; then step 2 again.
//! 6. For what goes wrong, [`Codec::reply`] writes an answer in the client's own protocol.
//!
//! Adding a codec: one folder, and one line in [`CODECS`].

mod body;
pub mod bolt;
mod edit;
pub mod fuzz;
mod head;
pub mod http1;
mod reply;
mod session;
pub mod tcp;

pub use body::{Body, Chunks, Progress};
pub use edit::{ClientNote, Edits, Forwarded, HeaderEdit, NoteStyle};
pub use head::{Asked, Head, IdPlace, Keys, Kind, Span, Status, Timeout};
pub use reply::{Fault, LocalReason, Refusal, Reply, ReplyEnd};
pub use session::{Limits, Session, Side};

/// Every codec, in the order of detection: the strongest magic first. `tcp` detects nothing; it is what a listener
/// falls back to, if its policy says so.
pub static CODECS: [&dyn Codec; 3] = [&bolt::Bolt, &http1::Http1, &tcp::Tcp];

/// The codec that a service falls back to, if its policy says so.
pub const FALLBACK: &str = "tcp";

/// Bytes that detection looks at, at most. A connection that sent as many and is still nobody's, is unknown.
pub const DETECT_BUDGET: usize = 64;

/// One protocol.
pub trait Codec: Sync {
    /// Its name in configuration, metrics and logs.
    fn name(&self) -> &'static str;

    /// How requests share a connection to an upstream.
    fn pool(&self) -> PoolMode;

    /// What it has for routes and settings that not every protocol has.
    fn abilities(&self) -> Abilities;

    /// Bits of a request id on the wire: ids handed to [`Codec::patch_id`] and [`Codec::forward`] are below
    /// 2 to this power, and the counter that makes them wraps there. 0: the protocol has no ids.
    fn id_bits(&self) -> u32;

    /// Whether a connection that begins with `bytes` speaks this protocol.
    fn detect(&self, bytes: &[u8]) -> Detect;

    /// Finds the next message at the front of `bytes`. What is there of its body is not looked at, unless
    /// [`Head::whole`].
    ///
    /// # Errors
    /// What is not this protocol, is ambiguous, or passes a limit. [`Refusal::skip`] says if the connection can go on.
    fn decode(&self, session: &mut Session, bytes: &[u8]) -> Result<Decoded, Refusal>;

    /// The head of a message for whose rest [`Codec::decode`] waits ([`Decoded::More`]): to refuse it before it is buffered,
    /// and for nothing else, since a checksum behind it may still disown it. `None`: not even the head is there.
    fn glimpse(&self, _session: &Session, _bytes: &[u8]) -> Option<Head> {
        None
    }

    /// Value of the header `name` of a decoded message; for several of that name, the one that a backend would use.
    fn header<'a>(&self, message: &'a [u8], head: &Head, name: &[u8]) -> Option<&'a [u8]>;

    /// Calls `each` with name and value of each header, in order, until it says `false`.
    fn headers<'a>(&self, message: &'a [u8], head: &Head, each: &mut dyn FnMut(&'a [u8], &'a [u8]) -> bool);

    /// Calls `each` with the value of each header that a backend may take for `name`, in order, until it says `false`:
    /// what decides on a request must see all of them.
    fn values<'a>(&self, message: &'a [u8], head: &Head, name: &[u8], each: &mut dyn FnMut(&'a [u8]) -> bool);

    /// Whether two names are of one header.
    fn is_name(&self, name: &[u8], other: &[u8]) -> bool;

    /// Writes another id into a message in place, with what depends on it (a checksum). `message` holds at least the
    /// head; all of the message if [`Head::whole`]. Does nothing where the protocol has no ids.
    fn patch_id(&self, message: &mut [u8], head: &Head, id: u64);

    /// Appends the head of `message` to `out` as it must leave on the other side.
    ///
    /// # Errors
    /// The edited head does not fit the protocol (a header map above 64 kB).
    fn forward(
        &self,
        message: &[u8],
        head: &Head,
        edits: &Edits<'_>,
        out: &mut Vec<u8>,
    ) -> Result<Forwarded, Refusal>;

    /// Appends a heartbeat for an upstream whose requests have this [`Head::variant`]. `false`: the protocol has none.
    fn heartbeat(&self, variant: u8, id: u64, out: &mut Vec<u8>) -> bool;

    /// Appends the answer to a message of [`Kind::Heartbeat`].
    fn heartbeat_reply(&self, asked: &Asked, out: &mut Vec<u8>);

    /// Appends "send no more requests on this connection", for a client that is configured to know it. `false`: the
    /// protocol has no such message (HTTP/1 says it in a response: [`Edits::close`]).
    fn goaway(&self, variant: u8, id: u64, out: &mut Vec<u8>) -> bool;

    /// Appends an answer of weir's own to a request: an error, a redirect, a direct answer.
    fn reply(&self, asked: &Asked, reply: &Reply<'_>, out: &mut Vec<u8>) -> ReplyEnd;

    /// The status that [`Codec::reply`] writes, in the words of the protocol.
    fn status_words(&self, reply: &Reply<'_>) -> String {
        reply.status.to_string()
    }

    /// The protocol's own status as an HTTP status.
    fn http_status(&self, wire: u32) -> u16;

    /// An HTTP status as the protocol's own.
    fn wire_status(&self, http: u16) -> u32;
}

/// Whether bytes belong to a protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detect {
    /// They don't, whatever follows.
    No,
    /// They may: too few to tell.
    More,
    /// They do.
    Yes,
}

/// What a protocol has of what configuration can ask for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Abilities {
    /// HTTP's terms: hosts, paths, statuses, redirects, `X-Forwarded-For` and `Forwarded`.
    pub http: bool,
    /// RPC services and methods.
    pub rpc: bool,
    /// Headers that can be matched and edited, and tell the client's address.
    pub headers: bool,
    /// [`Codec::goaway`].
    pub goaway: bool,
    /// Bytes may go in front of the first of a connection: the PROXY protocol.
    pub proxy: bool,
}

/// How requests share a connection to an upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PoolMode {
    /// Many at once, told apart by ids. Messages of different [`Head::variant`] do not share a connection.
    Multiplex,
    /// One after the other.
    PingPong,
    /// One connection to the upstream for each of a client.
    OneToOne,
}

/// What [`Codec::decode`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decoded {
    /// Not a whole head (or message) yet: ask again when the slice has at least this many bytes.
    More(usize),
    /// A head, and all that follows from it.
    Head(Head),
}

/// What [`detect`] found.
#[derive(Clone, Copy)]
pub enum Detection {
    /// It is this one.
    Is(&'static dyn Codec),
    /// Too few bytes to tell. The engine's deadline bounds how long this may last.
    More,
    /// None of the candidates, or the budget is used up.
    Unknown,
}

/// Asks `candidates` in order; the first that is sure has it, and one that needs more is waited for before later ones
/// are asked.
#[must_use]
pub fn detect(candidates: &[&'static dyn Codec], bytes: &[u8]) -> Detection {
    let seen = bytes.get(..DETECT_BUDGET).unwrap_or(bytes);
    for codec in candidates {
        match codec.detect(seen) {
            Detect::Yes => return Detection::Is(*codec),
            Detect::More if seen.len() < DETECT_BUDGET => return Detection::More,
            Detect::More | Detect::No => {}
        }
    }
    Detection::Unknown
}

/// The codec of this name.
#[must_use]
pub fn by_name(name: &str) -> Option<&'static dyn Codec> {
    CODECS.iter().copied().find(|codec| codec.name() == name)
}
