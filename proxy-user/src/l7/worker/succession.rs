//! Services that leave the snapshot with connections on them, and those that follow.
//!
//! A connection belongs to the service that has the address which it dialled. Where that is another one after a change, or the
//! same once more, the connection goes on with it: requests under way end by themselves, those that come are the new one's.
//! Where there is none, idle connections are closed; the others once nothing is under way and they are silent, and what they ask
//! until then is answered with an error.

use std::rc::Rc;

use super::connection::State;
use super::engine::Engine;
use super::slab::Key;
use crate::l7::pool::Chooser;

impl Engine {
    /// A service has left the snapshot: it is kept for its connections, without endpoints.
    pub(super) fn end_service(&mut self, key: Key) {
        let Some(service) = self.directory.all.get_mut(key) else { return };
        if service.gone {
            return;
        }
        service.gone = true;
        service.plan.endpoints.clear();
        self.directory.by_name.remove(&service.name);
        let members = service.chooser.members().to_vec();
        service.chooser = Chooser::new(&service.plan.rules, Vec::new(), &self.endpoints, 0);
        for endpoint in members {
            self.end_endpoint(endpoint);
        }
    }

    /// A service that has left is there again, before its last connection has ended: they are its own again.
    pub(super) fn revive(&mut self, name: &str) -> Option<Key> {
        let (key, _) =
            self.directory.all.iter().find(|(_, service)| service.gone && *service.name == *name)?;
        let service = self.directory.all.get_mut(key)?;
        service.gone = false;
        self.directory.by_name.insert(Rc::clone(&service.name), key);
        for client in self.clients_of(key) {
            self.goes_on(client);
        }
        Some(key)
    }

    /// Connections of services that have left go on with the service that has their address now, if it speaks their protocol.
    /// One with a request of HTTP/1 ends with its answer.
    pub(super) fn rehome(&mut self) {
        if !self.directory.all.iter().any(|(_, service)| service.gone && service.counters.active > 0) {
            return;
        }
        for key in self.clients.keys() {
            let Some(client) = self.clients.get_mut(key) else { continue };
            let (State::Idle | State::Shared(_), Some(codec)) = (&client.state, client.codec) else {
                continue;
            };
            let Some(to) = self.directory.at(client.local) else { continue };
            let gone = self.directory.all.get(client.service).is_none_or(|service| service.gone);
            let Some(next) = self.directory.all.get_mut(to).filter(|next| gone && next.speaks(codec)) else {
                continue;
            };
            next.counters.active += 1;
            client.session.limits = next.bounds.codec;
            let before = std::mem::replace(&mut client.service, to);
            if let Some(before) = self.directory.all.get_mut(before) {
                before.counters.active = before.counters.active.saturating_sub(1);
            }
            self.goes_on(key);
        }
    }

    /// What a service that has left still has of clients is to go.
    pub(super) fn send_away(&mut self, service: Key) {
        self.close_idle_clients(Some(service));
        for client in self.clients_of(service) {
            self.wind_down(client);
        }
    }

    /// A client that was to go need not.
    fn goes_on(&mut self, key: Key) {
        let Some(client) = self.clients.get_mut(key) else { return };
        if !client.ending || self.drain_until.is_some() {
            return;
        }
        client.ending = false;
        if !client.partial && matches!(client.state, State::Shared(_)) {
            let patience = self.patience(key);
            self.client_deadline(key, patience);
        }
    }

    fn clients_of(&self, service: Key) -> Vec<Key> {
        self.clients.iter().filter(|(_, client)| client.service == service).map(|(key, _)| key).collect()
    }

    /// Forgets services that have left, once nothing holds them.
    pub(super) fn forget_services(&mut self) {
        let over: Vec<Key> =
            self.directory.all.iter().filter(|(_, service)| service.is_over()).map(|(key, _)| key).collect();
        for key in over {
            self.directory.all.remove(key);
        }
    }
}
