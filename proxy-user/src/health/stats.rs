//! Counters of the checks, for the metrics.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Upper bounds of the duration histogram's buckets, seconds; a last one without bound follows.
pub const BUCKETS: [f64; 12] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0];

/// How a check ended: the label of the counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// As it should.
    Good,
    /// The connection was refused.
    Refused,
    /// No way to the address.
    Unreachable,
    /// Time ran out.
    Timeout,
    /// The connection was closed or reset before the answer was whole.
    Closed,
    /// The answer is not HTTP, or its head is too long.
    Garbled,
    /// A status code that is not a good one.
    Status,
    /// This host could not check (descriptors, memory, ports): says nothing of the backend.
    Local,
}

impl Outcome {
    /// Every outcome.
    pub const ALL: [Self; 8] = [
        Self::Good,
        Self::Refused,
        Self::Unreachable,
        Self::Timeout,
        Self::Closed,
        Self::Garbled,
        Self::Status,
        Self::Local,
    ];

    /// The word for it in metrics.
    pub fn label(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Refused => "refused",
            Self::Unreachable => "unreachable",
            Self::Timeout => "timeout",
            Self::Closed => "closed",
            Self::Garbled => "garbled",
            Self::Status => "status",
            Self::Local => "local",
        }
    }
}

/// Counters, written by the checks and read by anybody.
#[derive(Debug, Default)]
pub struct Stats {
    outcomes: [AtomicU64; 8],
    buckets: [AtomicU64; 13],
    nanos: AtomicU64,
    late: AtomicU64,
    targets: AtomicU64,
    units: AtomicU64,
}

/// The counters at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    /// Checks by how they ended.
    pub outcomes: [(Outcome, u64); 8],
    /// Checks by duration: of each bucket of [`BUCKETS`] alone, then those above; not added up.
    pub buckets: [u64; 13],
    /// Sum of all durations.
    pub duration: Duration,
    /// Checks that began more than 100 ms late: weir lacks file descriptors or CPU time.
    pub late: u64,
    /// Backends that are checked, each service's counted.
    pub targets: u64,
    /// Different checks among them.
    pub units: u64,
}

impl Stats {
    /// Reads the counters.
    pub fn read(&self) -> Reading {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Reading {
            outcomes: std::array::from_fn(|at| {
                (
                    Outcome::ALL.get(at).copied().unwrap_or(Outcome::Local),
                    self.outcomes.get(at).map_or(0, get),
                )
            }),
            buckets: std::array::from_fn(|at| self.buckets.get(at).map_or(0, get)),
            duration: Duration::from_nanos(get(&self.nanos)),
            late: get(&self.late),
            targets: get(&self.targets),
            units: get(&self.units),
        }
    }

    pub(super) fn ended(&self, outcome: Outcome, took: Duration) {
        let place = Outcome::ALL.iter().position(|o| *o == outcome);
        count(place.and_then(|at| self.outcomes.get(at)), 1);
        let bucket = BUCKETS.iter().position(|bound| took.as_secs_f64() <= *bound).unwrap_or(BUCKETS.len());
        count(self.buckets.get(bucket), 1);
        count(Some(&self.nanos), u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
    }

    pub(super) fn late(&self, checks: u64) {
        count(Some(&self.late), checks);
    }

    pub(super) fn sizes(&self, targets: usize, units: usize) {
        self.targets.store(u64::try_from(targets).unwrap_or(u64::MAX), Ordering::Relaxed);
        self.units.store(u64::try_from(units).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

fn count(counter: Option<&AtomicU64>, by: u64) {
    if let Some(counter) = counter {
        counter.fetch_add(by, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counted_where_it_belongs() {
        let stats = Stats::default();
        stats.ended(Outcome::Good, Duration::from_micros(500));
        stats.ended(Outcome::Timeout, Duration::from_secs(9));
        stats.ended(Outcome::Timeout, Duration::from_millis(3));
        let read = stats.read();
        assert_eq!(read.outcomes.map(|(_, n)| n), [1, 0, 0, 2, 0, 0, 0, 0]);
        assert_eq!(read.outcomes.map(|(o, _)| o), Outcome::ALL);
        assert_eq!(read.buckets, [1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        assert_eq!(read.duration, Duration::from_micros(9_003_500));
        let labels: std::collections::BTreeSet<_> = Outcome::ALL.iter().map(|o| o.label()).collect();
        assert_eq!(labels.len(), Outcome::ALL.len());
    }
}
