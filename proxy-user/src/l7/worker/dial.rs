//! Connections to endpoints: from the pool, or new; and who waits for one.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, ipproto, socket_with, sockopt};

use super::accept::is_complete;
use super::connection::{Protocol, State, Upstream, Use};
use super::engine::Engine;
use super::poll::Token;
use super::slab::Key;
use super::stream::Stream;
use super::timers::{Deadline, NEVER};
use crate::l7::codec::{LocalReason, PoolMode, Session, Side};
use crate::l7::pool::Verdict;

impl Engine {
    /// Gives a client's request a connection to its endpoint, or lets it wait for one.
    pub(super) fn connect_exchange(&mut self, client_key: Key) {
        let Some(client) = self.clients.get(client_key) else { return };
        let (State::Busy(exchange), Some(codec)) = (&client.state, client.codec) else { return };
        let (endpoint, service, port) = (exchange.endpoint, client.service, client.local.port());
        // A request that was lost on an old connection is not tried on another old one.
        let first = exchange.tries == 0;
        if first && let Some(key) = self.idle_upstream(endpoint, port) {
            if let Some(service) = self.directory.all.get_mut(service) {
                service.counters.pool_hits += 1;
            }
            self.attach(client_key, key);
            return;
        }
        let most = self.most_connections(endpoint, codec);
        let full = self.endpoints.get_mut(endpoint).filter(|there| there.pooled() >= most);
        if let Some(old) = full.and_then(|there| there.idle.pop()) {
            // It is there for requests that have not been lost yet.
            self.upstream_lost(old);
        }
        let Some(there) = self.endpoints.get(endpoint) else {
            self.abort_exchange(client_key, LocalReason::NoUpstream, 503);
            return;
        };
        if there.pooled() < most {
            match self.dial(endpoint, port, codec, 0, Use::Exchange(client_key)) {
                Some(key) => self.attach(client_key, key),
                None => {
                    self.not_dialled(endpoint);
                    let held = self.take_held(client_key);
                    self.exchange_failed(client_key, held, true);
                }
            }
            return;
        }
        let Some(service) = self.directory.all.get_mut(service) else { return };
        if service.counters.pending >= service.bounds.pending {
            self.abort_exchange(client_key, LocalReason::Overloaded, 503);
            return;
        }
        service.counters.pending += 1;
        if let Some(endpoint) = self.endpoints.get_mut(endpoint) {
            endpoint.pending.push_back(client_key);
        }
        self.exchange_waits(client_key);
    }

    /// A request waits for a connection, as long as making one may take.
    fn exchange_waits(&mut self, client_key: Key) {
        let connect = self.bounds(client_key).map_or(NEVER, |bounds| bounds.connect);
        let until = self.now.saturating_add(connect);
        let Some(client) = self.clients.get_mut(client_key) else { return };
        let State::Busy(exchange) = &mut client.state else { return };
        // One that waits again does not begin anew.
        exchange.waits_until = exchange.waits_until.min(until);
        let at = exchange.waits_until.min(exchange.deadline);
        self.timers.set(&mut client.deadline, Token::Client(client_key).bits(), at);
    }

    pub(super) fn take_held(&mut self, client_key: Key) -> Vec<u8> {
        match self.clients.get_mut(client_key).map(|client| &mut client.state) {
            Some(State::Busy(exchange)) => std::mem::take(&mut exchange.held),
            _ => Vec::new(),
        }
    }

    pub(super) fn most_connections(&self, endpoint: Key, codec: Protocol) -> u32 {
        let service =
            self.endpoints.get(endpoint).and_then(|endpoint| self.directory.all.get(endpoint.service));
        match service.map_or(0, |service| service.plan.rules.pool.connections) {
            0 if codec.0.pool() == PoolMode::Multiplex => 1,
            0 => 1024,
            most => most,
        }
    }

    /// An idle connection: the one used last, which most likely still is one.
    pub(super) fn idle_upstream(&mut self, endpoint: Key, port: u16) -> Option<Key> {
        loop {
            let there = self.endpoints.get_mut(endpoint)?;
            let fixed = there.addr.port() != 0;
            let place = if fixed {
                there.idle.len().checked_sub(1)?
            } else {
                let upstreams = &self.upstreams;
                let same = |key: &Key| upstreams.get(*key).is_some_and(|upstream| upstream.port == port);
                there.idle.iter().rposition(same)?
            };
            let key = there.idle.remove(place);
            if self.upstreams.get(key).is_some_and(|upstream| is_quiet(&upstream.stream)) {
                there.counters.reused += 1;
                return Some(key);
            }
            self.upstream_lost(key);
        }
    }

    /// The request goes out on this connection.
    fn attach(&mut self, client_key: Key, key: Key) {
        let Some(client) = self.clients.get_mut(client_key) else { return };
        let State::Busy(exchange) = &mut client.state else { return };
        let Some(upstream) = self.upstreams.get_mut(key) else { return };
        exchange.upstream = Some(key);
        let waited = std::mem::replace(&mut exchange.waits_until, NEVER) != NEVER;
        upstream.used = Use::Exchange(client_key);
        upstream.paused = false;
        upstream.requests += 1;
        upstream.session.asked = exchange.asked;
        upstream.session.searched = 0;
        upstream.stream.total_sent = 0;
        upstream.stream.set_output(std::mem::take(&mut exchange.held));
        upstream.stream.keep_sent = exchange.repeatable;
        if upstream.connected {
            self.timers.set(&mut upstream.deadline, Token::Upstream(key).bits(), NEVER);
        }
        if !is_complete(&exchange.request) {
            self.list_client(client_key);
        }
        if waited {
            self.exchange_moved(client_key);
        }
        self.dirty_upstream(key);
    }

    /// Begins a connection. `None`: it failed at once.
    pub(super) fn dial(
        &mut self,
        endpoint_key: Key,
        port: u16,
        codec: Protocol,
        variant: u8,
        used: Use,
    ) -> Option<Key> {
        let endpoint = self.endpoints.get_mut(endpoint_key)?;
        let addr = match endpoint.addr.port() {
            0 => SocketAddr::new(endpoint.addr.ip(), port),
            _ => endpoint.addr,
        };
        endpoint.counters.connects += 1;
        let mut begun = begin(&addr);
        if begun.as_ref().is_err_and(|error| is_shortage(*error)) && self.close_some_idle() {
            begun = begin(&addr);
        }
        let key = self.upstreams.next_key();
        let endpoint = self.endpoints.get_mut(endpoint_key)?;
        let service = self.directory.all.get(endpoint.service)?;
        let fd = match begun {
            Ok(fd) => fd,
            Err(error) => {
                // A want of descriptors is weir's, and says nothing of the endpoint.
                if !is_shortage(error) {
                    endpoint.not_reached(self.now);
                }
                return None;
            }
        };
        if self.poll.add(&fd, Token::Upstream(key)).is_err() {
            return None;
        }
        endpoint.connections += 1;
        let mut upstream = Upstream {
            stream: Stream::new(fd),
            endpoint: endpoint_key,
            port: addr.port(),
            codec,
            variant,
            session: Session::new(Side::Upstream, service.bounds.answers),
            connected: false,
            born: self.now,
            heard: self.now,
            requests: 0,
            deadline: Deadline::default(),
            used,
            paused: false,
            retired: false,
            held: 0,
        };
        let until = self.now.saturating_add(service.bounds.connect);
        self.timers.set(&mut upstream.deadline, Token::Upstream(key).bits(), until);
        Some(self.upstreams.insert(upstream))
    }

    /// A connection failed at once: that is a failure of its endpoint, but for a want of weir's own.
    pub(super) fn not_dialled(&mut self, endpoint: Key) {
        if self.endpoints.get(endpoint).is_some_and(|there| there.is_unreached(self.now)) {
            self.note_verdict(endpoint, Verdict::Failed);
        }
    }

    /// A request on this connection is over. `keep`: another may follow.
    pub(super) fn release_upstream(&mut self, key: Key, keep: bool) {
        let Some(upstream) = self.upstreams.get_mut(key) else { return };
        let endpoint_key = upstream.endpoint;
        let Some(endpoint) = self.endpoints.get(endpoint_key) else { return };
        let bounds = self.directory.all.get(endpoint.service).map(|service| service.bounds);
        let old = bounds.is_none_or(|bounds| self.now.saturating_sub(upstream.born) > bounds.pool_longest);
        let stream = &mut upstream.stream;
        let clean = stream.unsent() == 0 && is_quiet(stream);
        if !keep || !clean || old || upstream.retired || endpoint.gone || self.drain_until.is_some() {
            upstream.used = Use::Idle;
            self.upstream_lost(key);
            return;
        }
        stream.forget_sent(&mut self.buffers);
        upstream.used = Use::Idle;
        upstream.paused = false;
        let idle = bounds.map_or(NEVER, |bounds| bounds.pool_idle);
        let until = self.now.saturating_add(idle);
        self.timers.set(&mut upstream.deadline, Token::Upstream(key).bits(), until);
        if let Some(endpoint) = self.endpoints.get_mut(endpoint_key) {
            endpoint.idle.push(key);
        }
        self.serve_pending(endpoint_key);
    }

    /// A connection, or room for one, is there: whoever waits gets it.
    pub(super) fn serve_pending(&mut self, endpoint_key: Key) {
        let Some(endpoint) = self.endpoints.get_mut(endpoint_key) else { return };
        let Some(client) = endpoint.pending.pop_front() else { return };
        let service = self.clients.get(client).map(|client| client.service);
        if let Some(service) = service.and_then(|service| self.directory.all.get_mut(service)) {
            service.counters.pending = service.counters.pending.saturating_sub(1);
        }
        self.connect_exchange(client);
    }

    /// A request that waited does so no more.
    pub(super) fn forget_pending(&mut self, endpoint: Key, client: Key, service: Key) {
        let Some(endpoint) = self.endpoints.get_mut(endpoint) else { return };
        let before = endpoint.pending.len();
        endpoint.pending.retain(|waiting| *waiting != client);
        if endpoint.pending.len() < before
            && let Some(service) = self.directory.all.get_mut(service)
        {
            service.counters.pending = service.counters.pending.saturating_sub(1);
        }
    }
}

/// Whether nothing has come that is still to be looked at: it would be taken for the next request's answer.
fn is_quiet(stream: &Stream) -> bool {
    stream.input.is_empty() && !stream.readable && !stream.eof && !stream.hangup
}

/// A socket on its way to an address.
fn begin(addr: &SocketAddr) -> Result<OwnedFd, Errno> {
    #[cfg(test)]
    if super::tests::is_short() {
        return Err(Errno::MFILE);
    }
    let family = if addr.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let fd = socket_with(family, SocketType::STREAM, flags, Some(ipproto::TCP))?;
    sockopt::set_tcp_nodelay(&fd, true)?;
    match connect(&fd, addr) {
        Ok(()) | Err(Errno::INPROGRESS) => Ok(fd),
        Err(error) => Err(error),
    }
}

/// Whether it fails for want of descriptors or memory.
const fn is_shortage(error: Errno) -> bool {
    matches!(error, Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM)
}
