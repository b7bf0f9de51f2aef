//! What becomes of a request whose connection failed: it is tried elsewhere if that does no harm.

use super::connection::{Answer, State, Use};
use super::engine::Engine;
use super::slab::Key;
use crate::l7::codec::LocalReason;
use crate::l7::pool::Verdict;

impl Engine {
    /// The connection of a client's request has failed, or could not be made. `output` is what of the request there is to
    /// send again: all of it if nothing was sent (`untouched`) or the request may be repeated.
    pub(super) fn exchange_failed(&mut self, client_key: Key, output: Vec<u8>, untouched: bool) {
        let Some(client) = self.clients.get_mut(client_key) else { return };
        let service = client.service;
        let State::Busy(exchange) = &mut client.state else { return };
        exchange.upstream = None;
        if let Some(service) = self.directory.all.get_mut(service) {
            service.counters.resets += u64::from(!untouched);
        }
        if let Some(endpoint) = self.endpoints.get_mut(exchange.endpoint) {
            endpoint.counters.resets += u64::from(!untouched);
        }
        let begun = matches!(exchange.answer, Answer::Body { .. });
        let harmless = !begun && (untouched || exchange.repeatable) && !output.is_empty();
        let (before, hash, tries) = (exchange.endpoint, exchange.hash, exchange.tries);
        let most = exchange.taken.retry.tries;
        if !harmless || tries >= most {
            self.abort_exchange(client_key, LocalReason::Reset, 502);
            return;
        }
        let of = self.endpoints.get(before).map_or(service, |endpoint| endpoint.service);
        let Some(endpoint) = self.choose(of, hash, Some(before)) else {
            self.abort_exchange(client_key, LocalReason::NoUpstream, 503);
            return;
        };
        if !self.may_retry(service) {
            self.abort_exchange(client_key, LocalReason::Reset, 502);
            return;
        }
        self.move_active(before, endpoint);
        if let Some(State::Busy(exchange)) = self.clients.get_mut(client_key).map(|client| &mut client.state)
        {
            exchange.tries += 1;
            exchange.endpoint = endpoint;
            exchange.held = output;
        }
        self.retried(endpoint);
        self.connect_exchange(client_key);
    }

    /// An answer has begun with this status. Whether the request is sent again because of it.
    pub(super) fn retry_status(&mut self, key: Key, client_key: Key, status: u16) -> bool {
        let Some(client) = self.clients.get(client_key) else { return false };
        let State::Busy(exchange) = &client.state else { return false };
        let rule = &exchange.taken.retry;
        if !exchange.repeatable || exchange.tries >= rule.tries || !rule.statuses.contains(&status) {
            return false;
        }
        let (service, before, hash) = (client.service, exchange.endpoint, exchange.hash);
        let of = self.endpoints.get(before).map_or(service, |endpoint| endpoint.service);
        let Some(endpoint) = self.choose(of, hash, Some(before)) else { return false };
        if !self.may_retry(service) {
            return false;
        }
        self.note_verdict(before, Verdict::Failed);
        let Some(upstream) = self.upstreams.get_mut(key) else { return false };
        upstream.used = Use::Idle;
        let output = upstream.stream.take_output();
        if let Some(State::Busy(exchange)) = self.clients.get_mut(client_key).map(|client| &mut client.state)
        {
            exchange.upstream = None;
            exchange.tries += 1;
            exchange.endpoint = endpoint;
            exchange.held = output;
        }
        self.move_active(before, endpoint);
        self.retried(endpoint);
        // What is left of its answer would be taken for another's.
        self.upstream_lost(key);
        self.connect_exchange(client_key);
        true
    }

    /// A request that waits for an endpoint that has left goes to another.
    pub(super) fn choose_again(&mut self, client_key: Key) {
        let Some(client) = self.clients.get_mut(client_key) else { return };
        let service = client.service;
        if let Some(service) = self.directory.all.get_mut(service) {
            service.counters.pending = service.counters.pending.saturating_sub(1);
        }
        let State::Busy(exchange) = &mut client.state else { return };
        let (before, hash) = (exchange.endpoint, exchange.hash);
        let of = self.endpoints.get(before).map_or(service, |endpoint| endpoint.service);
        let Some(endpoint) = self.choose(of, hash, Some(before)) else {
            self.abort_exchange(client_key, LocalReason::NoUpstream, 503);
            return;
        };
        self.move_active(before, endpoint);
        if let Some(State::Busy(exchange)) = self.clients.get_mut(client_key).map(|client| &mut client.state)
        {
            exchange.endpoint = endpoint;
        }
        self.connect_exchange(client_key);
    }

    /// Whether a service's budget has room for a retry, which this then is.
    pub(super) fn may_retry(&mut self, service: Key) -> bool {
        let Some(service) = self.directory.all.get_mut(service) else { return false };
        let may = service.budget.spend();
        service.counters.retries += u64::from(may);
        may
    }

    /// An endpoint has got a request that another failed.
    pub(super) fn retried(&mut self, endpoint: Key) {
        if let Some(endpoint) = self.endpoints.get_mut(endpoint) {
            endpoint.counters.retries += 1;
        }
    }

    /// A request that was one endpoint's is another's.
    pub(super) fn move_active(&mut self, from: Key, to: Key) {
        if let Some(endpoint) = self.endpoints.get_mut(from) {
            endpoint.active = endpoint.active.saturating_sub(1);
        }
        if let Some(endpoint) = self.endpoints.get_mut(to) {
            endpoint.active += 1;
            endpoint.counters.requests += 1;
        }
        self.forget_endpoint(from);
    }
}
