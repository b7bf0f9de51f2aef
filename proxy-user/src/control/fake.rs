//! A daemon without a kernel, for tests: it answers the door with the real catalog and made-up counters.

#[path = "fake_l7.rs"]
mod l7;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use jiff::Timestamp;

use super::door::{Door, DoorEnd, Request, View, door};
use super::registry::RegistrySession;
use super::types::{
    AcceptAnswer, Applied, BackendHealth, ChangeRecord, Code, Condition, DetachAnswer, ExplainAnswer,
    InterfaceStats, InterfaceStatus, ListStats, MapStats, Peer, PublicationState, PublicationStatus,
    ReasonCount, RegistryError, ReloadAnswer, ReloadRecord, ServiceStats, SessionState, SnatStats,
    StatsSnapshot, SyncAnswer, XdpMode,
};
use crate::catalog::snapshot::{
    Candidate, Health, Hold, HoldReason, Knowledge, Pooled, Snapshot, SourceStatus, Standing,
};
use crate::catalog::{ApiState, Change, Refusal, backend_text, merge, parse_backend, parse_vip};
use crate::config::Limits;
use crate::model::{
    AclEntry, AclList, AclPolicy, Action, AdminState, Announce, Backend, Desired, Forward, Origin, Publish,
    ReplyRoute, Scope, Service, SnatPool, Timeouts, UnknownPort,
};
use crate::registry::source::{Publication, Query, Rejected};

pub(crate) use self::l7::observer;

/// Walks over the counters so far.
pub(crate) type Walks = Arc<AtomicU64>;

/// What the file says in tests: list `file` with one entry, service `web` with two backends.
pub(crate) fn base() -> Desired {
    let entry = AclEntry { origin: Origin::File, expires_at: None, reason: None };
    let list = AclList {
        order: 10,
        action: Action::Drop,
        scope: Scope::All,
        origin: Origin::File,
        entries: [("203.0.113.0/24".parse().unwrap(), entry)].into(),
    };
    let backend = Backend { weight: 100, state: AdminState::Active, origin: Origin::File };
    let web = Service {
        vip: parse_vip("tcp/198.51.100.10:80").unwrap(),
        forward: Forward::Nat,
        announce: Announce::None,
        unknown_port: UnknownPort::Drop,
        syn_budget: 100,
        origin: Origin::File,
        backends: ["10.0.0.11:8080", "10.0.0.12:8080"]
            .map(|text| (parse_backend(text).unwrap(), backend))
            .into(),
        discovery: None,
        health: None,
        l7: None,
        publish: vec![Arc::new(Publish {
            registry: "prod".into(),
            publication: Arc::new(Publication {
                service: "com.example.Web".into(),
                options: Default::default(),
                address: parse_backend("198.51.100.10:80").unwrap(),
            }),
        })],
    };
    Desired {
        acl: AclPolicy { lists: [("file".into(), list)].into(), ..AclPolicy::default() }.into(),
        services: [("web".into(), web)].into(),
        snat: SnatPool { addresses: Vec::new(), ports: (1_024, 32_767) },
        timeouts: Timeouts::default(),
        reply_route: ReplyRoute::Learned,
        seed: 7,
    }
}

/// Starts a daemon on the current runtime.
pub(crate) fn start() -> (Door, Walks) {
    let mut view = View::starting(Arc::new(base()), Timestamp::now());
    view.generation = 1;
    view.conditions = vec![Condition { name: "attached".into(), ok: true, detail: None }];
    view.interfaces = vec![InterfaceStatus {
        name: "eth0".into(),
        ifindex: Some(2),
        attached: true,
        mode: Some(XdpMode::Native),
        ..InterfaceStatus::default()
    }];
    view.last_reload =
        Some(ReloadRecord { at: Timestamp::now(), error: None, last_success: Some(Timestamp::now()) });
    let up = BackendHealth { up: true, ..BackendHealth::default() };
    view.backends.insert(("web".into(), parse_backend("10.0.0.11:8080").unwrap()), up);
    view.pool = Arc::new(pool());
    view.registries.insert("prod".into(), session());
    view.l7 = Some(observer());
    let (door, end) = door(view);
    let walks = Walks::default();
    tokio::spawn(run(end, walks.clone()));
    (door, walks)
}

async fn run(mut end: DoorEnd, walks: Walks) {
    let mut api = ApiState::default();
    while let Some(request) = end.next().await {
        match request {
            Request::Change { change, if_match, dry_run, by, reply } => {
                let _ = reply.send(apply(&end, &mut api, change, if_match, dry_run, by));
            }
            Request::Reload { reply, .. } => {
                let generation = end.view().generation;
                let _ = reply.send(Ok(ReloadAnswer {
                    generation,
                    changed: false,
                    registries: Vec::new(),
                    warnings: Vec::new(),
                }));
            }
            Request::Explain { query, reply } => {
                let _ = reply.send(Ok(ExplainAnswer {
                    generation: end.view().generation,
                    verdict: "steer".into(),
                    reason: "nat".into(),
                    text: format!("{} to {}", query.source, query.destination),
                    acl: None,
                    service: None,
                    backend: None,
                    steps: Vec::new(),
                }));
            }
            Request::Detach { reply, .. } => {
                let _ = reply.send(Ok(DetachAnswer { removed: vec!["eth0".into()], left: Vec::new() }));
                return;
            }
            Request::Sync { registry, reply, .. } => {
                let _ = reply.send(sync(&end.view(), registry));
            }
            Request::Accept { service, hold, reply, .. } => {
                let _ = reply.send(accept(&end.view(), service, hold));
            }
            Request::Stats { reply } => {
                walks.fetch_add(1, Ordering::Relaxed);
                let _ = reply.send(Ok(stats(&end.view())));
            }
        }
    }
}

/// When everything here began.
pub(crate) fn then() -> Timestamp {
    "2026-01-01T00:00:00Z".parse().unwrap()
}

/// Registry `prod` knows two endpoints of `web`, refuses a third entry, and removals wait.
pub(crate) fn pool() -> Snapshot {
    let candidate = |standing, health| Candidate {
        weight: 100,
        sources: vec!["prod".into()],
        zone: Some("a".into()),
        labels: Arc::new([("version".into(), "2".into())].into()),
        standing,
        since: then(),
        health,
    };
    let down = Health { up: false, detail: "connection refused".into(), since: then() };
    let [first, second, third] =
        ["10.0.0.11:8080", "10.0.0.12:8080", "127.0.0.1:8080"].map(|text| parse_backend(text).unwrap());
    let why = "it is a loopback address".into();
    let query = Query { service: "com.example.Web".into(), options: [("group".into(), "G".into())].into() };
    let rejected = Rejected { text: "web.example:80".into(), why: "a host name".into() };
    let pooled = Pooled {
        candidates: [
            (first, candidate(Standing::Held, None)),
            (second, candidate(Standing::Down, Some(down))),
            (third, candidate(Standing::Refused { why }, None)),
        ]
        .into(),
        sources: vec![SourceStatus {
            registry: "prod".into(),
            query: Arc::new(query),
            state: Knowledge::Known,
            since: then(),
            last_success: Some(then()),
            version: Some("7".into()),
            endpoints: 2,
            rejected: 1,
            examples: [rejected].into(),
        }],
        hold: Some(Hold { addrs: vec![first], why: HoldReason::Share, since: then(), until: None }),
        panic: false,
    };
    Snapshot { services: [("web".into(), Arc::new(pooled))].into(), received: None }
}

/// A session with `prod`.
pub(crate) fn session() -> RegistrySession {
    RegistrySession {
        state: SessionState::Connected,
        peer: Some("127.0.0.1:9600".into()),
        sessions: 3,
        failures: 2,
        events: 9,
        last_error: Some(RegistryError { at: then(), detail: "reset by peer".into() }),
        publications: vec![PublicationStatus {
            service: "web".into(),
            registry: "prod".into(),
            name: "com.example.Web".into(),
            options: Default::default(),
            address: "198.51.100.10:80".into(),
            state: PublicationState::Published,
            detail: None,
            since: then(),
        }],
        ..RegistrySession::idle("sofa", then())
    }
}

fn sync(view: &View, registry: Option<String>) -> Result<SyncAnswer, Refusal> {
    match registry {
        None => Ok(SyncAnswer { registries: view.registries.keys().cloned().collect() }),
        Some(name) if view.registries.contains_key(&name) => Ok(SyncAnswer { registries: vec![name] }),
        Some(name) => Err(Refusal::new(Code::UnknownRegistry, format!("there is no registry {name}"))),
    }
}

fn accept(view: &View, service: String, shown: Option<u32>) -> Result<AcceptAnswer, Refusal> {
    if !view.desired.services.contains_key(&service) {
        return Err(Refusal::new(Code::UnknownService, format!("there is no service {service}")));
    }
    match view.pool.services.get(&service).and_then(|pooled| pooled.hold.as_ref()) {
        Some(hold) if shown.is_some_and(|shown| shown != hold.number()) => Err(Refusal::other_hold(&service)),
        Some(hold) => Ok(AcceptAnswer { service, removed: hold.addrs.iter().map(backend_text).collect() }),
        None => Err(Refusal::new(Code::NothingHeld, format!("no removals of service {service} wait"))),
    }
}

fn apply(
    end: &DoorEnd,
    api: &mut ApiState,
    change: Change,
    if_match: Option<u64>,
    dry_run: bool,
    by: Peer,
) -> Result<Applied, Refusal> {
    let mut view = (*end.view()).clone();
    if let Some(wanted) = if_match.filter(|wanted| *wanted != view.generation) {
        return Err(Refusal::stale(wanted, view.generation));
    }
    if matches!(&change, Change::DeleteList { list } if list == "kernel-says-no") {
        return Err(Refusal::new(Code::KernelRefused, "the map is full"));
    }
    let now = Timestamp::now();
    let (changed, merged) = api.evolve(&base(), change, now, Limits::default())?;
    if changed.changed && !dry_run {
        *api = changed.api;
        view.generation += 1;
        view.desired = Arc::new(merge(&base(), api, now, Limits::default())?.desired);
        view.api = Arc::new(api.clone());
        view.orphaned_lists = merged.orphaned_lists;
        view.orphaned_services = merged.orphaned_services;
        view.stepped_back = merged.stepped_back;
        view.last_change = Some(ChangeRecord {
            at: now,
            origin: Origin::Api,
            by: Some(by),
            what: "a change".into(),
            generation: view.generation,
        });
        end.publish(view.clone());
    }
    Ok(Applied {
        generation: view.generation,
        changed: changed.changed,
        dry_run,
        counts: changed.counts,
        items: changed.items,
        warnings: merged.warnings,
    })
}

pub(crate) fn stats(view: &View) -> StatsSnapshot {
    let reason = |reason: proxy_common::Reason| ReasonCount {
        reason: reason.label().into(),
        verdict: reason.class().label().into(),
        packets: 10,
        bytes: 640,
    };
    StatsSnapshot {
        at: Timestamp::now(),
        generation: view.generation,
        epoch: "e1".into(),
        interfaces: vec![InterfaceStats {
            interface: "eth0".into(),
            reasons: proxy_common::Reason::ALL.map(reason).to_vec(),
        }],
        lists: vec![ListStats {
            list: "file".into(),
            hits: 3,
            hit_bytes: 180,
            entries_v4: 1,
            entries_v6: 0,
            enforced: 1,
            expired: 0,
        }],
        services: vec![ServiceStats {
            service: "web".into(),
            vip: "tcp/198.51.100.10:80".into(),
            forward: Forward::Nat,
            traffic: Default::default(),
            flows: Some(4),
            l7_traffic: None,
            backends: vec![super::types::BackendStats {
                address: "10.0.0.11:8080".into(),
                traffic: Default::default(),
                flows: Some(4),
                l7_traffic: None,
                weight: 100,
                state: AdminState::Active,
                up: true,
            }],
        }],
        maps: vec![MapStats { map: "weir_flows".into(), entries: 8, capacity: 524_288 }],
        snat: vec![SnatStats { address: "192.0.2.1".into(), ports_used: 4, ports_capacity: 31_744 }],
    }
}
