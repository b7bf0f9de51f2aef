//! A copy of a request for another service: whatever becomes of it, the request does not wait for it.

use super::accept::is_complete;
use super::client::Step;
use super::connection::{Mirrored, Pending, Protocol, State, Use};
use super::engine::Engine;
use super::exchange::client_note;
use super::poll::Token;
use super::slab::Key;
use crate::l7::codec::{Asked, Body, Decoded, Edits, Head, Kind};
use crate::l7::route::Taken;

impl Engine {
    /// Sends a copy of a request's head, if its route wants one; its body follows, if it has one. The request is under way, or
    /// its client might be closed to make room for the copy.
    pub(super) fn mirror_exchange(
        &mut self,
        key: Key,
        codec: Protocol,
        head: &Head,
        taken: &Taken,
        hash: u64,
    ) {
        let Some(name) = taken.mirrors() else { return };
        let request = self.take_held(key);
        let whole = is_complete(&head.body);
        let sent = self.mirror_to(key, codec, name, hash, &head.asked, whole, &request);
        self.count_mirror(key, sent.is_some());
        if let Some(State::Busy(exchange)) = self.clients.get_mut(key).map(|client| &mut client.state) {
            exchange.held = request;
            exchange.mirror = sent.filter(|_| !whole);
        }
    }

    #[expect(clippy::too_many_arguments, reason = "each is its own thing, and it is called once")]
    fn mirror_to(
        &mut self,
        client_key: Key,
        codec: Protocol,
        name: &str,
        hash: u64,
        asked: &Asked,
        whole: bool,
        request: &[u8],
    ) -> Option<Key> {
        let client = self.clients.get(client_key)?;
        let (service, port) = (client.service, client.local.port());
        let endpoint = self.mirror_endpoint(name, codec, hash)?;
        if self.mirrors >= MOST || request.len() > MOST_WAITING {
            return None;
        }
        let used = Use::Mirror(Mirrored { service, whole, answer: None, keep: false });
        let key = match self.idle_upstream(endpoint, port) {
            Some(key) => {
                self.upstreams.get_mut(key)?.used = used;
                key
            }
            None => {
                let most = self.most_connections(endpoint, codec);
                if self.endpoints.get(endpoint)?.pooled() >= most {
                    return None;
                }
                self.dial(endpoint, port, codec, 0, used)?
            }
        };
        self.mirrors += 1;
        let endpoint = self.endpoints.get_mut(endpoint)?;
        endpoint.active += 1;
        endpoint.counters.requests += 1;
        let upstream = self.upstreams.get_mut(key)?;
        upstream.requests += 1;
        upstream.session.asked = *asked;
        upstream.session.searched = 0;
        upstream.stream.total_sent = 0;
        upstream.stream.output(&mut self.buffers).extend_from_slice(request);
        if upstream.connected {
            self.mirror_connected(key);
        }
        self.dirty_upstream(key);
        Some(key)
    }

    /// An endpoint of the service that gets copies, if it speaks the protocol.
    fn mirror_endpoint(&mut self, name: &str, codec: Protocol, hash: u64) -> Option<Key> {
        let service = self.directory.named(name)?;
        let speaks = self.directory.all.get(service).is_some_and(|service| {
            let all = std::iter::once(&service.codec).chain(&service.candidates);
            all.into_iter().any(|one| one.0.name() == codec.0.name())
        });
        if speaks { self.choose(service, hash, None) } else { None }
    }

    /// Its time runs from now on: before, that of the connection did.
    pub(super) fn mirror_connected(&mut self, key: Key) {
        let until = self.now.saturating_add(PATIENCE);
        if let Some(upstream) = self.upstreams.get_mut(key) {
            self.timers.set(&mut upstream.deadline, Token::Upstream(key).bits(), until);
        }
    }

    /// A part of the request's body; `whole`: the last.
    pub(super) fn mirror_body(&mut self, key: Key, part: &[u8], whole: bool) {
        let Some(upstream) = self.upstreams.get_mut(key) else { return };
        let Use::Mirror(mirrored) = &mut upstream.used else { return };
        mirrored.whole = whole;
        if upstream.stream.unsent() + part.len() > MOST_WAITING {
            self.upstream_lost(key);
            return;
        }
        upstream.stream.output(&mut self.buffers).extend_from_slice(part);
        self.dirty_upstream(key);
    }

    /// Bytes of the answer, which go nowhere.
    pub(super) fn mirror_answer(&mut self, key: Key, bytes: &[u8]) -> Step {
        let Some(upstream) = self.upstreams.get_mut(key) else { return Step::Wait };
        let Use::Mirror(mirrored) = &mut upstream.used else { return Step::Wait };
        if bytes.is_empty() {
            return Step::Wait;
        }
        let (used, done) = match &mut mirrored.answer {
            None => match upstream.codec.0.decode(&mut upstream.session, bytes) {
                Ok(Decoded::More(need)) => return Step::Need(need),
                Ok(Decoded::Head(head)) if head.kind == Kind::Interim => return Step::Used(head.len),
                Ok(Decoded::Head(head)) if head.kind == Kind::Response && head.body != Body::Tunnel => {
                    mirrored.keep = head.keep;
                    mirrored.answer = Some(head.body);
                    (head.len, is_complete(&head.body))
                }
                Ok(Decoded::Head(_)) | Err(_) => {
                    self.upstream_lost(key);
                    return Step::Wait;
                }
            },
            Some(body) => match body.advance(bytes, &mut |_| {}) {
                Ok(progress) => (progress.used, progress.done),
                Err(_) => {
                    self.upstream_lost(key);
                    return Step::Wait;
                }
            },
        };
        if done {
            let clean = used == bytes.len();
            self.finish_mirror(key, clean);
        }
        Step::Used(used)
    }

    /// The endpoint has closed: whether that was the end of an answer.
    pub(super) fn mirror_ended(&mut self, key: Key) -> bool {
        let ended = matches!(
            self.upstreams.get(key).map(|upstream| &upstream.used),
            Some(Use::Mirror(Mirrored { answer: Some(Body::UntilClose), .. }))
        );
        if ended {
            self.finish_mirror(key, false);
        }
        ended
    }

    fn finish_mirror(&mut self, key: Key, clean: bool) {
        let Some(upstream) = self.upstreams.get_mut(key) else { return };
        let endpoint = upstream.endpoint;
        let Use::Mirror(mirrored) = std::mem::replace(&mut upstream.used, Use::Idle) else { return };
        self.mirror_over(endpoint);
        self.release_upstream(key, clean && mirrored.keep && mirrored.whole);
    }

    /// Its connection is gone.
    pub(super) fn mirror_lost(&mut self, endpoint: Key, mirrored: &Mirrored) {
        self.mirror_over(endpoint);
        if let Some(service) = self.directory.all.get_mut(mirrored.service) {
            service.counters.mirrors_lost += 1;
        }
    }

    fn mirror_over(&mut self, endpoint: Key) {
        self.mirrors = self.mirrors.saturating_sub(1);
        if let Some(endpoint) = self.endpoints.get_mut(endpoint) {
            endpoint.active = endpoint.active.saturating_sub(1);
        }
        self.forget_endpoint(endpoint);
    }

    /// The same for requests that share connections.
    pub(super) fn mirror_shared(
        &mut self,
        client_key: Key,
        codec: Protocol,
        head: &Head,
        message: &[u8],
        taken: &std::rc::Rc<Taken>,
        hash: u64,
    ) {
        if let Some(name) = taken.mirrors() {
            let endpoint = self.mirror_endpoint(name, codec, hash);
            let sent = endpoint.and_then(|endpoint| {
                self.mirror_shared_to(client_key, endpoint, codec, head, message, taken)
            });
            self.count_mirror(client_key, sent.is_some());
        }
    }

    fn mirror_shared_to(
        &mut self,
        client_key: Key,
        endpoint: Key,
        codec: Protocol,
        head: &Head,
        message: &[u8],
        taken: &std::rc::Rc<Taken>,
    ) -> Option<()> {
        let key = self.shared_upstream(client_key, endpoint, codec, head.variant).ok()?;
        let client = self.clients.get(client_key)?;
        let service = self.directory.all.get(client.service)?;
        let upstream = self.upstreams.get_mut(key)?;
        let waiting = upstream.stream.unsent();
        if waiting > 0 && waiting + message.len() > MOST_WAITING || self.held_up > self.most_held {
            return None;
        }
        let Use::Shared(shared) = &mut upstream.used else { return None };
        let deadline = self.now.saturating_add(PATIENCE);
        let copy = Pending {
            client: None,
            asked: head.asked,
            taken: std::rc::Rc::clone(taken),
            service: client.service,
            started: self.now,
            deadline,
            at: upstream.stream.total_sent + waiting as u64,
            len: u32::try_from(message.len()).unwrap_or(u32::MAX),
            tries: u8::MAX,
            hash: 0,
            log: None,
        };
        let id = shared.ids.insert(copy).ok()?;
        let note = client_note(service, client.peer.ip());
        let out = upstream.stream.output(&mut self.buffers);
        let before = out.len();
        let forwarded = crate::l7::route::with_edits(&taken.request_headers, |headers| {
            let edits = Edits { id: Some(id), headers, client: note, ..Edits::default() };
            codec.0.forward(message, head, &edits, out)
        });
        let Ok(forwarded) = forwarded else {
            out.truncate(before);
            shared.ids.take(id);
            return None;
        };
        out.extend_from_slice(message.get(forwarded.used..).unwrap_or_default());
        upstream.requests += 1;
        shared.asked_at = self.now;
        if head.kind == Kind::OneWay {
            shared.ids.take(id);
        } else if deadline < shared.earliest {
            shared.earliest = deadline;
            if upstream.connected {
                self.timers.set_sooner(&mut upstream.deadline, Token::Upstream(key).bits(), deadline);
            }
        }
        if let Some(endpoint) = self.endpoints.get_mut(endpoint) {
            endpoint.counters.requests += 1;
        }
        self.dirty_upstream(key);
        Some(())
    }

    fn count_mirror(&mut self, client: Key, sent: bool) {
        let service = self.clients.get(client).map(|client| client.service);
        if let Some(service) = service.and_then(|service| self.directory.all.get_mut(service)) {
            service.counters.mirrored += u64::from(sent);
            service.counters.mirrors_lost += u64::from(!sent);
        }
    }
}

/// Copies under way at most, on connections that have one at a time.
const MOST: u32 = 256;
/// Bytes that wait for an endpoint that gets copies: above, the copy is given up.
const MOST_WAITING: usize = 64 << 10;
/// For the answer to a copy, in microseconds.
const PATIENCE: u64 = 30_000_000;
