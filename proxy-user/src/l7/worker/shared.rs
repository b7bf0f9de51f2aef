//! Requests that share connections, told apart by ids: from a client to an endpoint.

use std::rc::Rc;

use super::client::{HIGH, Step};
use super::connection::{Pending, Protocol, Shared, State, Use};
use super::engine::Engine;
use super::exchange::{Decision, client_note};
use super::log::Line;
use super::poll::Token;
use super::slab::Key;
use super::timers::NEVER;
use crate::l7::codec::{Asked, Codec, Decoded, Edits, Head, Kind, LocalReason, Reply};
use crate::l7::pool::Ids;
use crate::l7::route::{Asking, Does, Taken};
use crate::l7::stats::Outcome;

/// A request on its way to an endpoint.
pub(super) struct Request<'a> {
    pub(super) codec: Protocol,
    pub(super) head: &'a Head,
    /// All of it.
    pub(super) message: &'a [u8],
    pub(super) taken: Rc<Taken>,
    /// Service of the client.
    pub(super) service: Key,
    pub(super) asked: Asked,
    pub(super) started: u64,
    pub(super) deadline: u64,
    pub(super) tries: u8,
    pub(super) hash: u64,
    pub(super) log: Option<Box<Line>>,
}

impl Engine {
    /// The front of `bytes` is a message of a client, or the beginning of one.
    pub(super) fn shared_request(&mut self, key: Key, bytes: &[u8]) -> Step {
        let Some(client) = self.clients.get_mut(key) else { return Step::Wait };
        let Some(codec) = client.codec else { return Step::Wait };
        let head = match codec.0.decode(&mut client.session, bytes) {
            Ok(Decoded::More(need)) => return Step::Need(need),
            Ok(Decoded::Head(head)) => head,
            Err(refusal) => return self.refuse(key, codec.0, &refusal),
        };
        // Its upstream is shared: a message that comes in pieces would hold up others.
        let total = head.total().and_then(|total| usize::try_from(total).ok()).unwrap_or(usize::MAX);
        let Some(message) = bytes.get(..total) else { return Step::Need(total) };
        client.variant = head.variant;
        client.partial = false;
        client.fresh_until = 0;
        match head.kind {
            Kind::Heartbeat => {
                codec.0.heartbeat_reply(&head.asked, client.stream.output(&mut self.buffers));
                self.dirty_client(key);
            }
            Kind::Request | Kind::OneWay => self.ask(key, codec, &head, message),
            Kind::Response | Kind::Interim | Kind::HeartbeatReply | Kind::GoAway => {}
        }
        let idle = self.bounds(key).map_or(u64::MAX, |bounds| bounds.idle);
        self.client_deadline(key, idle);
        Step::Used(total)
    }

    fn ask(&mut self, key: Key, codec: Protocol, head: &Head, message: &[u8]) {
        let Some(client) = self.clients.get_mut(key) else { return };
        client.requests += 1;
        let (service_key, peer) = (client.service, client.peer);
        let asking = Asking { codec: codec.0, head, message, peer: peer.ip() };
        let Decision { taken, to, hash, deadline } = match self.decide(service_key, &asking) {
            Ok(decision) => decision,
            Err(reason) => {
                self.answer_shared(key, service_key, codec.0, &head.asked, reason);
                return;
            }
        };
        if let Does::Direct(status, _) | Does::Redirect(status, _) = &taken.does {
            let reply = Reply { status: *status, reason: None, headers: &[], body: b"", close: false };
            self.reply_to(key, codec.0, &head.asked, &reply);
            taken.counters.answers.note(Outcome::new(*status, 0));
            if let Some(service) = self.directory.all.get_mut(service_key) {
                service.counters.answered(*status, 0);
            }
            return;
        }
        let Some(endpoint) = self.choose(to, hash, None) else {
            self.answer_shared(key, service_key, codec.0, &head.asked, LocalReason::NoUpstream);
            return;
        };
        let log = self.log_line(service_key, peer, head, message);
        let copied = taken.mirror.is_some().then(|| Rc::clone(&taken));
        let request = Request {
            codec,
            head,
            message,
            taken,
            service: service_key,
            asked: head.asked,
            started: self.now,
            deadline,
            tries: 0,
            hash,
            log,
        };
        if let Err(reason) = self.send_shared(key, endpoint, request) {
            self.answer_shared(key, service_key, codec.0, &head.asked, reason);
        }
        if let Some(taken) = copied {
            self.mirror_shared(key, codec, head, message, &taken, hash);
        }
    }

    /// Sends a request on a connection to an endpoint.
    pub(super) fn send_shared(
        &mut self,
        client_key: Key,
        endpoint_key: Key,
        request: Request<'_>,
    ) -> Result<(), LocalReason> {
        let key = self
            .shared_upstream(client_key, endpoint_key, request.codec, request.head.variant)
            .ok_or(LocalReason::Overloaded)?;
        let upstream = self.upstreams.get_mut(key).ok_or(LocalReason::Internal)?;
        let client = self.clients.get_mut(client_key).ok_or(LocalReason::Internal)?;
        let service = self.directory.all.get_mut(request.service).ok_or(LocalReason::Internal)?;
        let Use::Shared(shared) = &mut upstream.used else { return Err(LocalReason::Internal) };
        if !upstream.connected && shared.ids.len() as u64 >= service.bounds.pending {
            return Err(LocalReason::Overloaded);
        }
        let one_way = request.head.kind == Kind::OneWay;
        let waiting = upstream.stream.unsent();
        let at = upstream.stream.total_sent + waiting as u64;
        let id = shared
            .ids
            .insert(Pending {
                client: Some(client_key),
                asked: request.asked,
                taken: Rc::clone(&request.taken),
                service: request.service,
                started: request.started,
                deadline: request.deadline,
                at,
                len: 0,
                tries: request.tries,
                hash: request.hash,
                log: request.log,
            })
            .ok_or(LocalReason::Overloaded)?;
        let note = if request.tries == 0 { client_note(service, client.peer.ip()) } else { None };
        let changes = if request.tries == 0 { request.taken.request_headers.as_slice() } else { &[] };
        let out = upstream.stream.output(&mut self.buffers);
        let before = out.len();
        let forwarded = crate::l7::route::with_edits(changes, |headers| {
            let edits = Edits { id: Some(id), headers, client: note, ..Edits::default() };
            request.codec.0.forward(request.message, request.head, &edits, out)
        });
        let Ok(forwarded) = forwarded else {
            out.truncate(before);
            shared.ids.take(id);
            return Err(LocalReason::TooLarge);
        };
        out.extend_from_slice(request.message.get(forwarded.used..).unwrap_or_default());
        let len = u32::try_from(out.len() - before).unwrap_or(u32::MAX);
        if one_way {
            // No answer comes; the id is not used again soon, should one come all the same.
            shared.ids.take(id);
        } else if let Some(pending) = shared.ids.get_mut(id) {
            pending.len = len;
        }
        upstream.requests += 1;
        service.counters.bytes_up += u64::from(len);
        service.counters.pool_hits += u64::from(upstream.connected);
        if waiting + out.len() - before > HIGH && !client.paused {
            client.paused = true;
            shared.waiters.push(client_key);
        }
        if !one_way {
            if request.tries == 0 {
                service.counters.requests_active += 1;
                if let State::Shared(under_way) = &mut client.state {
                    *under_way += 1;
                }
            }
            if request.deadline < shared.earliest {
                shared.earliest = request.deadline;
                if upstream.connected {
                    self.timers.set_sooner(
                        &mut upstream.deadline,
                        Token::Upstream(key).bits(),
                        request.deadline,
                    );
                }
            }
        }
        if let Some(endpoint) = self.endpoints.get_mut(endpoint_key) {
            endpoint.active += u32::from(!one_way);
            endpoint.counters.requests += 1;
        }
        self.dirty_upstream(key);
        Ok(())
    }

    /// A connection to an endpoint that takes requests of this form: the one with the fewest, or a new one.
    pub(super) fn shared_upstream(
        &mut self,
        client_key: Key,
        endpoint_key: Key,
        codec: Protocol,
        variant: u8,
    ) -> Option<Key> {
        let port = self.clients.get(client_key)?.local.port();
        let endpoint = self.endpoints.get(endpoint_key)?;
        let bounds = &self.directory.all.get(endpoint.service)?.bounds;
        let (now, fixed) = (self.now, endpoint.addr.port() != 0);
        let mut best: Option<(usize, Key)> = None;
        let mut alike = 0;
        for key in &endpoint.shared {
            let Some(upstream) = self.upstreams.get(*key) else { continue };
            let Use::Shared(shared) = &upstream.used else { continue };
            let old = now.saturating_sub(upstream.born) > bounds.pool_longest;
            if upstream.retired || old || upstream.variant != variant || !fixed && upstream.port != port {
                continue;
            }
            alike += 1;
            let load = shared.ids.len();
            if best.is_none_or(|(least, _)| load < least) {
                best = Some((load, *key));
            }
        }
        let most = self.most_connections(endpoint_key, codec);
        let room = best.is_some_and(|(load, _)| load < bounds.streams);
        let eager = alike > 0 && alike < most && best.is_some_and(|(load, _)| load >= BUSY);
        if room && !eager || alike >= most {
            return best.filter(|_| room).map(|(_, key)| key);
        }
        let used = Use::Shared(Shared {
            ids: Ids::new(codec.0.id_bits()),
            waiters: Vec::new(),
            asked_alive: false,
            earliest: NEVER,
        });
        let dialled = self.dial(endpoint_key, port, codec, variant, used);
        if let (Some(key), Some(endpoint)) = (dialled, self.endpoints.get_mut(endpoint_key)) {
            endpoint.shared.push(key);
        }
        dialled.or(best.map(|(_, key)| key))
    }

    /// Answers a request on a connection that goes on.
    pub(super) fn answer_shared(
        &mut self,
        client_key: Key,
        service: Key,
        codec: &'static dyn Codec,
        asked: &Asked,
        reason: LocalReason,
    ) {
        if let Some(service) = self.directory.all.get_mut(service) {
            service.counters.local(reason);
            service.counters.answered(reason.http_status(), 0);
        }
        self.reply_to(client_key, codec, asked, &Reply::error(reason, false));
    }
}

/// Requests on a connection from which on another is made, where there may be more.
const BUSY: usize = 256;
