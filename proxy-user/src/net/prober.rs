//! When to make the kernel ask for a neighbour. Pure: time and chance are arguments.
//!
//! XDP forwards behind the kernel's back, so the kernel sees no use of the neighbour and forgets it: a stale one is
//! confirmed from time to time, one that failed is asked for again with growing gaps.

use std::time::{Duration, Instant};

use super::neighbour::Neighbour;

/// The state for one neighbour.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Prober {
    tries: u32,
    due: Option<Instant>,
}

impl Prober {
    /// Takes what was read now; says whether to probe now. `chance` spreads probes of many neighbours over time.
    pub(super) fn step(&mut self, neighbour: Neighbour, now: Instant, chance: u8) -> bool {
        let waiting = self.due.is_some_and(|due| now < due);
        match neighbour {
            Neighbour::Fixed(_) => {
                *self = Self::default();
                false
            }
            Neighbour::Confirmed(_) => {
                *self = Self { tries: 0, due: Some(now + spread(CONFIRM, chance)) };
                false
            }
            Neighbour::Stale(_) if waiting => false,
            Neighbour::Stale(_) => {
                *self = Self { tries: 0, due: Some(now + spread(CONFIRM, chance)) };
                true
            }
            Neighbour::Asking => {
                if !waiting {
                    self.due = Some(now + LOOK);
                }
                false
            }
            Neighbour::Absent | Neighbour::Failed if waiting && self.tries > 0 => false,
            Neighbour::Absent | Neighbour::Failed => {
                let gap = FIRST_GAP * 2u32.pow(self.tries.min(MAX_DOUBLINGS));
                *self = Self { tries: self.tries.saturating_add(1), due: Some(now + spread(gap, chance)) };
                true
            }
        }
    }

    /// When to read the neighbour again if no change of it is reported before.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }
}

/// From three quarters to five quarters of `base`.
fn spread(base: Duration, chance: u8) -> Duration {
    base * 3 / 4 + base * u32::from(chance) / 512
}

/// Well below the 60 s after which the kernel may remove an unused stale neighbour.
const CONFIRM: Duration = Duration::from_secs(15);
/// While the kernel asks (three times a second apart, by default).
const LOOK: Duration = Duration::from_secs(1);
const FIRST_GAP: Duration = Duration::from_secs(1);
/// 16 s at most.
const MAX_DOUBLINGS: u32 = 4;

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: [u8; 6] = [2; 6];

    #[test]
    fn failures_are_probed_with_growing_gaps_and_at_once_after_a_success() {
        let start = Instant::now();
        let mut prober = Prober::default();
        let mut probes = Vec::new();
        for second in 0..60 {
            if prober.step(Neighbour::Failed, start + Duration::from_secs(second), 128) {
                probes.push(second);
            }
        }
        assert_eq!(probes, [0, 1, 3, 7, 15, 31, 47]);
        let later = start + Duration::from_secs(60);
        assert!(!prober.step(Neighbour::Confirmed(MAC), later, 0));
        assert!(prober.step(Neighbour::Absent, later, 0), "lost: asked for at once");
        assert!(!prober.step(Neighbour::Asking, later, 0));
        assert!(prober.due().is_some());
    }

    #[test]
    fn stale_ones_are_confirmed_before_the_kernel_forgets_them() {
        let start = Instant::now();
        for chance in [0, 255] {
            let mut prober = Prober::default();
            assert!(prober.step(Neighbour::Stale(MAC), start, chance));
            assert!(!prober.step(Neighbour::Stale(MAC), start + Duration::from_secs(11), chance));
            let due = prober.due().unwrap();
            assert!(due > start + Duration::from_secs(11) && due < start + Duration::from_secs(19));
            assert!(prober.step(Neighbour::Stale(MAC), due, chance));
        }
    }

    #[test]
    fn fixed_ones_are_never_probed() {
        let mut prober = Prober::default();
        assert!(!prober.step(Neighbour::Fixed(MAC), Instant::now(), 0));
        assert_eq!(prober.due(), None);
    }
}
