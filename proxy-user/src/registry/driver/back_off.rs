//! Pauses that grow, and vary by chance, so that many weirs do not come back at once.

use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBackoff, ExponentialBuilder};

use super::Tuning;

/// Pauses between sessions.
pub(super) struct BackOff {
    failed: ExponentialBackoff,
    refused: ExponentialBackoff,
}

impl BackOff {
    pub(super) fn new(tuning: &Tuning) -> Self {
        let builder = |first: Duration, longest: Duration| {
            // Jitter lies on top, up to as much again: half of the longest leaves room for it.
            ExponentialBuilder::default()
                .with_min_delay(first)
                .with_max_delay((longest / 2).max(first))
                .with_factor(2.0)
                .without_max_times()
                .with_jitter()
                .build()
        };
        Self {
            failed: builder(tuning.first_delay, tuning.longest_delay),
            refused: builder(tuning.refused_delay, tuning.refused_delay * 30),
        }
    }

    pub(super) fn next(&mut self, refused: bool) -> Duration {
        let delays = if refused { &mut self.refused } else { &mut self.failed };
        delays.next().unwrap_or(Duration::from_secs(30))
    }
}
