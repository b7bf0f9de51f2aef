//! What the published view says of registries, and of what comes from them.

use super::{Family, Value, counter, gauge, seconds};
use crate::catalog::snapshot::{HoldReason, Pooled};
use crate::control::door::View;
use crate::control::registry::{cause, last_success, standing};
use crate::control::types::{PublicationState, SessionState, StandingState};

/// No label has more values than there are registries and services in the configuration.
pub(super) fn families(view: &View) -> Vec<Family> {
    let registry = |name: &String| vec![("registry", name.clone())];
    let of = |value: fn(&crate::control::registry::RegistrySession) -> u64| {
        view.registries.iter().map(move |(name, session)| (registry(name), Value::Whole(value(session))))
    };
    let answered = view
        .registries
        .keys()
        .filter_map(|name| Some((registry(name), Value::Float(seconds(last_success(&view.pool, name)?)))));
    let publications = view.registries.values().flat_map(|session| &session.publications).map(|one| {
        let labels = vec![("service", one.service.clone()), ("registry", one.registry.clone())];
        (labels, Value::Whole((one.state == PublicationState::Published).into()))
    });
    let mut families = vec![
        gauge(
            "weir_registry_up",
            "Whether there is a session with the registry",
            of(|one| (one.state == SessionState::Connected).into()),
        ),
        gauge(
            "weir_registry_last_success_timestamp_seconds",
            "When the registry last answered what was asked",
            answered,
        ),
        counter("weir_registry_sessions", "Sessions begun", of(|one| one.sessions)),
        counter("weir_registry_failures", "Sessions that failed or could not begin", of(|one| one.failures)),
        gauge("weir_publication_up", "Whether the VIP is registered", publications),
    ];
    families.extend(of_services(view));
    families
}

fn of_services(view: &View) -> Vec<Family> {
    let number = |count: usize| Value::Whole(u64::try_from(count).unwrap_or(u64::MAX));
    let endpoints = view.pool.services.iter().flat_map(|(name, pooled)| {
        pooled.sources.iter().map(move |source| {
            let labels = vec![("registry", source.registry.to_string()), ("service", name.clone())];
            (labels, source.endpoints)
        })
    });
    // A service may ask one registry for several names: one series for all of them.
    let mut sums = std::collections::BTreeMap::new();
    endpoints.for_each(|(labels, count)| *sums.entry(labels).or_insert(0_usize) += count);
    let discovered = || view.pool.services.iter().filter(|(_, pooled)| !pooled.sources.is_empty());
    let holds = discovered().flat_map(|(name, pooled)| {
        [HoldReason::FirstSync, HoldReason::Minimum, HoldReason::Share].map(|reason| {
            let held = pooled.hold.as_ref().filter(|hold| hold.why == reason);
            let labels = vec![("service", name.clone()), ("reason", cause(reason).label().to_owned())];
            (labels, number(held.map_or(0, |hold| hold.addrs.len())))
        })
    });
    let standings = view.pool.services.iter().flat_map(|(name, pooled)| {
        StandingState::ALL.map(|state| {
            let labels = vec![("service", name.clone()), ("standing", state.label().to_owned())];
            (labels, number(stand(pooled, state)))
        })
    });
    let panic = view
        .pool
        .services
        .iter()
        .map(|(name, pooled)| (vec![("service", name.clone())], Value::Whole(pooled.panic.into())));
    vec![
        gauge(
            "weir_registry_endpoints",
            "Endpoints in the last set, refused entries not counted",
            sums.into_iter().map(|(labels, count)| (labels, number(count))),
        ),
        gauge("weir_registry_guard_holds", "Removals that wait", holds),
        gauge("weir_service_endpoints", "Endpoints and backends by how they stand", standings),
        gauge("weir_health_panic", "Whether so few are up that health is not looked at", panic),
    ]
}

fn stand(pooled: &Pooled, state: StandingState) -> usize {
    pooled.candidates.values().filter(|found| standing(found).0 == state).count()
}
