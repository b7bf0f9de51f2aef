//! A client's connection: its events, its bytes, and what is sent to it.

use super::connection::State;
use super::engine::Engine;
use super::poll::Ready;
use super::slab::Key;
use super::stream::Gathered;
use crate::l7::codec::{self, Codec, Detection};

/// Bytes that wait for a connection's other side: above, nothing more is read for it.
pub(super) const HIGH: usize = 256 << 10;
/// Below, it is again.
pub(super) const LOW: usize = 64 << 10;
/// Bytes read at once where only the first request of them goes on.
const PIPELINE: usize = 32 << 10;
/// Reads of one connection in a row.
const READS: usize = 8;
/// For answers to a client on a shared connection that has closed its side, in microseconds; and for a client to close its
/// own side after the last of what it is sent: bytes that it still sends would reset the connection, and with it what it
/// has not read yet. Then it is looked at whether it goes on reading.
pub(super) const LINGER: u64 = 2_000_000;
/// For the last bytes to arrive before a connection is reset, in microseconds: then it is looked at whether they have.
const ARRIVAL: u64 = 50_000;

/// What handling bytes came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// So many were used; there may be more to do.
    Used(usize),
    /// Nothing more can be done with them now.
    Wait,
    /// At least so many are needed.
    Need(usize),
}

impl Engine {
    pub(super) fn on_client(&mut self, key: Key, ready: Ready) {
        let Some(client) = self.clients.get_mut(key) else { return };
        client.stream.hangup |= ready.hangup;
        client.stream.readable |= ready.read;
        if ready.write && !client.stream.writable {
            client.stream.writable = true;
            if client.stream.unsent() > 0 || client.stream.end || matches!(client.state, State::Tunnel(_)) {
                self.flush_client(key);
            }
        }
        if ready.gone && !self.client_still_gives(key) {
            self.client_failed(key);
        } else if ready.read {
            self.turn_client(key, false);
        }
    }

    /// Whether a connection that is gone may have left bytes that matter: a tunnel's last words.
    fn client_still_gives(&self, key: Key) -> bool {
        self.clients
            .get(key)
            .is_some_and(|client| matches!(client.state, State::Tunnel(_)) && client.stream.readable)
    }

    /// Reads and handles what is there; `again`: also what was kept.
    pub(super) fn turn_client(&mut self, key: Key, again: bool) {
        let Some(client) = self.clients.get(key) else { return };
        if matches!(client.state, State::Tunnel(_)) {
            self.turn_tunnel_up(key);
            return;
        }
        let mut scratch = self.take_scratch();
        self.read_client(key, again, &mut scratch);
        self.give_scratch(scratch);
    }

    fn read_client(&mut self, key: Key, mut again: bool, scratch: &mut [u8]) {
        for _ in 0..READS {
            let Some(client) = self.clients.get_mut(key) else { return };
            if !client.wants_bytes() {
                return;
            }
            // Requests that come one after the other wait here: what is read of them at once is copied for each.
            let most = if matches!(client.state, State::Idle) { PIPELINE } else { usize::MAX };
            let most = most.min(scratch.len());
            let Some(scratch) = scratch.get_mut(..most) else { return };
            match client.stream.gather(scratch, again, &mut self.buffers) {
                Err(_) => {
                    self.client_lost(key);
                    return;
                }
                Ok(Gathered::Nothing) => {}
                Ok(Gathered::Scratch(len)) => {
                    let bytes = scratch.get_mut(..len).unwrap_or_default();
                    let used = self.client_bytes(key, bytes);
                    if let Some(client) = self.clients.get_mut(key) {
                        client.stream.keep(bytes.get(used..).unwrap_or_default(), &mut self.buffers);
                    }
                }
                Ok(Gathered::Own(mut bytes)) => {
                    let used = self.client_bytes(key, &mut bytes);
                    if let Some(client) = self.clients.get_mut(key) {
                        bytes.drain(..used);
                        client.stream.keep(&bytes, &mut self.buffers);
                    }
                }
            }
            again = false;
            let Some(client) = self.clients.get_mut(key) else { return };
            // What is to be sent is weighed once it was tried to.
            if client.stream.held() != client.held && !client.stream.dirty {
                self.weigh(key);
            }
            let Some(client) = self.clients.get_mut(key) else { return };
            if matches!(client.state, State::Tunnel(_)) {
                self.list_client(key);
                return;
            }
            if client.stream.eof {
                self.client_eof(key);
                return;
            }
            if !client.stream.readable {
                return;
            }
        }
        self.list_client(key);
    }

    /// Handles bytes from the front; how many were used.
    fn client_bytes(&mut self, key: Key, bytes: &mut [u8]) -> usize {
        let mut at = 0;
        loop {
            let rest = bytes.get_mut(at..).unwrap_or_default();
            let Some(client) = self.clients.get_mut(key) else { return at };
            if client.skip > 0 {
                let skipped = usize::try_from(client.skip).unwrap_or(usize::MAX).min(rest.len());
                client.skip -= skipped as u64;
                at += skipped;
                if skipped == 0 {
                    return at;
                }
                continue;
            }
            let step = match &client.state {
                State::Detecting => self.detect(key, rest),
                State::Idle | State::Shared(_) if rest.is_empty() || !client.wants_bytes() => Step::Wait,
                // It asks, and does not read what it is answered.
                State::Idle | State::Shared(_) if client.stream.unsent() > HIGH => {
                    client.paused = true;
                    Step::Wait
                }
                State::Idle => self.begin_exchange(key, rest),
                State::Busy(_) => self.request_body(key, rest),
                State::Shared(_) => self.shared_request(key, rest),
                State::Tunnel(_) => self.tunnel_first(key, rest),
                State::Closing => Step::Used(rest.len()),
            };
            match step {
                Step::Used(0) if rest_is_done(at, bytes) => return at,
                Step::Used(count) => at += count,
                Step::Wait => return at,
                Step::Need(need) => {
                    self.need_more(key, need, at < bytes.len());
                    return at;
                }
            }
        }
    }

    fn need_more(&mut self, key: Key, need: usize, begun: bool) {
        let Some(client) = self.clients.get_mut(key) else { return };
        client.stream.need = need;
        if begun && !client.partial && matches!(client.state, State::Idle | State::Shared(_)) {
            client.partial = true;
            let head = self.bounds(key).map_or(u64::MAX, |bounds| bounds.head);
            self.client_deadline(key, head);
        }
    }

    fn detect(&mut self, key: Key, bytes: &[u8]) -> Step {
        let Some(client) = self.clients.get_mut(key) else { return Step::Wait };
        let Some(service) = self.directory.all.get(client.service) else { return Step::Wait };
        let mut candidates: [&'static dyn Codec; MOST_CANDIDATES] = [&codec::tcp::Tcp; MOST_CANDIDATES];
        let mut count = 0;
        for (place, candidate) in candidates.iter_mut().zip(&service.candidates) {
            *place = candidate.0;
            count += 1;
        }
        let ended = client.stream.eof;
        match codec::detect(candidates.get(..count).unwrap_or_default(), bytes) {
            Detection::Is(found) => client.codec = Some(super::connection::Protocol(found)),
            Detection::More if !ended => return Step::Need(bytes.len() + 1),
            Detection::More | Detection::Unknown if service.falls_back() => {
                client.codec = Some(super::connection::Protocol(&codec::tcp::Tcp));
            }
            Detection::More | Detection::Unknown => {
                self.refuse_connection(key);
                return Step::Wait;
            }
        }
        self.begin_protocol(key);
        Step::Used(0)
    }

    /// Its deadline for detection has passed.
    pub(super) fn detection_is_over(&mut self, key: Key) {
        let Some(client) = self.clients.get_mut(key) else { return };
        let fallback =
            self.directory.all.get(client.service).is_some_and(super::services::Service::falls_back);
        if fallback {
            client.codec = Some(super::connection::Protocol(&codec::tcp::Tcp));
            client.stream.need = 0;
            self.begin_protocol(key);
            self.list_client(key);
        } else if client.stream.input.is_empty() {
            // It has asked for nothing.
            self.client_lost(key);
        } else {
            self.refuse_connection(key);
        }
    }

    /// Closes a connection whose protocol cannot be told: there is none to say why in.
    fn refuse_connection(&mut self, key: Key) {
        let reason = codec::LocalReason::BadRequest;
        let service = self.clients.get(key).map(|client| client.service);
        if let Some(service) = service.and_then(|service| self.directory.all.get_mut(service)) {
            service.counters.local(reason);
        }
        let what = "no codec of the service knows the first bytes";
        self.log_refused(key, reason, Some((codec::Fault::Protocol, what)));
        self.client_lost(key);
    }

    /// Sends what waits; then whoever waited for that goes on.
    pub(super) fn flush_client(&mut self, key: Key) {
        let Some(client) = self.clients.get_mut(key) else { return };
        client.stream.dirty = false;
        let before = client.stream.total_sent;
        if client.stream.flush(&mut self.buffers).is_err() {
            self.client_failed(key);
            return;
        }
        if client.stream.held() != client.held {
            self.weigh(key);
        }
        let Some(client) = self.clients.get_mut(key) else { return };
        let unsent = client.stream.unsent();
        match &client.state {
            State::Closing if unsent == 0 && client.stream.cut => {
                if client.stream.untaken() == 0 {
                    self.close_client(key);
                } else {
                    // A reset takes away what is on its way.
                    let (bits, until) = (super::poll::Token::Client(key).bits(), self.now + ARRIVAL);
                    self.timers.set(&mut client.deadline, bits, until);
                }
            }
            State::Closing if unsent == 0 && (client.stream.eof || client.stream.hangup) => {
                self.close_client(key);
            }
            State::Closing if unsent == 0 => {
                client.stream.end = true;
                // Only shuts it down: nothing is left to send.
                let _ = client.stream.flush(&mut self.buffers);
                let until = self.now.saturating_add(LINGER);
                self.timers.set_sooner(&mut client.deadline, super::poll::Token::Client(key).bits(), until);
                self.list_client(key);
            }
            State::Closing => {
                let until = self.now.saturating_add(LINGER);
                self.timers.set_sooner(&mut client.deadline, super::poll::Token::Client(key).bits(), until);
            }
            State::Idle | State::Shared(_) if client.paused && unsent < LOW => {
                self.resume_client(key);
            }
            State::Busy(exchange) if unsent < LOW => {
                if let Some(upstream) = exchange.upstream {
                    self.resume_upstream(upstream);
                }
            }
            State::Tunnel(tunnel) => {
                let (upstream, takes) = (tunnel.upstream, client.stream.writable);
                if client.stream.total_sent > before {
                    self.tunnel_moved(key);
                }
                // What waits for it may be in a pipe.
                if takes {
                    self.resume_upstream(upstream);
                }
                self.end_tunnel_if_done(key);
            }
            _ => {}
        }
    }

    /// An upstream that was not read from, since its client was slow, is read from again.
    fn resume_upstream(&mut self, key: Key) {
        if let Some(upstream) = self.upstreams.get_mut(key)
            && upstream.paused
        {
            upstream.paused = false;
            self.list_upstream(key);
        }
    }

    /// The client sends no more.
    fn client_eof(&mut self, key: Key) {
        let Some(client) = self.clients.get_mut(key) else { return };
        match &mut client.state {
            // A request that is complete gets its answer.
            State::Busy(exchange) if exchange.request == codec::Body::None => {}
            State::Shared(under_way) if *under_way > 0 => {
                client.paused = true;
                // No client of the protocol is known to close one side only, and go on reading.
                let until = self.now.saturating_add(LINGER);
                self.timers.set_sooner(&mut client.deadline, super::poll::Token::Client(key).bits(), until);
            }
            State::Tunnel(_) => self.turn_tunnel_up(key),
            State::Shared(_) | State::Idle | State::Detecting | State::Closing
                if client.stream.unsent() > 0 =>
            {
                client.state = State::Closing;
            }
            _ => self.client_lost(key),
        }
    }
}

fn rest_is_done(at: usize, bytes: &[u8]) -> bool {
    at >= bytes.len()
}

/// Codecs that a service may have detected.
const MOST_CANDIDATES: usize = 8;
