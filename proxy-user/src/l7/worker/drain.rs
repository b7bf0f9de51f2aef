//! The end of a worker: it accepts no more, and connections end by their protocol's means.

use std::time::Duration;

use super::connection::State;
use super::engine::Engine;
use super::poll::Token;
use super::slab::Key;
use crate::l7::pool::micros;

impl Engine {
    /// Accepts no more. Answers from now on say that the connection closes; idle connections of protocols where a client
    /// expects that are closed.
    pub(super) fn begin_drain(&mut self, patience: Duration) {
        for listener in [self.v4.take(), self.v6.take()].into_iter().flatten() {
            // It lives on in other processes, and would still be told of.
            self.poll.remove(&listener);
        }
        let until = self.now.saturating_add(micros(patience));
        self.drain_until = Some(self.drain_until.map_or(until, |before| before.min(until)));
        self.hurry_at = self.hurry_at.min(self.now.saturating_add(micros(patience) / 2));
        for key in self.clients.keys() {
            self.drain_client(key);
        }
    }

    fn drain_client(&mut self, key: Key) {
        let Some(client) = self.clients.get_mut(key) else { return };
        match client.state {
            State::Idle if client.stream.input.is_empty() && !client.stream.readable => self.client_lost(key),
            State::Shared(_) => self.wind_down(key),
            _ => {}
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
            let until = self.now.saturating_add(QUIET);
            self.timers.set_sooner(&mut client.deadline, Token::Client(key).bits(), until);
        }
        let goaway = self.directory.all.get(client.service).is_some_and(|s| s.plan.rules.goaway);
        let Some(codec) = client.codec.filter(|_| goaway) else { return };
        if codec.0.goaway(client.variant, 0, client.stream.output(&mut self.buffers)) {
            self.dirty_client(key);
        }
    }

    /// How long a client may be silent, in microseconds.
    #[inline]
    pub(super) fn patience(&self, key: Key) -> u64 {
        let Some(client) = self.clients.get(key) else { return u64::MAX };
        if client.ending {
            return QUIET;
        }
        self.directory.all.get(client.service).map_or(u64::MAX, |service| service.bounds.idle)
    }

    /// Whether it is over.
    pub(super) fn is_drained(&self) -> bool {
        self.drain_until.is_some_and(|until| self.clients.is_empty() || self.now >= until)
    }
}

/// So long is silent, in microseconds, a client on a shared connection that is closed as it is to go. In the second half of a
/// drain it is closed as soon as nothing is under way.
pub(super) const QUIET: u64 = 1_000_000;
