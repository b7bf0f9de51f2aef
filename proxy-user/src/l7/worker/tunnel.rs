//! Bytes without messages: each connection of a client has one of its own to an endpoint, and bytes go both ways until both
//! sides have said all.

use std::io::{self, Write as _};
use std::net::SocketAddr;

use super::buffers::Buffers;
use super::client::{HIGH, Step};
use super::connection::{Client, State, Tunnel, Upstream, Use};
use super::engine::Engine;
use super::exchange::hash_address;
use super::slab::Key;
use super::splice::{Bulk, Moved, Pipes};
use super::stream::Stream;
use crate::l7::codec::LocalReason;
use crate::l7::pool::Verdict;
use crate::l7::snapshot::ClientAddress;

/// Endpoints tried for one connection.
const TRIES: u8 = 3;
/// Reads of one direction in a row.
const READS: usize = 8;

/// What moving bytes came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flow {
    /// Nothing more is there.
    Drained,
    /// The other side has to take some first.
    Full,
    /// There may be more.
    More,
    /// The source has said all.
    Ended,
}

impl Engine {
    /// The client's connection gets one of its own.
    pub(super) fn begin_tunnel(&mut self, key: Key) {
        let Some(client) = self.clients.get(key) else { return };
        let (service_key, peer) = (client.service, client.peer.ip());
        let Some(service) = self.directory.all.get_mut(service_key) else { return };
        let denied = service.access.as_ref().is_some_and(|list| !list.allows_address(peer));
        if denied {
            service.counters.local(LocalReason::Denied);
            self.client_lost(key);
            return;
        }
        service.counters.requests += 1;
        self.tunnel_to(key, None, 0, Vec::new());
    }

    fn tunnel_to(&mut self, key: Key, mut before: Option<Key>, mut tries: u8, output: Vec<u8>) {
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
                endpoint.counters.requests += 1;
            }
            if let Some(client) = self.clients.get_mut(key) {
                let (up, down) = (Bulk::default(), Bulk::default());
                client.state = State::Tunnel(Tunnel { upstream: upstream_key, endpoint, tries, up, down });
            }
            self.tunnel_moved(key);
            return;
        }
        if let Some(service) = self.directory.all.get_mut(service_key) {
            service.counters.failed += 1;
            service.counters.local(if tries == 0 { LocalReason::NoUpstream } else { LocalReason::Reset });
        }
        self.client_lost(key);
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
        let upstream = match self.clients.get(key).map(|client| &client.state) {
            Some(State::Tunnel(tunnel)) => tunnel.upstream,
            _ => return Step::Wait,
        };
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
            let before =
                upstream.stream.total_sent + upstream.stream.unsent() as u64 + tunnel.up.inside as u64;
            let (target, ready) = (&mut upstream.stream, upstream.connected);
            let flow =
                pump(stream, target, ready, &mut tunnel.up, &mut scratch, &mut self.buffers, &mut self.pipes);
            let after = target.total_sent + target.unsent() as u64 + tunnel.up.inside as u64;
            *paused = matches!(flow, Ok(Flow::Full));
            let moved = after.saturating_sub(before);
            if let Some(service) = self.directory.all.get_mut(service) {
                service.counters.bytes_up += moved;
            }
            self.after_pump(key, upstream_key, &flow, true, moved > 0);
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
            let before = target.total_sent + target.unsent() as u64 + tunnel.down.inside as u64;
            let flow = pump(
                source,
                target,
                true,
                &mut tunnel.down,
                &mut scratch,
                &mut self.buffers,
                &mut self.pipes,
            );
            let after = target.total_sent + target.unsent() as u64 + tunnel.down.inside as u64;
            *paused = matches!(flow, Ok(Flow::Full));
            let moved = after.saturating_sub(before);
            if let Some(service) = self.directory.all.get_mut(service) {
                service.counters.bytes_down += moved;
            }
            self.after_pump(key, upstream_key, &flow, false, moved > 0);
        }
        self.give_scratch(scratch);
    }

    fn after_pump(&mut self, key: Key, upstream_key: Key, flow: &io::Result<Flow>, up: bool, moved: bool) {
        if moved {
            self.tunnel_moved(key);
        }
        match flow {
            Ok(Flow::Drained) => {}
            Ok(Flow::Full) => {}
            Ok(Flow::More) if up => self.list_client(key),
            Ok(Flow::More) => self.list_upstream(upstream_key),
            Ok(Flow::Ended) => self.half_closed(key, upstream_key, up),
            Err(_) if up => self.client_lost(key),
            Err(_) => {
                self.upstream_lost(upstream_key);
                return;
            }
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
                if let State::Tunnel(tunnel) = std::mem::replace(&mut client.state, State::Closing) {
                    upstream.used = Use::Idle;
                    self.end_tunnel(tunnel.endpoint);
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
    pub(super) fn tunnel_lost(&mut self, key: Key, output: Vec<u8>, failed: bool) {
        let Some(client) = self.clients.get_mut(key) else { return };
        let State::Tunnel(tunnel) = std::mem::replace(&mut client.state, State::Closing) else { return };
        let (endpoint, tries, service) = (tunnel.endpoint, tunnel.tries, client.service);
        if failed {
            self.end_tunnel(endpoint);
            self.tunnel_to(key, Some(endpoint), tries + 1, output);
            return;
        }
        if let Some(service) = self.directory.all.get_mut(service) {
            service.counters.resets += 1;
        }
        if let Some(endpoint) = self.endpoints.get_mut(endpoint) {
            endpoint.counters.resets += 1;
        }
        self.end_tunnel(endpoint);
        // What it said before goes out.
        self.dirty_client(key);
    }

    pub(super) fn end_tunnel(&mut self, endpoint_key: Key) {
        if let Some(endpoint) = self.endpoints.get_mut(endpoint_key) {
            endpoint.active = endpoint.active.saturating_sub(1);
        }
        self.forget_endpoint(endpoint_key);
    }
}

/// Moves what is there from one socket to the other. `ready`: the target is connected.
fn pump(
    source: &mut Stream,
    target: &mut Stream,
    ready: bool,
    bulk: &mut Bulk,
    scratch: &mut [u8],
    buffers: &mut Buffers,
    pipes: &mut Pipes,
) -> io::Result<Flow> {
    if !source.input.is_empty() {
        target.output(buffers).extend_from_slice(&source.input);
        buffers.take_back(&mut source.input);
    }
    for _ in 0..READS {
        if target.unsent() > HIGH {
            return Ok(Flow::Full);
        }
        if bulk.on && ready {
            match splice(source, target, bulk, buffers, pipes)? {
                Flow::More => continue,
                flow => return Ok(flow),
            }
        }
        if source.eof {
            return Ok(Flow::Ended);
        }
        if !source.readable {
            return Ok(Flow::Drained);
        }
        let count = source.receive(scratch)?;
        if source.eof {
            return Ok(Flow::Ended);
        }
        bulk.note(count);
        target.put(scratch.get(..count).unwrap_or_default(), ready, buffers)?;
        if !source.readable {
            return Ok(Flow::Drained);
        }
    }
    Ok(Flow::More)
}

/// One pipe full.
fn splice(
    source: &mut Stream,
    target: &mut Stream,
    bulk: &mut Bulk,
    buffers: &mut Buffers,
    pipes: &mut Pipes,
) -> io::Result<Flow> {
    if target.unsent() > 0 {
        target.flush(buffers)?;
        if target.unsent() > 0 {
            return Ok(Flow::Full);
        }
    }
    if bulk.inside == 0 {
        if !source.readable || source.eof {
            bulk.rest(pipes);
            return Ok(if source.eof { Flow::Ended } else { Flow::Drained });
        }
        match bulk.fill(&source.fd, pipes)? {
            Moved::Bytes(count) => source.total_received += count as u64,
            Moved::Blocked => {
                source.readable = false;
                bulk.rest(pipes);
                return Ok(Flow::Drained);
            }
            Moved::End => {
                source.eof = true;
                source.readable = false;
                bulk.rest(pipes);
                return Ok(Flow::Ended);
            }
        }
    }
    match bulk.drain(&target.fd)? {
        Moved::Bytes(count) => target.total_sent += count as u64,
        Moved::Blocked | Moved::End => {}
    }
    if bulk.inside > 0 {
        target.writable = false;
        return Ok(Flow::Full);
    }
    bulk.rest(pipes);
    Ok(Flow::More)
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
