//! Sums over workers that never go back, whichever workers come and go. Each report is compared with the one before it of
//! the same process, and what has grown is added; what is "now" is added up anew from the last reports of those that live.

use std::collections::{BTreeMap, BTreeSet};

use super::{Answers, EndpointStats, RouteStats, ServiceStats, Stats};
use crate::l7::route::full_name;
use crate::l7::snapshot::Snapshot;

/// The sums.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    /// What has only grown, of all workers that there have been.
    total: Stats,
    /// Last reports by process.
    last: BTreeMap<i32, Stats>,
}

impl Ledger {
    /// A process begins to report, or to be listened to: all of its first report counts.
    pub fn begin(&mut self, pid: i32) {
        self.last.insert(pid, Stats::default());
    }

    /// Listens to a process, if nobody does yet.
    pub fn listen(&mut self, pid: i32) {
        self.last.entry(pid).or_default();
    }

    /// A report. One of a process that has not begun is left out.
    pub fn report(&mut self, pid: i32, stats: Stats) {
        if let Some(before) = self.last.get_mut(&pid) {
            self.total.grow(before, &stats);
            *before = stats;
        }
    }

    /// A process has ended, and has nothing now.
    pub fn end(&mut self, pid: i32) {
        self.last.remove(&pid);
    }

    /// Forgets services, routes and endpoints that are no longer in force.
    pub fn keep(&mut self, snapshot: &Snapshot) {
        self.total.services.retain(|name, _| snapshot.services.contains_key(name));
        for (name, stats) in &mut self.total.services {
            let service = snapshot.services.get(name);
            if stats.endpoints.len() > service.map_or(0, |service| service.endpoints.len()) {
                let there: BTreeSet<_> =
                    service.iter().flat_map(|service| &service.endpoints).map(|one| one.addr).collect();
                stats.endpoints.retain(|addr, _| there.contains(addr));
            }
            let hosts = || snapshot.routes.services.get(name).into_iter().flatten();
            if stats.routes.len() > hosts().map(|host| host.routes.len()).sum() {
                let there: BTreeSet<_> = hosts()
                    .flat_map(|host| host.routes.iter().map(|route| full_name(&host.name, &route.name)))
                    .collect();
                stats.routes.retain(|name, _| there.contains(name));
            }
        }
    }

    /// Last reports of the living, by process.
    #[must_use]
    pub fn living(&self) -> &BTreeMap<i32, Stats> {
        &self.last
    }

    /// The sums, with what is now.
    #[must_use]
    pub fn sum(&self) -> Stats {
        let mut sum = self.total.clone();
        for stats in self.last.values() {
            sum.add_now(stats);
        }
        sum
    }
}

/// How much a counter has grown; one that has begun anew has grown by all that it says.
fn grown(before: u64, now: u64) -> u64 {
    now.checked_sub(before).unwrap_or(now)
}

macro_rules! grow {
    ($total:ident, $before:ident, $now:ident: $($field:ident)*) => {
        $($total.$field = $total.$field.saturating_add(grown($before.$field, $now.$field));)*
    };
}

macro_rules! grow_each {
    ($total:ident, $before:ident, $now:ident: $field:ident) => {
        for (name, now) in &$now.$field {
            let before = $before.$field.get(name).cloned().unwrap_or_default();
            if let Some(total) = $total.$field.get_mut(name) {
                total.grow(&before, now);
            } else {
                let mut total = Default::default();
                Grow::grow(&mut total, &before, now);
                $total.$field.insert(name.clone(), total);
            }
        }
    };
}

macro_rules! add {
    ($sum:ident, $now:ident: $($field:ident)*) => {
        $($sum.$field = $sum.$field.saturating_add($now.$field);)*
    };
}

trait Grow {
    /// Adds what `now` has more than `before`.
    fn grow(&mut self, before: &Self, now: &Self);
}

impl Grow for u64 {
    fn grow(&mut self, before: &Self, now: &Self) {
        *self = self.saturating_add(grown(*before, *now));
    }
}

impl Grow for Stats {
    fn grow(&mut self, before: &Self, now: &Self) {
        grow!(self, before, now: accepted strays log_lost);
        grow_each!(self, before, now: services);
    }
}

impl Grow for ServiceStats {
    fn grow(&mut self, before: &Self, now: &Self) {
        grow!(self, before, now: accepted failed bytes_up bytes_down requests resets retries pool_hits panics mirrored mirrors_lost);
        self.answers.grow(&before.answers, &now.answers);
        grow_each!(self, before, now: reasons);
        grow_each!(self, before, now: refused);
        grow_each!(self, before, now: routes);
        grow_each!(self, before, now: endpoints);
    }
}

impl Grow for Answers {
    fn grow(&mut self, before: &Self, now: &Self) {
        grow!(self, before, now: duration_sum_us);
        let classes = before.classes.iter().zip(&now.classes);
        let durations = before.durations.iter().zip(&now.durations);
        self.classes.iter_mut().zip(classes).for_each(|(total, (before, now))| total.grow(before, now));
        self.durations.iter_mut().zip(durations).for_each(|(total, (before, now))| total.grow(before, now));
    }
}

impl Grow for RouteStats {
    fn grow(&mut self, before: &Self, now: &Self) {
        grow!(self, before, now: requests);
        self.answers.grow(&before.answers, &now.answers);
    }
}

impl Grow for EndpointStats {
    fn grow(&mut self, before: &Self, now: &Self) {
        grow!(self, before, now: requests failures connects connect_failures reused resets retries ejections);
        self.answers.grow(&before.answers, &now.answers);
    }
}

impl Stats {
    /// Adds what is now. Services and endpoints that the sum does not have are not in force.
    fn add_now(&mut self, now: &Self) {
        add!(self, now: active);
        for (name, now) in &now.services {
            if let Some(sum) = self.services.get_mut(name) {
                sum.add_now(now);
            }
        }
    }
}

impl ServiceStats {
    fn add_now(&mut self, now: &Self) {
        add!(self, now: active requests_active pending tunnels);
        for (addr, now) in &now.endpoints {
            if let Some(sum) = self.endpoints.get_mut(addr) {
                add!(sum, now: active pending connections ejected);
            }
        }
    }

    /// Adds another's counters: those of a service of the same name that is not quite gone.
    pub(in crate::l7) fn absorb(&mut self, other: &Self) {
        self.grow(&Self::default(), other);
        self.add_now(other);
    }
}

#[cfg(test)]
#[path = "ledger_tests.rs"]
mod tests;
