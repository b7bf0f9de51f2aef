//! The loop: what is due is begun, what has ended is judged, and what there is to say is told.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinError, JoinSet};

use super::board::{Board, Id};
use super::probe::probe;
use super::{Outcome, Seen, Stats, Target, Targets, Verdict};

/// Checks `targets` until one of the channels is closed.
///
/// At most one check of a unit is under way, so the number of sockets is bounded by that of the units, and by half of the
/// process's file descriptors, whose soft limit is raised to 65,536 as far as the hard one allows. The other side may be
/// slow: what is not yet told is replaced by what is newer.
pub async fn run(
    mut targets: watch::Receiver<Arc<Targets>>,
    verdicts: mpsc::Sender<Verdict>,
    stats: Arc<Stats>,
) {
    let mut rounds = Rounds {
        board: Board::new(fastrand::Rng::new()),
        checks: JoinSet::new(),
        running: BTreeMap::new(),
        untold: BTreeMap::new(),
        budget: budget(),
        stats,
    };
    targets.mark_changed();
    loop {
        rounds.begin();
        // Without room the end of a check is what to wait for.
        let due = rounds.board.next_due().filter(|_| rounds.checks.len() < rounds.budget);
        let pause = due.unwrap_or_else(|| Instant::now() + Duration::from_secs(3600));
        tokio::select! {
            changed = targets.changed() => match changed {
                Ok(()) => rounds.want(&targets.borrow_and_update().clone()),
                Err(_) => return,
            },
            permit = verdicts.reserve(), if !rounds.untold.is_empty() => match (permit, rounds.untold.pop_first()) {
                (Ok(permit), Some((_, verdict))) => permit.send(verdict),
                (Ok(_), None) => {}
                (Err(_), _) => return,
            },
            Some(ended) = rounds.checks.join_next() => rounds.ended(ended),
            () = tokio::time::sleep_until(pause.into()) => {}
            () = verdicts.closed() => return,
        }
    }
}

struct Rounds {
    board: Board,
    checks: JoinSet<(Id, Instant, Seen)>,
    running: BTreeMap<Id, AbortHandle>,
    untold: BTreeMap<Target, Verdict>,
    budget: usize,
    stats: Arc<Stats>,
}

impl Rounds {
    fn want(&mut self, targets: &Targets) {
        for id in self.board.want(Instant::now(), targets) {
            if let Some(check) = self.running.remove(&id) {
                check.abort();
            }
        }
        self.untold.retain(|target, _| targets.contains_key(target));
        let (targets, units) = self.board.sizes();
        self.stats.sizes(targets, units);
    }

    fn begin(&mut self) {
        let now = Instant::now();
        let mut late = 0;
        while self.checks.len() < self.budget
            && let Some((id, unit, due)) = self.board.begin(now)
        {
            late += u64::from(now.saturating_duration_since(due) > LATE);
            let check = self.checks.spawn(async move { (id, now, probe(&unit).await) });
            self.running.insert(id, check);
        }
        self.stats.late(late);
    }

    fn ended(&mut self, ended: Result<(Id, Instant, Seen), JoinError>) {
        let (id, began, seen) = match ended {
            Ok(ended) => ended,
            // Stopped, or broken off by a panic: a fault of weir's that must not count against the backend.
            Err(error) => {
                let id = self.running.iter().find(|(_, check)| check.id() == error.id()).map(|(id, _)| *id);
                let Some(id) = id else { return };
                let detail = Arc::from("the check itself failed");
                (id, Instant::now(), Seen { outcome: Outcome::Local, detail })
            }
        };
        // The end of a stopped check that was faster than the order to stop is nobody's.
        if self.running.remove(&id).is_none() {
            return;
        }
        let now = Instant::now();
        self.stats.ended(seen.outcome, now.saturating_duration_since(began));
        for verdict in self.board.end(now, began, id, &seen) {
            self.untold.insert((Arc::clone(&verdict.service), verdict.backend), verdict);
        }
    }
}

/// How many sockets the checks may have open.
fn budget() -> usize {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let wanted = maximum.unwrap_or(DESCRIPTORS).min(DESCRIPTORS);
    let mut have = current.unwrap_or(u64::MAX);
    if have < wanted && setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum }).is_ok() {
        have = wanted;
    }
    usize::try_from(have / 2).unwrap_or(usize::MAX).max(16)
}

const DESCRIPTORS: u64 = 65_536;
const LATE: Duration = Duration::from_millis(100);
