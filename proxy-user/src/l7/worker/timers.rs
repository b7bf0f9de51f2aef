//! When something is given up. A connection has one [`Deadline`], which moves with each request at the cost of a store: an
//! entry that fires early is put back. Entries that a sooner one has replaced stay until their time; where they are more
//! than those that count, they are swept out.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// No time.
pub(super) const NEVER: u64 = u64::MAX;

/// When a connection is looked at, in microseconds of the worker's clock.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deadline {
    at: u64,
    /// Time of its entry that counts.
    armed: u64,
}

impl Default for Deadline {
    fn default() -> Self {
        Self { at: NEVER, armed: NEVER }
    }
}

impl Deadline {
    /// When it is; [`NEVER`] if there is none.
    pub(super) fn at(&self) -> u64 {
        self.at
    }
}

/// All deadlines, by tokens.
#[derive(Debug, Default)]
pub(super) struct Timers(BinaryHeap<Reverse<(u64, u64)>>);

impl Timers {
    /// Moves a deadline.
    #[inline]
    pub(super) fn set(&mut self, deadline: &mut Deadline, token: u64, at: u64) {
        deadline.at = at;
        if at < deadline.armed {
            deadline.armed = at;
            self.0.push(Reverse((at, token)));
        }
    }

    /// Moves a deadline if that makes it sooner.
    #[inline]
    pub(super) fn set_sooner(&mut self, deadline: &mut Deadline, token: u64, at: u64) {
        if at < deadline.at {
            self.set(deadline, token, at);
        }
    }

    /// Whether most entries count no more, with so many deadlines in all: it is worth a [`Self::sweep`].
    #[inline]
    pub(super) fn is_crowded(&self, deadlines: usize) -> bool {
        self.0.len() > deadlines.saturating_mul(2).saturating_add(SPARE)
    }

    /// Removes entries that count no more. `counts`: whether a token's deadline means an entry of this time.
    pub(super) fn sweep(&mut self, counts: impl Fn(u64, &dyn Fn(&Deadline) -> bool) -> bool) {
        let mut entries = std::mem::take(&mut self.0).into_vec();
        entries.retain(|Reverse((at, token))| counts(*token, &|deadline| deadline.armed == *at));
        // One may be there twice, from before and from now.
        entries.sort_unstable();
        entries.dedup();
        self.0 = BinaryHeap::from(entries);
    }

    /// When to look next; [`NEVER`] if there is nothing to look at.
    pub(super) fn next(&self) -> u64 {
        self.0.peek().map_or(NEVER, |Reverse((at, _))| *at)
    }

    /// The next entry that is due, with its time.
    pub(super) fn due(&mut self, now: u64) -> Option<(u64, u64)> {
        if self.next() > now {
            return None;
        }
        self.0.pop().map(|Reverse(entry)| entry)
    }

    /// Whether an entry that fired means it; one that was early is put back.
    pub(super) fn is_over(&mut self, deadline: &mut Deadline, entry: (u64, u64), now: u64) -> bool {
        let (fired, token) = entry;
        if deadline.armed != fired {
            return false;
        }
        deadline.armed = NEVER;
        if deadline.at <= now {
            deadline.at = NEVER;
            return true;
        }
        if deadline.at != NEVER {
            self.set(deadline, token, deadline.at);
        }
        false
    }
}

/// Entries that may be too many without being swept out.
const SPARE: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_that_moves_costs_no_entry() {
        let (mut timers, mut deadline) = (Timers::default(), Deadline::default());
        for at in 100..1000 {
            timers.set(&mut deadline, 7, at);
        }
        assert_eq!((timers.0.len(), timers.next()), (1, 100));
        assert_eq!(timers.due(99), None);
        let entry = timers.due(100).unwrap();
        assert!(!timers.is_over(&mut deadline, entry, 100), "it has moved");
        timers.set(&mut deadline, 7, 500);
        let entry = timers.due(500).unwrap();
        assert!(timers.is_over(&mut deadline, entry, 500));
        let old = timers.due(5000).unwrap();
        assert!(!timers.is_over(&mut deadline, old, 5000), "the entry before does not count");
        timers.set(&mut deadline, 7, NEVER);
        assert_eq!(timers.next(), NEVER);
    }

    #[test]
    fn entries_that_count_no_more_do_not_pile_up() {
        const HOUR: u64 = 3_600_000_000;
        let mut timers = Timers::default();
        let mut deadlines = [Deadline::default(); 10];
        let mut most = 0;
        // Each second a request with a bound of its own, on connections that may be idle for an hour.
        for now in (1..=3600).map(|second| second * 1_000_000) {
            for (token, deadline) in (0..).zip(&mut deadlines) {
                timers.set(deadline, token, now + 500_000);
                timers.set(deadline, token, now + HOUR);
            }
            while let Some(entry) = timers.due(now + 600_000) {
                let deadline = &mut deadlines[usize::try_from(entry.1).unwrap()];
                assert!(!timers.is_over(deadline, entry, now + 600_000), "none is over");
            }
            if timers.is_crowded(deadlines.len()) {
                timers.sweep(|token, counts| counts(&deadlines[usize::try_from(token).unwrap()]));
            }
            most = most.max(timers.0.len());
        }
        assert!(most <= 2 * deadlines.len() + SPARE + 20, "{most} entries");
        // What is left still fires, each once.
        let mut over = 0;
        while let Some(entry) = timers.due(NEVER - 1) {
            let deadline = &mut deadlines[usize::try_from(entry.1).unwrap()];
            over += u32::from(timers.is_over(deadline, entry, NEVER - 1));
        }
        assert_eq!(over, 10);
    }
}
