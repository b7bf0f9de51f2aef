//! What a worker knows of its connections.

use std::net::SocketAddr;
use std::rc::Rc;

use super::slab::Key;
use super::splice::Bulk;
use super::stream::Stream;
use super::timers::Deadline;
use crate::l7::codec::{Asked, Body, Codec, Session};
use crate::l7::pool::Ids;
use crate::l7::route::Taken;

/// A client's connection.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) stream: Stream,
    pub(super) service: Key,
    pub(super) peer: SocketAddr,
    /// The VIP and port that it dialled.
    pub(super) local: SocketAddr,
    /// Its codec; not known before detection.
    pub(super) codec: Option<Protocol>,
    pub(super) session: Session,
    pub(super) deadline: Deadline,
    pub(super) state: State,
    /// Not read from: what it asks for is slow to go out.
    pub(super) paused: bool,
    /// Not read from: it waits for one shared connection, which has it among its waiters. No other lets it go on.
    pub(super) stalled: bool,
    /// Until then it is not one that has nothing to say: its first bytes are on their way.
    pub(super) fresh_until: u64,
    /// A message has begun to come, and its time runs.
    pub(super) partial: bool,
    /// Requests share it, and it is to go: it is closed once it is silent.
    pub(super) ending: bool,
    /// Bytes of memory that are counted for it.
    pub(super) held: usize,
    /// Form of the protocol that it speaks, as its last message says.
    pub(super) variant: u8,
    /// Bytes of a refused message that are still to come, and go nowhere.
    pub(super) skip: u64,
    /// When it was accepted, in microseconds.
    pub(super) born: u64,
    /// Requests so far.
    pub(super) requests: u64,
    /// Bytes that it had not taken when it was last asked, and since when they are as many.
    pub(super) untaken: (usize, u64),
}

/// A codec, with a name in `Debug`.
#[derive(Clone, Copy)]
pub(super) struct Protocol(pub(super) &'static dyn Codec);

impl std::fmt::Debug for Protocol {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0.name())
    }
}

/// What a client's connection is at.
#[derive(Debug)]
pub(super) enum State {
    /// Its first bytes tell its protocol.
    Detecting,
    /// Between two requests that come one after the other.
    Idle,
    /// With such a request.
    Busy(Exchange),
    /// Requests share it: so many are under way.
    Shared(u32),
    /// Bytes go both ways.
    Tunnel(Tunnel),
    /// What is in its buffer goes out, then it is closed.
    Closing,
}

/// A request and its answer, on a connection that has one at a time.
#[derive(Debug)]
pub(super) struct Exchange {
    /// None while it waits for a connection.
    pub(super) upstream: Option<Key>,
    pub(super) endpoint: Key,
    pub(super) taken: Rc<Taken>,
    pub(super) asked: Asked,
    /// When it began, in microseconds.
    pub(super) started: u64,
    /// When it is given up, whatever moves.
    pub(super) deadline: u64,
    /// Until when it waits for a connection; never, if it has one.
    pub(super) waits_until: u64,
    /// The connection that its copy goes out on.
    pub(super) mirror: Option<Key>,
    /// What of the request is still to come.
    pub(super) request: Body,
    pub(super) answer: Answer,
    /// The client's connection ends with the answer.
    pub(super) close: bool,
    /// It may be sent twice.
    pub(super) repeatable: bool,
    pub(super) tries: u8,
    /// The request while it waits.
    pub(super) held: Vec<u8>,
    pub(super) hash: u64,
    pub(super) body_bytes: u64,
    /// Bytes of the request that have come, and of answers that went out, heads included.
    pub(super) up: u64,
    pub(super) down: u64,
    pub(super) status: u16,
    /// What the access log says of it.
    pub(super) log: Option<Box<super::log::Line>>,
}

/// How much of an answer has come.
#[derive(Debug)]
pub(super) enum Answer {
    /// Not its head.
    Waiting,
    Body {
        body: Body,
        dechunk: bool,
        /// The upstream's connection may be used again.
        keep: bool,
    },
}

/// Bytes both ways.
#[derive(Debug)]
pub(super) struct Tunnel {
    pub(super) upstream: Key,
    pub(super) endpoint: Key,
    pub(super) tries: u8,
    /// From the client, and to it.
    pub(super) up: Bulk,
    pub(super) down: Bulk,
    pub(super) account: Account,
}

/// What is said of a tunnel at its end, whichever endpoints it was tried with.
#[derive(Debug)]
pub(super) struct Account {
    /// When its connection, or the request that asked for it, began.
    pub(super) started: u64,
    /// Of the answer that agreed to it; 0: there was none.
    pub(super) status: u16,
    pub(super) taken: Rc<Taken>,
    /// Bytes from the client, and to it.
    pub(super) up: u64,
    pub(super) down: u64,
    pub(super) log: Option<Box<super::log::Line>>,
}

/// A connection to an endpoint.
#[derive(Debug)]
pub(super) struct Upstream {
    pub(super) stream: Stream,
    pub(super) endpoint: Key,
    pub(super) port: u16,
    pub(super) codec: Protocol,
    /// Form of the protocol that it speaks.
    pub(super) variant: u8,
    pub(super) session: Session,
    pub(super) connected: bool,
    /// When it was made.
    pub(super) born: u64,
    /// When something was last heard.
    pub(super) heard: u64,
    /// Requests that it has had.
    pub(super) requests: u64,
    pub(super) deadline: Deadline,
    pub(super) used: Use,
    /// Not read from: its client is slow.
    pub(super) paused: bool,
    /// Takes no new requests.
    pub(super) retired: bool,
    /// Bytes that are counted as waiting for it.
    pub(super) held: usize,
}

/// What a connection to an endpoint does.
#[derive(Debug)]
pub(super) enum Use {
    /// Nothing: it is in the pool.
    Idle,
    /// This client's request.
    Exchange(Key),
    /// Requests of many.
    Shared(Shared),
    /// This client's bytes.
    Tunnel(Key),
    /// A copy of a request.
    Mirror(Mirrored),
}

/// A copy of a request, on a connection that has one at a time.
#[derive(Debug)]
pub(super) struct Mirrored {
    /// The service whose route copies.
    pub(super) service: Key,
    /// All of the request is in the connection's buffer, or sent.
    pub(super) whole: bool,
    /// What of the answer is still to come; none before its head.
    pub(super) answer: Option<Body>,
    /// The connection may be used again after it.
    pub(super) keep: bool,
}

/// What shares a connection.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) ids: Ids<Pending>,
    /// Clients that are not read from until there is room.
    pub(super) waiters: Vec<Key>,
    /// A heartbeat is unanswered.
    pub(super) asked_alive: bool,
    /// When it last had a request, or an answer.
    pub(super) asked_at: u64,
    /// Ends of requests under way, the earliest.
    pub(super) earliest: u64,
}

/// A request under way on a shared connection.
#[derive(Debug)]
pub(super) struct Pending {
    /// Nobody: a heartbeat.
    pub(super) client: Option<Key>,
    pub(super) asked: Asked,
    pub(super) taken: Rc<Taken>,
    pub(super) service: Key,
    pub(super) started: u64,
    pub(super) deadline: u64,
    /// Where its bytes begin in all that the connection sends, and how many.
    pub(super) at: u64,
    pub(super) len: u32,
    pub(super) tries: u8,
    pub(super) hash: u64,
    pub(super) log: Option<Box<super::log::Line>>,
}

impl Client {
    /// Whether there is anything to be done with bytes from it.
    pub(super) fn wants_bytes(&self) -> bool {
        if self.paused || self.stalled {
            return false;
        }
        match &self.state {
            State::Detecting | State::Idle | State::Shared(_) | State::Tunnel(_) => true,
            State::Busy(exchange) => exchange.upstream.is_some() && exchange.request != Body::None,
            // To be thrown away.
            State::Closing => true,
        }
    }
}
