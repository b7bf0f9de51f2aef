//! Connections to endpoints that requests share: which of them a request gets.

use super::connection::{Protocol, Shared, Upstream, Use};
use super::engine::Engine;
use super::services::Bounds;
use super::shared::Why;
use super::slab::Key;
use super::timers::NEVER;
use crate::l7::codec::LocalReason;
use crate::l7::pool::Ids;

impl Engine {
    /// A connection to an endpoint that takes requests of this form: the one with the fewest, or a new one.
    pub(super) fn shared_upstream(
        &mut self,
        client_key: Key,
        endpoint_key: Key,
        codec: Protocol,
        variant: u8,
    ) -> Result<Key, Why> {
        let gone = Why::Local(LocalReason::NoUpstream);
        let Some(port) = self.clients.get(client_key).map(|client| client.local.port()) else {
            return Err(gone);
        };
        let Some(endpoint) = self.endpoints.get(endpoint_key) else { return Err(gone) };
        let Some(service) = self.directory.all.get(endpoint.service) else { return Err(gone) };
        let (streams, longest) = (service.bounds.streams, service.bounds.pool_longest);
        let (now, fixed) = (self.now, endpoint.addr.port() != 0);
        let mut over = None;
        let mut best: Option<(usize, Key)> = None;
        let mut alike = 0;
        for key in &endpoint.shared {
            let Some(upstream) = self.upstreams.get_mut(*key) else { continue };
            let Use::Shared(shared) = &upstream.used else { continue };
            if now.saturating_sub(upstream.born) > longest {
                upstream.retired = true;
                if shared.ids.len() == 0 {
                    over = Some(*key);
                }
            }
            if upstream.retired || upstream.variant != variant || !fixed && upstream.port != port {
                continue;
            }
            alike += 1;
            let load = shared.ids.len();
            if best.is_none_or(|(least, _)| load < least) {
                best = Some((load, *key));
            }
        }
        if let Some(key) = over {
            self.upstream_lost(key);
        }
        let most = self.most_connections(endpoint_key, codec);
        let room = best.is_some_and(|(load, _)| load < streams);
        let eager = alike > 0 && alike < most && best.is_some_and(|(load, _)| load >= BUSY);
        if room && !eager || alike >= most {
            return best.filter(|_| room).map(|(_, key)| key).ok_or(Why::Local(LocalReason::Overloaded));
        }
        let used = Use::Shared(Shared {
            ids: Ids::new(codec.0.id_bits()),
            waiters: Vec::new(),
            asked_alive: false,
            asked_at: now,
            earliest: NEVER,
        });
        let dialled = self.dial(endpoint_key, port, codec, variant, used);
        if let (Some(key), Some(endpoint)) = (dialled, self.endpoints.get_mut(endpoint_key)) {
            endpoint.shared.push(key);
        }
        if dialled.is_none() {
            self.not_dialled(endpoint_key);
        }
        dialled.or(best.filter(|_| room).map(|(_, key)| key)).ok_or(Why::Unreached)
    }
}

impl Engine {
    /// When a shared connection is to be looked at; never, if it is no such.
    pub(super) fn shared_until(&self, key: Key) -> u64 {
        let Some(upstream) = self.upstreams.get(key) else { return NEVER };
        let Use::Shared(shared) = &upstream.used else { return NEVER };
        let Some(bounds) = self.pool_bounds(upstream) else { return shared.earliest };
        let beat = self.now.saturating_add(bounds.heartbeat);
        let until = shared.earliest.min(beat);
        let old = upstream.born.saturating_add(bounds.pool_longest);
        let until = if upstream.retired { until } else { until.min(old) };
        // With requests under way the end of one comes first.
        if shared.is_unused() { until.min(shared.asked_at.saturating_add(bounds.pool_idle)) } else { until }
    }

    /// Whether a shared connection is to be closed: too old, or to take no more, or long without requests, and none is under way.
    /// One that is too old takes no more from now on.
    pub(super) fn shared_is_over(&mut self, key: Key) -> bool {
        let Some(upstream) = self.upstreams.get(key) else { return false };
        let Use::Shared(shared) = &upstream.used else { return false };
        let bounds = self.pool_bounds(upstream);
        let old = bounds.is_none_or(|bounds| self.now.saturating_sub(upstream.born) >= bounds.pool_longest);
        let silent = bounds.is_none_or(|bounds| self.now.saturating_sub(shared.asked_at) >= bounds.pool_idle);
        let retired = upstream.retired || old;
        let over = shared.is_unused() && (retired || silent);
        if let Some(upstream) = self.upstreams.get_mut(key) {
            upstream.retired = retired;
        }
        over
    }

    fn pool_bounds(&self, upstream: &Upstream) -> Option<&Bounds> {
        let endpoint = self.endpoints.get(upstream.endpoint)?;
        self.directory.all.get(endpoint.service).map(|service| &service.bounds)
    }
}

impl Shared {
    /// Whether no request is under way. A heartbeat is none.
    fn is_unused(&self) -> bool {
        self.ids.len() <= usize::from(self.asked_alive)
    }
}

/// Requests on a connection from which on another is made, where there may be more.
const BUSY: usize = 256;
