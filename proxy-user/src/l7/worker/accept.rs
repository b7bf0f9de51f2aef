//! New connections of clients.

use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::{SocketFlags, acceptfrom_with, getsockname};

use super::connection::{Client, State};
use super::engine::Engine;
use super::poll::Token;
use super::slab::Key;
use super::stream::Stream;
use super::timers::{Deadline, NEVER};
use crate::l7::codec::{Body, LocalReason, PoolMode, Session, Side};

impl Engine {
    /// Begins to accept.
    pub(super) fn listen(&mut self) -> std::io::Result<()> {
        for (listener, token) in [(&self.v4, Token::ListenerV4), (&self.v6, Token::ListenerV6)] {
            if let Some(listener) = listener {
                self.poll.add_level(listener, token)?;
            }
        }
        Ok(())
    }

    /// Accepts what waits, a part of it at a time.
    pub(super) fn accept(&mut self, token: Token) {
        for _ in 0..AT_ONCE {
            let listener: Option<&TcpListener> = match token {
                Token::ListenerV4 => self.v4.as_ref(),
                _ => self.v6.as_ref(),
            };
            let Some(listener) = listener else { return };
            match acceptfrom_with(listener, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC) {
                Ok((fd, peer)) => {
                    if let Some(peer) = peer.and_then(|peer| SocketAddr::try_from(peer).ok()) {
                        self.accepted(fd, peer);
                    }
                }
                Err(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM) => {
                    // What waits goes on waiting; idle connections may give descriptors back.
                    if !self.close_some_idle() {
                        self.stop_accepting();
                    }
                    return;
                }
                Err(Errno::INTR | Errno::CONNABORTED) => {}
                Err(_) => return,
            }
        }
    }

    /// Descriptors have run out, and no idle connection has any: to be told again and again that somebody waits would only
    /// burn time.
    fn stop_accepting(&mut self) {
        for listener in [&self.v4, &self.v6].into_iter().flatten() {
            self.poll.remove(listener);
        }
        self.accept_again = self.now.saturating_add(BREATH);
    }

    /// Accepts again, after a while without descriptors.
    pub(super) fn accept_if_due(&mut self) {
        if self.now < self.accept_again {
            return;
        }
        self.accept_again = NEVER;
        if self.listen().is_err() {
            self.stop_accepting();
        }
    }

    fn accepted(&mut self, fd: OwnedFd, peer: SocketAddr) {
        let local = getsockname(&fd).ok().and_then(|local| SocketAddr::try_from(local).ok());
        let Some((local, service_key)) = local.and_then(|local| Some((local, self.directory.at(local)?)))
        else {
            self.stats.strays += 1;
            return;
        };
        self.stats.accepted += 1;
        let Some(service) = self.directory.all.get_mut(service_key) else { return };
        service.counters.accepted += 1;
        if service.counters.active >= service.bounds.connections {
            service.counters.local(LocalReason::Overloaded);
            self.log_overload(service_key, peer);
            return;
        }
        let detecting = !service.candidates.is_empty();
        let client = Client {
            stream: Stream::new(fd),
            service: service_key,
            peer,
            local,
            codec: (!detecting).then_some(service.codec),
            session: Session::new(Side::Client, service.bounds.codec),
            deadline: Deadline::default(),
            state: State::Detecting,
            paused: false,
            stalled: false,
            fresh_until: self.now.saturating_add(FRESH),
            partial: false,
            ending: false,
            held: 0,
            variant: 0,
            skip: 0,
            born: self.now,
            requests: 0,
            untaken: (usize::MAX, 0),
        };
        let key = self.clients.next_key();
        if self.poll.add(&client.stream.fd, Token::Client(key)).is_err() {
            return;
        }
        service.counters.active += 1;
        let key = self.clients.insert(client);
        if detecting {
            self.client_deadline(key, DETECTION);
        } else {
            self.begin_protocol(key);
        }
    }

    /// The connection's codec is known.
    pub(super) fn begin_protocol(&mut self, key: Key) {
        // While it was detected, its address may have become another service's.
        self.rehome_client(key);
        let Some(client) = self.clients.get_mut(key) else { return };
        let Some(codec) = client.codec else { return };
        match codec.0.pool() {
            PoolMode::PingPong => client.state = State::Idle,
            PoolMode::Multiplex => {
                client.state = State::Shared(0);
                let gone = self.directory.all.get(client.service).is_none_or(|service| service.gone);
                client.ending = gone || self.drain_until.is_some();
            }
            PoolMode::OneToOne => {
                self.begin_tunnel(key);
                return;
            }
        }
        let patience = self.patience(key);
        self.client_deadline(key, patience);
    }

    /// Moves a client's deadline to so many microseconds from now.
    #[inline]
    pub(super) fn client_deadline(&mut self, key: Key, after: u64) {
        let at = self.now.saturating_add(after);
        if let Some(client) = self.clients.get_mut(key) {
            self.timers.set(&mut client.deadline, Token::Client(key).bits(), at);
        }
    }

    /// Bounds of a client's service.
    #[inline]
    pub(super) fn bounds(&self, client: Key) -> Option<&super::services::Bounds> {
        let service = self.clients.get(client)?.service;
        self.directory.all.get(service).map(|service| &service.bounds)
    }
}

/// Whether nothing of a body is to come.
pub(super) fn is_complete(body: &Body) -> bool {
    matches!(body, Body::None)
}

/// Connections accepted before others have their turn.
const AT_ONCE: usize = 64;
/// For a new connection's first bytes, in microseconds, before it may be closed to make room.
const FRESH: u64 = 1_000_000;
/// Without accepting, where there are no descriptors, in microseconds.
const BREATH: u64 = 100_000;
/// For the first bytes that tell a protocol, in microseconds.
const DETECTION: u64 = 10_000_000;
