//! Requests that share connections: their answers, and how they end without one.

use std::net::SocketAddr;

use super::client::{HIGH, Step};
use super::close::CLIENT_LEFT;
use super::connection::{Pending, Shared, State, Use};
use super::engine::Engine;
use super::log::Ended;
use super::poll::Token;
use super::shared::Request;
use super::slab::Key;
use super::timers::NEVER;
use crate::l7::codec::{Decoded, Edits, Head, Kind, Limits, LocalReason, Reply, Session, Side};
use crate::l7::pool::Verdict;
use crate::l7::stats::Outcome;

impl Engine {
    /// The front of `bytes` is a message of an endpoint, or the beginning of one.
    pub(super) fn shared_answer(&mut self, key: Key, bytes: &[u8]) -> Step {
        let Some(upstream) = self.upstreams.get_mut(key) else { return Step::Wait };
        let codec = upstream.codec;
        let head = match codec.0.decode(&mut upstream.session, bytes) {
            Ok(Decoded::More(need)) => return Step::Need(need),
            Ok(Decoded::Head(head)) => head,
            Err(refusal) if refusal.skip > 0 && refusal.skip <= bytes.len() as u64 => {
                return Step::Used(usize::try_from(refusal.skip).unwrap_or(bytes.len()));
            }
            Err(_) => {
                // Nothing behind it can be trusted.
                self.note_endpoint(key, Verdict::Failed);
                self.upstream_lost(key);
                return Step::Wait;
            }
        };
        let total = head.total().and_then(|total| usize::try_from(total).ok()).unwrap_or(usize::MAX);
        let Some(message) = bytes.get(..total) else { return Step::Need(total) };
        let Use::Shared(shared) = &mut upstream.used else { return Step::Wait };
        let id = head.id.map_or(0, |id| id.value);
        match head.kind {
            Kind::Response => {
                // An id that is nobody's: its request is over, or there was none.
                if let Some(pending) = shared.ids.take(id) {
                    let endpoint = upstream.endpoint;
                    shared.asked_at = self.now;
                    self.deliver(endpoint, pending, &head, message);
                    self.close_if_done(key);
                }
            }
            Kind::HeartbeatReply => {
                if shared.ids.take_if(id, |pending| pending.client.is_none() && pending.len == 0).is_some() {
                    shared.asked_alive = false;
                }
                self.close_if_done(key);
            }
            Kind::Heartbeat => {
                codec.0.heartbeat_reply(&head.asked, upstream.stream.output(&mut self.buffers));
                self.dirty_upstream(key);
            }
            Kind::GoAway => {
                upstream.retired = true;
                self.close_if_done(key);
            }
            Kind::Request | Kind::OneWay | Kind::Interim => {}
        }
        Step::Used(total)
    }

    /// Gives an answer to the client that asked.
    fn deliver(&mut self, endpoint: Key, pending: Pending, head: &Head, message: &[u8]) {
        let verdict = if head.status.http >= 500 { Verdict::Failed } else { Verdict::Good };
        self.note_verdict(endpoint, verdict);
        let there = pending.client.filter(|client| self.takes_answers(*client));
        let status = if there.is_some() { head.status.http } else { CLIENT_LEFT };
        let down = there.map_or(0, |client| self.hand_over(client, &pending, head, message));
        self.count_shared(endpoint, &pending, status, None, down);
        if let Some(client) = there {
            self.answered(client);
        }
    }

    /// Writes an answer to its client. How many bytes it took.
    fn hand_over(&mut self, client_key: Key, pending: &Pending, head: &Head, message: &[u8]) -> u64 {
        let Some(client) = self.clients.get_mut(client_key) else { return 0 };
        let Some(codec) = client.codec else { return 0 };
        let out = client.stream.output(&mut self.buffers);
        let before = out.len();
        let forwarded = crate::l7::route::with_edits(&pending.taken.response_headers, |headers| {
            let edits =
                Edits { id: Some(pending.asked.id), headers, asked: pending.asked, ..Edits::default() };
            codec.0.forward(message, head, &edits, out)
        });
        match forwarded {
            Ok(forwarded) => out.extend_from_slice(message.get(forwarded.used..).unwrap_or_default()),
            Err(_) => {
                out.truncate(before);
                let reply = Reply::error(LocalReason::BadResponse, false);
                codec.0.reply(&pending.asked, &reply, out);
            }
        }
        let added = out.len() - before;
        if let Some(service) = self.directory.all.get_mut(pending.service) {
            service.counters.bytes_down += added as u64;
        }
        added as u64
    }

    /// A client has got an answer on a connection that goes on.
    fn answered(&mut self, client_key: Key) {
        let Some(client) = self.clients.get_mut(client_key) else { return };
        let State::Shared(under_way) = &mut client.state else { return };
        *under_way = under_way.saturating_sub(1);
        let last = *under_way == 0;
        client.paused |= client.stream.unsent() > HIGH;
        if last && client.stream.input.is_empty() {
            if client.stream.eof || client.ending && !client.paused && self.now >= self.hurry_at {
                client.state = State::Closing;
            } else if client.ending {
                let patience = self.patience(client_key);
                self.client_deadline(client_key, patience);
            }
        }
        self.dirty_client(client_key);
    }

    /// Ends a request without an answer of its endpoint's.
    pub(super) fn fail_shared(&mut self, endpoint: Key, pending: &Pending, reason: LocalReason) {
        let down = self.answer_instead(pending, reason);
        self.count_shared(endpoint, pending, reason.http_status(), Some(reason), down);
    }

    /// Ends a request that has not gone out.
    pub(super) fn end_unsent(
        &mut self,
        endpoint: Key,
        request: Request<'_>,
        pending: &Pending,
        reason: LocalReason,
    ) {
        let Some(client) = pending.client else { return };
        if request.head.kind == Kind::OneWay {
            pending.taken.counters.answers.note(Outcome::new(reason.http_status(), 0));
            let down = self.answer_shared(client, pending.service, request.codec.0, &pending.asked, reason);
            let (log, route) = (pending.log.as_deref(), &pending.taken.name);
            self.log_local(log, reason, route, request.message.len(), down);
            return;
        }
        let addr = self.endpoints.get(endpoint).map(|endpoint| endpoint.addr);
        let down = self.answer_instead(pending, reason);
        let mut ended = self.ended(pending, reason.http_status(), Some(reason), addr);
        (ended.up, ended.down) = (request.message.len() as u64, down);
        self.count_over(pending, &ended, Outcome::new(ended.status, ended.micros));
    }

    /// Answers a request in its endpoint's stead. How many bytes that took.
    fn answer_instead(&mut self, pending: &Pending, reason: LocalReason) -> u64 {
        let Some(client_key) = pending.client else { return 0 };
        let Some(codec) = self.clients.get(client_key).and_then(|client| client.codec) else { return 0 };
        let down = self.reply_to(client_key, codec.0, &pending.asked, &Reply::error(reason, false));
        self.answered(client_key);
        down
    }

    /// Counts the end of a request that an endpoint had.
    pub(super) fn count_shared(
        &mut self,
        endpoint: Key,
        pending: &Pending,
        status: u16,
        reason: Option<LocalReason>,
        down: u64,
    ) {
        if pending.client.is_none() {
            return;
        }
        let mut ended = self.ended(pending, status, reason, None);
        let outcome = Outcome::new(status, ended.micros);
        if let Some(endpoint) = self.endpoints.get_mut(endpoint) {
            endpoint.active = endpoint.active.saturating_sub(1);
            endpoint.answers.note(outcome);
            ended.endpoint = Some(endpoint.addr);
        }
        (ended.up, ended.down) = (u64::from(pending.len), down);
        self.count_over(pending, &ended, outcome);
    }

    fn ended<'a>(
        &self,
        pending: &'a Pending,
        status: u16,
        reason: Option<LocalReason>,
        endpoint: Option<SocketAddr>,
    ) -> Ended<'a> {
        let micros = self.now.saturating_sub(pending.started);
        let (route, tries) = (&*pending.taken.name, pending.tries);
        Ended { status, reason, route, endpoint, micros, tries, ..Ended::default() }
    }

    fn count_over(&mut self, pending: &Pending, ended: &Ended<'_>, outcome: Outcome) {
        pending.taken.counters.answers.note(outcome);
        if let Some(service) = self.directory.all.get_mut(pending.service) {
            service.counters.requests_active = service.counters.requests_active.saturating_sub(1);
            service.counters.answers.note(outcome);
            if let Some(reason) = ended.reason {
                service.counters.local(reason);
            }
            if service.is_over() {
                self.directory.all.remove(pending.service);
            }
        }
        if let Some(line) = &pending.log {
            self.journal.note(Some(line), ended);
        }
    }

    /// A connection is gone. What of its requests was not sent goes to another.
    pub(super) fn shared_lost(&mut self, endpoint: Key, shared: Shared, sent: u64, waiting: &[u8]) {
        for client in shared.waiters {
            self.unstall(client);
        }
        for pending in shared.ids.into_values() {
            let whole = pending.at.checked_sub(sent).and_then(|at| {
                let at = usize::try_from(at).ok()?;
                waiting.get(at..at + pending.len as usize)
            });
            let reset = whole.is_none() && pending.client.is_some();
            if let Some(service) = self.directory.all.get_mut(pending.service) {
                service.counters.resets += u64::from(reset);
            }
            if let Some(endpoint) = self.endpoints.get_mut(endpoint) {
                endpoint.counters.resets += u64::from(reset);
            }
            match whole {
                Some(message) if pending.client.is_some() => self.send_elsewhere(endpoint, pending, message),
                _ => self.fail_shared(endpoint, &pending, LocalReason::Reset),
            }
        }
    }

    /// Nothing of the request was sent: it goes to another endpoint. Its bytes are as they would have left.
    fn send_elsewhere(&mut self, before: Key, mut pending: Pending, message: &[u8]) {
        let client = pending.client.filter(|client| self.takes_answers(*client));
        let Some(codec) = client.and_then(|client| self.clients.get(client)?.codec) else {
            self.count_shared(before, &pending, CLIENT_LEFT, None, 0);
            return;
        };
        // It was taken already, by the limits of its client.
        let limits = Limits { head: usize::MAX, body: u64::MAX, whole: usize::MAX, ..Limits::default() };
        let Ok(Decoded::Head(head)) = codec.0.decode(&mut Session::new(Side::Client, limits), message) else {
            self.fail_shared(before, &pending, LocalReason::Reset);
            return;
        };
        let of = self.endpoints.get(before).map_or(pending.service, |endpoint| endpoint.service);
        let Some(endpoint) = self.elsewhere(of, before, &pending) else {
            self.fail_shared(before, &pending, LocalReason::Reset);
            return;
        };
        if let Some(endpoint) = self.endpoints.get_mut(before) {
            endpoint.active = endpoint.active.saturating_sub(1);
        }
        pending.tries += 1;
        self.send_somewhere(of, endpoint, Request { codec, head: &head, message, fresh: false }, pending);
    }

    /// A connection's time: requests that took too long end, and it is asked whether it lives.
    pub(super) fn shared_tick(&mut self, key: Key) {
        let now = self.now;
        let Some(upstream) = self.upstreams.get_mut(key) else { return };
        let (endpoint, heard) = (upstream.endpoint, upstream.heard);
        let beat = self
            .endpoints
            .get(endpoint)
            .and_then(|endpoint| self.directory.all.get(endpoint.service))
            .map_or(NEVER, |service| service.bounds.heartbeat);
        let Use::Shared(shared) = &mut upstream.used else { return };
        let over: Vec<u64> =
            shared.ids.iter().filter(|(_, pending)| pending.deadline <= now).map(|(id, _)| id).collect();
        let ended: Vec<Pending> = over.into_iter().filter_map(|id| shared.ids.take(id)).collect();
        shared.earliest = shared.ids.iter().map(|(_, pending)| pending.deadline).min().unwrap_or(NEVER);
        let silent = now.saturating_sub(heard) >= beat;
        let dead = silent && shared.asked_alive;
        if silent && !shared.asked_alive {
            self.ask_alive(key);
        }
        for pending in ended {
            self.note_verdict(endpoint, Verdict::Failed);
            self.fail_shared(endpoint, &pending, LocalReason::Timeout);
        }
        if dead {
            self.upstream_lost(key);
            return;
        }
        if self.shared_is_over(key) {
            self.upstream_lost(key);
            return;
        }
        // Not at each request's end in turn, if they are many.
        let until = self.shared_until(key).max(now + 10_000);
        if let Some(upstream) = self.upstreams.get_mut(key) {
            self.timers.set(&mut upstream.deadline, Token::Upstream(key).bits(), until);
        }
    }

    fn ask_alive(&mut self, key: Key) {
        let now = self.now;
        let Some(upstream) = self.upstreams.get_mut(key) else { return };
        let Use::Shared(shared) = &mut upstream.used else { return };
        let taken = std::rc::Rc::new(crate::l7::route::Taken::to_itself());
        let pending = Pending {
            client: None,
            asked: crate::l7::codec::Asked::default(),
            taken,
            service: Key::from_bits(u64::MAX >> 1),
            started: now,
            deadline: NEVER,
            at: 0,
            len: 0,
            tries: 0,
            hash: 0,
            log: None,
        };
        let Ok(id) = shared.ids.insert(pending) else { return };
        shared.asked_alive = true;
        if upstream.codec.0.heartbeat(upstream.variant, id, upstream.stream.output(&mut self.buffers)) {
            self.dirty_upstream(key);
        } else {
            shared.ids.take(id);
            shared.asked_alive = false;
        }
    }

    /// Closes a connection that takes no new requests and has none.
    pub(super) fn close_if_done(&mut self, key: Key) {
        let Some(upstream) = self.upstreams.get(key) else { return };
        if upstream.retired && matches!(&upstream.used, Use::Shared(shared) if shared.ids.len() == 0) {
            self.upstream_lost(key);
        }
    }
}
