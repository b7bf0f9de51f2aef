//! One name: what its answers mean together, and when to ask again. Time and chance are given.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::lookup::{Answer, Known};
use super::settings::Settings;
use crate::model::BackendAddr;
use crate::registry::collect::Collector;
use crate::registry::source::{Endpoint, Set};

/// The state of one name.
#[derive(Debug, Default)]
pub(super) struct Follow {
    /// Answers in a row that there is nothing.
    empty: u32,
    /// The same for each target of SRV records.
    missing: BTreeMap<String, u32>,
    /// Failures in a row.
    failed: u32,
    /// Endpoints that stay for a while, and when they were last in an answer.
    sticky: BTreeMap<BackendAddr, (Endpoint, Instant)>,
    /// What was told last, if it was that nothing is known.
    told: Option<String>,
}

/// What to tell: a set, or why nothing is known; and when to ask again.
pub(super) type Told = (Option<Result<Set, String>>, Duration);

impl Follow {
    /// Tells whatever the next answer is.
    pub(super) fn tell_again(&mut self) {
        self.told = None;
    }

    /// Takes an answer; `chance` is from 0 to 1.
    pub(super) fn answered(
        &mut self,
        now: Instant,
        answer: Answer,
        settings: &Settings,
        chance: f64,
    ) -> Told {
        let needed = u32::from(settings.empty_after);
        let (told, wait) = match answer {
            Answer::Known(known) => self.known(now, known, settings),
            Answer::Empty { why, ttl } => {
                self.empty = self.empty.saturating_add(1);
                self.failed = 0;
                if self.empty >= needed {
                    self.sticky.clear();
                    (Ok(Collector::new(now)), ttl_within(ttl, settings))
                } else {
                    let wait = ttl_within(ttl, settings).min(CONFIRM.max(settings.min_ttl));
                    (Err(format!("{why} ({} of {needed} times)", self.empty)), wait)
                }
            }
            Answer::Failed(why) => {
                // In a row means in a row: what a failing server said before does not count.
                (self.empty, self.failed) = (0, self.failed.saturating_add(1));
                (Err(why), self.backoff(settings))
            }
        };
        // A little later than the TTL: what caches hold has ended by then, and names do not march in step.
        let wait = wait.mul_f64(1.0 + chance.clamp(0.0, 1.0) * 0.1);
        let told = match told.and_then(|set| set.finish(None).map_err(|error| error.to_string())) {
            Ok(set) => {
                self.told = None;
                Some(Ok(set))
            }
            Err(why) if self.told.as_ref() == Some(&why) => None,
            Err(why) => {
                self.told = Some(why.clone());
                Some(Err(why))
            }
        };
        (told, wait)
    }

    fn known(
        &mut self,
        now: Instant,
        known: Known,
        settings: &Settings,
    ) -> (Result<Collector, String>, Duration) {
        let needed = u32::from(settings.empty_after);
        self.failed = 0;
        let before = std::mem::take(&mut self.missing);
        let times = |target: &String| before.get(target).map_or(1, |times| times.saturating_add(1));
        self.missing = known.missing.iter().map(|target| (target.clone(), times(target))).collect();
        let wait = ttl_within(known.ttl, settings);
        if let Some((target, times)) = self.missing.iter().find(|(_, times)| **times < needed) {
            let why = format!("the SRV target {target} has no address ({times} of {needed} times)");
            return (Err(why), wait.min(CONFIRM.max(settings.min_ttl)));
        }
        let mut set = Collector::new(now);
        for (text, why) in &known.rejected {
            set.reject(text, why);
        }
        for target in &known.missing {
            set.reject(target, "the SRV target has no address");
        }
        if known.endpoints.is_empty() {
            // Records there are; none of them can be used.
            let first = known.rejected.first().map(|(text, why)| format!("`{text}`, {why}"));
            let Some(first) = first else {
                self.sticky.clear();
                return (Ok(set), wait);
            };
            return (Err(format!("every SRV record is refused; the first: {first}")), wait);
        }
        self.empty = 0;
        if settings.sticky.is_zero() {
            self.sticky.clear();
            known.endpoints.into_iter().for_each(|endpoint| set.add(endpoint));
        } else {
            for endpoint in known.endpoints {
                self.sticky.insert(endpoint.addr, (endpoint, now));
            }
            self.sticky.retain(|_, (_, seen)| now.saturating_duration_since(*seen) <= settings.sticky);
            self.sticky.values().for_each(|(endpoint, _)| set.add(endpoint.clone()));
        }
        (Ok(set), wait)
    }

    fn backoff(&self, settings: &Settings) -> Duration {
        let doubled = settings.min_ttl.saturating_mul(1 << self.failed.saturating_sub(1).min(16));
        doubled.min(LONGEST_BACKOFF.max(settings.min_ttl)).min(settings.max_ttl)
    }
}

fn ttl_within(ttl: u32, settings: &Settings) -> Duration {
    Duration::from_secs(u64::from(ttl)).clamp(settings.min_ttl, settings.max_ttl)
}

/// Longest wait while a negative answer is to be confirmed.
const CONFIRM: Duration = Duration::from_secs(10);
/// Longest wait after a failure.
const LONGEST_BACKOFF: Duration = Duration::from_secs(30);
