//! Requests on shared connections whose client has left. Their ids do not come again for 2^31 requests
//! ([`crate::l7::pool::Ids`]), so that a late answer names nobody: nothing needs to be kept of them.

use super::close::CLIENT_LEFT;
use super::connection::{Pending, State, Use};
use super::engine::Engine;
use super::timers::NEVER;

/// Within this time, in microseconds, a client's requests end after it has left. Many that leave cost one look at all
/// requests.
const SOON: u64 = 100_000;

impl Engine {
    /// A client with requests on shared connections is gone, or takes no more answers.
    pub(super) fn has_left(&mut self) {
        self.leavers_at = self.leavers_at.min(self.now.saturating_add(SOON));
    }

    /// Ends the requests of those that have left.
    pub(super) fn end_of_leavers(&mut self) {
        if self.now < self.leavers_at {
            return;
        }
        self.leavers_at = NEVER;
        for key in self.upstreams.keys() {
            let Some(upstream) = self.upstreams.get_mut(key) else { continue };
            let endpoint = upstream.endpoint;
            let Use::Shared(shared) = &mut upstream.used else { continue };
            let clients = &self.clients;
            let left = |pending: &Pending| {
                let client = pending.client.map(|client| clients.get(client));
                client.is_some_and(|client| {
                    !client.is_some_and(|there| matches!(there.state, State::Shared(_)))
                })
            };
            let ids: Vec<u64> =
                shared.ids.iter().filter(|(_, pending)| left(pending)).map(|(id, _)| id).collect();
            let ended: Vec<Pending> = ids.into_iter().filter_map(|id| shared.ids.take(id)).collect();
            for pending in &ended {
                self.count_shared(endpoint, pending, CLIENT_LEFT, None);
            }
            self.close_if_done(key);
        }
        self.forget_services();
    }
}
