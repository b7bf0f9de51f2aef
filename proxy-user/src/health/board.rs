//! Who wants to know what, and what is due. Time and chance are given; the sockets are elsewhere.
//!
//! Every unit has at most one check under way and its own place in time, so a slow one delays no other.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::machine::Machine;
use super::{Outcome, Seen, Target, Targets, Unit, Verdict};
use crate::model::HealthCheck;

/// Number of a unit, never used again.
pub(super) type Id = u64;

#[derive(Debug)]
pub(super) struct Board {
    watchers: BTreeMap<Target, Watcher>,
    ids: BTreeMap<Arc<Unit>, Id>,
    asked: BTreeMap<Id, Asked>,
    due: BTreeSet<(Instant, Id)>,
    chance: fastrand::Rng,
    next: Id,
}

/// A target's own view of its unit.
#[derive(Debug)]
struct Watcher {
    check: Arc<HealthCheck>,
    unit: Option<Arc<Unit>>,
    machine: Machine,
    detail: Option<Arc<str>>,
    /// Checks that began before are the quicker pace of others.
    counts_from: Option<Instant>,
}

/// A unit and its place in time.
#[derive(Debug)]
struct Asked {
    unit: Arc<Unit>,
    targets: BTreeSet<Target>,
    interval: Duration,
    /// When the next check begins; none while one is under way.
    due: Option<Instant>,
    fresh: bool,
}

impl Board {
    pub(super) fn new(chance: fastrand::Rng) -> Self {
        Self {
            watchers: BTreeMap::new(),
            ids: BTreeMap::new(),
            asked: BTreeMap::new(),
            due: BTreeSet::new(),
            chance,
            next: 0,
        }
    }

    /// Takes what is wanted from now on; returns the units that nobody asks for any more, to be stopped.
    pub(super) fn want(&mut self, now: Instant, targets: &Targets) -> Vec<Id> {
        let gone: Vec<Target> = self.watchers.keys().filter(|t| !targets.contains_key(*t)).cloned().collect();
        let mut touched = BTreeSet::new();
        for target in gone {
            let unit = self.watchers.remove(&target).and_then(|watcher| watcher.unit);
            self.leave(&target, unit.as_ref(), &mut touched);
        }
        for (target, check) in targets {
            if self.watchers.get(target).is_none_or(|watcher| watcher.check != *check) {
                self.watch(target, check, &mut touched);
            }
        }
        let fresh = touched.iter().filter(|id| self.asked.get(*id).is_some_and(|asked| asked.fresh)).count();
        let mut stopped = Vec::new();
        for id in touched {
            if !self.settle(now, id, fresh) {
                stopped.push(id);
            }
        }
        stopped
    }

    /// When the next check begins.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.due.first().map(|(at, _)| *at)
    }

    /// Takes a check that is due, with when it was; its end is to be told.
    pub(super) fn begin(&mut self, now: Instant) -> Option<(Id, Arc<Unit>, Instant)> {
        let (at, id) = *self.due.first().filter(|(at, _)| *at <= now)?;
        self.due.remove(&(at, id));
        let asked = self.asked.get_mut(&id)?;
        asked.due = None;
        Some((id, Arc::clone(&asked.unit), at))
    }

    /// Takes the end of a check that began at `began`; returns what there is to tell.
    pub(super) fn end(&mut self, now: Instant, began: Instant, id: Id, seen: &Seen) -> Vec<Verdict> {
        let Some(asked) = self.asked.get_mut(&id) else { return Vec::new() };
        // A second check anywhere within the first interval spreads those that came together; ten percent keep them apart.
        let share = self.chance.f64();
        let share = if asked.fresh { share } else { 0.9 + share * 0.2 };
        asked.fresh = false;
        let at = (began + asked.interval.mul_f64(share)).max(now);
        asked.due = Some(at);
        self.due.insert((at, id));
        if seen.outcome == Outcome::Local {
            return Vec::new();
        }
        let pace = asked.interval;
        let watchers = &mut self.watchers;
        asked.targets.iter().filter_map(|t| watchers.get_mut(t)?.observe(t, began, pace, seen)).collect()
    }

    /// Targets and units.
    pub(super) fn sizes(&self) -> (usize, usize) {
        (self.watchers.len(), self.asked.len())
    }

    fn watch(&mut self, target: &Target, check: &Arc<HealthCheck>, touched: &mut BTreeSet<Id>) {
        let unit = Unit::of(target.1, check).map(Arc::new);
        let before = self.watchers.remove(target);
        let old = before.as_ref().and_then(|watcher| watcher.unit.clone());
        let mut now = Watcher {
            check: Arc::clone(check),
            unit: unit.clone(),
            machine: Machine::default(),
            detail: None,
            counts_from: None,
        };
        if let (Some(before), Some(old), Some(new)) = (before, &old, &unit)
            && (old.addr, &old.probe) == (new.addr, &new.probe)
        {
            // Only the timing is another: what is known of the backend still holds.
            (now.machine, now.detail) = (before.machine, before.detail);
        }
        self.watchers.insert(target.clone(), now);
        if old != unit {
            self.leave(target, old.as_ref(), touched);
        }
        if let Some(unit) = unit {
            let id = *self.ids.entry(Arc::clone(&unit)).or_insert_with(|| {
                self.next += 1;
                self.next
            });
            let asked = self.asked.entry(id).or_insert_with(|| Asked {
                unit,
                targets: BTreeSet::new(),
                interval: Duration::MAX,
                due: None,
                fresh: true,
            });
            asked.targets.insert(target.clone());
            touched.insert(id);
        }
    }

    fn leave(&mut self, target: &Target, unit: Option<&Arc<Unit>>, touched: &mut BTreeSet<Id>) {
        if let Some(id) = unit.and_then(|unit| self.ids.get(unit))
            && let Some(asked) = self.asked.get_mut(id)
        {
            asked.targets.remove(target);
            touched.insert(*id);
        }
    }

    /// Puts a unit at its place in time, `fresh` of them being new; whether anybody still asks for it.
    fn settle(&mut self, now: Instant, id: Id, fresh: usize) -> bool {
        let Some(asked) = self.asked.get_mut(&id) else { return true };
        let watchers = &self.watchers;
        let intervals = asked.targets.iter().filter_map(|t| watchers.get(t)).map(|w| w.check.interval);
        let Some(shortest) = intervals.min() else {
            if let Some(at) = asked.due {
                self.due.remove(&(at, id));
            }
            self.ids.remove(&asked.unit);
            self.asked.remove(&id);
            return false;
        };
        // A unit that is not fresh and not due is under way; one that is fresh and not due is new.
        let new = asked.fresh && asked.interval == Duration::MAX;
        asked.interval = shortest.max(SHORTEST);
        let latest = match (new, asked.due) {
            // One backend is checked at once, thousands not all at once.
            (true, _) => {
                asked.interval.min(PER_FRESH.saturating_mul(u32::try_from(fresh).unwrap_or(u32::MAX)))
            }
            (false, Some(at)) if at > now + asked.interval => asked.interval,
            (false, _) => return true,
        };
        let at = now + latest.mul_f64(self.chance.f64());
        if let Some(before) = asked.due.replace(at) {
            self.due.remove(&(before, id));
        }
        self.due.insert((at, id));
        true
    }
}

impl Watcher {
    fn observe(&mut self, target: &Target, began: Instant, pace: Duration, seen: &Seen) -> Option<Verdict> {
        if self.counts_from.is_some_and(|from| began < from) {
            return None;
        }
        let own = self.check.interval.max(SHORTEST);
        self.counts_from = (own > pace).then(|| began + own - pace / 2);
        let good = seen.outcome == Outcome::Good;
        let turned = self.machine.observe(good, &self.check);
        let other =
            !good && self.machine.verdict() == Some(false) && self.detail.as_ref() != Some(&seen.detail);
        (turned || other).then(|| {
            self.detail = Some(Arc::clone(&seen.detail));
            Verdict {
                service: Arc::clone(&target.0),
                backend: target.1,
                up: good,
                detail: Arc::clone(&seen.detail),
                at: Timestamp::now(),
            }
        })
    }
}

/// Shortest interval, whatever the settings say.
const SHORTEST: Duration = Duration::from_millis(10);
/// The first checks of new units are spread over this much for each of them, up to their interval.
const PER_FRESH: Duration = Duration::from_millis(1);
