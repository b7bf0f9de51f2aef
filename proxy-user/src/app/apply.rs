//! Desired state into the maps: plan, write, remember what is installed. After any failure the maps are read again, so
//! that the next plan starts from the truth.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use super::interfaces::Ports;
use crate::catalog::Refusal;
use crate::config;
use crate::control::types::Code;
use crate::kernel::bpffs::PinDir;
use crate::kernel::flows::{self, Sweep};
use crate::kernel::maps::Maps;
use crate::kernel::schema::Capacity;
use crate::kernel::write::{self, Written};
use crate::kernel::{clock, grace, read};
use crate::model::{Desired, Forward, NextHop, Vip};
use crate::net::follow::Ways;
use crate::plan::{self, Clock, Input, Installed, Limits, Names, Plan};

/// Entries of the flow cache for each CPU and second.
const CACHE_BUDGET: u32 = 50_000;

/// Whether the desired state's ACL may differ from the last that was planned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Acl {
    /// It may.
    New,
    /// Only what is around weir has changed: flattening a large ACL for each neighbour that flaps would keep the loop busy.
    Same,
}

/// The maps, and what is known of them.
pub(super) struct Kernel {
    pins: PinDir,
    pub(super) maps: Maps,
    pub(super) installed: Installed,
    pub(super) names: Names,
    pub(super) warnings: Vec<plan::Warning>,
    pub(super) settles_in: Option<Duration>,
    pub(super) sweep: Sweep,
    hz: u32,
    secret: u64,
    limits: Limits,
    /// Set while the maps may not be what `installed` says.
    doubtful: bool,
    /// Whether the ACL in force is that of the desired state, so that it need not be flattened again.
    acl_in_force: bool,
}

impl Kernel {
    pub(super) fn new(
        pins: PinDir,
        maps: Maps,
        hz: u32,
        installed: Installed,
        secret: u64,
        sizes: &config::Limits,
    ) -> Self {
        let limits =
            Limits { acl_v4: sizes.acl_ipv4_prefixes, acl_v6: sizes.acl_ipv6_prefixes, ..Limits::default() };
        Self {
            pins,
            maps,
            installed,
            names: Names::default(),
            warnings: Vec::new(),
            settles_in: None,
            sweep: Sweep::default(),
            hz,
            secret,
            limits,
            doubtful: false,
            acl_in_force: false,
        }
    }

    /// The next plan must look at the ACL again.
    pub(super) fn forget_acl(&mut self) {
        self.acl_in_force = false;
    }

    pub(super) const fn pins(&self) -> &PinDir {
        &self.pins
    }

    /// Takes the pins, to remove them.
    pub(super) fn pins_owned(&self) -> PinDir {
        self.pins.clone()
    }

    /// Whether a VIP's service is in the maps.
    pub(super) fn serves(&self, vip: &Vip) -> bool {
        plan::serves(&self.installed, vip)
    }

    pub(super) const fn installed_generation(&self) -> u64 {
        self.installed.config.generation
    }

    /// The tick now, or the one of the start if the clock cannot be read.
    pub(super) fn now(&self, ports: &Ports) -> u32 {
        ports.any_loaded().and_then(|loaded| clock::now(loaded).ok()).unwrap_or_default()
    }

    /// Plans without writing: what `dry_run` asks for, and the check before a change is stored.
    pub(super) fn plan(
        &self,
        desired: &Desired,
        ways: &Ways,
        ports: &Ports,
        generation: u64,
        acl: Acl,
    ) -> Result<Plan, Refusal> {
        let next_hops = usable(desired, ways, ports);
        let input = Input {
            desired,
            next_hops: &next_hops,
            clock: Clock { hz: self.hz, now: self.now(ports) },
            secret: self.secret,
            generation,
            limits: self.limits,
            cache_budget: CACHE_BUDGET,
            keep_acl: acl == Acl::Same && self.acl_in_force,
            known: &self.names,
        };
        plan::plan(&input, &self.installed)
            .map_err(|error| Refusal::new(Code::LimitExceeded, error.to_string()))
    }

    /// Writes a plan. On failure what is installed is read again, and the caller plans the old state anew.
    pub(super) fn write(&mut self, plan: Plan) -> Result<Written, Refusal> {
        let written = tokio::task::block_in_place(|| write::apply(&mut self.maps, &plan.steps));
        match written {
            Ok(done) => {
                plan.steps.iter().for_each(|step| self.installed.apply(step));
                self.names = plan.names;
                self.warnings = plan.warnings;
                self.settles_in = plan.settles_in;
                self.acl_in_force = true;
                Ok(done)
            }
            Err(error) => {
                self.doubtful = true;
                self.acl_in_force = false;
                let _ = self.read_again();
                Err(Refusal::new(Code::KernelRefused, format!("the kernel refused a write: {error}"))
                    .hint("the old state is put back; `weir status` says if that failed too"))
            }
        }
    }

    /// Reads the maps again after a failed plan.
    pub(super) fn read_again(&mut self) -> Result<(), String> {
        if !self.doubtful {
            return Ok(());
        }
        let read = tokio::task::block_in_place(|| {
            // Packets may still see what the failed plan has replaced.
            grace::wait();
            read::installed(&self.maps)
        });
        self.installed = read.map_err(|error| error.to_string())?;
        self.doubtful = false;
        Ok(())
    }

    /// Counts flows and takes out those that are over. Answers how long it took.
    pub(super) fn sweep(&mut self, ports: &Ports) -> Duration {
        let begun = std::time::Instant::now();
        let now = self.now(ports);
        let config = self.installed.config;
        match tokio::task::block_in_place(|| flows::sweep(&mut self.maps, &config, now)) {
            Ok(sweep) => self.sweep = sweep,
            Err(error) => tracing::warn!(%error, "sweeping the flow table failed"),
        }
        begun.elapsed()
    }
}

/// Map sizes of the configuration.
pub(super) fn capacity(limits: &config::Limits) -> Capacity {
    Capacity { acl_v4: limits.acl_ipv4_prefixes, acl_v6: limits.acl_ipv6_prefixes, flows: limits.flows }
}

/// The ways that can be used: answers of NAT flows come back by the interface that their requests left by, so weir must be
/// attached to it.
fn usable(desired: &Desired, ways: &Ways, ports: &Ports) -> BTreeMap<IpAddr, NextHop> {
    let nat: BTreeSet<IpAddr> = desired
        .services
        .values()
        .filter(|service| service.forward == Forward::Nat)
        .flat_map(|service| service.backends.keys().map(|backend| backend.addr))
        .collect();
    ways.iter()
        .filter_map(|(addr, way)| way.as_ref().ok().map(|hop| (*addr, *hop)))
        .filter(|(addr, hop)| ports.covers(hop.ifindex) || !nat.contains(addr))
        .collect()
}
