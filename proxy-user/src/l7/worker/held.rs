//! What is kept for clients whose requests share connections, and its bounds. Nothing holds up a connection that many share
//! for the sake of one client, so that what a client does not read is kept here; and a message is kept until it is whole.
//!
//! Of a client that does not read: above 256 kB unread, none of its requests is read; the answers to those under way still
//! come. An answer that finds more unread than the client's share ends its connection, so that a client holds its share and
//! one answer, beside one unfinished message. The share is an eighth of what the others leave of the worker's bound, and
//! 1 MiB at least: one that is slow for a while gets its answers, and the more there are the less each has.
//!
//! Of a client whose endpoint does not read: above 256 kB that wait for the endpoint, the client is not read from. What waits for
//! all such endpoints together is in the worker's bound too, apart from the clients'; above it, requests to them are refused.
//!
//! The worker's bound is [`MOST`], or four of the longest messages that are allowed. Above it, those that hold most are
//! closed.

use super::connection::State;
use super::engine::Engine;
use super::slab::Key;
use crate::l7::codec::{LocalReason, PoolMode};

/// Bytes that may wait for any client that does not read.
const LEAST_SHARE: usize = 1 << 20;
/// A client's share of what the others leave.
const SHARE: usize = 8;
/// Bytes that a worker keeps for such clients, where no longer messages are allowed.
const MOST: usize = 64 << 20;

/// Bytes that a worker keeps for clients that share, and as many for endpoints that do not read, where messages may be so long.
pub(super) fn most(longest: usize) -> usize {
    #[cfg(test)]
    if let Some(most) = super::tests::most_held() {
        return most;
    }
    MOST.max(longest.saturating_mul(4))
}

impl Engine {
    /// Whether an answer may be put to what waits for a client. One that leaves too much unread is given up.
    #[inline]
    pub(super) fn takes_answers(&mut self, key: Key) -> bool {
        let Some(client) = self.clients.get(key) else { return false };
        if !matches!(client.state, State::Shared(_)) {
            return false;
        }
        client.stream.unsent() <= LEAST_SHARE || self.takes_more(key)
    }

    /// Much waits for a client: maybe since nothing was sent in this batch yet.
    #[cold]
    fn takes_more(&mut self, key: Key) -> bool {
        let Some(client) = self.clients.get_mut(key) else { return false };
        let alive = client.stream.flush(&mut self.buffers).is_ok();
        let others = self.held.saturating_sub(client.held);
        let share = (self.most_held.saturating_sub(others) / SHARE).max(LEAST_SHARE);
        if alive && client.stream.unsent() <= share {
            return true;
        }
        if alive {
            self.give_up_client(key);
        } else {
            self.client_lost(key);
        }
        false
    }

    /// What is kept for a client has changed.
    #[cold]
    pub(super) fn weigh(&mut self, key: Key) {
        let Some(client) = self.clients.get_mut(key) else { return };
        let shares = client.codec.is_some_and(|codec| codec.0.pool() == PoolMode::Multiplex);
        let held = if shares { client.stream.held() } else { 0 };
        self.held = (self.held + held).saturating_sub(client.held);
        client.held = held;
    }

    /// What waits for a shared connection has changed. Only where it is much.
    #[cold]
    pub(super) fn weigh_upstream(&mut self, key: Key) {
        let Some(upstream) = self.upstreams.get_mut(key) else { return };
        let held = upstream.stream.unsent();
        self.held_up = (self.held_up + held).saturating_sub(upstream.held);
        upstream.held = held;
    }

    /// The shared connection that a client waited for has room again, or is gone.
    pub(super) fn unstall(&mut self, key: Key) {
        if let Some(client) = self.clients.get_mut(key) {
            client.stalled = false;
            self.read_again(key);
        }
    }

    /// Too much is kept: those that hold most are closed, until there is room again.
    #[cold]
    pub(super) fn make_room(&mut self) {
        let mut all: Vec<(usize, Key)> = self
            .clients
            .iter()
            .map(|(key, client)| (client.held, key))
            .filter(|(held, _)| *held > 0)
            .collect();
        all.sort_unstable_by(|one, other| other.cmp(one));
        for (_, key) in all {
            if self.held <= self.most_held / 4 * 3 {
                return;
            }
            self.give_up_client(key);
        }
    }

    fn give_up_client(&mut self, key: Key) {
        let service = self.clients.get(key).map(|client| client.service);
        if let Some(service) = service.and_then(|service| self.directory.all.get_mut(service)) {
            service.counters.local(LocalReason::Memory);
        }
        self.client_lost(key);
    }
}
