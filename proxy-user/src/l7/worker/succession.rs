//! Services that leave the snapshot with connections on them, and those that follow.
//!
//! A connection belongs to the service that has the address which it dialled. Where that is another one after a change, or the
//! same once more, the connection goes on with it: requests under way end by themselves, those that come are the new one's. A
//! service whose VIP moves keeps its connections, as long as no other has the VIP that they dialled.
//! Where there is none, idle connections are closed; the others once nothing is under way and they are silent, and what they ask
//! until then is answered with an error.

use std::collections::HashMap;
use std::rc::Rc;

use super::connection::State;
use super::engine::Engine;
use super::services::Service;
use super::slab::Key;
use crate::l7::codec::PoolMode;
use crate::l7::pool::Chooser;
use crate::l7::snapshot::Snapshot;

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

    /// Services that have left and have the name and the VIP of one of this snapshot.
    pub(super) fn returning(&self, snapshot: &Snapshot) -> HashMap<Rc<str>, Key> {
        let gone = self.directory.all.iter().filter(|(_, service)| service.gone);
        let again = gone.filter(|(_, service)| {
            snapshot.services.get(&*service.name).is_some_and(|plan| plan.vip == service.plan.vip)
        });
        again.map(|(key, service)| (Rc::clone(&service.name), key)).collect()
    }

    /// A service that has left is there again, before its last connection has ended: they are its own again.
    pub(super) fn revive(&mut self, key: Key) {
        if let Some(service) = self.directory.all.get_mut(key) {
            service.gone = false;
            self.directory.by_name.insert(Rc::clone(&service.name), key);
        }
    }

    /// Addresses are other services' than before: connections go on with the service that has theirs now, if it speaks their
    /// protocol. One with a request of HTTP/1 ends with its answer.
    pub(super) fn rehome(&mut self) {
        for key in self.clients.keys() {
            let Some(client) = self.clients.get_mut(key) else { continue };
            let Some(to) = self.directory.at(client.local) else { continue };
            let shares = matches!(client.state, State::Shared(_));
            match &mut client.state {
                State::Shared(_) | State::Idle => {}
                State::Busy(exchange) => {
                    exchange.close |= to != client.service;
                    continue;
                }
                State::Detecting | State::Tunnel(_) | State::Closing => continue,
            }
            match (self.rehome_client(key), shares) {
                (true, _) => self.goes_on(key),
                (false, true) => self.wind_down(key),
                (false, false) => self.client_lost(key),
            }
        }
    }

    /// A connection is the service's that has its address now. False: there is none that speaks its protocol.
    pub(super) fn rehome_client(&mut self, key: Key) -> bool {
        let Some(client) = self.clients.get_mut(key) else { return false };
        let (Some(to), Some(codec)) = (self.directory.at(client.local), client.codec) else { return false };
        if to == client.service {
            return true;
        }
        let passed_on = codec.0.pool() == PoolMode::OneToOne;
        let takes = |next: &&mut Service| next.speaks(codec) || passed_on && next.falls_back();
        let Some(next) = self.directory.all.get_mut(to).filter(takes) else { return false };
        next.counters.active += 1;
        client.session.limits = next.bounds.codec;
        let before = std::mem::replace(&mut client.service, to);
        if let Some(service) = self.directory.all.get_mut(before) {
            service.counters.active = service.counters.active.saturating_sub(1);
            if service.is_over() {
                self.directory.all.remove(before);
            }
        }
        true
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
