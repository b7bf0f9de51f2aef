//! The checker's statement, over random sequences of events: after each, what takes new flows is what the sources said
//! last, less the unhealthy and drained, plus documented holds; nothing is removed by what is unknown; additions never
//! wait; never empty unless confirmed. The statement is worked out from the events alone, without the pool's own state.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Step {
    Reset(usize, u8),
    Add(usize, u8),
    Remove(usize, u8),
    Gone(usize),
    Lost(usize),
    Connected(usize),
    Pass(u16),
    Accept,
    Judge(u8, bool),
    Drain(u8),
}

const NAMES: [&str; 2] = ["a", "b"];
const HOLD: u64 = 60;
const HOLD_MIN: u64 = 600;

fn step() -> impl Strategy<Value = Step> {
    let source = 0..2_usize;
    let bits = prop_oneof![3 => any::<u8>(), 1 => Just(0_u8), 2 => Just(0xff_u8)];
    prop_oneof![
        8 => (source.clone(), bits.clone()).prop_map(|(source, bits)| Step::Reset(source, bits)),
        2 => (source.clone(), bits.clone()).prop_map(|(source, bits)| Step::Add(source, bits)),
        3 => (source.clone(), bits).prop_map(|(source, bits)| Step::Remove(source, bits)),
        1 => source.clone().prop_map(Step::Gone),
        2 => source.clone().prop_map(Step::Lost),
        1 => source.prop_map(Step::Connected),
        6 => prop_oneof![0..5_u16, 20..70_u16, 500..700_u16].prop_map(Step::Pass),
        1 => Just(Step::Accept),
        2 => (0..8_u8, any::<bool>()).prop_map(|(host, up)| Step::Judge(host, up)),
        1 => (0..8_u8).prop_map(Step::Drain),
    ]
}

/// What follows from the events alone.
#[derive(Default)]
struct Statement {
    /// The last word of each source.
    said: [BTreeSet<u16>; 2],
    answers: [bool; 2],
    synced: [bool; 2],
    /// Who ever had an endpoint while it flowed.
    had: BTreeMap<u16, BTreeSet<usize>>,
    down: BTreeSet<u16>,
    drained: BTreeSet<u16>,
    /// Since when no source has it and those that had it answer, seconds.
    missing: BTreeMap<u16, u64>,
    /// Who had it last.
    last: BTreeMap<u16, BTreeSet<usize>>,
    let_go: [bool; 2],
    clock: u64,
}

impl Statement {
    fn word(&self) -> BTreeSet<u16> {
        self.said.iter().flatten().copied().collect()
    }

    fn forget_breaks(&mut self) {
        let word = self.word();
        for host in &word {
            for source in 0..2 {
                if self.said[source].contains(host) {
                    self.had.entry(*host).or_default().insert(source);
                }
            }
            let has = (0..2).filter(|source| self.said[*source].contains(host)).collect();
            self.last.insert(*host, has);
        }
        let broken = |last: &BTreeSet<usize>| last.iter().any(|source| !self.answers[*source]);
        for (host, last) in &self.last {
            if word.contains(host) || broken(last) {
                self.missing.remove(host);
            } else {
                self.missing.entry(*host).or_insert(self.clock);
            }
        }
    }

    fn ripe(&self, host: u16, after: u64) -> bool {
        self.missing.get(&host).is_some_and(|since| since + after <= self.clock)
    }

    /// A second source may have confirmed it.
    fn two_witnesses(&self, host: u16) -> bool {
        self.had.get(&host).is_some_and(|had| had.len() > 1)
    }
}

fn run(steps: Vec<Step>) -> Result<(), TestCaseError> {
    let mut health = check();
    health.panic_below = 0;
    let mut bench = Bench::new(Spec { health: Some(Arc::new(health)), ..spec(&NAMES) });
    let mut state = Statement::default();
    for step in steps {
        let before: BTreeSet<u16> = members(&bench);
        let some = |bits: u8| (0..8_u16).filter(move |host| bits >> host & 1 == 1);
        let mut accepted = false;
        match step.clone() {
            Step::Reset(source, bits) => {
                state.said[source] = some(bits).collect();
                (state.answers[source], state.synced[source]) = (true, true);
                bench.reset(NAMES[source], hosts(some(bits)));
            }
            Step::Add(source, bits) => {
                state.said[source].extend(some(bits));
                let add = Event::Add { query: query(), set: hosts(some(bits)) };
                bench.tell(NAMES[source], Report::Event(add));
            }
            Step::Remove(source, bits) => {
                if state.answers[source] {
                    state.said[source].retain(|host| bits >> host & 1 == 0);
                }
                let addrs = some(bits).map(addr).collect();
                let remove = Event::Remove { query: query(), addrs, version: None, received: Instant::now() };
                bench.tell(NAMES[source], Report::Event(remove));
            }
            Step::Gone(source) => {
                state.answers[source] = false;
                bench.tell(NAMES[source], Report::Event(Event::Gone { query: query(), why: "gone".into() }));
            }
            Step::Lost(source) => {
                state.answers[source] = false;
                bench.lose(NAMES[source]);
            }
            Step::Connected(source) => {
                state.answers[source] = false;
                bench.tell(NAMES[source], Report::Event(Event::Connected { peer: "x".into() }));
            }
            Step::Pass(seconds) => {
                state.clock += u64::from(seconds);
                bench.pass(seconds.into());
            }
            Step::Accept => {
                accepted = bench.pool.accept("web", bench.now).is_ok();
                if accepted {
                    state.let_go = [0, 1].map(|source| state.let_go[source] || !state.synced[source]);
                }
            }
            Step::Judge(host, up) => {
                let host = u16::from(host);
                let known = bench.web().candidates.contains_key(&addr(host));
                bench.judge(host, up);
                if known && !up {
                    state.down.insert(host)
                } else {
                    state.down.remove(&host)
                };
            }
            Step::Drain(host) => {
                let host = u16::from(host);
                if !state.drained.remove(&host) {
                    state.drained.insert(host);
                }
                let drained = state.drained.iter().copied().map(addr).collect();
                bench.change(|spec| spec.drained = drained);
            }
        }
        // A verdict goes with its backend.
        let candidates: BTreeSet<u16> = bench.web().candidates.keys().map(host).collect();
        state.down.retain(|host| candidates.contains(host));
        state.forget_breaks();
        agrees(&bench, &state, &before, &step, accepted)?;
    }
    Ok(())
}

/// Endpoints that take new flows, or would if they were healthy.
fn members(bench: &Bench) -> BTreeSet<u16> {
    let fits = |standing: &Standing| matches!(standing, Standing::Used | Standing::Held | Standing::Down);
    bench.standing(fits).into_iter().collect()
}

fn agrees(
    bench: &Bench,
    state: &Statement,
    before: &BTreeSet<u16>,
    step: &Step,
    accepted: bool,
) -> Result<(), TestCaseError> {
    let word = state.word();
    let held: BTreeSet<u16> = bench.hold().iter().flat_map(|hold| &hold.addrs).map(host).collect();
    let expected: BTreeSet<u16> = word.union(&held).copied().collect();
    let now = members(bench);
    prop_assert_eq!(&now, &expected, "a published set, or a documented hold");
    let flowing: BTreeSet<u16> = bench.flowing().into_iter().collect();
    let healthy: BTreeSet<u16> = expected.difference(&state.down).copied().collect();
    prop_assert_eq!(&flowing, &healthy, "less the unhealthy");
    prop_assert!(held.is_disjoint(&word), "what a source has is not held");
    prop_assert!(
        held.is_subset(before) || held.iter().all(|host| state.had.contains_key(host)),
        "held, so it was there"
    );

    let gone: BTreeSet<u16> = before.difference(&now).copied().collect();
    if gone.is_empty() {
        return Ok(());
    }
    if accepted {
        return Ok(());
    }
    let waits = (0..2).any(|source| !state.synced[source] && !state.let_go[source]);
    prop_assert!(!waits, "removed before the first sync");
    let counted: BTreeSet<u16> = gone.difference(&state.drained).copied().collect();
    let flows = |set: &BTreeSet<u16>| set.difference(&state.drained).count();
    for host in &gone {
        let answered = state.missing.contains_key(host);
        prop_assert!(answered, "removed by a source that is not known");
    }
    let at_once: Vec<_> =
        counted.iter().filter(|host| !state.ripe(**host, HOLD) && !state.two_witnesses(**host)).collect();
    let size = flows(before);
    prop_assert!(
        at_once.len() * 100 <= size * 50 || at_once.is_empty() || matches!(step, Step::Pass(_)),
        "too many at once"
    );
    if flows(&now) == 0 && size > 0 && !counted.is_empty() {
        let confirmed = counted.iter().any(|host| state.ripe(*host, HOLD_MIN) || state.two_witnesses(*host));
        prop_assert!(confirmed, "emptied without a word for it");
    }
    Ok(())
}

proptest! {
    #![proptest_config({ let env = ProptestConfig::default(); ProptestConfig { cases: env.cases.max(400), ..env } })]
    #[test]
    fn what_takes_flows_was_published_or_is_held(steps in proptest::collection::vec(step(), 1..60)) {
        run(steps)?;
    }
}
