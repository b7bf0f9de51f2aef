//! The pool, driven by hand: a clock that only the test moves, registries `a` and `b`, one service `web`.

mod cost;
mod guards;
mod health;
mod model;
mod sources;
mod start;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::*;
use crate::catalog::snapshot::{Hold, HoldReason, Knowledge, Pooled, Standing};
use crate::model::{Combine, Discovery, Forward, Guard, HealthCheck, Probe, Protocol, SourceRef, Vip};
use crate::registry::source::{Endpoint, Set};

/// A pool and its clock.
pub(super) struct Bench {
    pub pool: Pool,
    pub now: Now,
    pub setup: Setup,
}

pub(super) fn addr(host: u16) -> BackendAddr {
    let [high, low] = host.to_be_bytes();
    BackendAddr { addr: [10, 0, high, low].into(), port: 80 }
}

pub(super) fn endpoint(host: u16, weight: Option<f64>) -> Endpoint {
    Endpoint { addr: addr(host), weight, enabled: true, zone: None, labels: BTreeMap::new() }
}

pub(super) fn query() -> Arc<Query> {
    Arc::new(Query { service: "web".into(), options: BTreeMap::new() })
}

pub(super) fn set(endpoints: Vec<Endpoint>) -> Set {
    Set {
        endpoints,
        rejected: Vec::new(),
        rejected_count: 0,
        version: Some("1".into()),
        received: Instant::now(),
    }
}

pub(super) fn hosts(hosts: impl IntoIterator<Item = u16>) -> Set {
    set(hosts.into_iter().map(|host| endpoint(host, None)).collect())
}

pub(super) fn spec(registries: &[&str]) -> Spec {
    let source = |name: &&str| SourceRef { registry: (*name).to_owned(), query: query(), zone: None };
    let discovery = Discovery {
        sources: registries.iter().map(source).collect(),
        combine: Combine::Union,
        guard: Guard::default(),
        drain: Duration::from_secs(10),
    };
    Spec {
        vip: Vip { protocol: Protocol::Tcp, addr: [198, 51, 100, 10].into(), port: 80 },
        forward: Forward::Nat,
        discovery: (!registries.is_empty()).then(|| Arc::new(discovery)),
        health: None,
        fixed: BTreeMap::new(),
        drained: Default::default(),
    }
}

pub(super) fn check() -> HealthCheck {
    let second = Duration::from_secs(1);
    HealthCheck {
        probe: Probe::Tcp,
        port: None,
        interval: second,
        timeout: second,
        rise: 2,
        fall: 3,
        initial_up: true,
        panic_below: 50,
    }
}

impl Bench {
    pub(super) fn new(spec: Spec) -> Self {
        Self::with(Remembered::new(), spec)
    }

    pub(super) fn with(remembered: Remembered, spec: Spec) -> Self {
        let now = Now { instant: Instant::now(), wall: Timestamp::from_second(1_700_000_000).unwrap() };
        let vips = [spec.vip.addr].into();
        let setup = Setup { services: [("web".into(), spec)].into(), vips, ..Setup::default() };
        let mut bench = Self { pool: Pool::new(remembered), now, setup };
        bench.pool.set_services(bench.setup.clone(), now);
        bench.pool.tick(now);
        bench
    }

    pub(super) fn change(&mut self, change: impl FnOnce(&mut Spec)) {
        change(self.setup.services.get_mut("web").unwrap());
        self.pool.set_services(self.setup.clone(), self.now);
        self.pool.tick(self.now);
    }

    pub(super) fn guard(&mut self, change: impl FnOnce(&mut Discovery)) {
        self.change(|spec| {
            let mut discovery = (**spec.discovery.as_ref().unwrap()).clone();
            change(&mut discovery);
            spec.discovery = Some(Arc::new(discovery));
        });
    }

    pub(super) fn tell(&mut self, registry: &str, report: Report) {
        self.pool.report(&Arc::from(registry), report, self.now);
        self.pool.tick(self.now);
    }

    pub(super) fn reset(&mut self, registry: &str, set: Set) {
        self.tell(registry, Report::Event(Event::Reset { query: query(), set }));
    }

    pub(super) fn lose(&mut self, registry: &str) {
        self.tell(registry, Report::Lost { why: "cut".into() });
    }

    pub(super) fn judge(&mut self, host: u16, up: bool) {
        let detail = "seen".into();
        self.pool.verdict(Verdict { service: "web".into(), backend: addr(host), up, detail }, self.now);
        self.pool.tick(self.now);
    }

    /// Lets time pass, waking the pool when it asks for it.
    pub(super) fn pass(&mut self, seconds: u64) {
        let end = self.now.instant + Duration::from_secs(seconds);
        for _ in 0..100 {
            let next = self.pool.next_wake().filter(|wake| *wake < end).unwrap_or(end);
            let step = next.max(self.now.instant).duration_since(self.now.instant);
            self.now =
                Now { instant: self.now.instant + step, wall: self.now.wall.saturating_add(step).unwrap() };
            self.pool.tick(self.now);
            if self.now.instant >= end {
                return;
            }
        }
        panic!("the pool asks to be woken for ever");
    }

    pub(super) fn web(&self) -> Arc<Pooled> {
        self.pool.snapshot().services["web"].clone()
    }

    /// Hosts that take new flows.
    pub(super) fn flowing(&self) -> Vec<u16> {
        self.standing(|standing| matches!(standing, Standing::Used | Standing::Held))
    }

    pub(super) fn standing(&self, fits: impl Fn(&Standing) -> bool) -> Vec<u16> {
        let web = self.web();
        web.candidates.iter().filter(|(_, found)| fits(&found.standing)).map(|(addr, _)| host(addr)).collect()
    }

    pub(super) fn leaving(&self) -> Vec<u16> {
        self.standing(|standing| matches!(standing, Standing::Leaving { .. }))
    }

    pub(super) fn hold(&self) -> Option<Hold> {
        self.web().hold.clone()
    }

    pub(super) fn why(&self) -> Option<HoldReason> {
        self.hold().map(|hold| hold.why)
    }

    pub(super) fn knowledge(&self) -> Vec<Knowledge> {
        self.web().sources.iter().map(|source| source.state.clone()).collect()
    }
}

pub(super) fn host(addr: &BackendAddr) -> u16 {
    match addr.addr {
        IpAddr::V4(v4) => u16::from_be_bytes([v4.octets()[2], v4.octets()[3]]),
        IpAddr::V6(_) => panic!("not of this test"),
    }
}
