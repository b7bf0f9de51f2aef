//! What a worker counts, as plain numbers; [`crate::l7::stats`] is how they leave it.

use crate::l7::codec::{Fault, LocalReason};
use crate::l7::stats::{Outcome, ServiceStats, Tally};

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
    pub(in crate::l7) tunnels: u64,
    pub(in crate::l7) answers: Tally,
    pub(in crate::l7) reasons: [u64; LocalReason::ALL.len()],
    pub(in crate::l7) faults: [u64; Fault::ALL.len()],
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
    pub(in crate::l7) fn answered(&self, status: u16, micros: u64) {
        self.answers.note(Outcome::new(status, micros));
    }

    /// It was answered here, for this reason.
    pub(in crate::l7) fn local(&mut self, reason: LocalReason) {
        let place = LocalReason::ALL.iter().position(|other| *other == reason);
        if let Some(count) = place.and_then(|place| self.reasons.get_mut(place)) {
            *count += 1;
        }
    }

    /// A client's bytes were not taken.
    pub(in crate::l7) fn refused(&mut self, fault: Fault) {
        let place = Fault::ALL.iter().position(|other| *other == fault);
        if let Some(count) = place.and_then(|place| self.faults.get_mut(place)) {
            *count += 1;
        }
    }

    pub(in crate::l7) fn stats(&self) -> ServiceStats {
        let reasons = LocalReason::ALL.into_iter().zip(self.reasons).filter(|(_, count)| *count > 0);
        let faults = Fault::ALL.into_iter().zip(self.faults).filter(|(_, count)| *count > 0);
        ServiceStats {
            active: self.active,
            accepted: self.accepted,
            failed: self.failed,
            bytes_up: self.bytes_up,
            bytes_down: self.bytes_down,
            requests: self.requests,
            requests_active: self.requests_active,
            pending: self.pending,
            tunnels: self.tunnels,
            answers: self.answers.answers(),
            reasons: reasons.map(|(reason, count)| (reason.label().to_owned(), count)).collect(),
            refused: faults.map(|(fault, count)| (fault.label().to_owned(), count)).collect(),
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
