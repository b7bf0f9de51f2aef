//! A worker's body: one thread, one event loop, its own listeners, and nothing shared with other workers.
//!
//! A turn of the loop takes a batch of events. For each connection that has something to read, all that is there is read
//! at once, all messages in it are handled, and what they make to send is appended to the buffers of the connections that
//! it goes to; behind the last event each of these is flushed once. So what a request costs beside the system calls is
//! decoding, a look at routes and endpoints, and one copy; and where many messages come at once, system calls are few.
//!
//! `engine` is the loop; `client` and `upstream` what happens on each side; `exchange` and `answer` are requests that
//! come one after the other (HTTP/1), `shared` those that share connections (Bolt), `tunnel` bytes without messages.
//! `held` bounds what is kept for clients that share; `succession` is what becomes of clients when services change.

mod accept;
mod answer;
mod buffers;
mod client;
mod close;
mod connection;
mod counters;
mod dial;
mod drain;
mod engine;
mod exchange;
mod hash;
mod held;
mod journal;
mod left;
mod list;
mod local;
mod log;
mod mirror;
mod poll;
mod pump;
mod report;
mod retry;
mod services;
mod shared;
mod shared_end;
mod shared_pool;
mod slab;
mod splice;
mod stream;
mod succession;
mod tick;
mod timers;
mod tunnel;
mod upstream;

use std::io;
use std::net::TcpListener;
use std::os::fd::OwnedFd;

use super::process::control::Control;
pub(in crate::l7) use slab::{Key, Slab};

/// What a worker accepts connections from. Nobody but this worker accepts from them while it lives; what waits in them
/// outlives it.
#[derive(Debug)]
pub struct Listeners {
    /// The worker's number, from 0.
    pub number: u32,
    /// How many workers there are: a bound of a service is divided by it.
    pub workers: u32,
    /// For IPv4. Accepted sockets have the VIP and port that the client dialled as their local address.
    pub v4: Option<TcpListener>,
    /// For IPv6.
    pub v6: Option<TcpListener>,
}

/// Runs until drained. Nothing is accepted before the first snapshot. `log`: where the access log goes.
///
/// # Errors
/// The kernel gives no `epoll`, or a listener cannot be used.
pub fn run(listeners: Listeners, control: Control, log: OwnedFd) -> io::Result<()> {
    engine::Engine::new(listeners, control, log)?.run()
}

#[cfg(test)]
mod tests;
