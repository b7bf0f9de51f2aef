//! The endpoints of a service as they are taken over: what its sources say, less what has not happened yet because a
//! removal waits.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use jiff::Timestamp;

use super::feed::{Entry, Feed, FeedId};
use super::guard::{Decision, Flowing, Pending, Window, decide};
use super::setup::Now;
use super::word::{Sources, Word};
use crate::model::{BackendAddr, Guard};

/// An endpoint of a service.
#[derive(Clone, Debug)]
pub(super) struct Member {
    /// What is said of it; while its removal waits, what was said last that let it take flows.
    pub entry: Entry,
    /// The sources that have it, or had it last, in the service's order; where none of them is the service's any more, those
    /// that are asked instead.
    pub last: Vec<FeedId>,
    /// All sources of the service that have had it since it came.
    pub had: Vec<FeedId>,
    /// When it came to the service, which had others by then.
    pub came: Option<Instant>,
    pub state: State,
}

/// How far an endpoint takes part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// It takes flows by its registry's word.
    In,
    /// Its registry has it, and wants no new flows there.
    Off,
    /// No source has it any more (or wants no new flows there), and that waits.
    Held {
        since: Instant,
        wall: Timestamp,
        /// The operator lets it go.
        accepted: bool,
    },
    /// It is gone, and keeps its old flows for a while.
    Leaving { until: Instant, wall: Timestamp },
}

/// The endpoints of a service, and what waits.
#[derive(Clone, Debug, Default)]
pub(super) struct Members {
    pub all: BTreeMap<BackendAddr, Member>,
    pub window: Window,
    /// Sources whose first answer is no longer waited for.
    pub let_go: BTreeSet<FeedId>,
    /// Whether any removal waits.
    pub holding: bool,
}

impl Members {
    /// Takes the sources' word over as far as the guards let it. Answers what waits.
    pub(super) fn follow(&mut self, sources: &Sources<'_>, now: Now) -> Decision {
        let word = sources.word(|addr| self.all.contains_key(addr));
        let refused = |addr: &BackendAddr| sources.all.iter().any(|source| source.refused.contains_key(addr));
        self.all.retain(|addr, _| word.contains_key(addr) || !refused(addr));
        let fresh = self.take_over(&word, now);
        self.mark_missing(&word, now);
        let mut decision = self.decide(sources, &word, &fresh, now);
        // What waits may fit once what was ripe has gone.
        while !decision.go.is_empty() {
            for addr in std::mem::take(&mut decision.go) {
                self.let_go(addr, &word, &sources.discovery.drain, now);
            }
            decision = self.decide(sources, &word, &fresh, now);
        }
        self.all.retain(
            |_, member| !matches!(member.state, State::Leaving { until, .. } if until <= now.instant),
        );
        self.holding = self.all.values().any(|member| matches!(member.state, State::Held { .. }));
        decision
    }

    /// Additions, returns and changes: at once. Answers what takes flows now and did not before.
    fn take_over(&mut self, word: &BTreeMap<BackendAddr, Word<'_>>, now: Now) -> BTreeSet<BackendAddr> {
        let mut fresh = BTreeSet::new();
        let first = self.all.is_empty();
        for (addr, said) in word {
            let takes = said.entry.takes();
            let Some(member) = self.all.get_mut(addr) else {
                let back = self.window.returned(addr);
                let member = Member {
                    entry: said.entry.clone(),
                    last: said.sources.clone(),
                    had: said.sources.clone(),
                    came: (!first && !back).then_some(now.instant),
                    state: if takes { State::In } else { State::Off },
                };
                self.all.insert(*addr, member);
                fresh.insert(*addr);
                continue;
            };
            for source in &said.sources {
                if !member.had.contains(source) {
                    member.had.push(*source);
                }
            }
            match (member.state, takes) {
                (State::In, false) => {
                    member.state = State::Held { since: now.instant, wall: now.wall, accepted: false };
                }
                (State::Held { .. }, false) => {}
                (State::Leaving { .. }, false) => member.state = State::Off,
                (State::Off, false) | (_, true) => {}
            }
            if takes {
                if member.state != State::In {
                    self.window.returned(addr);
                }
                if matches!(member.state, State::Off | State::Leaving { .. }) {
                    fresh.insert(*addr);
                }
                member.state = State::In;
            }
            if takes || member.state == State::Off {
                if member.entry != *said.entry {
                    member.entry = said.entry.clone();
                }
                if member.last != said.sources {
                    member.last.clone_from(&said.sources);
                }
            }
        }
        fresh
    }

    /// What no source has any more begins to wait.
    fn mark_missing(&mut self, word: &BTreeMap<BackendAddr, Word<'_>>, now: Now) {
        let missing = self.all.iter_mut().filter(|(addr, _)| !word.contains_key(addr));
        for (_, member) in missing.filter(|(_, member)| member.state == State::In) {
            member.state = State::Held { since: now.instant, wall: now.wall, accepted: false };
        }
    }

    /// The service has other sources now, which have said nothing yet of what only the old ones had. It waits for the word
    /// of the source in the same place, else of all that are new, else of all that are left. What `stands_by` takes no new
    /// flows, and goes with its source if no new one comes.
    pub(super) fn inherit(
        &mut self,
        old: &[FeedId],
        new: &[FeedId],
        stands_by: impl Fn(&BackendAddr) -> bool,
        gone: State,
    ) {
        let fresh: Vec<_> = new.iter().copied().filter(|id| !old.contains(id)).collect();
        let heir = |id: &FeedId| {
            let place = old.iter().position(|old| old == id)?;
            new.get(place).copied().filter(|id| fresh.contains(id))
        };
        for (addr, member) in &mut self.all {
            member.had.retain(|id| new.contains(id));
            if member.last.iter().any(|id| new.contains(id)) {
                member.last.retain(|id| new.contains(id));
                continue;
            }
            member.last = member.last.iter().filter_map(heir).collect();
            if member.last.is_empty() {
                member.last.extend(if fresh.is_empty() { new } else { fresh.as_slice() });
                if fresh.is_empty() && stands_by(addr) {
                    member.state = gone;
                }
            }
        }
    }

    fn decide(
        &mut self,
        sources: &Sources<'_>,
        word: &BTreeMap<BackendAddr, Word<'_>>,
        fresh: &BTreeSet<BackendAddr>,
        now: Now,
    ) -> Decision {
        let guard: &Guard = &sources.discovery.guard;
        let mut pending = Vec::new();
        let mut accepted = Vec::new();
        let mut flowing = Flowing::default();
        let waits_since = |member: &Member| match member.state {
            State::Held { since, .. } => Some(since),
            _ => None,
        };
        // What was new when the first removal was asked for stays so while it waits.
        let asked = self.all.values().filter_map(waits_since).min().unwrap_or(now.instant);
        for (addr, member) in &self.all {
            let idle = sources.drained.contains(addr);
            let settled = member.came.is_none_or(|came| came + guard.interval <= asked);
            let tier = sources.tier(&member.last);
            let removal = |since: Instant, idle| {
                let word = sources.answering_since(&member.last, since);
                let confirmed = word.is_some() && sources.confirmed(addr, member);
                Pending { addr: *addr, tier, word, confirmed, idle, settled }
            };
            match member.state {
                State::Held { accepted: true, .. } => accepted.push(*addr),
                State::Held { since, .. } => pending.push(removal(since, idle)),
                State::Off if !word.contains_key(addr) => pending.push(removal(now.instant, true)),
                _ => {}
            }
            if !idle && matches!(member.state, State::In | State::Held { accepted: false, .. }) {
                flowing.all += 1;
                let before = flowing.before.entry(tier).or_default();
                if !fresh.contains(addr) {
                    before.all += 1;
                    before.settled += usize::from(settled);
                }
            }
        }
        if !accepted.is_empty() {
            return Decision { go: accepted, ..Decision::default() };
        }
        let synced = sources.synced(&self.let_go);
        decide(guard, synced, &pending, &flowing, &mut self.window, now.instant)
    }

    /// Carries a removal out: an endpoint that is still listed is disabled, else it leaves.
    fn let_go(
        &mut self,
        addr: BackendAddr,
        word: &BTreeMap<BackendAddr, Word<'_>>,
        drain: &std::time::Duration,
        now: Now,
    ) {
        let Some(member) = self.all.get_mut(&addr) else { return };
        if let Some(said) = word.get(&addr) {
            member.entry = said.entry.clone();
            member.state = State::Off;
            return;
        }
        let until = now.instant + *drain;
        member.state = State::Leaving { until, wall: now.wall_at(until) };
    }

    /// The operator lets go what waits now, and does not wait for these sources any more.
    pub(super) fn accept(&mut self, silent: Vec<FeedId>) -> Vec<BackendAddr> {
        let mut going = Vec::new();
        for (addr, member) in &mut self.all {
            if let State::Held { accepted, .. } = &mut member.state {
                *accepted = true;
                going.push(*addr);
            }
        }
        if !going.is_empty() {
            self.let_go.extend(silent);
            self.window.clear();
        }
        going
    }

    /// Endpoints whose removal waits, and which a source does not offer.
    pub(super) fn waiting(&self, feed: &Feed) -> Vec<BackendAddr> {
        if !self.holding {
            return Vec::new();
        }
        let held = self.all.iter().filter(|(_, member)| matches!(member.state, State::Held { .. }));
        held.map(|(addr, _)| *addr).filter(|addr| !feed.offers(addr)).collect()
    }

    /// An event may have brought some of those back: then their removal has been taken back, even if it is asked for again
    /// before anyone looks.
    pub(super) fn seen(&mut self, waiting: Vec<BackendAddr>, feed: &Feed) {
        for addr in waiting.iter().filter(|addr| feed.offers(addr)) {
            if let Some(member) = self.all.get_mut(addr) {
                member.state = State::In;
            }
        }
    }

    /// Endpoints that the maps still have and nobody knows: they stay until every source has answered.
    pub(super) fn adopt(&mut self, addr: BackendAddr, sources: &[FeedId], now: Now) {
        self.holding = true;
        self.all.entry(addr).or_insert_with(|| Member {
            entry: Entry { weight: None, enabled: true, zone: None, labels: Default::default() },
            last: sources.to_vec(),
            had: Vec::new(),
            came: None,
            state: State::Held { since: now.instant, wall: now.wall, accepted: false },
        });
    }

    /// Endpoints that were leaving when weir ended.
    pub(super) fn resume(
        &mut self,
        addr: BackendAddr,
        entry: &Entry,
        source: FeedId,
        wall: Timestamp,
        now: Now,
    ) {
        let until = now.instant_at(wall);
        self.all.entry(addr).or_insert_with(|| Member {
            entry: entry.clone(),
            last: vec![source],
            had: vec![source],
            came: None,
            state: State::Leaving { until, wall },
        });
    }
}
