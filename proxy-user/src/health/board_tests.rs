use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::board::Board;
use super::tests::{check, target};
use super::*;

/// A board in a time of its own, and whether each backend answers.
struct Play {
    board: Board,
    now: Instant,
    begun: Vec<(Duration, u16)>,
    start: Instant,
}

impl Play {
    fn new() -> Self {
        let now = Instant::now();
        let board = Board::new(fastrand::Rng::with_seed(7));
        Self { board, now, begun: Vec::new(), start: now }
    }

    fn want(&mut self, targets: impl IntoIterator<Item = (Target, HealthCheck)>) -> Vec<u64> {
        let targets = targets.into_iter().map(|(target, check)| (target, Arc::new(check))).collect();
        self.board.want(self.now, &targets)
    }

    /// Lets time pass, each check taking 1 ms, and tells verdicts as `service/port up|down`.
    fn pass(&mut self, time: Duration, answers: impl Fn(u16) -> Option<Outcome>) -> Vec<String> {
        let end = self.now + time;
        let mut told = Vec::new();
        while let Some(due) = self.board.next_due().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            let (id, unit, _) = self.board.begin(self.now).unwrap();
            let port = unit.addr.port();
            self.begun.push((self.now - self.start, port));
            let Some(outcome) = answers(port) else { continue };
            let seen = Seen { outcome, detail: Arc::from(outcome.label()) };
            let ended = self.now + Duration::from_millis(1);
            for verdict in self.board.end(ended, self.now, id, &seen) {
                let up = if verdict.up { "up" } else { &verdict.detail };
                told.push(format!("{}/{} {up}", verdict.service, verdict.backend.port));
            }
        }
        self.now = end;
        told
    }
}

const SECOND: Duration = Duration::from_secs(1);

fn slow() -> HealthCheck {
    HealthCheck { interval: SECOND, ..check() }
}

#[test]
fn told_once_and_at_each_change() {
    let mut play = Play::new();
    play.want([(target("a", 1), slow()), (target("a", 2), slow())]);
    let good = |_| Some(Outcome::Good);
    let mut first = play.pass(3 * SECOND, good);
    first.sort();
    assert_eq!(first, ["a/1 up", "a/2 up"]);
    assert!(play.pass(9 * SECOND, good).is_empty());
    let half = |port| Some(if port == 1 { Outcome::Refused } else { Outcome::Good });
    assert_eq!(play.pass(5 * SECOND, half), ["a/1 refused"]);
    // Another reason is told, each once.
    let other = |port| Some(if port == 1 { Outcome::Timeout } else { Outcome::Good });
    assert_eq!(play.pass(5 * SECOND, other), ["a/1 timeout"]);
    // What this host cannot do says nothing of the backend.
    assert!(play.pass(5 * SECOND, |_| Some(Outcome::Local)).is_empty());
    assert_eq!(play.pass(5 * SECOND, good), ["a/1 up"]);
}

#[test]
fn thousands_are_spread_and_one_is_checked_at_once() {
    let mut play = Play::new();
    play.want((1..=2000).map(|port| (target("a", port), HealthCheck { interval: 4 * SECOND, ..check() })));
    play.pass(40 * SECOND, |_| Some(Outcome::Good));
    let mut per_tick = vec![0; 401];
    for (at, _) in &play.begun {
        per_tick[usize::try_from(at.as_millis() / 100).unwrap()] += 1;
    }
    // The mean is 50 in 100 ms; the first 2,000 take half of the interval.
    assert!(per_tick.iter().all(|n| *n < 200), "{per_tick:?}");
    assert!(per_tick[60..400].iter().all(|n| (15..120).contains(n)), "{per_tick:?}");
    let all: BTreeSet<u16> = play.begun.iter().map(|(_, port)| *port).collect();
    assert_eq!(all.len(), 2000);

    let mut play = Play::new();
    play.want([(target("a", 1), slow())]);
    play.pass(Duration::from_millis(1), |_| Some(Outcome::Good));
    assert_eq!(play.begun.len(), 1);
}

#[test]
fn a_slow_one_delays_no_other() {
    let mut play = Play::new();
    play.want((1..=10).map(|port| (target("a", port), slow())));
    // Number 1 never ends.
    play.pass(20 * SECOND, |port| (port != 1).then_some(Outcome::Good));
    let count = |wanted| play.begun.iter().filter(|(_, port)| *port == wanted).count();
    assert_eq!(count(1), 1);
    assert!((2..=10).all(|port| count(port) >= 17));
}

#[test]
fn the_same_question_is_asked_once_and_each_counts_at_its_own_pace() {
    let mut play = Play::new();
    let patient = HealthCheck { interval: 10 * SECOND, fall: 3, ..check() };
    play.want([(target("quick", 1), slow()), (target("patient", 1), patient)]);
    assert_eq!(play.board.sizes(), (2, 1));
    let mut first = play.pass(12 * SECOND, |_| Some(Outcome::Good));
    first.sort();
    assert_eq!(first, ["patient/1 up", "quick/1 up"]);
    assert!(play.begun.len() < 16);
    assert_eq!(play.pass(5 * SECOND, |_| Some(Outcome::Refused)), ["quick/1 refused"]);
    assert_eq!(play.pass(35 * SECOND, |_| Some(Outcome::Refused)), ["patient/1 refused"]);
}

#[test]
fn other_timing_keeps_the_verdict_another_question_does_not() {
    let mut play = Play::new();
    play.want([(target("a", 1), slow())]);
    let bad = |_| Some(Outcome::Refused);
    assert_eq!(play.pass(5 * SECOND, bad), ["a/1 refused"]);
    let timing = HealthCheck { interval: SECOND / 2, timeout: 2 * SECOND, rise: 3, ..check() };
    assert_eq!(play.want([(target("a", 1), timing.clone())]).len(), 1, "the unit with the old timeout stops");
    assert!(play.pass(5 * SECOND, bad).is_empty());
    assert_eq!(play.want([(target("a", 1), HealthCheck { port: Some(9), ..timing })]).len(), 1);
    assert_eq!(play.pass(5 * SECOND, bad), ["a/1 refused"]);
    assert!(play.begun.iter().rev().take(3).all(|(_, port)| *port == 9));
    assert_eq!(play.want([]).len(), 1);
    assert_eq!((play.board.next_due(), play.board.sizes()), (None, (0, 0)));
}

#[test]
fn a_shorter_interval_counts_from_now() {
    let mut play = Play::new();
    play.want([(target("a", 1), HealthCheck { interval: 1000 * SECOND, ..check() })]);
    play.pass(SECOND, |_| Some(Outcome::Good));
    play.want([(target("a", 1), slow())]);
    play.begun.clear();
    play.pass(10 * SECOND, |_| Some(Outcome::Good));
    assert!(play.begun.len() >= 8);
}

#[test]
fn without_a_port_nothing_is_checked() {
    let mut play = Play::new();
    assert!(play.want([(target("a", 0), slow())]).is_empty());
    assert_eq!(play.board.next_due(), None);
    play.want([(target("a", 0), HealthCheck { port: Some(7), ..slow() })]);
    assert_eq!(play.pass(SECOND, |_| Some(Outcome::Good)), ["a/0 up"]);
}
