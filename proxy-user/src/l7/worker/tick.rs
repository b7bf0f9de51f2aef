//! What happens when something has taken too long.

use super::accept::is_complete;
use super::client::LINGER;
use super::connection::{State, Use};
use super::engine::Engine;
use super::poll::Token;
use super::slab::Key;
use super::timers::NEVER;
use crate::l7::codec::{Fault, LocalReason, Refusal};
use crate::l7::pool::Verdict;

impl Engine {
    /// Looks at all connections that are due.
    pub(super) fn tick(&mut self) {
        self.end_of_leavers();
        if self.held > self.most_held {
            self.make_room();
        }
        if self.timers.is_crowded(self.clients.len() + self.upstreams.len()) {
            let (clients, upstreams) = (&self.clients, &self.upstreams);
            self.timers.sweep(|bits, counts| match Token::from_bits(bits) {
                Token::Client(key) => clients.get(key).is_some_and(|client| counts(&client.deadline)),
                Token::Upstream(key) => upstreams.get(key).is_some_and(|upstream| counts(&upstream.deadline)),
                Token::Control | Token::ListenerV4 | Token::ListenerV6 => false,
            });
        }
        while let Some(entry) = self.timers.due(self.now) {
            let (_, bits) = entry;
            match Token::from_bits(bits) {
                Token::Client(key) => {
                    let over = self
                        .clients
                        .get_mut(key)
                        .is_some_and(|client| self.timers.is_over(&mut client.deadline, entry, self.now));
                    if over {
                        self.guarded(Token::Client(key), |engine| engine.client_is_late(key));
                    }
                }
                Token::Upstream(key) => {
                    let over = self
                        .upstreams
                        .get_mut(key)
                        .is_some_and(|upstream| self.timers.is_over(&mut upstream.deadline, entry, self.now));
                    if over {
                        self.guarded(Token::Upstream(key), |engine| engine.upstream_is_late(key));
                    }
                }
                Token::Control | Token::ListenerV4 | Token::ListenerV6 => {}
            }
        }
    }

    fn client_is_late(&mut self, key: Key) {
        if self.still_takes(key) {
            return;
        }
        let Some(client) = self.clients.get(key) else { return };
        let unread = client.paused || client.stalled || client.stream.listed;
        match &client.state {
            State::Detecting => self.detection_is_over(key),
            State::Busy(exchange) => {
                let endpoint = exchange.endpoint;
                if exchange.upstream.is_none() {
                    let waited = exchange.waits_until <= self.now;
                    let reason = if waited { LocalReason::QueueTimeout } else { LocalReason::Timeout };
                    self.abort_exchange(key, reason, reason.http_status());
                    return;
                }
                // Unless it is the endpoint that does not take it.
                if !is_complete(&exchange.request) && !client.paused {
                    self.refuse_body(key, &LATE);
                    return;
                }
                // A client that does not read is no fault of the endpoint's.
                if client.stream.unsent() == 0 {
                    self.note_verdict(endpoint, Verdict::Failed);
                }
                self.abort_exchange(key, LocalReason::Timeout, LocalReason::Timeout.http_status());
            }
            // Weir itself does not read it: what is missing may be there.
            State::Idle | State::Shared(_)
                if unread && client.stream.unsent() == 0 && (client.partial || client.ending) =>
            {
                let patience = self.patience(key);
                self.client_deadline(key, patience);
            }
            State::Idle | State::Shared(_) if client.partial && !unread => {
                let Some(codec) = client.codec else { return };
                self.refuse(key, codec.0, &LATE);
            }
            State::Shared(under_way) if *under_way > 0 && !client.stream.eof => {
                let patience = self.patience(key);
                self.client_deadline(key, patience);
            }
            // Its own side first, so that what comes after all does not reset what it has not read.
            State::Shared(_) if client.ending => {
                if let Some(client) = self.clients.get_mut(key) {
                    client.state = State::Closing;
                }
                self.dirty_client(key);
            }
            State::Tunnel(_) => self.end_client(key, Some(LocalReason::Timeout)),
            State::Idle | State::Shared(_) | State::Closing => self.client_lost(key),
        }
    }

    fn upstream_is_late(&mut self, key: Key) {
        let Some(upstream) = self.upstreams.get(key) else { return };
        if !upstream.connected {
            self.connect_failed(key);
            return;
        }
        match &upstream.used {
            Use::Idle | Use::Mirror(_) => self.upstream_lost(key),
            Use::Shared(_) => self.shared_tick(key),
            // Its client's deadline counts.
            Use::Exchange(_) | Use::Tunnel(_) => {}
        }
    }

    /// Whether a client that is late, or its endpoint, goes on taking what it is sent: then there is more time, as long as that
    /// goes on.
    fn still_takes(&mut self, key: Key) -> bool {
        let idle = self.bounds(key).map_or(u64::MAX, |bounds| bounds.idle);
        let patience = idle.min(LAST_WORDS);
        let Some(client) = self.clients.get_mut(key) else { return false };
        let (until, upstream) = match &client.state {
            State::Closing => (NEVER, None),
            State::Idle | State::Shared(_) if client.paused => (NEVER, None),
            State::Tunnel(tunnel) => (NEVER, Some(tunnel.upstream)),
            State::Busy(exchange) if exchange.upstream.is_some() => (exchange.deadline, exchange.upstream),
            _ => return false,
        };
        let upstream = upstream.and_then(|key| self.upstreams.get(key));
        let left = client.stream.untaken() + upstream.map_or(0, |upstream| upstream.stream.untaken());
        if left == 0 || until <= self.now {
            return false;
        }
        if left != client.untaken.0 {
            client.untaken = (left, self.now);
        } else if self.now.saturating_sub(client.untaken.1) >= patience {
            return false;
        }
        let at = self.now.saturating_add(patience.min(LINGER)).min(until);
        self.timers.set(&mut client.deadline, Token::Client(key).bits(), at);
        true
    }
}

/// HTTP status for a request that does not come in time.
const TOO_SLOW: u16 = 408;
/// For a client to take some of what it is sent last, in microseconds.
const LAST_WORDS: u64 = 30_000_000;
/// What a client does not send to its end.
const LATE: Refusal =
    Refusal::fatal(LocalReason::BadRequest, "a message that does not come to its end in time")
        .of(Fault::Late)
        .with_status(TOO_SLOW);
