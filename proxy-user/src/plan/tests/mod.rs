//! Properties of whole plans, over random desired states and every prefix of the steps between them.

mod acl;
mod arbitrary;
mod image;
mod properties;
mod scenarios;

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::{Clock, Input, Installed, Limits, Names, Plan, PlanError, Step, plan};
use crate::model::{
    AdminState, Announce, Backend, BackendAddr, Desired, Forward, NextHop, Origin, Protocol, ReplyRoute,
    Service, SnatPool, Timeouts, UnknownPort, Vip,
};

/// A desired state with its surroundings.
#[derive(Clone, Debug)]
pub(super) struct World {
    pub desired: Desired,
    pub next_hops: BTreeMap<IpAddr, NextHop>,
    pub now: u32,
    pub generation: u64,
    pub limits: Limits,
    pub keep_acl: bool,
}

impl Default for World {
    fn default() -> Self {
        let desired = Desired {
            acl: Default::default(),
            services: BTreeMap::new(),
            snat: SnatPool { addresses: Vec::new(), ports: (20_000, 29_999) },
            timeouts: Timeouts::default(),
            reply_route: ReplyRoute::Learned,
            seed: 0x5eed,
        };
        Self {
            desired,
            next_hops: BTreeMap::new(),
            now: 1_000,
            generation: 1,
            limits: Limits::default(),
            keep_acl: false,
        }
    }
}

impl World {
    pub(super) fn plan(&self, installed: &Installed) -> Result<Plan, PlanError> {
        self.plan_knowing(&Names::default(), installed)
    }

    pub(super) fn plan_knowing(&self, known: &Names, installed: &Installed) -> Result<Plan, PlanError> {
        let input = Input {
            desired: &self.desired,
            next_hops: &self.next_hops,
            clock: Clock { hz: 100, now: self.now },
            secret: 7,
            generation: self.generation,
            limits: self.limits,
            cache_budget: 10_000,
            keep_acl: self.keep_acl,
            known,
        };
        plan(&input, installed)
    }

    /// The installed state after a plan from `installed`, and the plan.
    pub(super) fn apply(&self, installed: &Installed) -> (Installed, Plan) {
        let plan = self.plan(installed).unwrap();
        let mut image = installed.clone();
        plan.steps.iter().for_each(|step| image.apply(step));
        (image, plan)
    }

    /// Adds a service with resolved on-link backends of weight 1.
    pub(super) fn service(&mut self, name: &str, forward: Forward, vip: &str, backends: &[&str]) {
        let vip = Vip { protocol: Protocol::Tcp, addr: vip.parse().unwrap(), port: 80 };
        let service = Service {
            vip,
            forward,
            announce: Announce::None,
            unknown_port: UnknownPort::Drop,
            syn_budget: 1000,
            origin: Origin::File,
            backends: backends
                .iter()
                .map(|addr| (BackendAddr { addr: addr.parse().unwrap(), port: 80 }, backend(1)))
                .collect(),
            discovery: None,
            health: None,
            publish: Vec::new(),
            l7: None,
        };
        for backend in service.backends.keys() {
            self.next_hops.insert(backend.addr, next_hop(backend.addr));
        }
        self.desired.services.insert(name.to_owned(), service);
    }
}

pub(super) fn backend(weight: u16) -> Backend {
    Backend { weight, state: AdminState::Active, origin: Origin::File }
}

pub(super) fn next_hop(backend: IpAddr) -> NextHop {
    let source = if backend.is_ipv4() { "192.0.2.1" } else { "2001:db8::1" };
    NextHop {
        ifindex: 3,
        src_mac: [2, 0, 0, 0, 0, 1],
        dst_mac: Some([2, 0, 0, 0, 0, 2]),
        mtu: 1500,
        on_link: true,
        source: source.parse().unwrap(),
    }
}

pub(super) fn graces(steps: &[Step]) -> usize {
    steps.iter().filter(|step| **step == Step::Grace).count()
}
