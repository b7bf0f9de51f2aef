//! What registries and pools tell, as lines of the log. A flapping registry or service does not fill it: lines of each are
//! bounded, and what was left out is counted in the next.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::catalog::pool::{Change, What};
use crate::registry::driver::Report;
use crate::registry::source::Event;

/// The log of discovery.
#[derive(Debug, Default)]
pub(super) struct Journal {
    registries: Budgets,
    services: Budgets,
}

impl Journal {
    /// What a registry tells.
    pub(super) fn report(&mut self, registry: &str, report: &Report) {
        // Sets come often and are told by what changes because of them.
        if matches!(report, Report::Event(Event::Reset { .. } | Event::Add { .. } | Event::Remove { .. })) {
            return;
        }
        let Some(left_out) = self.registries.take(registry, Instant::now()) else { return };
        match report {
            Report::Event(Event::Connected { peer }) => {
                tracing::info!(registry, peer, left_out, "in session with the registry");
            }
            Report::Event(Event::Gone { query, why }) => {
                let name = &query.service;
                tracing::warn!(
                    registry,
                    name,
                    why,
                    left_out,
                    "nothing is known of the name, what was known stays in use"
                );
            }
            Report::Event(Event::Published { publication, result: Ok(()) }) => {
                let (name, address) = (&publication.service, publication.address);
                tracing::info!(registry, name, %address, left_out, "the VIP is registered");
            }
            Report::Event(Event::Published { publication, result: Err(why) }) => {
                let (name, address) = (&publication.service, publication.address);
                tracing::warn!(registry, name, %address, why, left_out, "the registry refuses the VIP");
            }
            Report::Event(Event::Withdrawn { publication }) => {
                let (name, address) = (&publication.service, publication.address);
                tracing::info!(registry, name, %address, left_out, "the VIP is withdrawn");
            }
            Report::Event(_) => {}
            Report::Lost { why } => {
                tracing::warn!(registry, why, left_out, "the session is lost, what was known stays in use");
            }
        }
    }

    /// What has changed of a service.
    pub(super) fn change(&mut self, change: &Change) {
        let Some(left_out) = self.services.take(&change.service, Instant::now()) else { return };
        let (service, what) = (&change.service, &change.what);
        if matches!(what, What::Held(_) | What::Panic(true) | What::Overdue { .. }) {
            tracing::warn!(service, left_out, "{what}");
        } else {
            tracing::info!(service, left_out, "{what}");
        }
    }
}

/// Lines that each registry and service may still write.
#[derive(Debug, Default)]
struct Budgets(BTreeMap<String, Budget>);

#[derive(Debug)]
struct Budget {
    since: Instant,
    written: u32,
    left_out: u64,
}

impl Budgets {
    /// Whether one may write a line now; if so, how many of it were left out before.
    fn take(&mut self, of: &str, now: Instant) -> Option<u64> {
        if !self.0.contains_key(of) {
            // Names that are gone from the configuration must not pile up.
            self.0.retain(|_, budget| now.duration_since(budget.since) < FORGOTTEN);
        }
        let fresh = || Budget { since: now, written: 0, left_out: 0 };
        let budget = self.0.entry(of.to_owned()).or_insert_with(fresh);
        if now.duration_since(budget.since) >= WINDOW {
            (budget.since, budget.written) = (now, 0);
        }
        if budget.written >= LINES {
            budget.left_out = budget.left_out.saturating_add(1);
            return None;
        }
        budget.written = budget.written.saturating_add(1);
        Some(std::mem::take(&mut budget.left_out))
    }
}

/// Lines of one registry or service within [`WINDOW`].
const LINES: u32 = 20;
const WINDOW: Duration = Duration::from_secs(10);
/// After this long without a line, one is new again.
const FORGOTTEN: Duration = Duration::from_secs(3_600);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_bounded_for_each_alone_and_what_is_left_out_is_told() {
        let (mut budgets, begin) = (Budgets::default(), Instant::now());
        assert!((0..LINES).all(|_| budgets.take("web", begin) == Some(0)));
        assert_eq!((budgets.take("web", begin), budgets.take("web", begin)), (None, None));
        assert_eq!(budgets.take("api", begin), Some(0));
        assert_eq!(budgets.take("web", begin + WINDOW), Some(2));
        assert_eq!(budgets.take("web", begin + WINDOW), Some(0));
        budgets.take("new", begin + FORGOTTEN * 2);
        assert_eq!(budgets.0.len(), 1);
    }
}
