//! The end of a client's connection, for whatever reason.

use super::connection::{Client, State, Use};
use super::engine::Engine;
use super::poll::Token;
use super::slab::Key;
use crate::l7::codec::LocalReason;

impl Engine {
    /// A client is gone, or is to be: what was under way for it ends.
    pub(super) fn client_lost(&mut self, key: Key) {
        self.end_client(key, None);
    }

    /// The same; `reason`: weir ends it itself.
    pub(super) fn end_client(&mut self, key: Key, reason: Option<LocalReason>) {
        let Some(client) = self.clients.get_mut(key) else { return };
        match std::mem::replace(&mut client.state, State::Closing) {
            State::Busy(mut exchange) => {
                let service = client.service;
                self.buffers.take_back(&mut exchange.held);
                match exchange.upstream {
                    Some(upstream_key) => {
                        if let Some(upstream) = self.upstreams.get_mut(upstream_key) {
                            upstream.used = Use::Idle;
                        }
                        self.release_upstream(upstream_key, false);
                    }
                    None => self.forget_pending(exchange.endpoint, key, service),
                }
                if exchange.status == 0 {
                    exchange.status = reason.map_or(CLIENT_LEFT, LocalReason::http_status);
                }
                self.count_answer(service, &exchange, reason);
                self.forget_endpoint(exchange.endpoint);
            }
            State::Tunnel(tunnel) => {
                let (service, upstream_key) = (client.service, tunnel.upstream);
                if let Some(upstream) = self.upstreams.get_mut(upstream_key) {
                    upstream.used = Use::Idle;
                }
                if let (Some(reason), Some(service)) = (reason, self.directory.all.get_mut(service)) {
                    service.counters.local(reason);
                }
                self.end_tunnel(service, &tunnel, reason);
                self.release_upstream(upstream_key, false);
            }
            State::Shared(under_way) if under_way > 0 => self.has_left(),
            State::Detecting | State::Idle | State::Shared(_) | State::Closing => {}
        }
        self.close_client(key);
    }

    /// Removes a client that nothing is under way for.
    pub(super) fn close_client(&mut self, key: Key) {
        let Some(mut client) = self.clients.remove(key) else { return };
        self.buffers.take_back(&mut client.stream.input);
        self.buffers.take_back(&mut client.stream.take_output());
        self.held = self.held.saturating_sub(client.held);
        let service_key = client.service;
        drop(client);
        let Some(service) = self.directory.all.get_mut(service_key) else { return };
        service.counters.active = service.counters.active.saturating_sub(1);
        if service.is_over() {
            self.directory.all.remove(service_key);
        }
    }

    /// Closes clients that have nothing under way, of one service or of all.
    pub(super) fn close_idle_clients(&mut self, service: Option<Key>) {
        let of = |client: &Client| service.is_none_or(|service| client.service == service);
        let idle: Vec<Key> = self
            .clients
            .iter()
            .filter(|(_, client)| of(client) && is_idle(client))
            .map(|(key, _)| key)
            .collect();
        for key in idle {
            self.client_lost(key);
        }
    }

    /// Descriptors have run out: some idle clients of the service that has most connections give up theirs, so that new ones
    /// are served. Says whether there were any.
    pub(super) fn close_some_idle(&mut self) -> bool {
        let most = self.directory.all.iter().max_by_key(|(_, service)| service.counters.active);
        let most = most.map(|(key, _)| key);
        let idle = |of: Option<Key>| -> Vec<Key> {
            let fits = |client: &Client| {
                of.is_none_or(|of| client.service == of) && is_idle(client) && client.fresh_until <= self.now
            };
            let idle = self.clients.iter().filter(|(_, client)| fits(client));
            let mut idle: Vec<(u64, Key)> = idle.map(|(key, client)| (client.deadline.at(), key)).collect();
            // Whose time is over first has been silent for longest.
            if idle.len() > SOME {
                idle.select_nth_unstable(SOME);
                idle.truncate(SOME);
            }
            idle.into_iter().map(|(_, key)| key).collect()
        };
        let mut keys = idle(most);
        if keys.is_empty() {
            keys = idle(None);
        }
        let any = !keys.is_empty();
        for key in keys {
            self.client_lost(key);
        }
        any
    }

    /// After a fault of weir's own in a connection's work.
    pub(super) fn end_after_panic(&mut self, token: Token) {
        let service = match token {
            Token::Client(key) => self.clients.get(key).map(|client| client.service),
            Token::Upstream(key) => {
                let endpoint =
                    self.upstreams.get(key).and_then(|upstream| self.endpoints.get(upstream.endpoint));
                endpoint.map(|endpoint| endpoint.service)
            }
            Token::Control | Token::ListenerV4 | Token::ListenerV6 => None,
        };
        if let Some(service) = service.and_then(|service| self.directory.all.get_mut(service)) {
            service.counters.panics += 1;
        }
        match token {
            Token::Client(key) => {
                let asks = self.clients.get(key).is_some_and(|client| {
                    // What was under way has a line of its own.
                    !matches!(client.state, State::Busy(_) | State::Tunnel(_))
                });
                if asks {
                    self.log_refused(key, LocalReason::Internal, None);
                }
                self.end_client(key, Some(LocalReason::Internal));
            }
            Token::Upstream(key) => self.upstream_lost(key),
            Token::Control | Token::ListenerV4 | Token::ListenerV6 => {}
        }
    }
}

/// Whether nothing is under way.
pub(super) fn is_idle(client: &Client) -> bool {
    let nothing = client.stream.input.is_empty() && client.stream.unsent() == 0;
    nothing && matches!(client.state, State::Idle | State::Shared(0))
}

/// Idle clients closed at once where descriptors run out: what comes in needs one here and one to an endpoint.
const SOME: usize = 16;
/// Status in the log and the counters of a request whose client has left before its answer.
pub(super) const CLIENT_LEFT: u16 = 499;
