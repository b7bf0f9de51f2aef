//! What the API shows of the daemon, made anew after each change of anything in it.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::daemon::Daemon;
use crate::catalog::snapshot::Standing;
use crate::control::door::View;
use crate::control::registry;
use crate::control::types::{BackendHealth, Condition, InterfaceStatus, Warning, XdpMode};
use crate::kernel::attach::Mode;
use crate::kernel::bpffs;
use crate::model::{BackendAddr, Service};
use crate::net::follow::Ways;

impl Daemon {
    /// Publishes the state.
    pub(super) fn publish(&self) {
        let ways = self.follower.ways().borrow().clone();
        let merged = &self.state.laid.merged;
        // Services are copied when they change, not with each neighbour that does.
        let shown = self.end.view();
        let (desired, api) = if shown.generation == self.state.generation {
            (shown.desired.clone(), shown.api.clone())
        } else {
            (Arc::new(merged.desired.clone()), Arc::new(self.state.api.clone()))
        };
        self.end.publish(View {
            generation: self.state.generation,
            desired,
            api,
            orphaned_lists: merged.orphaned_lists.clone(),
            orphaned_services: merged.orphaned_services.clone(),
            stepped_back: merged.stepped_back.clone(),
            started_at: self.started_at,
            conditions: self.conditions(),
            interfaces: self.interfaces(),
            warnings: self.warnings(&ways),
            last_change: self.state.last_change.clone(),
            last_reload: Some(self.state.last_reload.clone()),
            backends: self.health(&ways),
            pool: self.discovery.snapshot(),
            registries: self.discovery.sessions(),
            l7: self.l7_observer(),
        });
    }

    fn conditions(&self) -> Vec<Condition> {
        let missing = self.ports.first_error().map(str::to_owned);
        let attached = Condition { name: "attached".into(), ok: self.ports.complete(), detail: missing };
        let error = self.problems.apply.clone();
        let applied = Condition { name: "applied".into(), ok: error.is_none(), detail: error };
        let mut conditions = vec![attached, applied];
        let store = self.problems.store.clone();
        conditions.extend(store.map(|why| Condition { name: "store".into(), ok: false, detail: Some(why) }));
        conditions.extend(registry::condition(&self.discovery.snapshot()));
        conditions.extend(self.l7_condition());
        conditions
    }

    fn interfaces(&self) -> Vec<InterfaceStatus> {
        let describe = |(name, port): (&String, &super::interfaces::Port)| InterfaceStatus {
            name: name.clone(),
            ifindex: port.attached.as_ref().map(|attached| attached.interface.ifindex),
            attached: port.attached.is_some(),
            mode: port.attached.as_ref().map(|attached| match attached.mode {
                Mode::Native => XdpMode::Native,
                Mode::Generic => XdpMode::Generic,
                Mode::Offload => XdpMode::Offload,
            }),
            driver: crate::kernel::sys::driver(name),
            program_id: port.attached.as_ref().map(|attached| attached.program_id),
            detail: port.error.clone(),
            ..InterfaceStatus::default()
        };
        self.ports.ports.iter().map(describe).collect()
    }

    fn warnings(&self, ways: &Ways) -> Vec<Warning> {
        let warning = |code: &str, detail: String| Warning { code: code.into(), detail };
        let mut warnings: Vec<Warning> = self
            .state
            .config_warnings
            .iter()
            .map(|found| warning("configuration", found.to_string()))
            .collect();
        warnings.extend(self.state.laid.merged.warnings.iter().cloned());
        warnings.extend(registry::warnings(&self.discovery.snapshot()));
        for overdue in self.discovery.overdue() {
            let detail = format!(
                "service {}: registry {} has not answered since {}, and removals wait for it; `weir registry accept {}` \
                 carries them out without it",
                overdue.service, overdue.registry, overdue.since, overdue.service
            );
            warnings.push(warning("first_sync_overdue", detail));
        }
        for left_out in &self.state.laid.left_out {
            let detail = format!(
                "service {}: {} endpoints are left out, all services together have more than the maps hold",
                left_out.service, left_out.endpoints
            );
            warnings.push(warning("endpoints_do_not_fit", detail));
        }
        for (service, why) in &self.set_back {
            let detail =
                format!("service {service} keeps the endpoints that it had, the new ones do not fit: {why}");
            warnings.push(warning("endpoints_do_not_fit", detail));
        }
        warnings.extend(self.discovery.disk_problem().map(|why| warning("endpoints_not_kept", why)));
        // Where weir is not attached to the way out, that is the cause to tell, and it is told below.
        let covered = |addr| !matches!(ways.get(&addr), Some(Ok(hop)) if !self.ports.covers(hop.ifindex));
        let troubles = self.kernel.warnings.iter().filter(|found| covered(found.backend.addr));
        warnings.extend(troubles.map(|found| warning("backend", found.to_string())));
        for addr in &self.problems.host_vips {
            warnings.push(warning(
                "vip_is_host_address",
                format!(
                    "{addr} is an address of this host: whatever else the host serves there (SSH, say) is dropped as                      unknown_port; use an address of its own for the VIP, or set unknown_port = \"pass\" for its services"
                ),
            ));
        }
        for (addr, way) in ways {
            match way {
                Err(error) => warnings.push(warning("backend_unreachable", format!("{addr}: {error}"))),
                Ok(hop) if !self.ports.covers(hop.ifindex) => warnings.push(warning(
                    "egress_not_attached",
                    format!(
                        "{addr} is reached by an interface (index {}) that weir is not attached to, so its answers would not \
                         come back through weir: add the interface to the configuration",
                        hop.ifindex
                    ),
                )),
                Ok(_) => {}
            }
        }
        for (name, port) in &self.ports.ports {
            if port.attached.as_ref().is_some_and(|attached| attached.mode == Mode::Generic) {
                warnings.push(warning(
                    "generic_mode",
                    format!("{name} runs in generic mode, which is several times slower than native: its driver has no native XDP"),
                ));
            }
        }
        if self.state.laid.merged.desired.services.values().any(Service::is_forwarded) {
            warnings.push(warning(
                "local_clients",
                "XDP sees what enters an interface: clients on this host itself do not reach the VIPs through weir".into(),
            ));
        }
        if bpffs::shares_mounts_with_init() == Some(false) {
            warnings.push(warning(
                "private_mounts",
                "weir runs in a mount namespace of its own: its pins end with it, and a restart outside cannot take them over".into(),
            ));
        }
        warnings.sort();
        warnings.dedup();
        warnings
    }

    fn health(&self, ways: &Ways) -> BTreeMap<(String, BackendAddr), BackendHealth> {
        let names = self.interface_names();
        let pool = self.discovery.snapshot();
        let mut health = BTreeMap::new();
        for (service, wanted) in &self.state.laid.merged.desired.services {
            for backend in wanted.backends.keys() {
                let uncovered =
                    matches!(ways.get(&backend.addr), Some(Ok(hop)) if !self.ports.covers(hop.ifindex));
                let found = match ways.get(&backend.addr) {
                    _ if !wanted.is_forwarded() => BackendHealth {
                        up: true,
                        detail: Some("reached by the L7 path, over the host's own routes".into()),
                        ..BackendHealth::default()
                    },
                    Some(Ok(_)) if uncovered => BackendHealth {
                        detail: Some(
                            "its way leads out of an interface that weir is not attached to: add it to the configuration".into(),
                        ),
                        ..BackendHealth::default()
                    },
                    None => BackendHealth { detail: Some("the way to it is being looked up".into()), ..BackendHealth::default() },
                    Some(Err(error)) => BackendHealth { detail: Some(error.to_string()), ..BackendHealth::default() },
                    Some(Ok(hop)) => BackendHealth {
                        up: hop.dst_mac.is_some() && self.ports.covers(hop.ifindex),
                        detail: hop.dst_mac.is_none().then(|| {
                            "its next hop does not answer for its MAC address; packets to it are dropped as neighbour_unresolved".into()
                        }),
                        interface: names.get(&hop.ifindex).cloned(),
                        next_hop: hop.dst_mac.map(mac_text),
                    },
                };
                let trouble = self
                    .kernel
                    .warnings
                    .iter()
                    .find(|warning| warning.service == *service && warning.backend == *backend);
                let found = match trouble {
                    Some(warning) if !uncovered => {
                        BackendHealth { up: false, detail: Some(warning.trouble.to_string()), ..found }
                    }
                    _ => found,
                };
                let candidate = pool.services.get(service).and_then(|pooled| pooled.candidates.get(backend));
                let found = match candidate {
                    // The way is there, but nobody behind it.
                    Some(known)
                        if found.up && matches!(known.standing, Standing::Down | Standing::Unchecked) =>
                    {
                        BackendHealth { up: false, detail: registry::standing(known).1, ..found }
                    }
                    _ => found,
                };
                health.insert((service.clone(), *backend), found);
            }
        }
        health
    }
}

fn mac_text(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}
