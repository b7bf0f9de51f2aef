//! One service: its endpoints and backends as candidates, each with where it stands.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use jiff::Timestamp;

use super::address;
use super::change::{Change, What};
use super::choice::{Choice, Eligible, choose};
use super::feed::{Feed, FeedId};
use super::guard::{Decision, earlier};
use super::member::{Member, Members, State};
use super::setup::{Now, Setup, Spec, Verdict};
use super::standing::{Facts, Fitness, panic, standing};
use super::word::{Source, Sources};
use crate::catalog::snapshot::{Candidate, Health, Hold, HoldReason, Pooled, SourceStatus, Standing};
use crate::catalog::weight::Scale;
use crate::model::{BackendAddr, HealthCheck};

/// A service of the pool.
#[derive(Clone, Debug)]
pub(super) struct Service {
    pub spec: Spec,
    /// Its sources, and since when each is one of them.
    pub sources: Vec<(FeedId, Now)>,
    pub members: Members,
    verdicts: BTreeMap<BackendAddr, Health>,
    /// Whether backends that are not new to the service are up, until the first verdict.
    presumed: BTreeMap<BackendAddr, bool>,
    pub pooled: Arc<Pooled>,
    /// Something has changed since it was worked out.
    pub dirty: bool,
    /// When it has to be worked out again.
    pub wake: Option<Instant>,
    /// Sources whose missing first answer has been told.
    pub overdue: BTreeSet<FeedId>,
}

impl Service {
    pub(super) fn new(spec: Spec) -> Self {
        Self {
            spec,
            sources: Vec::new(),
            members: Members::default(),
            verdicts: BTreeMap::new(),
            presumed: BTreeMap::new(),
            pooled: Arc::default(),
            dirty: true,
            wake: None,
            overdue: BTreeSet::new(),
        }
    }

    /// Takes over another configuration and other sources.
    pub(super) fn change(&mut self, spec: &Spec, sources: &[FeedId], now: Now) {
        let old: Vec<_> = self.sources.iter().map(|(id, _)| *id).collect();
        if let Some(discovery) = spec.discovery.as_ref().filter(|_| old != sources) {
            let pooled = &self.pooled.candidates;
            let stands_by = |addr: &BackendAddr| {
                pooled.get(addr).is_some_and(|found| found.standing == Standing::Standby)
            };
            let until = now.instant + discovery.drain;
            let gone = State::Leaving { until, wall: now.wall_at(until) };
            self.members.inherit(&old, sources, stands_by, gone);
        }
        let since =
            |id: &FeedId| self.sources.iter().find(|(old, _)| old == id).map_or(now, |(_, since)| *since);
        self.sources = sources.iter().map(|id| (*id, since(id))).collect();
        let before = std::mem::replace(&mut self.spec, spec.clone());
        if before.health.is_none() && self.spec.health.is_some() {
            let endpoints: Vec<_> = self.pooled.candidates.keys().copied().collect();
            self.presume(endpoints.into_iter().chain(before.fixed.into_keys()), true);
        }
        self.dirty = true;
    }

    /// Backends that the service had before weir began, or before it had checks, are up or down until the first verdict.
    pub(super) fn presume(&mut self, backends: impl IntoIterator<Item = BackendAddr>, up: bool) {
        self.presumed.extend(backends.into_iter().map(|addr| (addr, up)));
        self.dirty = true;
    }

    /// Takes a verdict; one that says what is known already changes nothing.
    pub(super) fn judge(&mut self, verdict: Verdict, now: Now) {
        let since = match self.verdicts.get(&verdict.backend) {
            Some(old) if old.up == verdict.up && old.detail == verdict.detail => return,
            Some(old) if old.up == verdict.up => old.since,
            _ => now.wall,
        };
        self.presumed.remove(&verdict.backend);
        self.verdicts.insert(verdict.backend, Health { up: verdict.up, detail: verdict.detail, since });
        self.dirty = true;
    }

    /// Works out the candidates anew. Answers whether anything differs.
    pub(super) fn work_out(&mut self, feeds: &BTreeMap<FeedId, Feed>, setup: &Setup, now: Now) -> bool {
        self.dirty = false;
        if self.spec.health.is_none() {
            self.verdicts.clear();
            self.presumed.clear();
        }
        let Followed { decision, sources, refused } = self.follow(feeds, setup, now);
        let mut candidates = self.facts(feeds);
        let panicking = self.choose(&mut candidates, setup);
        let mut pooled = Pooled {
            candidates: BTreeMap::new(),
            sources,
            hold: self.hold(&decision, now),
            panic: panicking,
        };
        for (addr, draft) in candidates {
            pooled.candidates.insert(addr, self.candidate(addr, draft, now));
        }
        for (addr, (sources, why)) in refused {
            let facts = Facts { refused: Some(why), ..Facts::default() };
            let draft = Draft { sources, facts, ..Draft::default() };
            pooled.candidates.entry(addr).or_insert_with(|| self.candidate(addr, draft, now));
        }
        self.verdicts.retain(|addr, _| pooled.candidates.contains_key(addr));
        self.presumed.retain(|addr, _| pooled.candidates.contains_key(addr));
        self.wake = earlier(decision.wake, self.next_end());
        let changed = !same(&self.pooled, &pooled);
        if changed {
            self.pooled = Arc::new(pooled);
        }
        changed
    }

    fn follow(&mut self, feeds: &BTreeMap<FeedId, Feed>, setup: &Setup, now: Now) -> Followed {
        let Some(discovery) = self.spec.discovery.clone() else {
            self.members = Members::default();
            return Followed::default();
        };
        let ids: Vec<_> = self.sources.iter().map(|(id, _)| *id).collect();
        let spec = &self.spec;
        let never = |addr| address::refused(addr, spec, &discovery.guard, setup);
        let sources = Sources::new(&ids, feeds, &discovery, &spec.drained, never);
        let decision = self.members.follow(&sources, now);
        let mut refused: BTreeMap<_, (Vec<_>, String)> = BTreeMap::new();
        for source in &sources.all {
            for (addr, why) in &source.refused {
                let of = refused.entry(*addr).or_insert_with(|| (Vec::new(), why.clone()));
                of.0.push(source.feed.registry.clone());
            }
        }
        Followed { decision, sources: sources.all.iter().map(Source::status).collect(), refused }
    }

    /// Every candidate with what can be said of it alone.
    fn facts(&self, feeds: &BTreeMap<FeedId, Feed>) -> BTreeMap<BackendAddr, Draft> {
        let ids: Vec<_> = self.sources.iter().map(|(id, _)| *id).collect();
        let names: Vec<_> = ids.iter().map(|id| feeds.get(id).map(|feed| feed.registry.clone())).collect();
        let check = self.spec.health.as_deref();
        let scale = Scale::of(self.members.all.values().map(|member| member.entry.weight));
        let mut candidates = BTreeMap::new();
        for (addr, member) in &self.members.all {
            let place = ids.iter().position(|id| member.last.contains(id));
            let mut sources: Vec<_> = ids
                .iter()
                .zip(&names)
                .filter(|(id, _)| member.last.contains(id))
                .filter_map(|(_, name)| name.clone())
                .collect();
            sources.dedup();
            let draft = Draft {
                weight: scale.apply(member.entry.weight),
                sources,
                zone: self.zone(place, member),
                labels: member.entry.labels.clone(),
                facts: Facts {
                    leaving: match member.state {
                        State::Leaving { wall, .. } => Some(wall),
                        _ => None,
                    },
                    disabled: member.state == State::Off,
                    held: matches!(member.state, State::Held { .. }),
                    fitness: self.fitness(check, addr),
                    ..Facts::default()
                },
                place: place.unwrap_or(0),
                fixed: false,
            };
            candidates.insert(*addr, draft);
        }
        for (addr, weight) in &self.spec.fixed {
            let found = candidates.remove(addr);
            if found.is_none() && check.is_none() {
                continue;
            }
            let draft = found.unwrap_or_default();
            let facts = Facts { fitness: self.fitness(check, addr), ..Facts::default() };
            candidates.insert(*addr, Draft { weight: *weight, facts, fixed: true, ..draft });
        }
        candidates
    }

    /// Which of the candidates are in use, by `combine` and by health. Answers whether panic has set in.
    fn choose(&self, candidates: &mut BTreeMap<BackendAddr, Draft>, setup: &Setup) -> bool {
        let drained = &self.spec.drained;
        let open = |addr: &BackendAddr, draft: &Draft| {
            draft.facts.leaving.is_none() && !draft.facts.disabled && !drained.contains(addr)
        };
        let choice = match &self.spec.discovery {
            Some(discovery) => choose(
                discovery.combine,
                setup.zone.as_deref(),
                candidates.iter().filter(|(addr, draft)| !draft.fixed && open(addr, draft)).map(
                    |(_, draft)| Eligible {
                        place: draft.place,
                        zone: draft.zone.as_deref(),
                        fit: draft.facts.fitness.takes(),
                    },
                ),
            ),
            None => Choice::All,
        };
        for draft in candidates.values_mut().filter(|draft| !draft.fixed) {
            draft.facts.standby = !choice.has(draft.place, draft.zone.as_deref(), setup.zone.as_deref());
        }
        let asked = candidates.iter().filter(|(addr, draft)| open(addr, draft) && !draft.facts.standby);
        let panic = panic(self.spec.health.as_deref(), asked.map(|(_, draft)| draft.facts.fitness));
        candidates.values_mut().for_each(|draft| draft.facts.panic = panic);
        panic
    }

    fn candidate(&self, addr: BackendAddr, draft: Draft, now: Now) -> Candidate {
        let standing = standing(draft.facts);
        let old = self.pooled.candidates.get(&addr).filter(|old| old.standing == standing);
        Candidate {
            weight: draft.weight,
            sources: draft.sources,
            zone: draft.zone,
            labels: draft.labels,
            standing,
            since: old.map_or(now.wall, |old| old.since),
            health: self.verdicts.get(&addr).cloned(),
        }
    }

    fn fitness(&self, check: Option<&HealthCheck>, addr: &BackendAddr) -> Fitness {
        let verdict = self.verdicts.get(addr).map(|verdict| verdict.up);
        Fitness::of(check, verdict.or_else(|| self.presumed.get(addr).copied()))
    }

    /// The zone that the configuration gives to the first source that has it, else the one that its registry says.
    fn zone(&self, place: Option<usize>, member: &Member) -> Option<Arc<str>> {
        let source = self.spec.discovery.as_ref()?.sources.get(place?);
        source.and_then(|source| source.zone.clone()).or_else(|| member.entry.zone.clone())
    }

    fn hold(&self, decision: &Decision, now: Now) -> Option<Hold> {
        let why: HoldReason = decision.held?;
        let held = self.members.all.iter().filter_map(|(addr, member)| match member.state {
            State::Held { wall, .. } => Some((*addr, wall)),
            _ => None,
        });
        let (addrs, since): (Vec<_>, Vec<Timestamp>) = held.unzip();
        // What is held only until the first sync, and takes no flows, is no news.
        let since = since.into_iter().min()?;
        let until = decision.until.map(|until| now.wall_at(until));
        let old = self.pooled.hold.as_ref().and_then(|hold| hold.until);
        // The wall clock of the same instant wavers by nanoseconds: that is no change.
        let until = match (old, until) {
            (Some(old), Some(new)) if near(old, new) => Some(old),
            (_, new) => new,
        };
        Some(Hold { addrs, why, since, until })
    }

    /// Tells, once each, of sources that removals have waited for longer than the guard allows.
    pub(super) fn overdue(&mut self, name: &str, feeds: &BTreeMap<FeedId, Feed>, now: Now) -> Vec<Change> {
        let Some(discovery) = &self.spec.discovery else { return Vec::new() };
        let after = discovery.guard.first_sync;
        let let_go = &self.members.let_go;
        let missing = |id: &FeedId| feeds.get(id).is_some_and(|feed| !feed.synced) && !let_go.contains(id);
        self.overdue.retain(|id| missing(id) && self.sources.iter().any(|(source, _)| source == id));
        let mut changes = Vec::new();
        for (id, since) in self.sources.iter().filter(|(id, _)| missing(id)) {
            let due = since.instant + after;
            if due > now.instant {
                self.wake = earlier(self.wake, Some(due));
            } else if self.overdue.insert(*id) {
                let Some(feed) = feeds.get(id) else { continue };
                let what = What::Overdue { registry: feed.registry.clone() };
                changes.push(Change { at: now.wall, service: name.to_owned(), what });
            }
        }
        changes
    }

    /// When the next leaving endpoint is forgotten.
    fn next_end(&self) -> Option<Instant> {
        let ends = self.members.all.values().filter_map(|member| match member.state {
            State::Leaving { until, .. } => Some(until),
            _ => None,
        });
        ends.min()
    }
}

/// What came of the sources' word.
#[derive(Default)]
struct Followed {
    decision: Decision,
    sources: Vec<SourceStatus>,
    /// Addresses that can never be backends: who has them, and why not.
    refused: BTreeMap<BackendAddr, (Vec<Arc<str>>, String)>,
}

/// A candidate in the making.
#[derive(Clone, Debug, Default)]
struct Draft {
    weight: u16,
    sources: Vec<Arc<str>>,
    zone: Option<Arc<str>>,
    labels: super::feed::Labels,
    facts: Facts,
    /// Place of its first source.
    place: usize,
    /// Of the configuration or the API.
    fixed: bool,
}

fn same(old: &Pooled, new: &Pooled) -> bool {
    old.panic == new.panic
        && old.hold == new.hold
        && old.sources == new.sources
        && old.candidates == new.candidates
}

fn near(one: Timestamp, other: Timestamp) -> bool {
    one.duration_since(other).abs() < jiff::SignedDuration::from_millis(100)
}

/// Whether an endpoint of this standing takes new flows.
pub(super) fn flows(standing: &Standing) -> bool {
    matches!(standing, Standing::Used | Standing::Held)
}
