//! A request on a connection that has one at a time: from its head to the upstream that gets it.

use std::rc::Rc;

use super::accept::is_complete;
use super::client::{HIGH, Step};
use super::connection::{Answer, Exchange, Protocol, State};
use super::engine::Engine;
pub(super) use super::hash::hash_address;
use super::hash::hash_of;
use super::local::note_fault;
use super::services::Service;
use super::slab::Key;
use super::timers::NEVER;
use crate::l7::codec::{
    Body, ClientNote, Decoded, Edits, Head, LocalReason, NoteStyle, PoolMode, Refusal, Reply, Timeout,
};
use crate::l7::pool::Draw;
use crate::l7::route::{Asking, Does, Taken, Target, with_edits, with_fields};
use crate::l7::snapshot::{Balance, ClientAddress};
use crate::l7::stats::Outcome;

/// What a request's head decides.
pub(super) struct Decision {
    pub(super) taken: Rc<Taken>,
    /// The service whose endpoints it goes to.
    pub(super) to: Key,
    pub(super) hash: u64,
    /// When it ends, in microseconds.
    pub(super) deadline: u64,
}

/// For a request on a shared connection whose service has no bound of its own, microseconds.
const SHARED_PATIENCE: u64 = 60_000_000;

impl Engine {
    /// Decides on a request: who may ask, which route, where to.
    #[inline]
    pub(super) fn decide(&mut self, service_key: Key, asking: &Asking<'_>) -> Result<Decision, LocalReason> {
        #[cfg(test)]
        super::tests::fault(asking);
        let now = self.now;
        let draining = self.drain_until;
        let service = self.directory.all.get_mut(service_key).ok_or(LocalReason::NoRoute)?;
        service.counters.requests += 1;
        if service.access.as_ref().is_some_and(|list| !list.allows(&service.trusted, asking)) {
            return Err(LocalReason::Denied);
        }
        if service.counters.requests_active >= service.bounds.requests {
            return Err(LocalReason::Overloaded);
        }
        let taken = match &service.hosts {
            None => &service.itself,
            Some(hosts) => hosts.route(asking).ok_or(LocalReason::NoRoute)?,
        };
        let taken = Rc::clone(taken);
        let counters = &taken.counters;
        counters.requests.set(counters.requests.get() + 1);
        service.budget.earn(taken.retry.budget_percent);
        let mut patience = taken.timeout.map_or(service.bounds.request, crate::l7::pool::micros);
        if patience == NEVER && asking.codec.pool() == PoolMode::Multiplex {
            // What is never answered would keep its id on the shared connection.
            patience = SHARED_PATIENCE;
        }
        if let Timeout::Millis(millis) = asking.head.timeout
            && service.trusted.has(asking.peer)
        {
            patience = patience.min(u64::from(millis) * 1000);
        }
        let deadline = now.saturating_add(patience).min(draining.unwrap_or(u64::MAX));
        let to = match &taken.does {
            Does::Forward(_) => taken.target().and_then(|target| match target {
                Target::Itself => Some(service_key),
                Target::Named(name) => self.directory.named(name),
            }),
            Does::Redirect(..) | Does::Direct(..) => Some(service_key),
        };
        let Some(to) = to else { return Err(ends_on_route(&taken, LocalReason::NoUpstream)) };
        let hash = match self.directory.all.get(to).map(|service| service.chooser.balance()) {
            Some(Balance::Maglev(by)) => hash_of(by, asking),
            _ => 0,
        };
        Ok(Decision { taken, to, hash, deadline })
    }

    /// An endpoint of a service.
    #[inline]
    pub(super) fn choose(&mut self, service: Key, hash: u64, avoid: Option<Key>) -> Option<Key> {
        let draw = Draw { hash, avoid, now: self.now };
        self.directory.all.get_mut(service)?.chooser.choose(&mut self.endpoints, &draw)
    }

    /// The front of `bytes` is a request's head, or the beginning of one.
    pub(super) fn begin_exchange(&mut self, key: Key, bytes: &[u8]) -> Step {
        let Some(client) = self.clients.get_mut(key) else { return Step::Wait };
        let Some(codec) = client.codec else { return Step::Wait };
        match codec.0.decode(&mut client.session, bytes) {
            Ok(Decoded::More(need)) => Step::Need(need),
            Ok(Decoded::Head(head)) => {
                client.partial = false;
                // In this batch it is the one that asks, and is not closed to make room for what it asks.
                client.fresh_until = self.now + 1;
                self.exchange(key, codec, &head, bytes)
            }
            Err(refusal) => self.refuse(key, codec.0, &refusal),
        }
    }

    fn exchange(&mut self, key: Key, protocol: Protocol, head: &Head, bytes: &[u8]) -> Step {
        let codec = protocol.0;
        let Some(client) = self.clients.get_mut(key) else { return Step::Wait };
        client.requests += 1;
        let (service_key, peer) = (client.service, client.peer);
        let asking = Asking { codec, head, message: bytes, peer: peer.ip() };
        let mut log = self.log_line(service_key, peer, &asking);
        let decision = match self.decide(service_key, &asking) {
            Ok(decision) => decision,
            Err(reason) => return self.answer_head(key, codec, head, reason, log.as_deref(), ""),
        };
        let route = &decision.taken.name;
        match &decision.taken.does {
            Does::Forward(_) => {}
            Does::Redirect(status, elsewhere) => {
                let mut room = Vec::new();
                self.buffers.lend(&mut room);
                let step = if let Some(location) = elsewhere.location(&asking, &mut room) {
                    decision.taken.counters.answers.note(Outcome::new(*status, 0));
                    let own: Option<(&[u8], &[u8])> = Some((b"location", location));
                    with_fields(&decision.taken.response_headers, own, |headers| {
                        let reply = Reply { status: *status, reason: None, headers, body: b"", close: false };
                        self.answer_directly(key, codec, head, reply, log.as_deref(), route)
                    })
                } else {
                    let reason = ends_on_route(&decision.taken, LocalReason::BadRequest);
                    self.answer_head(key, codec, head, reason, log.as_deref(), route)
                };
                self.buffers.take_back(&mut room);
                return step;
            }
            Does::Direct(status, body) => {
                decision.taken.counters.answers.note(Outcome::new(*status, 0));
                return with_fields(&decision.taken.response_headers, None, |headers| {
                    let body = body.as_bytes();
                    let reply = Reply { status: *status, reason: None, headers, body, close: false };
                    self.answer_directly(key, codec, head, reply, log.as_deref(), route)
                });
            }
        }
        let Some(endpoint) = self.choose(decision.to, decision.hash, None) else {
            let reason = ends_on_route(&decision.taken, LocalReason::NoUpstream);
            return self.answer_head(key, codec, head, reason, log.as_deref(), route);
        };
        let mut held = Vec::new();
        self.buffers.lend(&mut held);
        let forwarded = match self.forward_request(key, &asking, &decision.taken, &mut held) {
            Ok(forwarded) => forwarded,
            Err(refusal) => {
                self.buffers.take_back(&mut held);
                decision.taken.counters.answers.note(Outcome::new(refusal.status, 0));
                note_fault(log.as_deref_mut(), refusal.fault, refusal.what);
                return self.refuse_request(key, codec, &refusal, head.len, log.as_deref(), route);
            }
        };
        if let Some(service) = self.directory.all.get_mut(service_key) {
            service.counters.requests_active += 1;
            service.counters.bytes_up += head.len as u64;
        }
        if let Some(endpoint) = self.endpoints.get_mut(endpoint) {
            endpoint.active += 1;
            endpoint.counters.requests += 1;
        }
        let method = head.keys.method.of(bytes);
        let now = self.now;
        let Some(client) = self.clients.get_mut(key) else { return Step::Wait };
        let copied = decision.taken.mirror.is_some().then(|| Rc::clone(&decision.taken));
        client.state = State::Busy(Exchange {
            upstream: None,
            endpoint,
            taken: decision.taken,
            asked: head.asked,
            started: now,
            deadline: decision.deadline,
            waits_until: NEVER,
            mirror: None,
            request: head.body,
            answer: Answer::Waiting,
            close: !head.keep,
            repeatable: matches!(method, b"GET" | b"HEAD" | b"OPTIONS" | b"PUT" | b"DELETE" | b"TRACE")
                && is_complete(&head.body)
                && !matches!(head.body, Body::Tunnel),
            tries: 0,
            held,
            hash: decision.hash,
            body_bytes: 0,
            up: head.len as u64,
            down: 0,
            status: 0,
            log,
        });
        if let Some(taken) = copied {
            self.mirror_exchange(key, protocol, head, &taken, decision.hash);
        }
        self.exchange_moved(key);
        self.connect_exchange(key);
        Step::Used(forwarded)
    }

    fn forward_request(
        &mut self,
        key: Key,
        asking: &Asking<'_>,
        taken: &Taken,
        out: &mut Vec<u8>,
    ) -> Result<usize, Refusal> {
        let lost = Refusal::fatal(LocalReason::Internal, "the connection is gone");
        let client = self.clients.get(key).ok_or(lost)?;
        let service = self.directory.all.get(client.service).ok_or(lost)?;
        let mut edits = Edits { client: client_note(service, client.peer.ip()), ..Edits::default() };
        if let Some(rewriting) = &taken.rewriting {
            rewriting.fits(asking, service.bounds.codec.head)?;
            (edits.path, edits.host) = (rewriting.path(), rewriting.host());
        }
        with_edits(&taken.request_headers, |headers| {
            let edits = Edits { headers, ..edits };
            asking.codec.forward(asking.message, asking.head, &edits, out).map(|forwarded| forwarded.used)
        })
    }

    /// Bytes of a request's body.
    pub(super) fn request_body(&mut self, key: Key, bytes: &[u8]) -> Step {
        let limit = self.bounds(key).map_or(u64::MAX, |bounds| bounds.codec.body);
        let Some(client) = self.clients.get_mut(key) else { return Step::Wait };
        let State::Busy(exchange) = &mut client.state else { return Step::Wait };
        let Some(upstream_key) = exchange.upstream else { return Step::Wait };
        if is_complete(&exchange.request) || bytes.is_empty() {
            return Step::Wait;
        }
        let progress = match exchange.request.advance(bytes, &mut |_| {}) {
            Ok(progress) => progress,
            Err(refusal) => return self.refuse_body(key, &refusal),
        };
        exchange.body_bytes += progress.payload as u64;
        exchange.up += progress.used as u64;
        if exchange.body_bytes > limit {
            return self.refuse_body(key, &TOO_LARGE);
        }
        if progress.used == 0 {
            return Step::Wait;
        }
        let part = bytes.get(..progress.used).unwrap_or_default();
        let Some(upstream) = self.upstreams.get_mut(upstream_key) else { return Step::Wait };
        let failed = upstream.stream.put(part, false, &mut self.buffers).is_err();
        let mirror = exchange.mirror.map(|mirror| (mirror, is_complete(&exchange.request)));
        if upstream.stream.unsent() > HIGH {
            client.paused = true;
        }
        if let Some(service) = self.directory.all.get_mut(client.service) {
            service.counters.bytes_up += progress.used as u64;
        }
        if let Some((mirror, whole)) = mirror {
            self.mirror_body(mirror, part, whole);
        }
        self.exchange_moved(key);
        if failed {
            // Its answer may be there already.
            self.list_upstream(upstream_key);
        }
        self.dirty_upstream(upstream_key);
        Step::Used(progress.used)
    }

    /// Something of a request or its answer has moved: the connection is not idle.
    #[inline]
    pub(super) fn exchange_moved(&mut self, key: Key) {
        let Some(client) = self.clients.get_mut(key) else { return };
        let State::Busy(exchange) = &client.state else { return };
        let idle = self.directory.all.get(client.service).map_or(u64::MAX, |service| service.bounds.idle);
        let at = exchange.deadline.min(self.now.saturating_add(idle));
        self.timers.set(&mut client.deadline, super::poll::Token::Client(key).bits(), at);
    }
}

/// A request ends on its route, for this reason, without an endpoint.
pub(super) fn ends_on_route(taken: &Taken, reason: LocalReason) -> LocalReason {
    taken.counters.answers.note(Outcome::new(reason.http_status(), 0));
    reason
}

/// Who the client is, for a codec to say.
pub(super) fn client_note(service: &Service, address: std::net::IpAddr) -> Option<ClientNote<'_>> {
    let (style, header): (_, &[u8]) = match &service.plan.client_address {
        ClientAddress::None | ClientAddress::ProxyV2 => return None,
        ClientAddress::XForwardedFor => (NoteStyle::XForwardedFor, b""),
        ClientAddress::Forwarded => (NoteStyle::Forwarded, b""),
        ClientAddress::Header(name) => (NoteStyle::Named, name.as_bytes()),
    };
    Some(ClientNote { address, style, header, trusted: service.trusted.has(address) })
}

/// A body whose length nobody has said before.
const TOO_LARGE: Refusal = Refusal::fatal(LocalReason::TooLarge, "a body that passes the limit");
