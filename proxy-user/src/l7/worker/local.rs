//! What weir answers by itself, and what the access log says of it.

use std::net::SocketAddr;

use super::accept::is_complete;
use super::client::Step;
use super::connection::State;
use super::engine::Engine;
use super::log::{Ended, Line, Who};
use super::services::Service;
use super::slab::Key;
use crate::l7::codec::{Asked, Codec, Fault, Head, LocalReason, Refusal, Reply, ReplyEnd};
use crate::l7::route::Asking;

impl Engine {
    /// The line of the access log for this request, if it is one that is logged.
    #[inline]
    pub(super) fn log_line(
        &mut self,
        service_key: Key,
        peer: SocketAddr,
        asking: &Asking<'_>,
    ) -> Option<Box<Line>> {
        let service = self.directory.all.get_mut(service_key)?;
        if !is_logged(service) {
            return None;
        }
        self.request_line(service_key, peer, asking)
    }

    /// The line of a request that is logged.
    pub(super) fn request_line(
        &self,
        service: Key,
        peer: SocketAddr,
        asking: &Asking<'_>,
    ) -> Option<Box<Line>> {
        let service = self.directory.all.get(service)?;
        let client =
            service.access.as_ref().map_or(Some(asking.peer), |list| list.client(&service.trusted, asking));
        let who = Who { service: &service.name, protocol: asking.codec.name(), peer, client };
        Some(Line::of_request(&who, asking.head, asking.message))
    }

    /// The same for what a client's connection brings that is no request: opaque bytes, or none that can be read.
    pub(super) fn log_connection(&mut self, key: Key) -> Option<Box<Line>> {
        let client = self.clients.get(key)?;
        let service = self.directory.all.get_mut(client.service)?;
        if !is_logged(service) {
            return None;
        }
        let protocol = client.codec.map_or("", |codec| codec.0.name());
        let (peer, address) = (client.peer, Some(client.peer.ip()));
        Some(Line::of_connection(&Who { service: &service.name, protocol, peer, client: address }))
    }

    /// Logs what could not be read as a request.
    pub(super) fn log_refused(&mut self, key: Key, reason: LocalReason, fault: Option<(Fault, &str)>) {
        let mut line = self.log_connection(key);
        if let Some((fault, what)) = fault {
            self.count_fault(key, fault);
            note_fault(line.as_deref_mut(), Some(fault), what);
        }
        let status = 0;
        self.journal.note(line.as_deref(), &Ended { status, reason: Some(reason), ..Ended::default() });
    }

    /// Logs a request that was answered here, of so many bytes with so many.
    pub(super) fn log_local(
        &mut self,
        log: Option<&Line>,
        reason: LocalReason,
        route: &str,
        up: usize,
        down: u64,
    ) {
        let (status, reason, up) = (reason.http_status(), Some(reason), up as u64);
        self.journal.note(log, &Ended { status, reason, route, up, down, ..Ended::default() });
    }

    /// Logs a connection that a limit keeps out.
    pub(super) fn log_overload(&mut self, service: Key, peer: SocketAddr) {
        let Some(service) = self.directory.all.get_mut(service) else { return };
        if is_logged(service) {
            let protocol = if service.candidates.is_empty() { service.codec.0.name() } else { "" };
            let who = Who { service: &service.name, protocol, peer, client: Some(peer.ip()) };
            let ended = Ended { reason: Some(LocalReason::Overloaded), ..Ended::default() };
            self.journal.note(Some(&Line::of_connection(&who)), &ended);
        }
    }

    /// Answers a request of which the head was read, and nothing else.
    pub(super) fn answer_directly(
        &mut self,
        key: Key,
        codec: &'static dyn Codec,
        head: &Head,
        reply: Reply<'_>,
        log: Option<&Line>,
        route: &str,
    ) -> Step {
        let close = !is_complete(&head.body) || self.drain_until.is_some();
        let reply = Reply { close, ..reply };
        let down = self.reply_to(key, codec, &head.asked, &reply);
        if let Some(service) = self.clients.get(key).and_then(|c| self.directory.all.get_mut(c.service)) {
            service.counters.answered(reply.status, 0);
        }
        let (status, reason, up) = (reply.status, reply.reason, head.len as u64);
        self.journal.note(log, &Ended { status, reason, route, up, down, ..Ended::default() });
        Step::Used(head.len)
    }

    /// The same, with an error.
    pub(super) fn answer_head(
        &mut self,
        key: Key,
        codec: &'static dyn Codec,
        head: &Head,
        reason: LocalReason,
        log: Option<&Line>,
        route: &str,
    ) -> Step {
        if let Some(service) = self.clients.get(key).and_then(|c| self.directory.all.get_mut(c.service)) {
            service.counters.local(reason);
        }
        self.answer_directly(key, codec, head, Reply::error(reason, false), log, route)
    }

    /// Counts what is wrong with a client's bytes.
    pub(super) fn count_fault(&mut self, key: Key, fault: Fault) {
        if let Some(service) = self.clients.get(key).and_then(|c| self.directory.all.get_mut(c.service)) {
            service.counters.refused(fault);
        }
    }

    /// Ends the request under way, whose body is not taken.
    pub(super) fn refuse_body(&mut self, key: Key, refusal: &Refusal) -> Step {
        if let Some(fault) = refusal.fault {
            self.count_fault(key, fault);
        }
        if let Some(client) = self.clients.get_mut(key)
            && let State::Busy(exchange) = &mut client.state
        {
            note_fault(exchange.log.as_deref_mut(), refusal.fault, refusal.what);
        }
        self.abort_exchange(key, refusal.reason, refusal.status)
    }

    /// Answers what the codec does not take.
    pub(super) fn refuse(&mut self, key: Key, codec: &'static dyn Codec, refusal: &Refusal) -> Step {
        if let Some(service) = self.clients.get(key).and_then(|c| self.directory.all.get_mut(c.service)) {
            service.counters.requests += 1;
        }
        let mut log = self.log_connection(key);
        note_fault(log.as_deref_mut(), refusal.fault, refusal.what);
        self.refuse_request(key, codec, refusal, 0, log.as_deref(), "")
    }

    /// The same for a request that was counted, with so many bytes.
    pub(super) fn refuse_request(
        &mut self,
        key: Key,
        codec: &'static dyn Codec,
        refusal: &Refusal,
        up: usize,
        log: Option<&Line>,
        route: &str,
    ) -> Step {
        if let Some(service) = self.clients.get(key).and_then(|c| self.directory.all.get_mut(c.service)) {
            service.counters.local(refusal.reason);
            service.counters.answered(refusal.status, 0);
            if let Some(fault) = refusal.fault {
                service.counters.refused(fault);
            }
        }
        let down = self.reply_to(key, codec, &refusal.asked.unwrap_or_default(), &refusal.reply());
        let (status, reason, up) = (refusal.status, Some(refusal.reason), up as u64);
        self.journal.note(log, &Ended { status, reason, route, up, down, ..Ended::default() });
        if refusal.skip == 0 {
            return Step::Wait;
        }
        if let Some(client) = self.clients.get_mut(key) {
            client.skip = refusal.skip;
            client.partial = false;
        }
        if self.clients.get(key).is_some_and(|client| !matches!(client.state, State::Closing)) {
            let patience = self.patience(key);
            self.client_deadline(key, patience);
        }
        Step::Used(0)
    }

    /// Writes an answer of weir's own to a client, and closes its connection behind it if that must be. How many bytes it has.
    pub(super) fn reply_to(
        &mut self,
        key: Key,
        codec: &'static dyn Codec,
        asked: &Asked,
        reply: &Reply<'_>,
    ) -> u64 {
        let Some(client) = self.clients.get_mut(key) else { return 0 };
        let out = client.stream.output(&mut self.buffers);
        let before = out.len();
        let end = codec.reply(asked, reply, out);
        let added = out.len().saturating_sub(before) as u64;
        if matches!(end, ReplyEnd::Close | ReplyEnd::Mute) {
            let before = std::mem::replace(&mut client.state, State::Closing);
            client.skip = 0;
            if matches!(before, State::Shared(1..)) {
                self.has_left();
            }
        }
        self.dirty_client(key);
        added
    }
}

/// Says in a log line what is wrong with the request.
pub(super) fn note_fault(line: Option<&mut Line>, fault: Option<Fault>, what: &str) {
    if let Some(line) = line {
        line.refused(fault, what);
    }
}

/// Whether this request, connection or tunnel is one that is logged.
#[inline]
fn is_logged(service: &mut Service) -> bool {
    let every = service.plan.rules.access_log;
    if every == 0 {
        return false;
    }
    service.log_turn = service.log_turn.wrapping_add(1);
    service.log_turn.checked_rem(every) == Some(0)
}
