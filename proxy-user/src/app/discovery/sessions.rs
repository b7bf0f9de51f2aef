//! The registries' drivers: begun with the configuration, asked, shown, and handed over.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::timeout;

use super::{Discovery, Parcels};
use crate::catalog::pool::Now;
use crate::config::Settings;
use crate::control::registry::RegistrySession;
use crate::control::types::{RegistryError, SessionState};
use crate::registry::driver::{Driver, Handle, Phase, Report, Tuning};
use crate::registry::list;
use crate::registry::source::{Parcel, Wanted};

/// A registry whose driver runs.
pub(super) struct Running {
    /// Its name. What an earlier driver of the registry still has to say comes under another copy of it.
    pub(super) name: Arc<str>,
    pub(super) settings: list::Settings,
    pub(super) driver: Handle,
    pub(super) wanted: Arc<Wanted>,
    /// Its client has a connection of the driver before, and has not been told yet what is wanted.
    pub(super) resumes: bool,
}

impl Running {
    /// Says what is wanted from now on. A connection that was taken over is served from the first time on, also if nothing
    /// is wanted: what is registered on it must end.
    pub(super) fn want(&mut self, wanted: Wanted) {
        if wanted != *self.wanted {
            self.wanted = Arc::new(wanted);
            self.driver.set_wanted(self.wanted.clone());
        }
        if std::mem::take(&mut self.resumes) {
            self.driver.begin();
        }
    }
}

impl Discovery {
    /// Takes over the registries and the zone of the configuration.
    pub(in crate::app) async fn configure(&mut self, settings: &Settings) {
        self.zone.clone_from(&settings.zone);
        let changed = self.registries.iter().filter(|(name, running)| {
            settings.registries.get(*name).is_none_or(|wanted| *wanted != running.settings)
        });
        let changed: Vec<String> = changed.map(|(name, _)| name.clone()).collect();
        let keeps = |name: &String, running: &Running| {
            settings.registries.get(name).is_some_and(|wanted| running.settings.keeps_connection(wanted))
        };
        let parcels = self.collect(|name, running| changed.contains(name) && keeps(name, running)).await;
        self.parcels.extend(parcels);
        for name in changed {
            self.lost(&name, "its settings have changed");
            self.registries.remove(&name);
        }
        for (name, registry) in &settings.registries {
            if self.registries.contains_key(name) {
                continue;
            }
            let parcel = self.parcels.remove(name);
            let resumes = parcel.is_some();
            let own_name: Arc<str> = name.as_str().into();
            let client = registry.client(parcel);
            let driver = Driver::spawn(own_name.clone(), client, Tuning::default(), self.report_to.clone());
            let settings = registry.clone();
            let running = Running { name: own_name, settings, driver, wanted: Arc::default(), resumes };
            self.registries.insert(name.clone(), running);
        }
        // Connections of registries that are no longer configured end, and what is registered on them.
        self.parcels.clear();
    }

    /// The driver of a registry has ended without a word: no session holds what it said, or what is registered there.
    fn lost(&mut self, name: &str, why: &str) {
        self.publications.lost(name, self.leased(name));
        self.pool.report(&name.into(), Report::Lost { why: why.to_owned() }, Now::clock());
    }

    /// Asks a registry, or all of them, for everything again; answers which were asked.
    pub(in crate::app) fn resync(&self, name: Option<&str>) -> Vec<String> {
        let asked = self.registries.iter().filter(|(found, _)| name.is_none_or(|name| name == *found));
        asked.inspect(|(_, running)| running.driver.resync()).map(|(name, _)| name.clone()).collect()
    }

    /// State of every registry's sessions and of what is registered there.
    pub(in crate::app) fn sessions(&self) -> BTreeMap<String, RegistrySession> {
        let session = |(name, running): (&String, &Running)| {
            let status = running.driver.status();
            let session = RegistrySession {
                kind: running.settings.kind().to_owned(),
                state: match status.phase {
                    Phase::Idle => SessionState::Idle,
                    Phase::Connecting => SessionState::Connecting,
                    Phase::Connected => SessionState::Connected,
                    Phase::Waiting => SessionState::Waiting,
                    Phase::Stopped => SessionState::Stopped,
                },
                since: status.since,
                peer: status.peer,
                last_error: status.last_error.map(|(at, detail)| RegistryError { at, detail }),
                next_try: status.next_try,
                sessions: status.sessions,
                failures: status.failures,
                events: status.events,
                publications: self.publications.statuses(name),
            };
            (name.clone(), session)
        };
        self.registries.iter().map(session).collect()
    }

    /// Whether what is registered there outlives a session.
    pub(super) fn leased(&self, name: &str) -> bool {
        self.registries.get(name).is_some_and(|running| running.settings.leased())
    }

    /// Stops every driver and answers the connections that registrations live on.
    pub(in crate::app) async fn hand_over(&mut self) -> Parcels {
        let parcels = self.collect(|_, _| true).await;
        self.keeper.flush().await;
        parcels
    }

    /// Stops some drivers, all at once. What the registries say meanwhile is taken in: a driver that has much to say must not
    /// be kept from stopping.
    async fn collect(&mut self, which: impl Fn(&String, &Running) -> bool) -> Parcels {
        let asked =
            self.registries.iter().filter(|(name, running)| which(name, running)).map(|(name, running)| {
                let (name, answer) = (name.clone(), running.driver.hand_over());
                async move { Some((name, timeout(HAND_OVER_TIME, answer).await.ok()??)) }
            });
        let mut answers = std::pin::pin!(join_all(asked.collect::<Vec<_>>()));
        let answers: Vec<Option<(String, Parcel)>> = loop {
            tokio::select! {
                answers = &mut answers => break answers,
                heard = self.next() => self.take(heard),
            }
        };
        answers.into_iter().flatten().collect()
    }

    /// Goes on after a hand-over that failed, on the connections that nobody took.
    pub(in crate::app) async fn begin_anew(&mut self, settings: &Settings, parcels: Parcels) {
        for name in self.registries.keys().cloned().collect::<Vec<_>>() {
            self.lost(&name, "a hand-over has failed");
        }
        self.registries.clear();
        self.parcels = parcels;
        self.configure(settings).await;
    }
}

/// Longest time for all connections to be given away; each client has a shorter one of its own.
const HAND_OVER_TIME: Duration = Duration::from_secs(4);
