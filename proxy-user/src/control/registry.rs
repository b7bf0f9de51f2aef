//! How registries and what comes from them are shown. Pure: snapshot and sessions in, documents of the API out.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::door::View;
use super::types::{
    Checked, Condition, EndpointStatus, Endpoints, HoldCause, HoldStatus, KnowledgeState, PublicationStatus,
    QueryStatus, RefusedEntry, RegistryError, RegistryStatus, RegistrySummary, SessionState, StandingState,
    Warning,
};
use crate::catalog::backend_text;
use crate::catalog::snapshot::{
    Candidate, Health, Hold, HoldReason, Knowledge, Pooled, Snapshot, SourceStatus, Standing,
};
use crate::model::BackendAddr;

/// The session with a registry, and what is registered by it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistrySession {
    /// Kind.
    pub kind: String,
    /// State.
    pub state: SessionState,
    /// Since when.
    pub since: Timestamp,
    /// Server.
    pub peer: Option<String>,
    /// The last failure.
    pub last_error: Option<RegistryError>,
    /// When the next session is tried.
    pub next_try: Option<Timestamp>,
    /// Sessions begun.
    pub sessions: u64,
    /// Sessions that failed or could not begin.
    pub failures: u64,
    /// Events read.
    pub events: u64,
    /// VIPs that are registered with it.
    pub publications: Vec<PublicationStatus>,
}

impl RegistrySession {
    /// Nothing is wanted of the registry yet.
    #[must_use]
    pub fn idle(kind: &str, since: Timestamp) -> Self {
        Self {
            kind: kind.to_owned(),
            state: SessionState::Idle,
            since,
            peer: None,
            last_error: None,
            next_try: None,
            sessions: 0,
            failures: 0,
            events: 0,
            publications: Vec::new(),
        }
    }
}

/// Everything about a registry.
#[must_use]
pub fn status(pool: &Snapshot, name: &str, session: &RegistrySession, now: Timestamp) -> RegistryStatus {
    let last_success = last_success(pool, name);
    RegistryStatus {
        name: name.to_owned(),
        kind: session.kind.clone(),
        session: session.state,
        since: session.since,
        peer: session.peer.clone(),
        last_success,
        last_success_age_seconds: last_success.map(|at| age(at, now)),
        last_error: session.last_error.clone(),
        next_try: session.next_try,
        sessions: session.sessions,
        failures: session.failures,
        events: session.events,
        queries: sources(pool, name).map(|(service, source)| query(service, source, now)).collect(),
        publications: session.publications.clone(),
    }
}

/// A registry in one line.
#[must_use]
pub fn summary(pool: &Snapshot, name: &str, session: &RegistrySession, now: Timestamp) -> RegistrySummary {
    let count = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
    let unknown = |source: &SourceStatus| matches!(source.state, Knowledge::Unknown { .. });
    let error = session.last_error.as_ref().filter(|_| session.state != SessionState::Connected);
    RegistrySummary {
        name: name.to_owned(),
        kind: session.kind.clone(),
        session: session.state,
        queries: count(sources(pool, name).count()),
        unknown: count(sources(pool, name).filter(|(_, source)| unknown(source)).count()),
        last_success_age_seconds: last_success(pool, name).map(|at| age(at, now)),
        error: error.map(|error| error.detail.clone()),
    }
}

/// When a registry last answered any of what it was asked.
#[must_use]
pub fn last_success(pool: &Snapshot, name: &str) -> Option<Timestamp> {
    sources(pool, name).filter_map(|(_, source)| source.last_success).max()
}

/// What services ask of a registry: service and source.
pub fn sources<'a>(
    pool: &'a Snapshot,
    registry: &'a str,
) -> impl Iterator<Item = (&'a str, &'a SourceStatus)> {
    let all = pool
        .services
        .iter()
        .flat_map(|(name, pooled)| pooled.sources.iter().map(move |source| (name.as_str(), source)));
    all.filter(move |(_, source)| &*source.registry == registry)
}

/// What is asked for a service, and what is known of it.
#[must_use]
pub fn query(service: &str, source: &SourceStatus, now: Timestamp) -> QueryStatus {
    let (state, detail, remembered) = match &source.state {
        Knowledge::Known => (KnowledgeState::Known, None, false),
        Knowledge::Empty => (KnowledgeState::Empty, None, false),
        Knowledge::Unknown { why, remembered } => (KnowledgeState::Unknown, Some(why.clone()), *remembered),
    };
    let accepted = u64::try_from(source.endpoints).unwrap_or(u64::MAX);
    QueryStatus {
        service: service.to_owned(),
        registry: source.registry.to_string(),
        name: source.query.service.clone(),
        options: source.query.options.clone(),
        state,
        detail,
        remembered,
        since: source.since,
        last_success: source.last_success,
        last_success_age_seconds: source.last_success.map(|at| age(at, now)),
        version: source.version.clone(),
        seen: accepted.saturating_add(source.rejected),
        accepted,
        refused: source.rejected,
        examples: source
            .examples
            .iter()
            .map(|refused| RefusedEntry { entry: refused.text.clone(), reason: refused.why.clone() })
            .collect(),
    }
}

/// Every endpoint and backend that is known of for a service; none when it has no discovery and no health checks.
#[must_use]
pub fn endpoints(view: &View, service: &str, now: Timestamp) -> Option<Endpoints> {
    let pooled = view.pool.services.get(service)?;
    Some(Endpoints {
        generation: view.generation,
        service: service.to_owned(),
        sources: pooled.sources.iter().map(|source| query(service, source, now)).collect(),
        hold: pooled.hold.as_ref().map(hold),
        panic: pooled.panic,
        candidates: pooled.candidates.iter().map(|(addr, found)| endpoint(addr, found)).collect(),
    })
}

/// An endpoint or backend.
#[must_use]
pub fn endpoint(addr: &BackendAddr, found: &Candidate) -> EndpointStatus {
    let (standing, detail) = standing(found);
    EndpointStatus {
        address: backend_text(addr),
        weight: found.weight,
        sources: found.sources.iter().map(ToString::to_string).collect(),
        zone: found.zone.as_ref().map(ToString::to_string),
        labels: labels(found),
        standing,
        detail,
        since: found.since,
        checked: found.health.as_ref().map(checked),
    }
}

/// Whether an endpoint is used, and why not, for people.
#[must_use]
pub fn standing(found: &Candidate) -> (StandingState, Option<String>) {
    let detail = |text: &str| Some(text.to_owned());
    match &found.standing {
        Standing::Used => (StandingState::Used, None),
        Standing::Held => (StandingState::Held, detail("its registry no longer has it; the removal is held")),
        Standing::Disabled => {
            (StandingState::Disabled, detail("its registry disables it or gives it the weight 0"))
        }
        Standing::Down => {
            let seen = found.health.as_ref().map(|health| format!(": {}", health.detail)).unwrap_or_default();
            (StandingState::Down, Some(format!("the health checks fail{seen}")))
        }
        Standing::Unchecked => (StandingState::Unchecked, detail("it has not been found healthy yet")),
        Standing::Standby => (StandingState::Standby, detail("another source or zone is in use")),
        Standing::Leaving { until } => {
            let until = until.strftime("%H:%M:%S");
            (
                StandingState::Leaving,
                Some(format!("its registry no longer has it; old flows until {until} UTC")),
            )
        }
        Standing::Refused { why } => (StandingState::Refused, Some(why.clone())),
    }
}

/// Labels as plain texts.
#[must_use]
pub fn labels(found: &Candidate) -> BTreeMap<String, String> {
    found.labels.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect()
}

/// A verdict of the health checks.
#[must_use]
pub fn checked(health: &Health) -> Checked {
    Checked { up: health.up, detail: health.detail.clone(), since: health.since }
}

/// Removals that wait.
#[must_use]
pub fn hold(hold: &Hold) -> HoldStatus {
    HoldStatus {
        number: hold.number(),
        reason: cause(hold.why),
        addresses: hold.addrs.iter().map(backend_text).collect(),
        since: hold.since,
        until: hold.until,
    }
}

/// Why removals wait, in the API's vocabulary.
#[must_use]
pub fn cause(reason: HoldReason) -> HoldCause {
    match reason {
        HoldReason::FirstSync => HoldCause::FirstSync,
        HoldReason::Minimum => HoldCause::Minimum,
        HoldReason::Share => HoldCause::Share,
    }
}

/// The condition `registries` of readiness: every source has a set, from its registry or from the disk, or is known to
/// be empty. None when no service has a source.
#[must_use]
pub fn condition(pool: &Snapshot) -> Option<Condition> {
    let all = || {
        pool.services
            .iter()
            .flat_map(|(name, pooled)| pooled.sources.iter().map(move |source| (name, source)))
    };
    all().next()?;
    let without = |source: &SourceStatus| {
        source.last_success.is_none() && matches!(source.state, Knowledge::Unknown { .. })
    };
    let mut missing: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (service, source) in all().filter(|(_, source)| without(source)) {
        missing.entry(&source.registry).or_default().push(service);
    }
    let texts = missing.iter().map(|(registry, services)| {
        let more = services.len().saturating_sub(SHOWN);
        let shown = services.iter().take(SHOWN).copied().collect::<Vec<_>>().join(", ");
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        format!("registry {registry} has not answered yet for {shown}{more}")
    });
    let detail = texts.collect::<Vec<_>>().join("; ");
    Some(Condition {
        name: "registries".into(),
        ok: missing.is_empty(),
        detail: (!missing.is_empty()).then_some(detail),
    })
}

/// What the operator should know of discovery and health: removals that wait, remembered sets in use, panic.
#[must_use]
pub fn warnings(pool: &Snapshot) -> Vec<Warning> {
    pool.services.iter().flat_map(|(name, pooled)| warnings_of(name, pooled)).collect()
}

fn warnings_of(name: &str, pooled: &Pooled) -> Vec<Warning> {
    let mut found = Vec::new();
    let mut warn = |code: &str, detail: String| found.push(Warning { code: code.to_owned(), detail });
    if let Some(hold) = &pooled.hold {
        let until = match hold.until {
            Some(until) => format!("until {} UTC, or", until.strftime("%H:%M:%S")),
            None => "until".to_owned(),
        };
        let (count, why) = (hold.addrs.len(), cause(hold.why).text());
        warn(
            "removals_held",
            format!("service {name}: {count} removals wait {until} `weir registry accept {name}`: {why}"),
        );
    }
    for source in &pooled.sources {
        if let Knowledge::Unknown { why, remembered } = &source.state
            && source.last_success.is_some()
        {
            let set = if *remembered { "the set on disk" } else { "the last set" };
            let (registry, query) = (&source.registry, &source.query.service);
            warn(
                "registry_unknown",
                format!(
                    "service {name}: nothing is known of {query} in registry {registry}, {set} stays in use: {why}"
                ),
            );
        }
    }
    let empty = |source: &SourceStatus| source.state == Knowledge::Empty;
    if pooled.candidates.is_empty() && !pooled.sources.is_empty() && pooled.sources.iter().all(empty) {
        let asked: Vec<_> = pooled
            .sources
            .iter()
            .map(|source| format!("{} in registry {}", source.query.service, source.registry))
            .collect();
        let asked = asked.join(", ");
        warn(
            "no_endpoints",
            format!("service {name}: there is nothing under {asked}; are name and group right?"),
        );
    }
    if pooled.panic {
        let detail = format!(
            "service {name}: too few backends are up, so all are used whatever the health checks say"
        );
        warn("health_panic", detail);
    }
    found
}

fn age(at: Timestamp, now: Timestamp) -> u64 {
    u64::try_from(now.duration_since(at).as_secs()).unwrap_or(0)
}

/// Services that a condition names of each registry.
const SHOWN: usize = 5;

#[cfg(test)]
#[path = "registry_tests.rs"]
mod tests;
