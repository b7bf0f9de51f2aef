//! The contract between a registry's client and the rest of weir.
//!
//! What is known of a [`Query`] is one of three things that are never mixed up: a **known set**, **known empty** (a
//! [`Event::Reset`] without endpoints), or **unknown** (nothing heard yet, [`Event::Gone`], or no session). Unknown removes
//! nothing. A client that cannot tell an empty set from a failure says [`Event::Gone`].

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Instant;

use futures_util::future::BoxFuture;
use thiserror::Error;
use tokio::sync::{mpsc, watch};

use crate::model::BackendAddr;

/// Most endpoints that one query may have; a set with more is refused whole.
pub const MAX_ENDPOINTS: usize = 100_000;
/// Longest text of an endpoint that is parsed, bytes.
pub const MAX_ENDPOINT_TEXT: usize = 8 << 10;
/// Most labels kept of an endpoint; longest key and value, bytes.
pub const MAX_LABELS: usize = 32;
/// Longest key or value of a label, bytes; longer ones are left out.
pub const MAX_LABEL_TEXT: usize = 256;
/// Refused entries that are kept as examples with each set.
pub const MAX_EXAMPLES: usize = 8;

/// What weir asks a registry for: the endpoints of one name there.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Query {
    /// Name of the service in the registry: a dataId, key prefix, DNS name, file path.
    pub service: String,
    /// What else the registry's kind needs (`group`, `scope`, `port`, ...), checked by it when the configuration is read.
    pub options: BTreeMap<String, String>,
}

/// What weir registers: a VIP under a name of the registry.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Publication {
    /// Name of the service in the registry.
    pub service: String,
    /// What else the registry's kind needs (`group`, `weight`, ...), checked by it when the configuration is read.
    pub options: BTreeMap<String, String>,
    /// What clients are to connect to: the VIP's address and port.
    pub address: BackendAddr,
}

/// Everything that is wanted of one registry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Names to follow.
    pub queries: BTreeSet<Arc<Query>>,
    /// VIPs to register. What is no longer here is withdrawn, and its end reported.
    pub publications: BTreeSet<Arc<Publication>>,
}

/// An endpoint as its registry describes it.
#[derive(Clone, Debug, PartialEq)]
pub struct Endpoint {
    /// Address and port.
    pub addr: BackendAddr,
    /// Weight as the registry gives it; none where it gives none. `catalog` maps it.
    pub weight: Option<f64>,
    /// Whether the registry itself wants new connections to go there.
    pub enabled: bool,
    /// Zone, data centre or cluster that the registry places it in.
    pub zone: Option<Arc<str>>,
    /// What else the registry says: version, protocol, application, tags.
    pub labels: BTreeMap<Arc<str>, Arc<str>>,
}

/// An entry that cannot be an endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected {
    /// The entry, cut to a length fit for a log line.
    pub text: String,
    /// What is wrong with it.
    pub why: String,
}

/// A set of endpoints as it came.
#[derive(Clone, Debug)]
pub struct Set {
    /// Endpoints. An address that comes twice counts once, the first time.
    pub endpoints: Vec<Endpoint>,
    /// The first entries that were refused.
    pub rejected: Vec<Rejected>,
    /// How many were refused in all.
    pub rejected_count: u64,
    /// Position of the set in the registry's own terms (version, revision, serial), for people.
    pub version: Option<String>,
    /// When the last byte of it was read: begin of the interval that the metric `weir_registry_apply_seconds` measures.
    pub received: Instant,
}

/// What a client tells.
#[derive(Clone, Debug)]
pub enum Event {
    /// A session with this server begins; nothing is known of any query by it yet.
    Connected {
        /// The server's address, for people.
        peer: String,
    },
    /// The whole set of a query. Without endpoints: known empty.
    Reset {
        /// What was asked.
        query: Arc<Query>,
        /// The answer.
        set: Set,
    },
    /// These are in the set from now on, beside or in place of those with the same address.
    Add {
        /// What was asked.
        query: Arc<Query>,
        /// What is new.
        set: Set,
    },
    /// These are no longer in the set.
    Remove {
        /// What was asked.
        query: Arc<Query>,
        /// What is gone.
        addrs: Vec<BackendAddr>,
        /// As in [`Set`].
        version: Option<String>,
        /// As in [`Set`].
        received: Instant,
    },
    /// Nothing is known of the query from now on: an error, a timeout, a server that has lost its data.
    Gone {
        /// What was asked.
        query: Arc<Query>,
        /// Why, for people.
        why: String,
    },
    /// The answer to a registration.
    Published {
        /// What was registered.
        publication: Arc<Publication>,
        /// Why the registry refused it; the client tries again by itself.
        result: Result<(), String>,
    },
    /// A registration has ended because it is no longer wanted.
    Withdrawn {
        /// What was registered.
        publication: Arc<Publication>,
    },
}

/// What a client is to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// Go on.
    #[default]
    Run,
    /// Ask for everything again, without remembered positions. Each new number asks once.
    Resync(u64),
    /// Stop at the next boundary and hand the connection over: [`Client::session`] answers with [`Ended::HandedOver`].
    HandOver,
}

/// The connection of one session, to be taken over by another process with all that is registered on it.
#[derive(Debug)]
pub struct Parcel {
    /// The connected socket.
    pub socket: OwnedFd,
    /// What the client must know to go on, in a form of its own: versioned, at most 16 MiB.
    pub state: Vec<u8>,
}

/// One session's ends to the driver.
#[derive(Debug)]
pub struct Session {
    /// What is wanted; may change at any time.
    pub wanted: watch::Receiver<Arc<Wanted>>,
    /// What to do; may change at any time.
    pub order: watch::Receiver<Order>,
    /// Where events go. The channel is bounded: acknowledge what the server waits for before waiting for room here.
    pub events: mpsc::Sender<Event>,
}

/// How a session ended that did not fail.
#[derive(Debug)]
pub enum Ended {
    /// The other side has no use for it any more (its channels are closed).
    Unwanted,
    /// By [`Order::HandOver`]; a kind whose registrations do not live on a connection gives nothing.
    HandedOver(Option<Parcel>),
}

/// Why a session failed. The driver waits and begins another; until then everything is unknown.
#[derive(Debug, Error)]
pub enum SessionError {
    /// No server could be reached.
    #[error("no server answers: {0}")]
    Unreachable(String),
    /// The session was cut, or a time ran out.
    #[error("the connection to {peer} ended: {why}")]
    Lost {
        /// The server.
        peer: String,
        /// What happened.
        why: String,
    },
    /// The server says something that the protocol does not allow.
    #[error("{peer} breaks the protocol: {why}")]
    Protocol {
        /// The server.
        peer: String,
        /// What it did.
        why: String,
    },
    /// The server refuses weir: credentials, permissions. Tried again, slowly.
    #[error("{peer} refuses weir: {why}")]
    Refused {
        /// The server.
        peer: String,
        /// What it said.
        why: String,
    },
}

/// A client of one registry. Made from checked settings; keeps what outlives a session (the list of servers, whose turn it
/// is), but no position in the registry's data.
pub trait Client: Send + 'static {
    /// One session: connect, ask for everything that is wanted without any remembered position, then follow it, and follow
    /// changes of what is wanted. Dropping the future ends the session at once.
    fn session<'a>(&'a mut self, session: &'a mut Session) -> BoxFuture<'a, Result<Ended, SessionError>>;
}
