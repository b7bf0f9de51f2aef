//! Desired state and installed state in, ordered steps out. Pure: no kernel, no clock, no randomness.
//!
//! `desired` turns what the operator wants into the content that the maps shall have, with the help of `access` (lists,
//! classes, the flattened ACL of `acl`), `ids`, `blocks`, `snat`, `maglev` and `ring`. `order` compares that with what
//! is installed and sorts the differences, so that every prefix of the plan leaves the data path right.

mod access;
pub mod acl;
mod apply;
mod backends;
mod blocks;
mod convert;
mod desired;
mod destinations;
mod diff;
mod ids;
mod installed;
pub mod maglev;
mod order;
mod order_acl;
mod problem;
mod ring;
mod services;
mod settings;
mod snat;
mod step;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use proxy_common::{BackendState, BackendValue, ServiceKey, limits};

pub use blocks::covered;
pub use installed::{Installed, Ring};
pub use problem::{PlanError, Trouble, Warning, What};
pub use step::Step;

use crate::model::{BackendAddr, Desired, NextHop, Vip};

/// What a plan is made from, beside what is installed.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// What the operator wants. Expired ACL entries are gone already.
    pub desired: &'a Desired,
    /// Ways to backends; one that is missing has no route.
    pub next_hops: &'a BTreeMap<IpAddr, NextHop>,
    /// The data path's time.
    pub clock: Clock,
    /// Secret of this instance. Another one than installed loses the flow cache, so it is kept across restarts.
    pub secret: u64,
    /// Generation of the desired state: in force when the plan is done.
    pub generation: u64,
    /// Capacities of the maps.
    pub limits: Limits,
    /// Entries that the flow cache takes per CPU and second at most.
    pub cache_budget: u32,
    /// The ACL's lists are those that were installed by the last plan: leave its tables alone. Saves flattening a large
    /// ACL again when only a next hop or a backend changed.
    pub keep_acl: bool,
    /// Of the last plan, or empty. Says nothing that the plan depends on: rings whose backends and weights have not changed
    /// are taken from it instead of being built again.
    pub known: &'a Names,
}

/// The data path's time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clock {
    /// Ticks in a second.
    pub hz: u32,
    /// The current tick.
    pub now: u32,
}

/// Capacities of the maps; none may be above its constant in [`limits`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Prefixes in each IPv4 ACL table.
    pub acl_v4: u32,
    /// Prefixes in each IPv6 ACL table.
    pub acl_v6: u32,
    /// Services, one more than can be used (id 0 is not).
    pub services: u32,
    /// Backend slots, one more than can be used.
    pub backends: u32,
    /// Blocks of the ring arena.
    pub ring_blocks: u32,
    /// VIP and source-NAT addresses.
    pub destinations: u32,
    /// Source-NAT addresses.
    pub snat: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            acl_v4: limits::ACL_V4_PREFIXES,
            acl_v6: limits::ACL_V6_PREFIXES,
            services: limits::SERVICES,
            backends: limits::BACKENDS,
            ring_blocks: limits::RING_BLOCKS,
            destinations: limits::DESTINATIONS,
            snat: limits::SNAT_ADDRESSES,
        }
    }
}

/// What to do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The writes, in order. If one fails, wait a grace period before reading the maps and planning again: packets may
    /// still see what the failed plan has replaced.
    pub steps: Vec<Step>,
    /// Backends that can't be used as wanted.
    pub warnings: Vec<Warning>,
    /// Which numbers stand for what once the plan is done.
    pub names: Names,
    /// When to plan again because a ring will have settled.
    pub settles_in: Option<Duration>,
}

/// Numbers in the maps by the names that the operator knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// Services by name.
    pub services: BTreeMap<String, ServiceNumbers>,
    /// List slots by name; the default action (slot 0) and the management list (slot 1) are not among them.
    pub lists: BTreeMap<String, u16>,
}

/// The numbers of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceNumbers {
    /// Key in `weir_services`.
    pub key: ServiceKey,
    /// Index into its counters and budget.
    pub id: u16,
    /// Its ring; none if no backend can take new flows.
    pub ring: Option<Arc<maglev::Maglev>>,
    /// Backend slots.
    pub backends: BTreeMap<BackendAddr, u16>,
}

/// Whether a VIP has a service in the maps.
#[must_use]
pub fn serves(installed: &Installed, vip: &Vip) -> bool {
    installed.services.contains_key(&convert::service_key(vip))
}

/// The backends that a VIP's service has in the maps, each with what it takes; `None` without a service there.
#[must_use]
pub fn backends_of(installed: &Installed, vip: &Vip) -> Option<Vec<(BackendAddr, BackendState)>> {
    let id = installed.services.get(&convert::service_key(vip))?.id;
    let own = installed.backends.values().filter(|backend| backend.service == id);
    let found = |backend: &BackendValue| {
        let addr = BackendAddr { addr: convert::ip_addr(&backend.addr), port: backend.port.number() };
        (addr, BackendState::from_byte(backend.state))
    };
    Some(own.map(found).collect())
}

/// The steps from what is installed to what is desired; none if they are equal.
///
/// Where new rings or backends only fit once old ones are gone, the plan has several rounds, each with its own removals;
/// a service that has to wait for the next round keeps what it has.
///
/// # Errors
/// If the desired state does not fit the maps, as a whole: nothing shall be applied then.
pub fn plan(input: &Input<'_>, installed: &Installed) -> Result<Plan, PlanError> {
    let mut image = Cow::Borrowed(installed);
    let mut steps = Vec::new();
    let mut waiting = usize::MAX;
    loop {
        let target = desired::target(input, &image)?;
        let round = order::steps(&target, &image, &input.limits);
        match &target.shortage {
            None => {
                steps.extend(round);
                let desired::Target { warnings, names, settles_in, .. } = target;
                return Ok(Plan { steps, warnings, names, settles_in });
            }
            Some(shortage) if shortage.services >= waiting => return Err(shortage.error.clone()),
            Some(shortage) => waiting = shortage.services,
        }
        round.iter().for_each(|step| image.to_mut().apply(step));
        steps.extend(round);
    }
}
