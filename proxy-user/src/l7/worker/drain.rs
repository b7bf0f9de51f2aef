//! The end of a worker: it accepts no more, and connections end by their protocol's means.

use std::time::Duration;

use super::connection::State;
use super::engine::Engine;
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
        for key in self.clients.keys() {
            self.drain_client(key);
        }
    }

    fn drain_client(&mut self, key: Key) {
        let Some(client) = self.clients.get_mut(key) else { return };
        match client.state {
            State::Idle if client.stream.input.is_empty() && !client.stream.readable => self.client_lost(key),
            State::Shared(under_way) => {
                let goaway = self.directory.all.get(client.service).is_some_and(|s| s.plan.rules.goaway);
                let Some(codec) = client.codec.filter(|_| goaway) else { return };
                if codec.0.goaway(client.variant, 0, client.stream.output(&mut self.buffers)) {
                    if under_way == 0 {
                        client.state = State::Closing;
                    }
                    self.dirty_client(key);
                }
            }
            _ => {}
        }
    }

    /// Whether it is over.
    pub(super) fn is_drained(&self) -> bool {
        self.drain_until.is_some_and(|until| self.clients.is_empty() || self.now >= until)
    }
}
