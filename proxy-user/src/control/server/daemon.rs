//! Calls about the daemon itself.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::Json as Reply;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use hyper::header::{ACCEPT, CONTENT_TYPE, ETAG};
use hyper::{HeaderMap, StatusCode};
use jiff::Timestamp;

use super::Api;
use super::extract::{From, Json};
use super::problem::Answer;
use super::render::{self, number, tagged};
use crate::catalog::{Refusal, backend_text};
use crate::control::door::View;
use crate::control::registry;
use crate::control::types::{
    Code, Condition, DetachAnswer, EffectiveAcl, EffectiveConfig, EffectiveList, EffectiveSnat,
    ExplainAnswer, ExplainQuery, Health, InterfaceStats, PacketTotals, Problem, ReloadAnswer, StatsSnapshot,
    Status, StatusCounts, Warning,
};

/// State of the daemon.
#[utoipa::path(get, path = "/v1/status", tag = "daemon", responses(
    (status = 200, body = Status), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn status(State(api): State<Api>) -> Response {
    let view = api.door.view();
    // What is shown of the state never waits for a change that takes long; the counts may be left out.
    let stats = tokio::time::timeout(COUNTS_TIME, api.door.stats()).await.unwrap_or_else(|_| {
        Err(Refusal::new(Code::Timeout, "the daemon is busy with a change, ask again in a moment"))
    });
    let mut status = describe(&view);
    match stats {
        Ok(stats) => {
            for interface in &mut status.interfaces {
                let found = stats.interfaces.iter().find(|one| one.interface == interface.name);
                interface.packets = found.map(totals).unwrap_or_default();
                add(&mut status.packets, interface.packets);
            }
        }
        Err(refusal) => {
            let detail = format!("packets cannot be counted: {}", refusal.detail);
            status.warnings.push(Warning { code: "no_stats".into(), detail });
        }
    }
    tagged(view.generation, &status)
}

/// Whether the daemon answers.
#[utoipa::path(get, path = "/v1/health/live", tag = "daemon", responses((status = 200, body = Health)))]
pub(super) async fn live() -> Reply<Health> {
    Reply(Health { ok: true, conditions: Vec::new() })
}

/// Whether the daemon is attached and its state applied; 503 and what is missing if not.
#[utoipa::path(get, path = "/v1/health/ready", tag = "daemon", responses(
    (status = 200, body = Health), (status = 503, body = Health)))]
pub(super) async fn ready(State(api): State<Api>) -> Response {
    let view = api.door.view();
    let status = if view.ready() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Reply(Health { ok: view.ready(), conditions: view.conditions.clone() })).into_response()
}

/// All counters, with one timestamp, at most a second old.
#[utoipa::path(get, path = "/v1/stats", tag = "daemon", responses(
    (status = 200, body = StatsSnapshot),
    (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn stats(State(api): State<Api>) -> Answer {
    let stats = api.door.stats().await?;
    Ok(tagged(stats.generation, stats.as_ref()))
}

/// Metrics in Prometheus text.
#[utoipa::path(get, path = "/metrics", tag = "daemon", responses(
    (status = 200, body = String, content_type = "text/plain"),
    (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn metrics(State(api): State<Api>) -> Answer {
    let stats = api.door.stats().await.ok();
    let text = api.metrics.text(&api.door.view(), stats.as_deref());
    Ok(([(CONTENT_TYPE, crate::metrics::CONTENT_TYPE)], text).into_response())
}

/// The configuration in force, as JSON, or as TOML with `Accept: application/toml`.
#[utoipa::path(get, path = "/v1/config", tag = "daemon", responses(
    (status = 200, content((EffectiveConfig = "application/json"), (String = "application/toml"))),
    (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn config(State(api): State<Api>, headers: HeaderMap) -> Answer {
    let view = api.door.view();
    let config = effective(&view);
    let accept = headers.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !accept.contains("application/toml") {
        return Ok(tagged(view.generation, &config));
    }
    let text = toml::to_string(&config)
        .map_err(|error| Refusal::new(Code::Internal, format!("cannot be written as TOML: {error}")))?;
    let head = [(CONTENT_TYPE, "application/toml".to_owned()), (ETAG, format!("\"{}\"", view.generation))];
    Ok((head, text).into_response())
}

/// Reads the configuration file again; on an error, the old state stays in force.
#[utoipa::path(post, path = "/v1/reload", tag = "daemon", responses(
    (status = 200, body = ReloadAnswer),
    (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn reload(State(api): State<Api>, From(by): From) -> Answer<Reply<ReloadAnswer>> {
    api.door.reload(by).await.map(Reply)
}

/// Runs the decision for one packet on the installed state; changes nothing.
#[utoipa::path(post, path = "/v1/explain", tag = "daemon", request_body = ExplainQuery, responses(
    (status = 200, body = ExplainAnswer),
    (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn explain(
    State(api): State<Api>,
    Json(query): Json<ExplainQuery>,
) -> Answer<Reply<ExplainAnswer>> {
    if query.source.is_ipv4() != query.destination.is_ipv4() {
        return Err(Refusal::new(Code::InvalidState, "source and destination are of different families"));
    }
    api.door.explain(query).await.map(Reply)
}

/// Removes programs, pins and announced addresses; the daemon ends after it.
#[utoipa::path(post, path = "/v1/detach", tag = "daemon", responses(
    (status = 200, body = DetachAnswer),
    (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn detach(State(api): State<Api>, From(by): From) -> Answer<Reply<DetachAnswer>> {
    api.door.detach(by).await.map(Reply)
}

fn describe(view: &View) -> Status {
    let services = view.desired.services.iter();
    let up = services.clone().flat_map(|(name, service)| {
        service
            .backends
            .keys()
            .filter(|addr| view.backends.get(&(name.clone(), **addr)).is_some_and(|health| health.up))
    });
    let overrides = view.api.services.iter().flat_map(|(name, part)| {
        part.overrides.keys().map(move |addr| format!("{name}/{}", backend_text(addr)))
    });
    let of_l7 = services.clone().filter(|(name, service)| render::l7_overridden(view, name, service));
    let overrides = overrides.chain(of_l7.map(|(name, _)| format!("{name}/l7")));
    Status {
        version: env!("CARGO_PKG_VERSION").into(),
        generation: view.generation,
        started_at: view.started_at,
        uptime_seconds: u64::try_from(Timestamp::now().duration_since(view.started_at).as_secs())
            .unwrap_or(0),
        pid: std::process::id(),
        ready: view.ready(),
        conditions: view.conditions.iter().map(Condition::clone).collect(),
        last_change: view.last_change.clone(),
        last_reload: view.last_reload.clone(),
        interfaces: view.interfaces.clone(),
        packets: PacketTotals::default(),
        registries: view
            .registries
            .iter()
            .map(|(name, session)| registry::summary(&view.pool, name, session, Timestamp::now()))
            .collect(),
        counts: StatusCounts {
            lists: number(view.desired.acl.lists.len()),
            acl_entries: number(view.desired.acl.lists.values().map(|list| list.entries.len()).sum()),
            services: number(view.desired.services.len()),
            backends: number(services.clone().map(|(_, service)| service.backends.len()).sum()),
            backends_up: number(up.count()),
        },
        orphaned: render::orphans(view),
        overrides: overrides.collect(),
        warnings: view.warnings.clone(),
    }
}

fn effective(view: &View) -> EffectiveConfig {
    let desired = &view.desired;
    let times = &desired.timeouts;
    let milliseconds = [
        ("syn", times.syn),
        ("tcp", times.tcp),
        ("closing", times.closing),
        ("closed", times.closed),
        ("udp", times.udp),
        ("cache", times.cache),
        ("settle", times.settle),
    ];
    let lists = desired.acl.lists.iter().map(|(name, list)| {
        let shown = EffectiveList {
            order: list.order,
            action: list.action,
            scope: list.scope,
            origin: list.origin,
            entries: number(list.entries.len()),
        };
        (name.clone(), shown)
    });
    EffectiveConfig {
        generation: view.generation,
        seed: format!("{:#018x}", desired.seed),
        reply_route: desired.reply_route,
        acl: EffectiveAcl {
            default: desired.acl.default,
            interface_default: desired.acl.interface_default,
            management: desired.acl.management.iter().map(ToString::to_string).collect(),
            lists: lists.collect(),
        },
        snat: EffectiveSnat {
            addresses: desired.snat.addresses.iter().map(ToString::to_string).collect(),
            first_port: desired.snat.ports.0,
            last_port: desired.snat.ports.1,
        },
        timeouts_milliseconds: milliseconds
            .into_iter()
            .map(|(name, time)| (name.to_owned(), u64::try_from(time.as_millis()).unwrap_or(u64::MAX)))
            .collect::<BTreeMap<_, _>>(),
        services: desired.services.iter().map(|(name, one)| render::service(view, name, one)).collect(),
    }
}

fn totals(interface: &InterfaceStats) -> PacketTotals {
    let mut totals = PacketTotals::default();
    for reason in &interface.reasons {
        let field = match reason.verdict.as_str() {
            "drop" => &mut totals.dropped,
            "steer" => &mut totals.steered,
            _ => &mut totals.passed,
        };
        *field = field.saturating_add(reason.packets);
        totals.seen = totals.seen.saturating_add(reason.packets);
    }
    totals
}

fn add(sum: &mut PacketTotals, more: PacketTotals) {
    sum.seen = sum.seen.saturating_add(more.seen);
    sum.passed = sum.passed.saturating_add(more.passed);
    sum.dropped = sum.dropped.saturating_add(more.dropped);
    sum.steered = sum.steered.saturating_add(more.steered);
}

/// How long `status` waits for the packet counts.
const COUNTS_TIME: Duration = Duration::from_secs(1);
