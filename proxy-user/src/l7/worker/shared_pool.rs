//! Connections to endpoints that requests share: which of them a request gets.

use super::connection::{Protocol, Shared, Use};
use super::engine::Engine;
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
        let bounds = &service.bounds;
        let (now, fixed) = (self.now, endpoint.addr.port() != 0);
        let mut best: Option<(usize, Key)> = None;
        let mut alike = 0;
        for key in &endpoint.shared {
            let Some(upstream) = self.upstreams.get(*key) else { continue };
            let Use::Shared(shared) = &upstream.used else { continue };
            let old = now.saturating_sub(upstream.born) > bounds.pool_longest;
            if upstream.retired || old || upstream.variant != variant || !fixed && upstream.port != port {
                continue;
            }
            alike += 1;
            let load = shared.ids.len();
            if best.is_none_or(|(least, _)| load < least) {
                best = Some((load, *key));
            }
        }
        let most = self.most_connections(endpoint_key, codec);
        let room = best.is_some_and(|(load, _)| load < bounds.streams);
        let eager = alike > 0 && alike < most && best.is_some_and(|(load, _)| load >= BUSY);
        if room && !eager || alike >= most {
            return best.filter(|_| room).map(|(_, key)| key).ok_or(Why::Local(LocalReason::Overloaded));
        }
        let used = Use::Shared(Shared {
            ids: Ids::new(codec.0.id_bits()),
            waiters: Vec::new(),
            asked_alive: false,
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

/// Requests on a connection from which on another is made, where there may be more.
const BUSY: usize = 256;
