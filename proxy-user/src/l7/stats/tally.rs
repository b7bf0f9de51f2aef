//! Answers as a worker counts them: the same for a service, a route and an endpoint.

use std::cell::Cell;

use super::{Answers, DURATION_BOUNDS};

/// How a request ended, with its places in [`Answers`] looked up.
#[derive(Clone, Copy, Debug)]
pub(in crate::l7) struct Outcome {
    class: usize,
    place: usize,
    micros: u64,
}

impl Outcome {
    /// Of an HTTP status and a duration.
    #[inline]
    pub(in crate::l7) fn new(status: u16, micros: u64) -> Self {
        let place =
            DURATION_BOUNDS.iter().position(|bound| micros <= *bound).unwrap_or(DURATION_BOUNDS.len());
        Self { class: usize::from(status / 100).wrapping_sub(1), place, micros }
    }
}

/// Counters of answers.
#[derive(Debug, Default)]
pub struct Tally {
    classes: [Cell<u64>; 5],
    durations: [Cell<u64>; DURATION_BOUNDS.len() + 1],
    sum: Cell<u64>,
}

impl Tally {
    /// Counts an answer.
    #[inline]
    pub(in crate::l7) fn note(&self, outcome: Outcome) {
        if let Some(count) = self.classes.get(outcome.class) {
            count.set(count.get() + 1);
        }
        if let Some(count) = self.durations.get(outcome.place) {
            count.set(count.get() + 1);
        }
        self.sum.set(self.sum.get().saturating_add(outcome.micros));
    }

    /// The counters.
    #[must_use]
    pub fn answers(&self) -> Answers {
        Answers {
            classes: self.classes.each_ref().map(Cell::get),
            durations: self.durations.each_ref().map(Cell::get),
            duration_sum_us: self.sum.get(),
        }
    }
}
