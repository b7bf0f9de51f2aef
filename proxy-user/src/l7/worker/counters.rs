//! What a worker counts, as plain numbers; [`crate::l7::stats`] is how they leave it.

use crate::l7::codec::LocalReason;
use crate::l7::stats::{DURATION_BOUNDS, ServiceStats};

/// Counters of one service.
#[derive(Debug, Default)]
pub(in crate::l7) struct Counters {
    pub(in crate::l7) active: u64,
    pub(in crate::l7) accepted: u64,
    pub(in crate::l7) failed: u64,
    pub(in crate::l7) bytes_up: u64,
    pub(in crate::l7) bytes_down: u64,
    pub(in crate::l7) requests: u64,
    pub(in crate::l7) requests_active: u64,
    pub(in crate::l7) pending: u64,
    /// Answers by the first digit of their HTTP status, 1 to 5.
    pub(in crate::l7) classes: [u64; 5],
    pub(in crate::l7) reasons: [u64; LocalReason::ALL.len()],
    /// Requests by how long they took; the last is for all that took longer.
    pub(in crate::l7) durations: [u64; DURATION_BOUNDS.len() + 1],
    pub(in crate::l7) duration_sum: u64,
    pub(in crate::l7) resets: u64,
    pub(in crate::l7) retries: u64,
    pub(in crate::l7) pool_hits: u64,
    pub(in crate::l7) panics: u64,
    pub(in crate::l7) mirrored: u64,
    pub(in crate::l7) mirrors_lost: u64,
}

impl Counters {
    /// A request has been answered, by whomever.
    #[inline]
    pub(in crate::l7) fn answered(&mut self, status: u16, micros: u64) {
        let class = usize::from(status / 100).wrapping_sub(1);
        if let Some(count) = self.classes.get_mut(class) {
            *count += 1;
        }
        let place =
            DURATION_BOUNDS.iter().position(|bound| micros <= *bound).unwrap_or(DURATION_BOUNDS.len());
        if let Some(count) = self.durations.get_mut(place) {
            *count += 1;
        }
        self.duration_sum = self.duration_sum.saturating_add(micros);
    }

    /// It was answered here, for this reason.
    pub(in crate::l7) fn local(&mut self, reason: LocalReason) {
        let place = LocalReason::ALL.iter().position(|other| *other == reason);
        if let Some(count) = place.and_then(|place| self.reasons.get_mut(place)) {
            *count += 1;
        }
    }

    pub(in crate::l7) fn stats(&self) -> ServiceStats {
        let reasons = LocalReason::ALL.into_iter().zip(self.reasons).filter(|(_, count)| *count > 0);
        ServiceStats {
            active: self.active,
            accepted: self.accepted,
            failed: self.failed,
            bytes_up: self.bytes_up,
            bytes_down: self.bytes_down,
            requests: self.requests,
            requests_active: self.requests_active,
            pending: self.pending,
            classes: self.classes,
            reasons: reasons.map(|(reason, count)| (reason.label().to_owned(), count)).collect(),
            durations: self.durations.to_vec(),
            duration_sum_us: self.duration_sum,
            resets: self.resets,
            retries: self.retries,
            pool_hits: self.pool_hits,
            panics: self.panics,
            mirrored: self.mirrored,
            mirrors_lost: self.mirrors_lost,
            ..ServiceStats::default()
        }
    }
}
