//! Bytes without messages: each connection of a client has one of its own to an endpoint, and bytes go both ways until both
//! sides have said all.

use std::io::Write as _;
use std::net::SocketAddr;
use std::rc::Rc;

use super::client::Step;
use super::connection::{Account, Client, State, Tunnel, Upstream, Use};
use super::engine::Engine;
use super::exchange::hash_address;
use super::log::Ended;
use super::pump::{Failed, Flow, pump};
use super::slab::Key;
use super::splice::Bulk;
use crate::l7::codec::LocalReason;
use crate::l7::pool::Verdict;
use crate::l7::snapshot::ClientAddress;

/// Endpoints tried for one connection.
const TRIES: u8 = 3;
impl Engine {
    /// The client's connection gets one of its own.
    pub(super) fn begin_tunnel(&mut self, key: Key) {
        let Some(client) = self.clients.get(key) else { return };
        let (service_key, peer, started) = (client.service, client.peer.ip(), client.born);
        let log = self.log_connection(key);
        let Some(service) = self.directory.all.get_mut(service_key) else { return };
        let taken = Rc::clone(&service.itself);
        let account = Account { started, status: 0, taken, up: 0, down: 0, log };
        service.counters.requests += 1;
        service.counters.tunnels += 1;
        let denied = service.access.as_ref().is_some_and(|list| !list.allows_address(peer));
        if denied {
            service.counters.local(LocalReason::Denied);
            self.close_account(service_key, &account, None, 0, Some(LocalReason::Denied));
            self.client_lost(key);
            return;
        }
        self.tunnel_to(key, None, 0, Vec::new(), account);
    }

    fn tunnel_to(
        &mut self,
        key: Key,
        mut before: Option<Key>,
        mut tries: u8,
        output: Vec<u8>,
        account: Account,
    ) {
        let Some(client) = self.clients.get(key) else { return };
        let (service_key, port, peer) = (client.service, client.local.port(), client.peer);
        let (codec, local) = (client.codec, client.local);
        let Some(codec) = codec else { return };
        let hash = hash_address(peer.ip());
        while tries < TRIES {
            let Some(endpoint) = self.choose(service_key, hash, before) else { break };
            let Some(upstream_key) = self.dial(endpoint, port, codec, 0, Use::Tunnel(key)) else {
                self.note_verdict(endpoint, Verdict::Failed);
                (before, tries) = (Some(endpoint), tries + 1);
                continue;
            };
            let says = self.directory.all.get(service_key).map(|service| &service.plan.client_address);
            // What an endpoint that was tried before did not get begins with it already.
            let proxied = output.is_empty() && says == Some(&ClientAddress::ProxyV2);
            if let Some(upstream) = self.upstreams.get_mut(upstream_key) {
                upstream.requests = 1;
                upstream.stream.set_output(output);
                if proxied {
                    proxy_header(peer, local, upstream.stream.output(&mut self.buffers));
                }
            }
            if let Some(endpoint) = self.endpoints.get_mut(endpoint) {
                endpoint.active += 1;
                endpoint.tunnels += 1;
                endpoint.counters.requests += 1;
            }
            if let Some(client) = self.clients.get_mut(key) {
                let (upstream, up, down) = (upstream_key, Bulk::default(), Bulk::default());
                client.state = State::Tunnel(Tunnel { upstream, endpoint, tries, up, down, account });
            }
            self.tunnel_moved(key);
            return;
        }
        let reason = if tries == 0 { LocalReason::NoUpstream } else { LocalReason::Reset };
        if let Some(service) = self.directory.all.get_mut(service_key) {
            service.counters.failed += 1;
            service.counters.local(reason);
        }
        self.close_account(service_key, &account, before, tries, Some(reason));
        self.client_lost(key);
    }

    /// An upgrade is agreed on: bytes go both ways from now on.
    pub(super) fn become_tunnel(&mut self, key: Key, client_key: Key) {
        let Some(client) = self.clients.get_mut(client_key) else { return };
        let State::Busy(mut exchange) = std::mem::replace(&mut client.state, State::Closing) else { return };
        let account = Account {
            started: exchange.started,
            status: exchange.status,
            taken: Rc::clone(&exchange.taken),
            up: exchange.up,
            down: exchange.down,
            // It is one line, at the end of both.
            log: exchange.log.take(),
        };
        let (endpoint, tries, service) = (exchange.endpoint, exchange.tries, client.service);
        let (up, down) = (Bulk::default(), Bulk::default());
        client.state = State::Tunnel(Tunnel { upstream: key, endpoint, tries, up, down, account });
        if let Some(upstream) = self.upstreams.get_mut(key) {
            upstream.used = Use::Tunnel(client_key);
        }
        self.count_answer(service, &exchange, None);
        if let Some(service) = self.directory.all.get_mut(service) {
            service.counters.tunnels += 1;
        }
        // The endpoint goes on serving it, until the tunnel ends; its pool has room for another connection.
        if let Some(endpoint) = self.endpoints.get_mut(endpoint) {
            endpoint.active += 1;
            endpoint.tunnels += 1;
        }
        self.serve_pending(endpoint);
        self.list_client(client_key);
        self.list_upstream(key);
        self.tunnel_moved(client_key);
    }

    /// Something has moved: the connection is not idle.
    pub(super) fn tunnel_moved(&mut self, key: Key) {
        let idle = self.bounds(key).map_or(u64::MAX, |bounds| bounds.idle);
        self.client_deadline(key, idle);
    }

    pub(super) fn tunnel_connected(&mut self, client: Key) {
        self.list_client(client);
    }

    /// Bytes that were read with what came before the tunnel.
    pub(super) fn tunnel_first(&mut self, key: Key, bytes: &[u8]) -> Step {
        let Some(Client { state: State::Tunnel(tunnel), service, .. }) = self.clients.get_mut(key) else {
            return Step::Wait;
        };
        let upstream = tunnel.upstream;
        tunnel.account.up += bytes.len() as u64;
        if let Some(service) = self.directory.all.get_mut(*service) {
            service.counters.bytes_up += bytes.len() as u64;
        }
        if let Some(upstream) = self.upstreams.get_mut(upstream) {
            upstream.stream.output(&mut self.buffers).extend_from_slice(bytes);
        }
        self.dirty_upstream(upstream);
        Step::Used(bytes.len())
    }

    /// The same in the other direction.
    pub(super) fn tunnel_first_down(&mut self, client_key: Key, bytes: &[u8]) -> Step {
        if let Some(client) = self.clients.get_mut(client_key) {
            client.stream.output(&mut self.buffers).extend_from_slice(bytes);
            if let State::Tunnel(tunnel) = &mut client.state {
                tunnel.account.down += bytes.len() as u64;
            }
            if let Some(service) = self.directory.all.get_mut(client.service) {
                service.counters.bytes_down += bytes.len() as u64;
            }
        }
        self.dirty_client(client_key);
        Step::Used(bytes.len())
    }

    /// From the client.
    pub(super) fn turn_tunnel_up(&mut self, key: Key) {
        let mut scratch = self.take_scratch();
        let Some(Client { stream, state: State::Tunnel(tunnel), service, paused, .. }) =
            self.clients.get_mut(key)
        else {
            self.give_scratch(scratch);
            return;
        };
        let (upstream_key, service) = (tunnel.upstream, *service);
        if let Some(upstream) = self.upstreams.get_mut(upstream_key) {
            let (target, ready) = (&mut upstream.stream, upstream.connected);
            let sent = target.total_sent;
            let before = sent + target.unsent() as u64 + tunnel.up.inside as u64;
            let flow =
                pump(stream, target, ready, &mut tunnel.up, &mut scratch, &mut self.buffers, &mut self.pipes);
            let after = target.total_sent + target.unsent() as u64 + tunnel.up.inside as u64;
            *paused = matches!(flow, Ok(Flow::Full));
            let moved = after.saturating_sub(before);
            let took = target.total_sent > sent;
            tunnel.account.up += moved;
            if let Some(service) = self.directory.all.get_mut(service) {
                service.counters.bytes_up += moved;
            }
            self.after_pump(key, upstream_key, &flow, true, moved > 0 || took);
        }
        self.give_scratch(scratch);
    }

    /// From the endpoint.
    pub(super) fn turn_tunnel_down(&mut self, upstream_key: Key, key: Key) {
        let mut scratch = self.take_scratch();
        if let (
            Some(Upstream { stream: source, paused, .. }),
            Some(Client { stream: target, state: State::Tunnel(tunnel), service, .. }),
        ) = (self.upstreams.get_mut(upstream_key), self.clients.get_mut(key))
        {
            let service = *service;
            let sent = target.total_sent;
            let before = sent + target.unsent() as u64 + tunnel.down.inside as u64;
            let mut flow = pump(
                source,
                target,
                true,
                &mut tunnel.down,
                &mut scratch,
                &mut self.buffers,
                &mut self.pipes,
            );
            // Its last words are read; nothing reaches it any more.
            if matches!(flow, Ok(Flow::Ended)) && source.broken.is_some() {
                flow = Err(Failed::Source);
            }
            let after = target.total_sent + target.unsent() as u64 + tunnel.down.inside as u64;
            *paused = matches!(flow, Ok(Flow::Full));
            let moved = after.saturating_sub(before);
            let took = target.total_sent > sent;
            tunnel.account.down += moved;
            if let Some(service) = self.directory.all.get_mut(service) {
                service.counters.bytes_down += moved;
            }
            self.after_pump(key, upstream_key, &flow, false, moved > 0 || took);
        }
        self.give_scratch(scratch);
    }

    fn after_pump(
        &mut self,
        key: Key,
        upstream_key: Key,
        flow: &Result<Flow, Failed>,
        up: bool,
        moved: bool,
    ) {
        if moved {
            self.tunnel_moved(key);
        }
        match flow {
            Ok(Flow::Drained | Flow::Full) => {}
            Ok(Flow::More) if up => self.list_client(key),
            Ok(Flow::More) => self.list_upstream(upstream_key),
            Ok(Flow::Ended) => self.half_closed(key, upstream_key, up),
            Err(Failed::Source) if !up => return self.upstream_lost(upstream_key),
            Err(Failed::Target(error)) if up => return self.upstream_broke(upstream_key, error),
            Err(_) => return self.client_failed(key),
        }
        if up {
            self.dirty_upstream(upstream_key);
        } else {
            self.dirty_client(key);
        }
    }

    fn half_closed(&mut self, key: Key, upstream_key: Key, up: bool) {
        let (Some(client), Some(upstream)) =
            (self.clients.get_mut(key), self.upstreams.get_mut(upstream_key))
        else {
            return;
        };
        let target = if up { &mut upstream.stream } else { &mut client.stream };
        target.end = true;
        if client.stream.eof && upstream.stream.eof {
            // Both have said all; what is left goes to the client, and to the endpoint as far as it takes it now.
            let _ = upstream.stream.flush(&mut self.buffers);
            if upstream.stream.unsent() == 0 && client.stream.unsent() > 0 {
                let service = client.service;
                if let State::Tunnel(tunnel) = std::mem::replace(&mut client.state, State::Closing) {
                    upstream.used = Use::Idle;
                    self.end_tunnel(service, &tunnel, None);
                    self.release_upstream(upstream_key, false);
                }
            } else if upstream.stream.unsent() == 0 {
                self.client_lost(key);
            }
        }
    }

    /// Closes a tunnel whose sides have said all, once all of it is sent.
    pub(super) fn end_tunnel_if_done(&mut self, key: Key) {
        let Some(client) = self.clients.get(key) else { return };
        let State::Tunnel(tunnel) = &client.state else { return };
        let Some(upstream) = self.upstreams.get(tunnel.upstream) else { return };
        let said = client.stream.eof && upstream.stream.eof;
        let left = client.stream.unsent() + upstream.stream.unsent() + tunnel.up.inside + tunnel.down.inside;
        if said && left == 0 {
            self.client_lost(key);
        }
    }

    /// The connection to the endpoint is gone; `failed`: there never was one.
    /// `whole`: it had said all.
    pub(super) fn tunnel_lost(&mut self, key: Key, output: Vec<u8>, failed: bool, whole: bool) {
        let Some(client) = self.clients.get_mut(key) else { return };
        let State::Tunnel(mut tunnel) = std::mem::replace(&mut client.state, State::Closing) else { return };
        let (endpoint, tries, service) = (tunnel.endpoint, tunnel.tries, client.service);
        if failed {
            self.leave_endpoint(endpoint);
            self.tunnel_to(key, Some(endpoint), tries + 1, output, tunnel.account);
            return;
        }
        // What it said before goes out.
        if tunnel.down.inside > 0 {
            tunnel.down.take_out(client.stream.output(&mut self.buffers));
        }
        if let Some(service) = self.directory.all.get_mut(service) {
            service.counters.resets += 1;
        }
        if let Some(endpoint) = self.endpoints.get_mut(endpoint) {
            endpoint.counters.resets += 1;
        }
        if !whole {
            client.stream.cut();
        }
        self.end_tunnel(service, &tunnel, Some(LocalReason::Reset));
        self.dirty_client(key);
    }

    /// A client's connection failed. A tunnel's other side hears of it, unless it has all that the client had to say.
    pub(super) fn client_failed(&mut self, key: Key) {
        if let Some(Client { stream, state: State::Tunnel(tunnel), .. }) = self.clients.get(key)
            && let Some(upstream) = self.upstreams.get_mut(tunnel.upstream)
            && (!stream.eof || tunnel.up.inside + upstream.stream.unsent() > 0)
        {
            upstream.stream.cut();
        }
        self.client_lost(key);
    }

    /// A tunnel is over.
    pub(super) fn end_tunnel(&mut self, service: Key, tunnel: &Tunnel, reason: Option<LocalReason>) {
        self.close_account(service, &tunnel.account, Some(tunnel.endpoint), tunnel.tries, reason);
        self.leave_endpoint(tunnel.endpoint);
    }

    fn leave_endpoint(&mut self, endpoint_key: Key) {
        if let Some(endpoint) = self.endpoints.get_mut(endpoint_key) {
            endpoint.active = endpoint.active.saturating_sub(1);
            endpoint.tunnels = endpoint.tunnels.saturating_sub(1);
        }
        self.forget_endpoint(endpoint_key);
    }

    fn close_account(
        &mut self,
        service: Key,
        account: &Account,
        endpoint: Option<Key>,
        tries: u8,
        reason: Option<LocalReason>,
    ) {
        if let Some(service) = self.directory.all.get_mut(service) {
            service.counters.tunnels = service.counters.tunnels.saturating_sub(1);
        }
        let ended = Ended {
            status: account.status,
            reason,
            route: &account.taken.name,
            endpoint: endpoint.and_then(|key| self.endpoints.get(key)).map(|endpoint| endpoint.addr),
            micros: self.now.saturating_sub(account.started),
            tries,
            up: account.up,
            down: account.down,
        };
        self.journal.note(account.log.as_deref(), &ended);
    }
}

/// The PROXY protocol's header, version 2. Writing to memory does not fail.
fn proxy_header(peer: SocketAddr, local: SocketAddr, out: &mut Vec<u8>) {
    out.extend_from_slice(b"\r\n\r\n\0\r\nQUIT\n\x21");
    let _ = match (peer, local) {
        (SocketAddr::V4(peer), SocketAddr::V4(local)) => out
            .write_all(&[0x11, 0, 12])
            .and_then(|()| out.write_all(&peer.ip().octets()))
            .and_then(|()| out.write_all(&local.ip().octets())),
        (peer, local) => {
            let six = |addr: SocketAddr| match addr.ip() {
                std::net::IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
                std::net::IpAddr::V6(v6) => v6.octets(),
            };
            out.write_all(&[0x21, 0, 36])
                .and_then(|()| out.write_all(&six(peer)))
                .and_then(|()| out.write_all(&six(local)))
        }
    };
    out.extend_from_slice(&peer.port().to_be_bytes());
    out.extend_from_slice(&local.port().to_be_bytes());
}
