//! What the daemon counts of registries and health checks as it goes.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use crate::catalog::pool::{Change, What};
use crate::catalog::snapshot::{HoldReason, Snapshot, Standing};
use crate::control::registry::cause;
use crate::registry::source::Event;

type Counts = Family<Vec<(&'static str, String)>, Counter>;

/// The counters. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Counters {
    events: Counts,
    refused: Counts,
    holds: Counts,
    checks: Counts,
}

impl Counters {
    /// Counts what a registry's client tells, and the entries that it refuses.
    pub fn event(&self, registry: &str, event: &Event) {
        let refused = match event {
            Event::Reset { set, .. } | Event::Add { set, .. } => set.rejected_count,
            _ => 0,
        };
        if refused > 0 {
            self.refused.get_or_create(&vec![("registry", registry.to_owned())]).inc_by(refused);
        }
        self.count_event(registry, word(event));
    }

    /// Counts the end of a session.
    pub fn lost(&self, registry: &str) {
        self.count_event(registry, "lost");
    }

    /// Counts removals of a service that begin to wait.
    pub fn hold(&self, service: &str, why: HoldReason) {
        let labels = vec![("service", service.to_owned()), ("reason", cause(why).label().to_owned())];
        self.holds.get_or_create(&labels).inc();
    }

    /// Counts what the log tells of a service: removals that begin to wait, endpoints that can never be its backends.
    pub fn change(&self, change: &Change, snapshot: &Snapshot) {
        match &change.what {
            What::Held(hold) => self.hold(&change.service, hold.why),
            What::Backends { to: Some(Standing::Refused { .. }), addrs, .. } => {
                let pooled = snapshot.services.get(&change.service);
                let found = addrs.iter().filter_map(|addr| pooled?.candidates.get(addr));
                for registry in found.flat_map(|found| &found.sources) {
                    self.refused.get_or_create(&vec![("registry", registry.to_string())]).inc();
                }
            }
            _ => {}
        }
    }

    /// Sets how many health checks have ended so, from a counter that only grows; `result` is a word of a closed list.
    pub fn checked(&self, result: &'static str, total: u64) {
        let counter = self.checks.get_or_create_owned(&vec![("result", result.to_owned())]);
        counter.inc_by(total.saturating_sub(counter.get()));
    }

    fn count_event(&self, registry: &str, event: &'static str) {
        let labels = vec![("registry", registry.to_owned()), ("event", event.to_owned())];
        self.events.get_or_create(&labels).inc();
    }

    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register("weir_registry_events", "What registries told", self.events.clone());
        registry.register(
            "weir_registry_entries_refused",
            "Entries that cannot be endpoints, counted with every set; endpoints that cannot be backends, once",
            self.refused.clone(),
        );
        registry.register(
            "weir_registry_guard_holds",
            "Times that removals of the service began to wait",
            self.holds.clone(),
        );
        registry.register("weir_health_checks", "Health checks by how they ended", self.checks.clone());
    }
}

fn word(event: &Event) -> &'static str {
    match event {
        Event::Connected { .. } => "connected",
        Event::Reset { .. } => "reset",
        Event::Add { .. } => "add",
        Event::Remove { .. } => "remove",
        Event::Gone { .. } => "gone",
        Event::Published { result: Ok(()), .. } => "published",
        Event::Published { result: Err(_), .. } => "publish_refused",
        Event::Withdrawn { .. } => "withdrawn",
    }
}
