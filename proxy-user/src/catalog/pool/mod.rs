//! What all registries and health checks say, as one snapshot: a state machine without a clock, tasks or I/O.
//!
//! [`Pool::report`] and [`Pool::verdict`] take what comes, cheaply and one by one; [`Pool::tick`] works out what has changed
//! since, once for a burst. Each service is worked out for itself: its sources' sets (`feed`, `word`) become its endpoints as far
//! as the guards let them (`member`, `guard`), `combine` chooses among them (`choice`), health and all else decide where each
//! stands (`standing`: the page to read first). Unknown removes nothing; additions never wait.

mod address;
mod change;
mod choice;
mod feed;
mod feeds;
mod guard;
mod member;
mod remember;
mod service;
mod setup;
mod standing;
#[cfg(test)]
mod tests;
mod word;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use jiff::Timestamp;

pub use change::{Change, What};
pub use remember::{Remembered, RememberedEndpoint, RememberedSet};
pub use setup::{Now, Setup, Spec, Verdict};

use feed::Feed;
use feeds::Feeds;
use guard::earlier;
use service::Service;

use super::snapshot::Snapshot;
use crate::model::BackendAddr;
use crate::registry::driver::Report;
use crate::registry::source::{Event, Query, Wanted};

/// Why nothing was accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAccepted {
    /// No service of this name has discovery.
    #[error(
        "there is no service {0} whose backends come from a registry; `weir service list` names the services"
    )]
    UnknownService(String),
    /// Nothing waits.
    #[error(
        "no removal of service {0} is held: there is nothing to accept; `weir registry dump {0}` shows what is known"
    )]
    NothingHeld(String),
}

/// A source whose first answer is missing for longer than the service's guard allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overdue {
    /// Service whose removals wait for it.
    pub service: String,
    /// Registry.
    pub registry: Arc<str>,
    /// Since when it is waited for.
    pub since: Timestamp,
}

/// The state of all services' discovery and health.
#[derive(Clone, Debug)]
pub struct Pool {
    setup: Setup,
    feeds: Feeds,
    services: BTreeMap<String, Service>,
    /// Sets of the disk that no service has asked for yet.
    remembered: Remembered,
    snapshot: Arc<Snapshot>,
    /// When the oldest push was read that is not in the snapshot.
    received: Option<Instant>,
    changes: Vec<Change>,
    /// Registries to ask for everything again.
    resyncs: BTreeSet<Arc<str>>,
}

impl Pool {
    /// A pool that knows what was remembered, and no service yet.
    #[must_use]
    pub fn new(remembered: Remembered) -> Self {
        Self {
            setup: Setup::default(),
            feeds: Feeds::default(),
            services: BTreeMap::new(),
            remembered,
            snapshot: Arc::default(),
            received: None,
            changes: Vec::new(),
            resyncs: BTreeSet::new(),
        }
    }

    /// Says which services there are. Queries that none has any more are forgotten, with what was remembered of them.
    pub fn set_services(&mut self, setup: Setup, now: Now) {
        let around =
            (setup.vips != self.setup.vips) || setup.own != self.setup.own || setup.zone != self.setup.zone;
        self.services.retain(|name, _| setup.services.contains_key(name));
        for (name, spec) in &setup.services {
            let known = self.services.get(name).is_some_and(|service| service.spec == *spec);
            if known {
                continue;
            }
            let sources: Vec<_> = spec
                .discovery
                .iter()
                .flat_map(|discovery| &discovery.sources)
                .map(|source| self.feeds.of(&source.registry, &source.query, &self.remembered, now))
                .collect();
            let service = self.services.entry(name.clone()).or_insert_with(|| {
                let mut service = Service::new(spec.clone());
                service.presume(self.setup.unwatched.get(name).into_iter().flatten().copied(), true);
                service
            });
            service.change(spec, &sources, now);
            for (id, left) in
                sources.iter().filter_map(|id| self.feeds.all.get(id).map(|feed| (id, &feed.left)))
            {
                for (addr, entry, until) in left {
                    service.members.resume(*addr, entry, *id, *until, now);
                }
            }
        }
        if around {
            self.services.values_mut().for_each(|service| service.dirty = true);
        }
        self.setup = setup;
        self.remembered.clear();
        self.feeds.tie(&self.services, now);
    }

    /// The host has these addresses now, which are never backends.
    pub fn set_own(&mut self, own: BTreeSet<IpAddr>) {
        if self.setup.own != own {
            self.setup.own = own;
            self.services.values_mut().for_each(|service| service.dirty = true);
        }
    }

    /// Takes backends that take new flows by the maps into their service. They are up until the first verdict; those that
    /// nothing else knows of stay until every source has answered. For a start, before the first tick if that is possible.
    pub fn adopt(&mut self, service: &str, active: impl IntoIterator<Item = BackendAddr>, now: Now) {
        let Some(service) = self.services.get_mut(service) else { return };
        let sources: Vec<_> = service.sources.iter().map(|(id, _)| *id).collect();
        let active: Vec<_> = active.into_iter().collect();
        for addr in active.iter().filter(|addr| !service.spec.fixed.contains_key(addr)) {
            if !sources.is_empty() {
                service.members.adopt(*addr, &sources, now);
            }
        }
        service.presume(active, true);
    }

    /// Takes for down, until the first verdict, what is in the maps and takes no new flows by them. For a start.
    pub fn adopt_drained(&mut self, service: &str, drained: impl IntoIterator<Item = BackendAddr>) {
        if let Some(service) = self.services.get_mut(service) {
            service.presume(drained, false);
        }
    }

    /// Takes what a registry's driver tells. A query that no service has is passed over.
    pub fn report(&mut self, registry: &Arc<str>, report: Report, now: Now) {
        match report {
            Report::Lost { why } => self.lose(registry, &why, now),
            Report::Event(Event::Connected { .. }) => self.lose(registry, "a new session has begun", now),
            Report::Event(Event::Reset { query, set }) => {
                let received = set.received;
                self.change(registry, query, Some(received), |feed| feed.reset(set, now));
            }
            Report::Event(Event::Add { query, set }) => {
                let received = set.received;
                self.change(registry, query, Some(received), |feed| feed.add(set, now));
            }
            Report::Event(Event::Remove { query, addrs, version, received }) => {
                self.change(registry, query, Some(received), |feed| feed.remove(&addrs, version, now));
            }
            Report::Event(Event::Gone { query, why }) => {
                self.change(registry, query, None, |feed| feed.lose(&why, now));
            }
            // The application's matter: no backend depends on it.
            Report::Event(Event::Published { .. } | Event::Withdrawn { .. }) => {}
        }
    }

    /// Takes a verdict of the health checks.
    pub fn verdict(&mut self, verdict: Verdict, now: Now) {
        if let Some(service) = self.services.get_mut(verdict.service.as_ref()) {
            service.judge(verdict, now);
        }
    }

    /// Lets the removals go that are held now, and answers which; sources of the service that have not answered yet are
    /// not waited for any more.
    ///
    /// # Errors
    /// When there is no such service, or nothing is held.
    pub fn accept(&mut self, name: &str, now: Now) -> Result<Vec<BackendAddr>, NotAccepted> {
        let unknown = || NotAccepted::UnknownService(name.to_owned());
        let service = self.services.get_mut(name).ok_or_else(unknown)?;
        if service.spec.discovery.is_none() {
            return Err(unknown());
        }
        let silent: Vec<_> = service
            .sources
            .iter()
            .map(|(id, _)| *id)
            .filter(|id| self.feeds.all.get(id).is_some_and(|feed| !feed.synced))
            .collect();
        let accepted = service.members.accept(silent);
        if accepted.is_empty() {
            return Err(NotAccepted::NothingHeld(name.to_owned()));
        }
        service.dirty = true;
        self.tick(now);
        Ok(accepted)
    }

    /// Works out what is due and what has changed.
    pub fn tick(&mut self, now: Now) {
        let asking =
            self.feeds.all.values_mut().filter_map(|feed| feed.asks(now).then(|| feed.registry.clone()));
        self.resyncs.extend(asking);
        let mut services = None;
        for (name, service) in &mut self.services {
            let due = service.wake.is_some_and(|wake| wake <= now.instant);
            if !service.dirty && !due {
                continue;
            }
            let before = service.pooled.clone();
            if service.work_out(&self.feeds.all, &self.setup, now) {
                self.changes.extend(change::differences(name, &before, &service.pooled, now.wall));
                services
                    .get_or_insert_with(|| self.snapshot.services.clone())
                    .insert(name.clone(), service.pooled.clone());
            }
            for (id, _) in &service.sources {
                if let Some(feed) = self.feeds.all.get_mut(id) {
                    feed.stale = true;
                }
            }
            self.changes.extend(service.overdue(name, &self.feeds.all, now));
        }
        let gone = self.snapshot.services.keys().any(|name| !self.services.contains_key(name));
        if gone {
            services
                .get_or_insert_with(|| self.snapshot.services.clone())
                .retain(|name, _| self.services.contains_key(name));
        }
        if let Some(services) = services {
            self.snapshot = Arc::new(Snapshot { services, received: self.received.take() });
        } else {
            // Nothing came of what was read: there is nothing to measure.
            self.received = None;
        }
    }

    /// When to tick next, if nothing comes before.
    #[must_use]
    pub fn next_wake(&self) -> Option<Instant> {
        let wake = self.services.values().fold(None, |wake, service| earlier(wake, service.wake));
        self.feeds.all.values().fold(wake, |wake, feed| earlier(wake, feed.resync))
    }

    /// Registries that have to be asked for everything again: changes have come on top of a set that was refused, and say
    /// nothing without a whole one. Each is answered once.
    pub fn take_resyncs(&mut self) -> BTreeSet<Arc<str>> {
        std::mem::take(&mut self.resyncs)
    }

    /// What discovery and health say, as of the last tick.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.clone()
    }

    /// What all services want of a registry; VIPs to register are none of the pool's business.
    #[must_use]
    pub fn wanted(&self, registry: &str) -> Wanted {
        let feeds = self.feeds.all.values().filter(|feed| feed.registry.as_ref() == registry);
        Wanted { queries: feeds.map(|feed| feed.query.clone()).collect(), publications: BTreeSet::new() }
    }

    /// What has changed since this was asked last, for the event log.
    pub fn take_changes(&mut self) -> Vec<Change> {
        std::mem::take(&mut self.changes)
    }

    /// Sources whose first answer is missing for too long.
    #[must_use]
    pub fn overdue(&self) -> Vec<Overdue> {
        let of = |(name, service): (&String, &Service)| {
            let late = service.overdue.iter().filter_map(|id| {
                let since = service.sources.iter().find(|(source, _)| source == id)?.1.wall;
                let registry = self.feeds.all.get(id)?.registry.clone();
                Some(Overdue { service: name.clone(), registry, since })
            });
            late.collect::<Vec<_>>()
        };
        self.services.iter().flat_map(of).collect()
    }

    /// What to know again after a restart.
    pub fn remembered(&mut self) -> Remembered {
        remember::remembered(&mut self.feeds.all, &self.services)
    }

    fn change(
        &mut self,
        registry: &Arc<str>,
        query: Arc<Query>,
        received: Option<Instant>,
        apply: impl FnOnce(&mut Feed),
    ) {
        let Some(feed) = self.feeds.find(registry, query) else { return };
        let waiting = |service: &Service| service.members.waiting(feed);
        let waiting: Vec<_> = feed.users.iter().map(|name| self.services.get(name).map(waiting)).collect();
        apply(feed);
        for (name, waiting) in feed.users.iter().zip(waiting) {
            if let Some(service) = self.services.get_mut(name) {
                service.dirty = true;
                service.members.seen(waiting.unwrap_or_default(), feed);
            }
        }
        self.received = earlier(self.received, received);
    }

    fn lose(&mut self, registry: &Arc<str>, why: &str, now: Now) {
        for feed in self.feeds.of_registry(registry) {
            feed.lose(why, now);
            for name in &feed.users {
                if let Some(service) = self.services.get_mut(name) {
                    service.dirty = true;
                }
            }
        }
    }
}
