//! Which removals are carried out now, and which wait. An endpoint counts as removed when it takes no new flows any more by
//! the registries' word: it is gone, disabled, or has the weight 0. What takes no flows anyway (the operator drains it, the
//! registry had disabled it) may go at any time after the first sync, for nothing is lost with it.
//!
//! Removals of one set wait or go together:
//!
//! | a removal | goes |
//! |---|---|
//! | while a source of the service has not answered yet | never; `accept` lets it go |
//! | that leaves at least `min`, of at most `max_removed` of the set as it was before, and when `interval` began, with and without what came within `interval` | at once |
//! | of more than that share | when it has been the registry's word for `hold` without a break |
//! | that leaves fewer than `min` | when it has been so for `hold_min`; with none, never |
//! | that another source confirms: it had the endpoint too, is known and not empty, and lacks it | at once |
//! | that the operator accepts | at once |

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::catalog::snapshot::HoldReason;
use crate::model::{BackendAddr, Guard};

/// A removal that is asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pending {
    pub addr: BackendAddr,
    /// Group whose share counts: with `combine = "fallback"` each source's own, else all are one.
    pub tier: usize,
    /// Since when it has been the word of every source that had the endpoint last; none while one of them is unknown.
    pub word: Option<Instant>,
    /// Another source says so too.
    pub confirmed: bool,
    /// It takes no new flows anyway.
    pub idle: bool,
    /// It did not come within `interval`.
    pub settled: bool,
}

/// Endpoints that take new flows, those among them whose removal waits.
#[derive(Clone, Debug, Default)]
pub(super) struct Flowing {
    pub all: usize,
    /// By tier, without those that came with the removals.
    pub before: BTreeMap<usize, Size>,
}

/// A set of endpoints, and of those among them that did not come within `interval`. A removal has to be small beside both:
/// what is new must not make the removal of what was there before small.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Size {
    pub all: usize,
    pub settled: usize,
}

/// What becomes of the removals.
#[derive(Clone, Debug, Default)]
pub(super) struct Decision {
    pub go: Vec<BackendAddr>,
    /// Why the others wait.
    pub held: Option<HoldReason>,
    /// When the last of them goes.
    pub until: Option<Instant>,
    /// When to decide again.
    pub wake: Option<Instant>,
}

/// Decides.
pub(super) fn decide(
    guard: &Guard,
    synced: bool,
    pending: &[Pending],
    flowing: &Flowing,
    window: &mut Window,
    now: Instant,
) -> Decision {
    let mut decision = Decision::default();
    if pending.is_empty() {
        return decision;
    }
    if !synced {
        decision.held = Some(HoldReason::FirstSync);
        return decision;
    }
    window.forget(guard.interval, now);
    // What is unknown removes nothing, however little it is.
    let (said, unsaid): (Vec<_>, Vec<_>) =
        pending.iter().copied().partition(|removal| removal.word.is_some());
    let (idle, counted): (Vec<_>, Vec<_>) = said.into_iter().partition(|removal| removal.idle);
    decision.carry_out(&idle);
    let left = |gone: usize| flowing.all.saturating_sub(gone);
    let min = usize::try_from(guard.min).unwrap_or(usize::MAX);
    if left(counted.len()) >= min {
        by_share(&mut decision, guard, counted, flowing, window, now);
    } else {
        // What has waited as long as a large share has to may go as far as enough are left.
        let shorter: Vec<_> =
            counted.iter().copied().filter(|removal| removal.ripe(guard.hold, now)).collect();
        let after = match left(shorter.len()) >= min {
            true => Some(guard.hold),
            false => guard.hold_min.map(|hold| hold.max(guard.hold)),
        };
        let (go, wait) = split(counted, after, now);
        decision.carry_out(&go);
        decision.wait(HoldReason::Minimum, guard.hold_min.map(|hold| hold.max(guard.hold)), &wait, now);
        // Some of them may go after the shorter time.
        let first = wait.iter().filter_map(|removal| removal.word).map(|word| word + guard.hold);
        decision.wake = earlier(decision.wake, first.filter(|at| *at > now).min());
    }
    if !unsaid.is_empty() {
        // Nobody can say when they go.
        decision.held.get_or_insert(HoldReason::Share);
        decision.until = None;
    }
    decision
}

/// Enough are left: what fits into the share goes, of the rest what has waited long enough.
fn by_share(
    decision: &mut Decision,
    guard: &Guard,
    counted: Vec<Pending>,
    flowing: &Flowing,
    window: &mut Window,
    now: Instant,
) {
    let mut tiers: BTreeMap<usize, Vec<Pending>> = BTreeMap::new();
    for removal in counted {
        tiers.entry(removal.tier).or_default().push(removal);
    }
    for (tier, removals) in tiers {
        let size = flowing.before.get(&tier).copied().unwrap_or_default();
        if window.allows(guard.max_removed, tier, &removals, size) {
            removals.iter().for_each(|removal| window.note(removal, size, now));
            decision.carry_out(&removals);
            continue;
        }
        let (go, wait) = split(removals, Some(guard.hold), now);
        decision.carry_out(&go);
        decision.wait(HoldReason::Share, Some(guard.hold), &wait, now);
        decision.wake = earlier(decision.wake, window.oldest().map(|at| at + guard.interval));
    }
}

/// What goes when it has waited for so long, none for ever, and what goes on waiting.
fn split(removals: Vec<Pending>, after: Option<Duration>, now: Instant) -> (Vec<Pending>, Vec<Pending>) {
    removals.into_iter().partition(|removal| match after {
        Some(after) => removal.ripe(after, now),
        None => removal.confirmed,
    })
}

impl Pending {
    fn ripe(&self, after: Duration, now: Instant) -> bool {
        self.confirmed || self.word.is_some_and(|word| word + after <= now)
    }
}

impl Decision {
    fn carry_out(&mut self, removals: &[Pending]) {
        self.go.extend(removals.iter().map(|removal| removal.addr));
    }

    fn wait(&mut self, why: HoldReason, after: Option<Duration>, waiting: &[Pending], now: Instant) {
        if waiting.is_empty() {
            return;
        }
        self.held = Some(why);
        let Some(after) = after else { return };
        let due = waiting.iter().filter_map(|removal| removal.word).map(|word| word + after);
        self.wake = earlier(self.wake, due.clone().filter(|at| *at > now).min());
        self.until = self.until.max(due.max());
    }
}

/// What was removed lately without a wait.
#[derive(Clone, Debug, Default)]
pub(super) struct Window {
    removed: BTreeMap<BackendAddr, Removed>,
}

#[derive(Clone, Copy, Debug)]
struct Removed {
    at: Instant,
    tier: usize,
    settled: bool,
    /// The set before it.
    base: Size,
}

impl Window {
    /// An endpoint is back: it is not removed any more. Answers whether it was.
    pub(super) fn returned(&mut self, addr: &BackendAddr) -> bool {
        self.removed.remove(addr).is_some()
    }

    /// Begins anew.
    pub(super) fn clear(&mut self) {
        self.removed.clear();
    }

    fn forget(&mut self, interval: Duration, now: Instant) {
        self.removed.retain(|_, removed| removed.at + interval > now);
    }

    fn oldest(&self) -> Option<Instant> {
        self.removed.values().map(|removed| removed.at).min()
    }

    /// Whether these may go as well, of the set as it is and of the set when the first of the window went.
    fn allows(&self, max_removed: u8, tier: usize, more: &[Pending], size: Size) -> bool {
        let small = |gone: usize, of: usize| gone * 100 <= usize::from(max_removed) * of;
        let fits = |part: fn(Size) -> usize, settled: bool| {
            let more = more.iter().filter(|removal| removal.settled || !settled).count();
            let gone = self.removed.values().filter(|gone| gone.tier == tier && (gone.settled || !settled));
            let first = gone.clone().min_by_key(|gone| gone.at);
            let base = first.map_or(part(size), |gone| part(gone.base));
            more == 0 || small(more, part(size)) && small(gone.count() + more, base)
        };
        fits(|size| size.all, false) && fits(|size| size.settled, true)
    }

    fn note(&mut self, removal: &Pending, base: Size, now: Instant) {
        let Pending { addr, tier, settled, .. } = *removal;
        self.removed.insert(addr, Removed { at: now, tier, settled, base });
    }
}

pub(super) fn earlier(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}
