//! What a codec knows of a connection, and how much it may take from it.

use super::Asked;

/// Who sent the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// A client: requests are expected.
    Client,
    /// An upstream: responses are expected.
    Upstream,
}

/// Caps on what is taken. All hold before anything of that length is buffered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a head: of HTTP/1 start line and fields, of Bolt class and header map.
    pub head: usize,
    /// Headers of a message.
    pub headers: usize,
    /// Bytes of a body that says its length (of Bolt, the content). A body that does not is counted by the engine.
    pub body: u64,
    /// Bytes of a message of a protocol that multiplexes: its connection is shared, so that no message may hold it up
    /// while it comes in piece by piece. Also what must be there as one ([`super::Head::whole`]).
    pub whole: usize,
    /// HTTP's `CONNECT` is taken (as a tunnel).
    pub connect: bool,
    /// HTTP's `Upgrade` is passed on.
    pub upgrade: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self { head: 16 << 10, headers: 128, body: 1 << 30, whole: 8 << 20, connect: false, upgrade: true }
    }
}

/// One direction of one connection, as a codec sees it.
#[derive(Clone, Copy, Debug)]
pub struct Session {
    /// Who sends.
    pub side: Side,
    /// Caps.
    pub limits: Limits,
    /// On the upstream's side in [`super::PoolMode::PingPong`]: what the answer that comes next answers. Set by the engine
    /// with each request.
    pub asked: Asked,
    /// The codec's own: bytes in front that have been searched already.
    pub searched: usize,
}

impl Session {
    /// A session of a fresh connection.
    #[must_use]
    pub fn new(side: Side, limits: Limits) -> Self {
        Self { side, limits, asked: Asked::default(), searched: 0 }
    }
}
