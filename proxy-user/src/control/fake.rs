//! A daemon without a kernel, for tests: it answers the door with the real catalog and made-up counters.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use jiff::Timestamp;

use super::door::{Door, DoorEnd, Request, View, door};
use super::types::{
    Applied, BackendHealth, ChangeRecord, Code, Condition, DetachAnswer, ExplainAnswer, InterfaceStats,
    InterfaceStatus, ListStats, MapStats, Peer, ReasonCount, ReloadAnswer, ReloadRecord, ServiceStats,
    SnatStats, StatsSnapshot, XdpMode,
};
use crate::catalog::{ApiState, Change, Refusal, merge, parse_backend, parse_vip};
use crate::config::Limits;
use crate::model::{
    AclEntry, AclList, AclPolicy, Action, AdminState, Announce, Backend, Desired, Forward, Origin,
    ReplyRoute, Scope, Service, SnatPool, Timeouts, UnknownPort,
};

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
        publish: Vec::new(),
    };
    Desired {
        acl: AclPolicy { lists: [("file".into(), list)].into(), ..AclPolicy::default() },
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
            Request::Accept { service, reply, .. } => {
                let _ = reply.send(accept(&end.view(), service));
            }
            Request::Stats { reply } => {
                walks.fetch_add(1, Ordering::Relaxed);
                let _ = reply.send(Ok(stats(&end.view())));
            }
        }
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
            backends: vec![super::types::BackendStats {
                address: "10.0.0.11:8080".into(),
                traffic: Default::default(),
                flows: Some(4),
                weight: 100,
                state: AdminState::Active,
                up: true,
            }],
        }],
        maps: vec![MapStats { map: "weir_flows".into(), entries: 8, capacity: 524_288 }],
        snat: vec![SnatStats { address: "192.0.2.1".into(), ports_used: 4, ports_capacity: 31_744 }],
    }
}
