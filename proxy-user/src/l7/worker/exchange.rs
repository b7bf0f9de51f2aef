//! A request on a connection that has one at a time: from its head to the upstream that gets it.

use std::rc::Rc;

use super::accept::is_complete;
use super::client::{HIGH, Step};
use super::connection::{Answer, Exchange, Protocol, State};
use super::engine::Engine;
use super::log::Line;
use super::services::Service;
use super::slab::Key;
use super::timers::NEVER;
use crate::l7::codec::{
    Body, ClientNote, Codec, Decoded, Edits, Head, LocalReason, NoteStyle, PoolMode, Refusal, Reply,
    ReplyEnd, Timeout,
};
use crate::l7::pool::Draw;
use crate::l7::route::{Asking, Does, Taken, Target};
use crate::l7::snapshot::{Balance, ClientAddress, HashBy};
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
            Does::Forward(_) => match taken.target().ok_or(LocalReason::NoUpstream)? {
                Target::Itself => service_key,
                Target::Named(name) => self.directory.named(name).ok_or(LocalReason::NoUpstream)?,
            },
            Does::Redirect(..) | Does::Direct(..) => service_key,
        };
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
                client.fresh_until = 0;
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
        let decision = match self.decide(service_key, &asking) {
            Ok(decision) => decision,
            Err(reason) => return self.answer_head(key, codec, head, reason),
        };
        let log = self.log_line(service_key, peer, head, bytes);
        match &decision.taken.does {
            Does::Forward(_) => {}
            Does::Redirect(status, location) => {
                let headers: [(&[u8], &[u8]); 1] = [(b"location", location.as_bytes())];
                let reply =
                    Reply { status: *status, reason: None, headers: &headers, body: b"", close: false };
                decision.taken.counters.answers.note(Outcome::new(*status, 0));
                return self.answer_directly(key, codec, head, reply);
            }
            Does::Direct(status, body) => {
                let reply = Reply {
                    status: *status,
                    reason: None,
                    headers: &[],
                    body: body.as_bytes(),
                    close: false,
                };
                decision.taken.counters.answers.note(Outcome::new(*status, 0));
                return self.answer_directly(key, codec, head, reply);
            }
        }
        let Some(endpoint) = self.choose(decision.to, decision.hash, None) else {
            return self.answer_head(key, codec, head, LocalReason::NoUpstream);
        };
        let mut held = Vec::new();
        self.buffers.lend(&mut held);
        let forwarded = match self.forward_request(key, codec, head, bytes, &decision.taken, &mut held) {
            Ok(forwarded) => forwarded,
            Err(refusal) => return self.refuse(key, codec, &refusal),
        };
        if let Some(service) = self.directory.all.get_mut(service_key) {
            service.counters.requests_active += 1;
        }
        if let Some(endpoint) = self.endpoints.get_mut(endpoint) {
            endpoint.active += 1;
            endpoint.counters.requests += 1;
        }
        let mirror = self.mirror(key, protocol, head, &decision, &held);
        let method = head.keys.method.of(bytes);
        let now = self.now;
        let Some(client) = self.clients.get_mut(key) else { return Step::Wait };
        client.state = State::Busy(Exchange {
            upstream: None,
            endpoint,
            taken: decision.taken,
            asked: head.asked,
            started: now,
            deadline: decision.deadline,
            mirror,
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
            status: 0,
            log,
        });
        self.exchange_moved(key);
        self.connect_exchange(key);
        Step::Used(forwarded)
    }

    fn forward_request(
        &mut self,
        key: Key,
        codec: &'static dyn Codec,
        head: &Head,
        bytes: &[u8],
        taken: &Taken,
        out: &mut Vec<u8>,
    ) -> Result<usize, Refusal> {
        let lost = Refusal::fatal(LocalReason::Internal, "the connection is gone");
        let client = self.clients.get(key).ok_or(lost)?;
        let service = self.directory.all.get(client.service).ok_or(lost)?;
        let note = client_note(service, client.peer.ip());
        crate::l7::route::with_edits(&taken.request_headers, |headers| {
            let edits = Edits { headers, client: note, ..Edits::default() };
            codec.forward(bytes, head, &edits, out).map(|forwarded| forwarded.used)
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
            Err(refusal) => return self.abort_exchange(key, refusal.reason, refusal.status),
        };
        exchange.body_bytes += progress.payload as u64;
        if exchange.body_bytes > limit {
            return self.abort_exchange(key, LocalReason::TooLarge, 413);
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

    /// The line of the access log for this request, if it is one that is logged.
    pub(super) fn log_line(
        &mut self,
        service: Key,
        peer: std::net::SocketAddr,
        head: &Head,
        message: &[u8],
    ) -> Option<Box<Line>> {
        let service = self.directory.all.get_mut(service)?;
        let every = service.plan.rules.access_log;
        if every == 0 {
            return None;
        }
        service.log_turn = service.log_turn.wrapping_add(1);
        (service.log_turn.checked_rem(every) == Some(0))
            .then(|| Line::begin(&service.name, peer, head, message))
    }

    fn answer_directly(
        &mut self,
        key: Key,
        codec: &'static dyn Codec,
        head: &Head,
        reply: Reply<'_>,
    ) -> Step {
        let close = !is_complete(&head.body) || self.drain_until.is_some();
        let reply = Reply { close, ..reply };
        self.reply_to(key, codec, &head.asked, &reply);
        if let Some(service) = self.clients.get(key).and_then(|c| self.directory.all.get_mut(c.service)) {
            service.counters.answered(reply.status, 0);
        }
        Step::Used(head.len)
    }

    /// Answers a request whose head was read, and nothing else of it.
    fn answer_head(&mut self, key: Key, codec: &'static dyn Codec, head: &Head, reason: LocalReason) -> Step {
        if let Some(service) = self.clients.get(key).and_then(|c| self.directory.all.get_mut(c.service)) {
            service.counters.local(reason);
        }
        self.answer_directly(key, codec, head, Reply::error(reason, false))
    }

    /// Answers what the codec does not take.
    pub(super) fn refuse(&mut self, key: Key, codec: &'static dyn Codec, refusal: &Refusal) -> Step {
        if let Some(service) = self.clients.get(key).and_then(|c| self.directory.all.get_mut(c.service)) {
            service.counters.requests += 1;
            service.counters.local(refusal.reason);
            service.counters.answered(refusal.status, 0);
        }
        self.reply_to(key, codec, &refusal.asked.unwrap_or_default(), &refusal.reply());
        if let Some(client) = self.clients.get_mut(key) {
            client.skip = refusal.skip;
        }
        if refusal.skip == 0 { Step::Wait } else { Step::Used(0) }
    }

    /// Writes an answer of weir's own to a client, and closes its connection behind it if that must be.
    pub(super) fn reply_to(
        &mut self,
        key: Key,
        codec: &'static dyn Codec,
        asked: &crate::l7::codec::Asked,
        reply: &Reply<'_>,
    ) {
        let Some(client) = self.clients.get_mut(key) else { return };
        let end = codec.reply(asked, reply, client.stream.output(&mut self.buffers));
        if matches!(end, ReplyEnd::Close | ReplyEnd::Mute) {
            client.state = State::Closing;
            client.skip = 0;
        }
        self.dirty_client(key);
    }
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

fn hash_of(by: &HashBy, asking: &Asking<'_>) -> u64 {
    let header = match by {
        HashBy::Source => None,
        HashBy::Header(name) => asking.codec.header(asking.message, asking.head, name.as_bytes()),
    };
    header.map_or_else(|| hash_address(asking.peer), hash)
}

/// FNV-1a with a finisher: a ring's slot is its remainder, so that all bits must count.
pub(super) fn hash(bytes: &[u8]) -> u64 {
    let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    let hash = (hash ^ hash >> 33).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash ^ hash >> 33
}

/// The same of an address.
pub(super) fn hash_address(address: std::net::IpAddr) -> u64 {
    match address.to_canonical() {
        std::net::IpAddr::V4(v4) => hash(&v4.octets()),
        std::net::IpAddr::V6(v6) => hash(&v6.octets()),
    }
}
