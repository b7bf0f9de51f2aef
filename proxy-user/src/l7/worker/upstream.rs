//! A connection to an endpoint: its events, its bytes, what is sent to it, and its end.

use std::os::fd::AsFd as _;

use rustix::net::sockopt;

use super::client::{LOW, Step};
use super::connection::{Answer, State, Use};
use super::engine::Engine;
use super::poll::{Ready, Token};
use super::slab::Key;
use super::stream::Gathered;
use crate::l7::codec::Body;
use crate::l7::pool::Verdict;

/// Reads of one connection in a row.
const READS: usize = 8;

impl Engine {
    pub(super) fn on_upstream(&mut self, key: Key, ready: Ready) {
        let Some(upstream) = self.upstreams.get_mut(key) else { return };
        if !upstream.connected {
            if !ready.write {
                return;
            }
            let failed = !matches!(sockopt::socket_error(upstream.stream.fd.as_fd()), Ok(Ok(())));
            if failed {
                self.connect_failed(key);
                return;
            }
            self.connected(key);
        }
        let Some(upstream) = self.upstreams.get_mut(key) else { return };
        upstream.stream.hangup |= ready.hangup;
        upstream.stream.readable |= ready.read;
        if ready.write && !upstream.stream.writable {
            upstream.stream.writable = true;
            self.flush_upstream(key);
        }
        if ready.read {
            self.turn_upstream(key, false);
        }
    }

    fn connected(&mut self, key: Key) {
        let Some(upstream) = self.upstreams.get_mut(key) else { return };
        upstream.connected = true;
        upstream.heard = self.now;
        if let Some(endpoint) = self.endpoints.get_mut(upstream.endpoint) {
            endpoint.reached();
        }
        let until = self.shared_until(key);
        let Some(upstream) = self.upstreams.get_mut(key) else { return };
        self.timers.set(&mut upstream.deadline, Token::Upstream(key).bits(), until);
        match upstream.used {
            Use::Tunnel(client) => self.tunnel_connected(client),
            Use::Mirror(_) => self.mirror_connected(key),
            Use::Idle | Use::Exchange(_) | Use::Shared(_) => {}
        }
    }

    /// It could not be made, or not in time.
    pub(super) fn connect_failed(&mut self, key: Key) {
        let Some(upstream) = self.upstreams.get(key) else { return };
        if let Some(endpoint) = self.endpoints.get_mut(upstream.endpoint) {
            endpoint.not_reached(self.now);
        }
        self.note_endpoint(key, Verdict::Failed);
        self.upstream_lost(key);
    }

    /// Reads and handles what is there; `again`: also what was kept.
    pub(super) fn turn_upstream(&mut self, key: Key, again: bool) {
        match self.upstreams.get(key).map(|upstream| &upstream.used) {
            None => {}
            Some(Use::Tunnel(client)) => {
                let client = *client;
                self.turn_tunnel_down(key, client);
            }
            Some(_) => {
                let mut scratch = self.take_scratch();
                self.read_upstream(key, again, &mut scratch);
                self.give_scratch(scratch);
            }
        }
    }

    fn read_upstream(&mut self, key: Key, mut again: bool, scratch: &mut [u8]) {
        for _ in 0..READS {
            let now = self.now;
            let Some(upstream) = self.upstreams.get_mut(key) else { return };
            if upstream.paused || !upstream.connected {
                return;
            }
            upstream.heard = now;
            match upstream.stream.gather(scratch, again, &mut self.buffers) {
                Err(_) => {
                    self.upstream_ended(key);
                    return;
                }
                Ok(Gathered::Nothing) => {}
                Ok(Gathered::Scratch(len)) => {
                    let bytes = scratch.get_mut(..len).unwrap_or_default();
                    let used = self.upstream_bytes(key, bytes);
                    if let Some(upstream) = self.upstreams.get_mut(key) {
                        upstream.stream.keep(bytes.get(used..).unwrap_or_default(), &mut self.buffers);
                    }
                }
                Ok(Gathered::Own(mut bytes)) => {
                    let used = self.upstream_bytes(key, &mut bytes);
                    if let Some(upstream) = self.upstreams.get_mut(key) {
                        bytes.drain(..used);
                        upstream.stream.keep(&bytes, &mut self.buffers);
                    }
                }
            }
            again = false;
            let Some(upstream) = self.upstreams.get_mut(key) else { return };
            if matches!(upstream.used, Use::Tunnel(_)) {
                self.list_upstream(key);
                return;
            }
            if upstream.stream.eof {
                if !upstream.paused {
                    self.upstream_ended(key);
                }
                return;
            }
            if !upstream.stream.readable {
                return;
            }
        }
        self.list_upstream(key);
    }

    fn upstream_bytes(&mut self, key: Key, bytes: &mut [u8]) -> usize {
        let mut at = 0;
        loop {
            let rest = bytes.get_mut(at..).unwrap_or_default();
            let Some(upstream) = self.upstreams.get(key) else { return at };
            if upstream.paused {
                return at;
            }
            let step = match upstream.used {
                // Nobody has asked for anything.
                Use::Idle if rest.is_empty() => Step::Wait,
                Use::Idle => {
                    self.upstream_lost(key);
                    return bytes.len();
                }
                Use::Exchange(client) => self.answer_bytes(key, client, rest),
                Use::Shared(_) if rest.is_empty() => Step::Wait,
                Use::Shared(_) => self.shared_answer(key, rest),
                Use::Tunnel(client) => self.tunnel_first_down(client, rest),
                Use::Mirror(_) => self.mirror_answer(key, rest),
            };
            match step {
                Step::Used(0) if at >= bytes.len() => return at,
                Step::Used(count) => at += count,
                Step::Wait => return at,
                Step::Need(need) => {
                    if let Some(upstream) = self.upstreams.get_mut(key) {
                        upstream.stream.need = need;
                    }
                    return at;
                }
            }
        }
    }

    /// The endpoint has closed the connection: for an answer without a length that is its end.
    fn upstream_ended(&mut self, key: Key) {
        let client_key = match self.upstreams.get(key).map(|upstream| &upstream.used) {
            Some(Use::Exchange(client)) => Some(*client),
            _ => None,
        };
        let eof = self.upstreams.get(key).is_some_and(|upstream| upstream.stream.eof);
        if let Some(client_key) = client_key
            && eof
            && let Some(State::Busy(exchange)) = self.clients.get(client_key).map(|client| &client.state)
            && matches!(exchange.answer, Answer::Body { body: Body::UntilClose, .. })
        {
            self.finish_exchange(key, client_key, false);
            return;
        }
        if eof && self.mirror_ended(key) {
            return;
        }
        let busy = match self.upstreams.get(key).map(|upstream| &upstream.used) {
            Some(Use::Exchange(_)) => true,
            Some(Use::Shared(shared)) => shared.ids.len() > 0,
            _ => false,
        };
        // A connection that was used before may be closed by its endpoint at any time: that is no failure.
        let fresh = self.upstreams.get(key).is_some_and(|upstream| upstream.requests <= 1);
        if busy && fresh {
            self.note_endpoint(key, Verdict::Failed);
        }
        self.upstream_lost(key);
    }

    /// Sends what waits; then whoever waited for that goes on.
    pub(super) fn flush_upstream(&mut self, key: Key) {
        let Some(upstream) = self.upstreams.get_mut(key) else { return };
        upstream.stream.dirty = false;
        if !upstream.connected {
            return;
        }
        let before = upstream.stream.total_sent;
        if let Err(error) = upstream.stream.flush(&mut self.buffers) {
            self.upstream_broke(key, &error);
            return;
        }
        if let Use::Tunnel(client) = &upstream.used
            && upstream.stream.total_sent > before
        {
            let client = *client;
            self.tunnel_moved(client);
        }
        let Some(upstream) = self.upstreams.get_mut(key) else { return };
        if upstream.held > 0 {
            self.weigh_upstream(key);
        }
        let Some(upstream) = self.upstreams.get_mut(key) else { return };
        if upstream.stream.unsent() >= LOW {
            return;
        }
        match &mut upstream.used {
            Use::Exchange(client) => {
                let client = *client;
                self.resume_client(client);
            }
            Use::Tunnel(client) => {
                let (client, takes) = (*client, upstream.stream.writable);
                // What waits for it may be in a pipe.
                if takes {
                    self.resume_client(client);
                }
                self.end_tunnel_if_done(client);
            }
            Use::Shared(shared) if !shared.waiters.is_empty() => {
                for client in std::mem::take(&mut shared.waiters) {
                    self.unstall(client);
                }
            }
            Use::Shared(_) | Use::Idle | Use::Mirror(_) => {}
        }
    }

    /// It takes no more.
    pub(super) fn upstream_broke(&mut self, key: Key, error: &std::io::Error) {
        let Some(upstream) = self.upstreams.get_mut(key) else { return };
        upstream.stream.writable = false;
        // The first says why; later ones only that it is.
        upstream.stream.broken.get_or_insert(error.kind());
        // What it has sent before it failed may be an answer.
        if upstream.stream.readable {
            self.list_upstream(key);
        } else {
            self.upstream_lost(key);
        }
    }

    /// A client that was not read from is read from again.
    pub(super) fn resume_client(&mut self, key: Key) {
        let Some(client) = self.clients.get_mut(key) else { return };
        if std::mem::take(&mut client.paused) {
            self.read_again(key);
        }
    }

    /// What held a client up is over.
    pub(super) fn read_again(&mut self, key: Key) {
        let Some(client) = self.clients.get(key) else { return };
        // The time of a message that has begun to come did not run meanwhile.
        if client.partial && matches!(client.state, State::Idle | State::Shared(_)) {
            let head = self.bounds(key).map_or(u64::MAX, |bounds| bounds.head);
            self.client_deadline(key, head);
        }
        self.list_client(key);
    }

    /// Removes a connection, and ends what was under way on it.
    pub(super) fn upstream_lost(&mut self, key: Key) {
        let Some(mut upstream) = self.upstreams.remove(key) else { return };
        self.held_up = self.held_up.saturating_sub(upstream.held);
        let endpoint_key = upstream.endpoint;
        if let Some(endpoint) = self.endpoints.get_mut(endpoint_key) {
            endpoint.connections = endpoint.connections.saturating_sub(1);
            endpoint.idle.retain(|other| *other != key);
            endpoint.shared.retain(|other| *other != key);
        }
        self.buffers.take_back(&mut upstream.stream.input);
        let untouched = upstream.stream.total_sent == 0;
        match upstream.used {
            Use::Idle => self.buffers.take_back(&mut upstream.stream.take_output()),
            Use::Exchange(client) => {
                let output = upstream.stream.take_output();
                drop(upstream.stream);
                self.exchange_failed(client, output, untouched);
            }
            Use::Shared(shared) => {
                let (sent, waiting) = (upstream.stream.total_sent, upstream.stream.waiting().to_vec());
                self.shared_lost(endpoint_key, shared, sent, &waiting);
            }
            Use::Tunnel(client) => {
                let output = upstream.stream.take_output();
                let failed = !upstream.connected;
                let whole = upstream.stream.eof
                    && upstream.stream.broken != Some(std::io::ErrorKind::ConnectionReset);
                self.tunnel_lost(client, output, failed, whole);
            }
            Use::Mirror(mirrored) => {
                self.buffers.take_back(&mut upstream.stream.take_output());
                self.mirror_lost(endpoint_key, &mirrored);
            }
        }
        self.serve_pending(endpoint_key);
        self.forget_endpoint(endpoint_key);
    }

    /// Notes how well a connection's endpoint does.
    pub(super) fn note_endpoint(&mut self, key: Key, verdict: Verdict) {
        let Some(upstream) = self.upstreams.get(key) else { return };
        let endpoint = upstream.endpoint;
        self.note_verdict(endpoint, verdict);
    }

    pub(super) fn note_verdict(&mut self, endpoint_key: Key, verdict: Verdict) {
        let Some(endpoint) = self.endpoints.get_mut(endpoint_key) else { return };
        let Some(service) = self.directory.all.get(endpoint.service) else { return };
        let rule = service.plan.rules.outlier.as_ref();
        if !endpoint.note(verdict, rule) || endpoint.is_ejected(self.now) {
            return;
        }
        if let Some(rule) = rule
            && service.chooser.may_eject(rule, &self.endpoints, self.now)
            && let Some(endpoint) = self.endpoints.get_mut(endpoint_key)
        {
            endpoint.eject(rule, self.now);
        }
    }

    /// Closes an endpoint's idle connections; those with requests take no new ones.
    pub(super) fn retire_connections(&mut self, endpoint_key: Key) {
        let Some(endpoint) = self.endpoints.get_mut(endpoint_key) else { return };
        let mut keys = std::mem::take(&mut endpoint.idle);
        keys.append(&mut endpoint.shared.clone());
        for key in keys {
            let Some(upstream) = self.upstreams.get_mut(key) else { continue };
            upstream.retired = true;
            let unused = match &upstream.used {
                Use::Idle => true,
                Use::Shared(shared) => shared.ids.len() == 0,
                Use::Exchange(_) | Use::Tunnel(_) | Use::Mirror(_) => false,
            };
            if unused {
                self.upstream_lost(key);
            }
        }
    }
}
