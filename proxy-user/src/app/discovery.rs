//! Discovery in the daemon: the registries' drivers, the pool, the health checks and the VIPs that are registered, wired
//! together. What they find is put in force by `endpoints`.

mod sessions;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use proxy_common::BackendState;
use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::handover::Parcels;
use super::journal::Journal;
use super::publications::{Publications, Scene};
use crate::catalog::ApiState;
use crate::catalog::pool::{self, Now, Overdue, Pool, Setup};
use crate::catalog::snapshot::{Snapshot, Standing};
use crate::health::{self, Targets, Verdict};
use crate::metrics::Metrics;
use crate::model::{Desired, Origin, Service};
use crate::plan::{self, Installed};
use crate::registry::driver::Report;
use crate::registry::source::Event;
use crate::store::known::{Keeper, Known};
use sessions::Running;

/// Everything that says which backends there are.
pub(super) struct Discovery {
    pub(super) pool: Pool,
    pub(super) publications: Publications,
    checks: Arc<health::Stats>,
    metrics: Arc<Metrics>,
    journal: Journal,
    registries: BTreeMap<String, Running>,
    keeper: Keeper,
    zone: Option<Arc<str>>,
    /// The host's own addresses, which are never backends.
    own: BTreeSet<IpAddr>,
    reports: mpsc::Receiver<(Arc<str>, Report)>,
    report_to: mpsc::Sender<(Arc<str>, Report)>,
    verdicts: mpsc::Receiver<Verdict>,
    targets: watch::Sender<Arc<Targets>>,
    checker: AbortHandle,
    /// Connections of the process before, for registries that have not begun yet.
    parcels: Parcels,
    shown: Arc<Snapshot>,
    /// What was written down last.
    kept: Arc<Snapshot>,
}

/// One thing that was heard.
pub(super) enum Heard {
    /// From a registry.
    Report(Arc<str>, Report),
    /// From the health checks.
    Verdict(Verdict),
}

impl Discovery {
    /// Nothing is asked for until [`Self::configure`]. What the registries said before this start is read from the state
    /// directory.
    pub(super) fn open(
        state_dir: &Path,
        own: BTreeSet<IpAddr>,
        parcels: Parcels,
        metrics: Arc<Metrics>,
    ) -> Self {
        let (known, remembered, warning) = Known::open(&state_dir.join("known"));
        if let Some(warning) = warning {
            tracing::warn!("{warning}");
        }
        let (report_to, reports) = mpsc::channel(QUEUE);
        let (tell, verdicts) = mpsc::channel(QUEUE);
        let (targets, wanted) = watch::channel(Arc::default());
        let checks = Arc::new(health::Stats::default());
        let checker = tokio::spawn(health::run(wanted, tell, checks.clone())).abort_handle();
        Self {
            pool: Pool::new(remembered),
            publications: Publications::default(),
            checks,
            metrics,
            journal: Journal::default(),
            registries: BTreeMap::new(),
            keeper: Keeper::spawn(known),
            zone: None,
            own,
            reports,
            report_to,
            verdicts,
            targets,
            checker,
            parcels,
            shown: Arc::default(),
            kept: Arc::default(),
        }
    }

    /// Places this weir in another zone from the next [`Self::adopt`] on, and answers the one before.
    pub(super) fn set_zone(&mut self, zone: Option<Arc<str>>) -> Option<Arc<str>> {
        std::mem::replace(&mut self.zone, zone)
    }

    /// Takes over the services of a merged state (without what discovery itself says) and answers what is known of their
    /// endpoints.
    pub(super) fn adopt(&mut self, merged: &Desired, api: &ApiState) -> Arc<Snapshot> {
        let setup = Setup::of(merged, api, self.own.clone(), self.zone.clone());
        let now = Now::clock();
        self.pool.set_services(setup, now);
        self.pool.tick(now);
        self.pool.snapshot()
    }

    /// The host has these addresses now.
    pub(super) fn set_own(&mut self, own: BTreeSet<IpAddr>) {
        self.pool.set_own(own.clone());
        self.own = own;
    }

    /// Backends in the maps are what they are there until the registries or their checks have said something.
    pub(super) fn keep_installed(&mut self, services: &BTreeMap<String, Service>, installed: &Installed) {
        let followed = |service: &Service| service.discovery.is_some() || service.health.is_some();
        for (name, service) in services.iter().filter(|(_, service)| followed(service)) {
            let found = plan::backends_of(installed, &service.vip).unwrap_or_default();
            let (active, drained): (Vec<_>, Vec<_>) =
                found.into_iter().partition(|(_, state)| *state == BackendState::Active);
            self.pool.adopt(name, active.into_iter().map(|(addr, _)| addr), Now::clock());
            self.pool.adopt_drained(name, drained.into_iter().map(|(addr, _)| addr));
        }
    }

    /// The next that a registry or the health checks say.
    pub(super) async fn next(&mut self) -> Heard {
        tokio::select! {
            // `report_to` keeps the one open, `checker` the other.
            Some((registry, report)) = self.reports.recv() => Heard::Report(registry, report),
            Some(verdict) = self.verdicts.recv() => Heard::Verdict(verdict),
            else => std::future::pending().await,
        }
    }

    /// Takes in what was heard and what follows closely, so that a burst makes one plan. The addresses in it are told to
    /// `named` before they have been judged.
    pub(super) fn absorb(&mut self, first: Heard, mut named: impl FnMut(Vec<IpAddr>)) {
        let end = Instant::now() + LONGEST_BURST;
        let (mut heard, mut addrs) = (Some(first), Vec::new());
        while let Some(some) = heard {
            if let Heard::Report(_, Report::Event(Event::Reset { set, .. } | Event::Add { set, .. })) = &some
                && addrs.len() + set.endpoints.len() <= MOST_NAMED
            {
                addrs.extend(set.endpoints.iter().map(|endpoint| endpoint.addr.addr));
            }
            self.take(some);
            heard = self.ready();
            if heard.is_none() && Instant::now() < end {
                named(std::mem::take(&mut addrs));
                // The runtime's timers are no finer than a millisecond, which is much of what a push may take.
                std::thread::sleep(QUIET);
                heard = self.ready();
            }
        }
        named(addrs);
    }

    /// The next that waits already.
    fn ready(&mut self) -> Option<Heard> {
        let report = self.reports.try_recv().map(|(registry, report)| Heard::Report(registry, report));
        report.or_else(|_| self.verdicts.try_recv().map(Heard::Verdict)).ok()
    }

    /// Whether this is the name under which the registry's present driver speaks.
    fn speaks(&self, name: &Arc<str>) -> bool {
        self.registries.get(name.as_ref()).is_some_and(|running| Arc::ptr_eq(&running.name, name))
    }

    fn take(&mut self, heard: Heard) {
        let now = Now::clock();
        match heard {
            Heard::Verdict(verdict) => self.pool.verdict(
                pool::Verdict {
                    service: verdict.service,
                    backend: verdict.backend,
                    up: verdict.up,
                    detail: verdict.detail.to_string(),
                },
                now,
            ),
            // What a driver said that has been replaced since is not so any more.
            Heard::Report(registry, _) if !self.speaks(&registry) => {}
            Heard::Report(registry, report) => {
                self.journal.report(&registry, &report);
                match &report {
                    Report::Event(event) => self.metrics.discovery().event(&registry, event),
                    Report::Lost { .. } => self.metrics.discovery().lost(&registry),
                }
                match &report {
                    Report::Event(Event::Published { publication, result }) => {
                        self.publications.answered(&registry, publication, result);
                    }
                    Report::Event(Event::Withdrawn { publication }) => {
                        self.publications.ended(&registry, publication);
                    }
                    Report::Lost { .. } => {
                        let leased = self.leased(&registry);
                        self.publications.lost(&registry, leased);
                    }
                    Report::Event(_) => {}
                }
                self.pool.report(&registry, report, now);
            }
        }
    }

    /// What is known now, if it is not what was answered last.
    pub(super) fn tick(&mut self) -> Option<Arc<Snapshot>> {
        self.pool.tick(Now::clock());
        self.show()
    }

    /// What the pool has worked out, if it is not what was answered last.
    pub(super) fn show(&mut self) -> Option<Arc<Snapshot>> {
        for name in self.pool.take_resyncs() {
            self.resync(Some(&name));
        }
        let snapshot = self.pool.snapshot();
        if Arc::ptr_eq(&snapshot, &self.shown) {
            return None;
        }
        self.shown = snapshot.clone();
        Some(snapshot)
    }

    /// Writes down what has changed, for people and for the next start. After it is in force: flows wait for that.
    pub(super) fn record(&mut self) {
        for change in self.pool.take_changes() {
            self.journal.change(&change);
            self.metrics.discovery().change(&change, &self.shown);
        }
        if !Arc::ptr_eq(&self.shown, &self.kept) {
            self.kept = self.shown.clone();
            self.keeper.keep(self.pool.remembered());
        }
    }

    /// When to look again without having heard anything.
    pub(super) fn next_wake(&self) -> Option<std::time::Instant> {
        [self.pool.next_wake(), self.publications.next_wake()].into_iter().flatten().min()
    }

    /// Asks registries and health checks for what the state in force needs. The VIPs of `unserved` services do not reach
    /// their backends through this host now, for the reason that is said.
    pub(super) fn want(
        &mut self,
        desired: &Desired,
        api: &ApiState,
        unserved: &BTreeMap<String, &'static str>,
    ) {
        let resumed = self.registries.iter().filter(|(_, running)| running.resumes);
        let resumed = &resumed.map(|(name, _)| name.clone()).collect();
        self.publications.want(&Scene { desired, api, pool: &self.shown, unserved, resumed });
        for (name, running) in &mut self.registries {
            let mut wanted = self.pool.wanted(name);
            wanted.publications = self.publications.wanted(name);
            running.want(wanted);
        }
        let targets = targets(desired, &self.shown);
        self.targets.send_if_modified(|asked| {
            let changed = **asked != targets;
            if changed {
                *asked = Arc::new(targets);
            }
            changed
        });
    }

    /// Brings the counters of the health checks up to date.
    pub(super) fn count_checks(&self) {
        for (outcome, total) in self.checks.read().outcomes {
            self.metrics.discovery().checked(outcome.label(), total);
        }
    }

    /// Sources that are still awaited, with removals waiting for them.
    pub(super) fn overdue(&self) -> Vec<Overdue> {
        self.pool.overdue()
    }

    /// Why what is known cannot be kept on disk.
    pub(super) fn disk_problem(&self) -> Option<String> {
        self.keeper.problem()
    }

    /// What was found last.
    pub(super) fn snapshot(&self) -> Arc<Snapshot> {
        self.shown.clone()
    }

    /// Writes down what is known.
    pub(super) async fn close(&mut self) {
        self.keeper.flush().await;
    }
}

impl Drop for Discovery {
    fn drop(&mut self) {
        self.checker.abort();
    }
}

/// What is to be checked: every candidate of a service with health checks that could be a backend.
fn targets(desired: &Desired, snapshot: &Snapshot) -> Targets {
    let mut targets = Targets::new();
    for (name, service) in &desired.services {
        let Some(check) = &service.health else { continue };
        let service_name: Arc<str> = name.as_str().into();
        let found = snapshot.services.get(name).into_iter().flat_map(|pooled| &pooled.candidates);
        let usable = found.filter(|(_, found)| {
            !matches!(found.standing, Standing::Refused { .. } | Standing::Leaving { .. })
        });
        let named = service.backends.iter().filter(|(_, backend)| backend.origin != Origin::Registry);
        let addrs = usable.map(|(addr, _)| *addr).chain(named.map(|(addr, _)| *addr));
        targets.extend(addrs.map(|addr| ((service_name.clone(), addr), check.clone())));
    }
    targets
}

/// Reports that may wait for the loop.
const QUEUE: usize = 1_024;
/// A burst has ended when nothing comes for so long,
const QUIET: Duration = Duration::from_micros(200);
/// and is cut after this time.
const LONGEST_BURST: Duration = Duration::from_millis(20);
/// Addresses of a burst that are told before they have been judged: of a set without measure the most will be refused.
const MOST_NAMED: usize = 16_384;

#[cfg(test)]
mod tests;
#[cfg(test)]
mod zone_tests;
