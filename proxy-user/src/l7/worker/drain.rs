//! The end of a worker: it accepts no more, and connections end by their protocol's means.

use std::time::Duration;

use super::connection::State;
use super::engine::Engine;
use super::poll::Token;
use super::slab::Key;
use super::timers::NEVER;
use crate::l7::pool::micros;

impl Engine {
    /// Accepts no more. Answers from now on say that the connection closes. Clients that are silent keep their connections for
    /// a while: to close one takes away the request that is just on its way.
    pub(super) fn begin_drain(&mut self, patience: Duration) {
        for listener in [self.v4.take(), self.v6.take()].into_iter().flatten() {
            // It lives on in other processes, and would still be told of.
            self.poll.remove(&listener);
        }
        let patience = micros(patience);
        let until = self.now.saturating_add(patience);
        self.drain_until = Some(self.drain_until.map_or(until, |before| before.min(until)));
        self.hurry_at = self.hurry_at.min(self.now.saturating_add(patience / 2));
        let half = (patience / 2).min(LONGEST_SILENCE) / 2;
        let (from, span) = self.leaving;
        if self.now.saturating_add(2 * half) < from.saturating_add(span) {
            self.leaving = (self.now.saturating_add(half), half);
        }
        for key in self.clients.keys() {
            self.drain_client(key);
        }
    }

    fn drain_client(&mut self, key: Key) {
        self.wind_down(key);
        let patience = self.patience(key);
        let Some(client) = self.clients.get_mut(key) else { return };
        if !client.partial && matches!(client.state, State::Idle | State::Shared(_)) {
            let until = self.now.saturating_add(patience);
            self.timers.set_sooner(&mut client.deadline, Token::Client(key).bits(), until);
        }
    }

    /// When a client that has said nothing since the drain began is closed. Not all at one time: they come back at once.
    fn leaves_at(&self, key: Key) -> u64 {
        let (from, span) = self.leaving;
        let part = key.bits().wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        from.saturating_add(span.saturating_mul(part) >> 32)
    }

    /// A client that is to go has been silent for long enough. What has come in this very moment is served all the same; else
    /// weir closes its own side first, so that what is still on its way does not reset what the client has not read.
    pub(super) fn send_off(&mut self, key: Key) {
        if let Some(client) = self.clients.get_mut(key) {
            client.stream.readable = true;
        }
        self.turn_client(key, false);
        let Some(client) = self.clients.get_mut(key) else { return };
        // Whatever comes of what it says has a deadline again.
        if client.deadline.at() == NEVER && matches!(client.state, State::Idle | State::Shared(_)) {
            client.state = State::Closing;
            self.dirty_client(key);
        }
    }

    /// A client whose requests share connections is to go. It is told so where it is known to listen; then it is closed once
    /// nothing is under way and it has been silent for a while. Nothing but silence says that no request is on its way.
    pub(super) fn wind_down(&mut self, key: Key) {
        let Some(client) = self.clients.get_mut(key) else { return };
        if client.ending || !matches!(client.state, State::Shared(_)) {
            return;
        }
        client.ending = true;
        if !client.partial {
            let until = self.now.saturating_add(self.patience(key));
            let Some(client) = self.clients.get_mut(key) else { return };
            self.timers.set_sooner(&mut client.deadline, Token::Client(key).bits(), until);
        }
        let Some(client) = self.clients.get_mut(key) else { return };
        let goaway = self.directory.all.get(client.service).is_some_and(|s| s.plan.rules.goaway);
        let Some(codec) = client.codec.filter(|_| goaway) else { return };
        if codec.0.goaway(client.variant, 0, client.stream.output(&mut self.buffers)) {
            self.dirty_client(key);
        }
    }

    /// How long a client may be silent, in microseconds. In a drain: one that was not told to go has its time.
    #[inline]
    pub(super) fn patience(&self, key: Key) -> u64 {
        let Some(client) = self.clients.get(key) else { return u64::MAX };
        let service = self.directory.all.get(client.service);
        let idle = service.map_or(u64::MAX, |service| service.bounds.idle);
        let draining = self.drain_until.is_some();
        if client.ending && !(draining && service.is_some_and(|s| !s.gone && !s.plan.rules.goaway)) {
            return QUIET;
        }
        if draining { idle.min(self.leaves_at(key).saturating_sub(self.now).max(QUIET)) } else { idle }
    }

    /// Whether it is over.
    pub(super) fn is_drained(&self) -> bool {
        self.drain_until.is_some_and(|until| self.clients.is_empty() || self.now >= until)
    }
}

/// So long is silent, in microseconds, a client that is closed as it is to go: one that was told so, and any whose time in a
/// drain is over. In the second half of a drain one on a shared connection is closed as soon as nothing is under way.
const QUIET: u64 = 1_000_000;
/// For how long of a drain silent clients keep their connections at most, in microseconds; half of it, if that is less. Longer
/// than from one request to the next of most that ask by the clock.
const LONGEST_SILENCE: u64 = 120_000_000;
