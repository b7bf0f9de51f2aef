//! SOFARegistry: subscribes to data ids and registers VIPs at a session server, over Bolt.
//!
//! ```text
//! servers (HTTP or fixed) ── session ── core: what is registered, what came      ── events
//!                               │         sans I/O
//!                             link: a thread that reads, acknowledges, beats
//! ```
//!
//! A push has to be acknowledged within 2 s, and a connection that is silent for 45 s loses its registrations. So the
//! connection belongs to a thread of its own, with a runtime of its own: it answers whatever the rest of the daemon does.
//! It leaves the newest push of each subscription in an inbox; a slow reader misses what was overtaken, and memory is bounded.

mod answers;
mod book;
mod budget;
mod core;
pub mod generated;
mod handover;
mod hessian;
mod http;
mod inbox;
mod link;
mod message;
mod outbox;
mod page;
mod protobuf;
mod query;
mod servers;
mod session;
pub mod settings;
#[cfg(test)]
mod tests;
mod unpack;

pub use message::fuzz_push;

use super::source::{Client, Parcel};
use settings::Settings;

/// Zone that weir says it is in. The server does not choose by it.
const ZONE: &str = "DEFAULT_ZONE";

/// A client with these settings. With what an earlier process has handed over, its first session goes on with that
/// connection.
pub fn client(settings: &Settings, taken_over: Option<Parcel>) -> Box<dyn Client> {
    Box::new(session::SofaClient::new(settings.clone(), taken_over))
}
