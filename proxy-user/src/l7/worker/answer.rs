//! The answer to a request on a connection that has one at a time, and the end of both.

use std::time::Duration;

use rustix::net::sockopt;

use super::accept::is_complete;
use super::client::{HIGH, Step};
use super::connection::{Answer, Exchange, State, Use};
use super::engine::Engine;
use super::log::Ended;
use super::slab::Key;
use crate::l7::codec::{Body, Decoded, Edits, Head, Kind, LocalReason, Reply};
use crate::l7::pool::Verdict;
use crate::l7::stats::Outcome;

impl Engine {
    /// Handles bytes of an answer from the front.
    pub(super) fn answer_bytes(&mut self, upstream: Key, client: Key, bytes: &[u8]) -> Step {
        let answer = match self.clients.get_mut(client).map(|client| &mut client.state) {
            Some(State::Busy(exchange)) if exchange.upstream == Some(upstream) => &mut exchange.answer,
            _ => return Step::Wait,
        };
        match answer {
            Answer::Waiting => self.answer_head_bytes(upstream, client, bytes),
            Answer::Body { .. } => self.answer_body(upstream, client, bytes),
        }
    }

    fn answer_head_bytes(&mut self, key: Key, client: Key, bytes: &[u8]) -> Step {
        if bytes.is_empty() {
            return Step::Wait;
        }
        let Some(upstream) = self.upstreams.get_mut(key) else { return Step::Wait };
        if upstream.stream.total_sent == 0 {
            // It says what nobody has asked: that is no answer to a request of which it has nothing.
            self.upstream_lost(key);
            return Step::Wait;
        }
        match upstream.codec.0.decode(&mut upstream.session, bytes) {
            Ok(Decoded::More(need)) => Step::Need(need),
            Ok(Decoded::Head(head)) if matches!(head.kind, Kind::Response | Kind::Interim) => {
                if head.status.http >= 400 && self.retry_status(key, client, head.status.http) {
                    return Step::Wait;
                }
                self.forward_answer(key, client, &head, bytes)
            }
            Ok(Decoded::Head(_)) => self.bad_answer(key, client),
            Err(_) => self.bad_answer(key, client),
        }
    }

    fn bad_answer(&mut self, key: Key, client: Key) -> Step {
        self.note_endpoint(key, Verdict::Failed);
        self.abort_exchange(client, LocalReason::BadResponse, 502);
        Step::Wait
    }

    fn forward_answer(&mut self, key: Key, client_key: Key, head: &Head, bytes: &[u8]) -> Step {
        let draining = self.drain_until.is_some();
        let Some(client) = self.clients.get_mut(client_key) else { return Step::Wait };
        let mut service = self.directory.all.get_mut(client.service);
        let gone = service.as_ref().is_none_or(|service| service.gone);
        let (State::Busy(exchange), Some(codec)) = (&mut client.state, client.codec) else {
            return Step::Wait;
        };
        let out = client.stream.output(&mut self.buffers);
        let before = out.len();
        let close = exchange.close || draining || gone || !is_complete(&exchange.request);
        let forwarded = crate::l7::route::with_edits(&exchange.taken.response_headers, |headers| {
            let edits = Edits { headers, asked: exchange.asked, close, ..Edits::default() };
            codec.0.forward(bytes, head, &edits, out)
        });
        let Ok(forwarded) = forwarded else { return self.bad_answer(key, client_key) };
        let added = (out.len() - before) as u64;
        exchange.down += added;
        if let Some(service) = &mut service {
            service.counters.bytes_down += added;
        }
        let at_once = head.kind == Kind::Interim;
        if at_once {
            // However many there are, they wait for whoever reads them.
            if client.stream.unsent() > HIGH
                && let Some(upstream) = self.upstreams.get_mut(key)
            {
                upstream.paused = true;
            }
        } else {
            exchange.status = head.status.http;
            exchange.close |= forwarded.close;
            exchange.repeatable = false;
            exchange.answer = Answer::Body { body: head.body, dechunk: forwarded.dechunk, keep: head.keep };
            if let Some(upstream) = self.upstreams.get_mut(key) {
                upstream.stream.forget_sent(&mut self.buffers);
            }
        }
        self.dirty_client(client_key);
        if head.body == Body::Tunnel && !at_once {
            self.become_tunnel(key, client_key);
        }
        Step::Used(forwarded.used)
    }

    fn answer_body(&mut self, key: Key, client_key: Key, bytes: &[u8]) -> Step {
        let Some(client) = self.clients.get_mut(client_key) else { return Step::Wait };
        let State::Busy(exchange) = &mut client.state else { return Step::Wait };
        let Answer::Body { body, dechunk, keep } = &mut exchange.answer else { return Step::Wait };
        let (stream, buffers) = (&mut client.stream, &mut self.buffers);
        let mut lost = false;
        let progress = if *dechunk {
            body.advance(bytes, &mut |payload| lost |= stream.put(payload, false, buffers).is_err())
        } else {
            body.advance(bytes, &mut |_| {})
        };
        let Ok(progress) = progress else { return self.bad_answer(key, client_key) };
        if !*dechunk && progress.used > 0 {
            let part = bytes.get(..progress.used).unwrap_or_default();
            lost |= stream.put(part, false, buffers).is_err();
        }
        let (slow, keep) = (stream.unsent() > HIGH, *keep);
        exchange.down += progress.used as u64;
        if let Some(service) = self.directory.all.get_mut(client.service) {
            service.counters.bytes_down += progress.used as u64;
        }
        self.dirty_client(client_key);
        if lost {
            self.client_lost(client_key);
            return Step::Wait;
        }
        if progress.done {
            let clean = progress.used == bytes.len();
            self.finish_exchange(key, client_key, keep && clean);
            return Step::Used(progress.used);
        }
        self.exchange_moved(client_key);
        if slow && let Some(upstream) = self.upstreams.get_mut(key) {
            upstream.paused = true;
        }
        if progress.used == 0 { Step::Wait } else { Step::Used(progress.used) }
    }

    /// The answer is complete. `keep`: the upstream's connection may be used again.
    pub(super) fn finish_exchange(&mut self, key: Key, client_key: Key, keep: bool) {
        let draining = self.drain_until.is_some();
        let Some(client) = self.clients.get_mut(client_key) else { return };
        let State::Busy(exchange) = std::mem::replace(&mut client.state, State::Idle) else { return };
        let complete = is_complete(&exchange.request);
        let service = client.service;
        let ended = client.stream.eof && client.stream.input.is_empty();
        client.paused = false;
        if exchange.close || !complete || draining || ended {
            client.state = State::Closing;
        } else if !client.stream.input.is_empty() || client.stream.readable {
            self.list_client(client_key);
        }
        self.dirty_client(client_key);
        let idle = self.bounds(client_key).map_or(u64::MAX, |bounds| bounds.idle);
        self.client_deadline(client_key, idle);
        let verdict = if exchange.status >= 500 { Verdict::Failed } else { Verdict::Good };
        self.note_endpoint(key, verdict);
        self.count_answer(service, &exchange, None);
        self.release_upstream(key, keep && complete);
    }

    /// A request ends without a whole answer: with one of weir's own if none has begun.
    pub(super) fn abort_exchange(&mut self, client_key: Key, reason: LocalReason, status: u16) -> Step {
        let Some(client) = self.clients.get_mut(client_key) else { return Step::Wait };
        let Some(codec) = client.codec else { return Step::Wait };
        let State::Busy(mut exchange) = std::mem::replace(&mut client.state, State::Idle) else {
            return Step::Wait;
        };
        client.paused = false;
        let service = client.service;
        self.buffers.take_back(&mut exchange.held);
        let begun = matches!(exchange.answer, Answer::Body { .. });
        let unframed = matches!(exchange.answer, Answer::Body { body: Body::UntilClose, .. });
        if !begun {
            exchange.status = status;
        }
        if let Some(key) = exchange.upstream {
            if let Some(upstream) = self.upstreams.get_mut(key) {
                upstream.used = Use::Idle;
            }
            self.release_upstream(key, false);
        } else {
            self.forget_pending(exchange.endpoint, client_key, service);
        }
        let close = !is_complete(&exchange.request) || exchange.close || self.drain_until.is_some();
        if !begun {
            let reply = Reply { status, ..Reply::error(reason, close) };
            exchange.down += self.reply_to(client_key, codec.0, &exchange.asked, &reply);
        }
        self.count_answer(service, &exchange, Some(reason));
        if unframed {
            // An orderly end would say that the answer is complete.
            if let Some(client) = self.clients.get(client_key) {
                let _ = sockopt::set_socket_linger(&client.stream.fd, Some(Duration::ZERO));
            }
            self.client_lost(client_key);
            return Step::Wait;
        }
        if begun {
            // What is missing is told by the end alone; what is there goes out before it.
            if let Some(client) = self.clients.get_mut(client_key) {
                client.state = State::Closing;
            }
            self.dirty_client(client_key);
            return Step::Wait;
        }
        let idle = self.bounds(client_key).map_or(u64::MAX, |bounds| bounds.idle);
        self.client_deadline(client_key, idle);
        self.list_client(client_key);
        Step::Wait
    }

    /// Counts the end of a request, and logs it.
    pub(super) fn count_answer(&mut self, service: Key, exchange: &Exchange, reason: Option<LocalReason>) {
        let micros = self.now.saturating_sub(exchange.started);
        let outcome = Outcome::new(exchange.status, micros);
        exchange.taken.counters.answers.note(outcome);
        if let Some(service) = self.directory.all.get_mut(service) {
            let counters = &mut service.counters;
            counters.requests_active = counters.requests_active.saturating_sub(1);
            counters.answers.note(outcome);
            if let Some(reason) = reason {
                counters.local(reason);
            }
        }
        let endpoint = self.endpoints.get_mut(exchange.endpoint).map(|endpoint| {
            endpoint.active = endpoint.active.saturating_sub(1);
            endpoint.answers.note(outcome);
            endpoint.addr
        });
        if let Some(line) = &exchange.log {
            let ended = Ended {
                status: exchange.status,
                reason,
                route: &exchange.taken.name,
                endpoint,
                micros,
                tries: exchange.tries,
                up: exchange.up,
                down: exchange.down,
            };
            self.journal.note(Some(line), &ended);
        }
    }
}
