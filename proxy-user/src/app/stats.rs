//! All counters at one moment, under the names that the operator knows.

use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt as _;

use ipnet::IpNet;
use jiff::Timestamp;
use proxy_common::{Count, DEFAULT_LIST, MANAGEMENT_LIST, Reason, TrafficCount};

use super::daemon::Daemon;
use crate::catalog::Refusal;
use crate::control::l7;
use crate::control::types::{
    BackendStats, Code, InterfaceStats, L7Traffic, ListStats, MapStats, ReasonCount, ServiceStats, SnatStats,
    StatsSnapshot, Traffic,
};
use crate::kernel::flows::FlowCounts;
use crate::kernel::maps::MapsError;
use crate::kernel::stats;
use crate::model::{AdminState, Forward, Service};

impl Daemon {
    /// Reads every counter.
    pub(super) fn stats(&self) -> Result<StatsSnapshot, Refusal> {
        tokio::task::block_in_place(|| self.read_stats())
            .map_err(|error| Refusal::new(Code::KernelRefused, error.to_string()))
    }

    fn read_stats(&self) -> Result<StatsSnapshot, MapsError> {
        Ok(StatsSnapshot {
            at: Timestamp::now(),
            generation: self.state.generation,
            epoch: self.epoch(),
            interfaces: self.interface_stats()?,
            lists: self.list_stats()?,
            services: self.service_stats()?,
            maps: self.map_stats(),
            snat: self.snat_stats(),
        })
    }

    /// Another one for each set of maps: the boot and the file of a counters' pin.
    fn epoch(&self) -> String {
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let pin = std::fs::metadata(self.kernel.pins().pin("stats_reasons")).map_or(0, |meta| meta.ino());
        format!("{}-{pin}", boot.trim())
    }

    fn interface_stats(&self) -> Result<Vec<InterfaceStats>, MapsError> {
        let mut interfaces = Vec::new();
        for (name, port) in &self.ports.ports {
            let counts = stats::reasons(&self.kernel.maps, port.slot())?;
            let reasons = Reason::ALL.iter().zip(counts).map(|(reason, count)| ReasonCount {
                reason: reason.label().into(),
                verdict: reason.class().label().into(),
                packets: count.packets,
                bytes: count.bytes,
            });
            interfaces.push(InterfaceStats { interface: name.clone(), reasons: reasons.collect() });
        }
        Ok(interfaces)
    }

    fn list_stats(&self) -> Result<Vec<ListStats>, MapsError> {
        let acl = &self.state.laid.merged.desired.acl;
        let mut lists = Vec::new();
        let mut special = |name: &str, slot: u16, entries: &[IpNet]| -> Result<(), MapsError> {
            let count = stats::list(&self.kernel.maps, slot)?;
            lists.push(list_stats(name, count, entries.iter(), 0));
            Ok(())
        };
        special("(default)", DEFAULT_LIST, &[])?;
        special("(management)", MANAGEMENT_LIST, &acl.management)?;
        for (name, list) in &acl.lists {
            let count = match self.kernel.names.lists.get(name) {
                Some(slot) => stats::list(&self.kernel.maps, *slot)?,
                None => Count::default(),
            };
            let expired = self.state.expired.get(name).copied().unwrap_or(0);
            let mut found = list_stats(name, count, list.entries.keys(), expired);
            if self.problems.apply.is_some() {
                // The last plan failed: what is in force is the list before it, and this one is not known to be.
                found.enforced = 0;
            }
            lists.push(found);
        }
        Ok(lists)
    }

    fn service_stats(&self) -> Result<Vec<ServiceStats>, MapsError> {
        let mut services = Vec::new();
        let workers = self.l7_observer().map(|observer| observer.stats()).unwrap_or_default();
        for (name, service) in &self.state.laid.merged.desired.services {
            services.push(self.one_service(name, service, &workers)?);
        }
        Ok(services)
    }

    fn one_service(
        &self,
        name: &str,
        service: &Service,
        workers: &crate::l7::stats::Stats,
    ) -> Result<ServiceStats, MapsError> {
        let workers = (service.forward == Forward::L7).then(|| workers.services.get(name));
        let numbers = self.kernel.names.services.get(name);
        let exact = service.forward == Forward::Nat;
        let view = self.end.view();
        let traffic = match numbers {
            Some(numbers) => traffic(stats::service(&self.kernel.maps, numbers.id)?),
            None => Traffic::default(),
        };
        let mut backends = Vec::new();
        for (addr, backend) in &service.backends {
            let slot = numbers.and_then(|numbers| numbers.backends.get(addr)).copied();
            let counts = match slot {
                Some(slot) => traffic_of(&self.kernel, slot)?,
                None => Traffic::default(),
            };
            let health = view.backends.get(&(name.to_owned(), *addr));
            backends.push(BackendStats {
                address: addr.to_string(),
                traffic: counts,
                flows: exact
                    .then(|| slot.and_then(|slot| self.kernel.sweep.backends.get(&slot)).map_or(0, total)),
                l7_traffic: workers.map(|of| {
                    let addr = SocketAddr::new(addr.addr, addr.port);
                    of.and_then(|of| of.endpoints.get(&addr)).map_or_else(L7Traffic::default, l7::of_backend)
                }),
                weight: backend.weight,
                state: if backend.weight == 0 { AdminState::Drain } else { backend.state },
                up: health.is_some_and(|health| health.up),
            });
        }
        let flows = numbers.and_then(|numbers| self.kernel.sweep.services.get(&numbers.id)).map_or(0, total);
        Ok(ServiceStats {
            service: name.to_owned(),
            vip: service.vip.to_string(),
            forward: service.forward,
            traffic,
            flows: exact.then_some(flows),
            l7_traffic: workers.map(|of| of.map_or_else(L7Traffic::default, l7::of_service)),
            backends,
        })
    }

    fn map_stats(&self) -> Vec<MapStats> {
        let installed = &self.kernel.installed;
        let table = installed.acl.get(installed.config.acl_table as usize % 2);
        let v4 =
            table.map_or(0, |table| table.keys().filter(|prefix| matches!(prefix, IpNet::V4(_))).count());
        let v6 = table.map_or(0, |table| table.len().saturating_sub(v4));
        let sizes = &self.settings.limits;
        let limits = crate::plan::Limits::default();
        let map = |map: &str, entries: u64, capacity: u32| MapStats {
            map: map.into(),
            entries,
            capacity: capacity.into(),
        };
        vec![
            map("weir_acl4", v4 as u64, sizes.acl_ipv4_prefixes),
            map("weir_acl6", v6 as u64, sizes.acl_ipv6_prefixes),
            map("weir_backends", installed.backends.len() as u64, limits.backends),
            map("weir_classes", installed.classes.len() as u64, proxy_common::limits::ACL_CLASSES),
            map("weir_dests", installed.destinations.len() as u64, limits.destinations),
            map(
                "weir_flows",
                self.kernel.sweep.entries.saturating_sub(self.kernel.sweep.removed),
                sizes.flows,
            ),
            map(
                "weir_rings",
                installed.rings.values().map(|ring| ring.len() as u64).sum(),
                limits.ring_blocks,
            ),
            map("weir_services", installed.services.len() as u64, limits.services),
            map("weir_snat", installed.snat.len() as u64, limits.snat),
        ]
    }

    fn snat_stats(&self) -> Vec<SnatStats> {
        let used = &self.kernel.sweep.snat_ports;
        let describe = |entry: &proxy_common::SnatValue| SnatStats {
            address: entry.addr.to_ip().to_string(),
            ports_used: used.get(&entry.addr).copied().unwrap_or(0),
            ports_capacity: u64::from(entry.port_max.saturating_sub(entry.port_min)) + 1,
        };
        self.kernel.installed.snat.values().map(describe).collect()
    }
}

fn list_stats<'a>(
    name: &str,
    count: Count,
    entries: impl Iterator<Item = &'a IpNet>,
    expired: u64,
) -> ListStats {
    let (mut v4, mut v6) = (0, 0);
    for entry in entries {
        match entry {
            IpNet::V4(_) => v4 += 1,
            IpNet::V6(_) => v6 += 1,
        }
    }
    ListStats {
        list: name.into(),
        hits: count.packets,
        hit_bytes: count.bytes,
        entries_v4: v4,
        entries_v6: v6,
        enforced: v4 + v6,
        expired,
    }
}

fn traffic_of(kernel: &super::apply::Kernel, slot: u16) -> Result<Traffic, MapsError> {
    Ok(traffic(stats::backend(&kernel.maps, slot)?))
}

fn traffic(count: TrafficCount) -> Traffic {
    Traffic {
        packets: count.packets,
        bytes: count.bytes,
        connections: count.connections,
        reply_packets: count.reply_packets,
        reply_bytes: count.reply_bytes,
    }
}

fn total(counts: &FlowCounts) -> u64 {
    counts.new + counts.established + counts.closing + counts.closed
}
