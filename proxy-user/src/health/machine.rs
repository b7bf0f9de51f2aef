//! From results to a verdict: rise and fall.

use crate::model::HealthCheck;

/// One target's verdict and what speaks against it.
///
/// Before the first verdict the target stands as `initial_up` says. A result that agrees with that is the first verdict at
/// once; one that does not has to repeat, as for every later change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Machine {
    verdict: Option<bool>,
    against: u8,
}

impl Machine {
    /// Takes a result; whether the verdict is new or has changed.
    pub(super) fn observe(&mut self, good: bool, check: &HealthCheck) -> bool {
        let stands = self.verdict.unwrap_or(check.initial_up);
        if good == stands {
            self.against = 0;
            return self.verdict.replace(good).is_none();
        }
        self.against = self.against.saturating_add(1);
        let needed = if good { check.rise } else { check.fall };
        let turns = self.against >= needed;
        if turns {
            *self = Self { verdict: Some(good), against: 0 };
        }
        turns
    }

    /// The verdict, once there is one.
    pub(super) fn verdict(&self) -> Option<bool> {
        self.verdict
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::tests::check;

    fn run(results: &str, initial_up: bool) -> String {
        let check = HealthCheck { rise: 2, fall: 3, initial_up, ..check() };
        let mut machine = Machine::default();
        let say = |r: char| match (machine.observe(r == '+', &check), machine.verdict()) {
            (true, Some(true)) => 'U',
            (true, _) => 'D',
            (false, Some(true)) => 'u',
            (false, Some(false)) => 'd',
            (false, None) => '?',
        };
        results.chars().map(say).collect()
    }

    #[test]
    fn rise_and_fall() {
        assert_eq!(run("+--+---++-++", true), "UuuuuuDdUuuu");
        // The first word agrees with how the target stands: at once; otherwise it takes rise or fall.
        assert_eq!(run("---", true), "??D");
        assert_eq!(run("--+---", true), "??UuuD");
        assert_eq!(run("++", false), "?U");
        assert_eq!(run("-+-++", false), "DdddU");
    }

    #[test]
    fn zero_counts_as_one() {
        let check = HealthCheck { rise: 0, fall: 0, ..check() };
        let mut machine = Machine::default();
        assert!(machine.observe(false, &check) && machine.verdict() == Some(false));
        assert!(machine.observe(true, &check) && machine.verdict() == Some(true));
    }
}
