//! Requests that share connections, told apart by ids: from a client to an endpoint.

use std::rc::Rc;

use super::client::{HIGH, Step};
use super::connection::{Pending, Protocol, State, Use};
use super::engine::Engine;
use super::exchange::{Decision, client_note, ends_on_route};
use super::log::Ended;
use super::poll::Token;
use super::slab::Key;
use crate::l7::codec::{Asked, Codec, Decoded, Edits, Head, Kind, LocalReason, Refusal, Reply};
use crate::l7::route::{Asking, Does};
use crate::l7::stats::Outcome;

/// A request on its way to an endpoint.
#[derive(Clone, Copy)]
pub(super) struct Request<'a> {
    pub(super) codec: Protocol,
    pub(super) head: &'a Head,
    /// All of it.
    pub(super) message: &'a [u8],
    /// It is as the client sent it: the route's changes are still to be made.
    pub(super) fresh: bool,
}

/// A request that did not go out, and why.
pub(super) struct Unsent {
    pending: Pending,
    why: Why,
}

/// Why there is no connection for a request, or none that it could go out on.
pub(super) enum Why {
    /// None could be made: another endpoint may be reached.
    Unreached,
    /// This is told to the client.
    Local(LocalReason),
}

impl Engine {
    /// The front of `bytes` is a message of a client, or the beginning of one.
    pub(super) fn shared_request(&mut self, key: Key, bytes: &[u8]) -> Step {
        let Some(client) = self.clients.get_mut(key) else { return Step::Wait };
        let Some(codec) = client.codec else { return Step::Wait };
        let head = match codec.0.decode(&mut client.session, bytes) {
            Ok(Decoded::More(need)) => return self.unfinished(key, codec, None, bytes, need),
            Ok(Decoded::Head(head)) => head,
            Err(refusal) => return self.refuse(key, codec.0, &refusal),
        };
        // Its upstream is shared: a message that comes in pieces would hold up others.
        let total = head.total().and_then(|total| usize::try_from(total).ok()).unwrap_or(usize::MAX);
        let Some(message) = bytes.get(..total) else {
            return self.unfinished(key, codec, Some(head), bytes, total);
        };
        client.variant = head.variant;
        client.partial = false;
        // In this batch it is the one that asks, and is not closed to make room for what it asks.
        client.fresh_until = self.now + 1;
        match head.kind {
            Kind::Heartbeat => {
                codec.0.heartbeat_reply(&head.asked, client.stream.output(&mut self.buffers));
                self.dirty_client(key);
            }
            Kind::Request | Kind::OneWay => self.ask(key, codec, &head, message),
            Kind::Response | Kind::Interim | Kind::HeartbeatReply | Kind::GoAway => {}
        }
        let patience = self.patience(key);
        self.client_deadline(key, patience);
        Step::Used(total)
    }

    /// A message is not there whole, and what comes of it would be kept: not of one who may not ask.
    fn unfinished(
        &mut self,
        key: Key,
        codec: Protocol,
        head: Option<Head>,
        bytes: &[u8],
        need: usize,
    ) -> Step {
        let Some(client) = self.clients.get(key) else { return Step::Wait };
        let Some(service) = self.directory.all.get(client.service) else { return Step::Need(need) };
        let Some(list) = &service.access else { return Step::Need(need) };
        let Some(head) = head.or_else(|| codec.0.glimpse(&client.session, bytes)) else {
            return Step::Need(need);
        };
        let asking = Asking { codec: codec.0, head: &head, message: bytes, peer: client.peer.ip() };
        if list.allows(&service.trusted, &asking) {
            return Step::Need(need);
        }
        let denied = Refusal::fatal(LocalReason::Denied, "a list denies its source");
        let asked = (head.kind != Kind::Response).then_some(head.asked);
        self.refuse(key, codec.0, &Refusal { asked, skip: head.total().unwrap_or(0), ..denied })
    }

    fn ask(&mut self, key: Key, codec: Protocol, head: &Head, message: &[u8]) {
        let Some(client) = self.clients.get_mut(key) else { return };
        client.requests += 1;
        let (service_key, peer) = (client.service, client.peer);
        let asking = Asking { codec: codec.0, head, message, peer: peer.ip() };
        let log = self.log_line(service_key, peer, &asking);
        let Decision { taken, to, hash, deadline } = match self.decide(service_key, &asking) {
            Ok(decision) => decision,
            Err(reason) => {
                let down = self.answer_shared(key, service_key, codec.0, &head.asked, reason);
                self.log_local(log.as_deref(), reason, "", message.len(), down);
                return;
            }
        };
        if let Does::Direct(status, _) | Does::Redirect(status, _) = &taken.does {
            let reply = Reply { status: *status, reason: None, headers: &[], body: b"", close: false };
            let down = self.reply_to(key, codec.0, &head.asked, &reply);
            let (route, up) = (&*taken.name, message.len() as u64);
            self.journal
                .note(log.as_deref(), &Ended { status: *status, route, up, down, ..Ended::default() });
            taken.counters.answers.note(Outcome::new(*status, 0));
            if let Some(service) = self.directory.all.get_mut(service_key) {
                service.counters.answered(*status, 0);
            }
            return;
        }
        let Some(endpoint) = self.choose(to, hash, None) else {
            let reason = ends_on_route(&taken, LocalReason::NoUpstream);
            let down = self.answer_shared(key, service_key, codec.0, &head.asked, reason);
            self.log_local(log.as_deref(), reason, &taken.name, message.len(), down);
            return;
        };
        let copied = taken.mirror.is_some().then(|| Rc::clone(&taken));
        let pending = Pending {
            client: Some(key),
            asked: head.asked,
            taken,
            service: service_key,
            started: self.now,
            deadline,
            at: 0,
            len: 0,
            tries: 0,
            hash,
            log,
        };
        if head.kind != Kind::OneWay {
            if let Some(service) = self.directory.all.get_mut(service_key) {
                service.counters.requests_active += 1;
            }
            if let Some(State::Shared(under_way)) = self.clients.get_mut(key).map(|client| &mut client.state)
            {
                *under_way += 1;
            }
        }
        self.send_somewhere(to, endpoint, Request { codec, head, message, fresh: true }, pending);
        if let Some(taken) = copied {
            self.mirror_shared(key, codec, head, message, &taken, hash);
        }
    }

    /// Sends a request to an endpoint, or to another where no connection can be made, within its tries.
    #[inline]
    pub(super) fn send_somewhere(
        &mut self,
        to: Key,
        mut endpoint: Key,
        request: Request<'_>,
        mut pending: Pending,
    ) {
        loop {
            let Err(unsent) = self.send_shared(endpoint, request, pending) else { return };
            pending = unsent.pending;
            let reason = match unsent.why {
                Why::Local(reason) => reason,
                Why::Unreached => match self.elsewhere(to, endpoint, &pending) {
                    Some(next) => {
                        pending.tries += 1;
                        endpoint = next;
                        continue;
                    }
                    None => LocalReason::Reset,
                },
            };
            self.end_unsent(endpoint, request, &pending, reason);
            return;
        }
    }

    /// Where a request goes that this endpoint did not get: `None` if it has been tried often enough.
    pub(super) fn elsewhere(&mut self, to: Key, before: Key, pending: &Pending) -> Option<Key> {
        if pending.tries >= pending.taken.retry.tries {
            return None;
        }
        let next = self.choose(to, pending.hash, Some(before))?;
        if !self.may_retry(pending.service) {
            return None;
        }
        self.retried(next);
        Some(next)
    }

    /// Sends a request on a connection to an endpoint.
    #[inline]
    fn send_shared(
        &mut self,
        endpoint_key: Key,
        request: Request<'_>,
        mut pending: Pending,
    ) -> Result<(), Box<Unsent>> {
        let local = |pending, reason| Err(Box::new(Unsent { pending, why: Why::Local(reason) }));
        let Some(client_key) = pending.client else { return local(pending, LocalReason::Internal) };
        let key = match self.shared_upstream(client_key, endpoint_key, request.codec, request.head.variant) {
            Ok(key) => key,
            Err(why) => return Err(Box::new(Unsent { pending, why })),
        };
        let (Some(upstream), Some(client), Some(service)) = (
            self.upstreams.get_mut(key),
            self.clients.get_mut(client_key),
            self.directory.all.get_mut(pending.service),
        ) else {
            return local(pending, LocalReason::Internal);
        };
        let Use::Shared(shared) = &mut upstream.used else { return local(pending, LocalReason::Internal) };
        let waiting = upstream.stream.unsent();
        let too_much = waiting > MOST_WAITING || waiting > HIGH && self.held_up > self.most_held;
        if !upstream.connected && shared.ids.len() as u64 >= service.bounds.pending || too_much {
            return local(pending, LocalReason::Overloaded);
        }
        let one_way = request.head.kind == Kind::OneWay;
        let (taken, deadline) = (Rc::clone(&pending.taken), pending.deadline);
        pending.at = upstream.stream.total_sent + waiting as u64;
        pending.len = 0;
        let id = match shared.ids.insert(pending) {
            Ok(id) => id,
            Err(pending) => return local(pending, LocalReason::Overloaded),
        };
        let note = if request.fresh { client_note(service, client.peer.ip()) } else { None };
        let changes = if request.fresh { taken.request_headers.as_slice() } else { &[] };
        let out = upstream.stream.output(&mut self.buffers);
        let before = out.len();
        let forwarded = crate::l7::route::with_edits(changes, |headers| {
            let edits = Edits { id: Some(id), headers, client: note, ..Edits::default() };
            request.codec.0.forward(request.message, request.head, &edits, out)
        });
        let Ok(forwarded) = forwarded else {
            out.truncate(before);
            let Some(pending) = shared.ids.take(id) else { return Ok(()) };
            return local(pending, LocalReason::TooLarge);
        };
        out.extend_from_slice(request.message.get(forwarded.used..).unwrap_or_default());
        let added = out.len() - before;
        let len = u32::try_from(added).unwrap_or(u32::MAX);
        if one_way {
            // No answer comes; the id is not used again soon, should one come all the same.
            if let Some(Pending { log: Some(log), taken, tries, .. }) = shared.ids.take(id) {
                let endpoint = self.endpoints.get(endpoint_key).map(|endpoint| endpoint.addr);
                let (route, up) = (&*taken.name, u64::from(len));
                self.journal.note(Some(&log), &Ended { route, endpoint, up, tries, ..Ended::default() });
            }
        } else if let Some(pending) = shared.ids.get_mut(id) {
            pending.len = len;
        }
        upstream.requests += 1;
        service.counters.bytes_up += u64::from(len);
        service.counters.pool_hits += u64::from(upstream.connected);
        shared.asked_at = self.now;
        let slow = waiting + added > HIGH;
        if slow && !client.stalled {
            client.stalled = true;
            shared.waiters.push(client_key);
        }
        if !one_way && deadline < shared.earliest {
            shared.earliest = deadline;
            if upstream.connected {
                self.timers.set_sooner(&mut upstream.deadline, Token::Upstream(key).bits(), deadline);
            }
        }
        if let Some(endpoint) = self.endpoints.get_mut(endpoint_key) {
            endpoint.active += u32::from(!one_way);
            endpoint.counters.requests += 1;
        }
        if slow {
            self.weigh_upstream(key);
        }
        self.dirty_upstream(key);
        Ok(())
    }

    /// Answers a request on a connection that goes on. How many bytes that took.
    pub(super) fn answer_shared(
        &mut self,
        client_key: Key,
        service: Key,
        codec: &'static dyn Codec,
        asked: &Asked,
        reason: LocalReason,
    ) -> u64 {
        if let Some(service) = self.directory.all.get_mut(service) {
            service.counters.local(reason);
            service.counters.answered(reason.http_status(), 0);
        }
        self.reply_to(client_key, codec, asked, &Reply::error(reason, false))
    }
}

/// Bytes that may wait for an endpoint: above, what comes for it is refused. Each client that has found more than
/// [`HIGH`] waits, so that only many get here.
const MOST_WAITING: usize = 32 << 20;
