//! From a decision to its explanation: the same look-ups again, this time to name what they found.

use std::net::IpAddr;

use ipnet::IpNet;
use proxy_common::{
    AclAction, AclClass, BackendValue, Class, DEFAULT_LIST, FlowKey, MANAGEMENT_LIST, Port, Reason,
    ServiceKey, ServiceValue, backend_flag, config_flag, destination_flag, limits, proto, ring_owners,
};
use proxy_ebpf::memory::{FlowMemory, MemoryTables, SliceFrame};
use proxy_ebpf::{Outcome, Tables, hash};

use super::{Scene, rewrites, tables};
use crate::control::types::{ExplainAcl, ExplainAnswer, ExplainBackend, ExplainQuery, ExplainService};
use crate::model::{Action, BackendAddr, Origin, Protocol, Vip};

/// A decision and all that it saw.
pub(super) struct Trace<'a> {
    pub(super) scene: &'a Scene<'a>,
    pub(super) tables: &'a MemoryTables,
    pub(super) memory: &'a FlowMemory,
    pub(super) outcome: &'a Outcome,
    pub(super) key: FlowKey,
}

/// A flow's place on a ring.
struct RingPlace {
    slot: u32,
    length: u32,
    current: u16,
    previous: u16,
}

impl Trace<'_> {
    pub(super) fn answer(
        &self,
        before: &SliceFrame,
        after: &SliceFrame,
        query: &ExplainQuery,
        ifindex: u32,
    ) -> ExplainAnswer {
        let reason = self.outcome.reason;
        let service = self.service();
        let ring = service.and_then(|(_, value)| self.ring(&value));
        let mut steps = vec![self.arrival(query, ifindex), self.destination(service.as_ref())];
        steps.extend(self.known_flow());
        steps.extend(ring.as_ref().map(|ring| self.ring_text(ring)));
        if reason.class() == Class::Steer {
            steps.extend(rewrites::rewrites(before, after));
        }
        ExplainAnswer {
            generation: self.tables.config.generation,
            verdict: reason.class().label().to_owned(),
            reason: reason.label().to_owned(),
            text: reason.text().to_owned(),
            acl: self.acl(query.source),
            service: service.map(|(key, _)| ExplainService {
                name: self.service_name(&key),
                vip: vip(&key).to_string(),
                ring_slot: ring.as_ref().map(|ring| ring.slot),
                ring_length: ring.as_ref().map(|ring| ring.length),
            }),
            backend: self.backend(ring.as_ref()),
            steps,
        }
    }

    fn arrival(&self, query: &ExplainQuery, ifindex: u32) -> String {
        let what = match (query.protocol, query.established) {
            (Protocol::Tcp, false) => "a TCP SYN",
            (Protocol::Tcp, true) => "a TCP packet of an established connection",
            (Protocol::Udp, _) => "a UDP datagram",
        };
        let by = self.interface_name(ifindex).unwrap_or_else(|| "an interface".to_owned());
        format!(
            "{what} enters by {by}, from port {} to port {}",
            self.key.sport.number(),
            self.key.dport.number()
        )
    }

    fn destination(&self, service: Option<&(ServiceKey, ServiceValue)>) -> String {
        let known = self.tables.destinations.get(&self.key.dst);
        let flags = known.map_or(0, |known| known.flags);
        let is_vip = flags & destination_flag::VIP != 0;
        let passes = flags & destination_flag::UNKNOWN_PORT_PASS != 0;
        match service {
            Some((key, _)) if key.port == Port::default() => {
                "the destination is a VIP, and its service of any port takes the packet"
            }
            Some(_) => "the destination is a service's VIP and port",
            None if is_vip && passes => "the destination is a VIP, but no service of it; such packets pass",
            None if is_vip => "the destination is a VIP, but no service of it; such packets are dropped",
            None if known.is_some() => "the destination is a source-NAT address",
            None => "the destination is none of weir's",
        }
        .to_owned()
    }

    /// Who knows the packet's flow: an entry of the flow table, or this host.
    fn known_flow(&self) -> Option<String> {
        let found = self.scene.flows.iter().any(|(key, _)| *key == self.key);
        match self.outcome.reason {
            Reason::NatReply => Some("an answer of a NAT flow: back to its client, above the ACL".to_owned()),
            Reason::Nat if found => Some("the flow is known: it stays with its backend".to_owned()),
            Reason::Nat => Some("a new flow: it would take an entry and a source-NAT port".to_owned()),
            Reason::Deliver => Some(
                "to this host, where socket look-up gives its connection to a worker of the L7 path"
                    .to_owned(),
            ),
            _ => None,
        }
    }

    fn ring_text(&self, ring: &RingPlace) -> String {
        let owner = |slot: u16| self.backend_text(slot).unwrap_or_else(|| "nobody".to_owned());
        let RingPlace { slot, length, current, previous } = ring;
        if current == previous {
            return format!("ring slot {slot} of {length} belongs to {}", owner(*current));
        }
        format!(
            "ring slot {slot} of {length} belongs to {}, before to {}: flows from before stay there; a new one is \
             remembered if the flow cache has room",
            owner(*current),
            owner(*previous)
        )
    }

    fn acl(&self, source: IpAddr) -> Option<ExplainAcl> {
        let config = &self.tables.config;
        let (is_v4, flag) = match source {
            IpAddr::V4(_) => (true, config_flag::ACL_V4),
            IpAddr::V6(_) => (false, config_flag::ACL_V6),
        };
        if self.outcome.reason == Reason::NatReply {
            return None;
        }
        let found = (config.flags & flag != 0)
            .then(|| self.tables.acl_longest(config.acl_table, &self.key.src, is_v4))
            .flatten();
        let class: AclClass =
            found.and_then(|(_, class)| self.tables.classes.get(&class).copied()).unwrap_or_default();
        let to_vip = self.is_to_vip();
        let (action, list, default_flag) = if to_vip {
            (class.service_action, class.service_list, config_flag::SERVICE_DEFAULT_DROP)
        } else {
            (class.traffic_action, class.traffic_list, config_flag::TRAFFIC_DEFAULT_DROP)
        };
        let action = match AclAction::from_byte(action) {
            AclAction::Pass => Action::Pass,
            AclAction::Drop => Action::Drop,
            AclAction::None => {
                let drops = config.flags & default_flag != 0;
                let action = if drops { Action::Drop } else { Action::Pass };
                return Some(ExplainAcl { action, list: None, prefix: None, origin: None });
            }
        };
        let (prefix, _) = found?;
        let own = self.own_entry(list, source);
        Some(ExplainAcl {
            action,
            list: Some(self.list_name(list)),
            prefix: Some(own.map_or_else(|| tables::prefix_text(&prefix), |(net, _)| net.to_string())),
            origin: own.and_then(|(_, origin)| origin),
        })
    }

    /// The winning list's own entry: the tables hold the flattened prefix, which may be longer.
    fn own_entry(&self, list: u16, source: IpAddr) -> Option<(IpNet, Option<Origin>)> {
        let acl = &self.scene.desired.acl;
        if list == MANAGEMENT_LIST {
            let covers = acl.management.iter().filter(|net| net.contains(&source));
            return covers.max_by_key(|net| net.prefix_len()).map(|net| (*net, None));
        }
        let entries = &acl.lists.get(&self.list_name(list))?.entries;
        let widest = if source.is_ipv4() { 32 } else { 128 };
        (0..=widest).rev().find_map(|length| {
            let net = IpNet::new(source, length).ok()?.trunc();
            entries.get(&net).map(|entry| (net, Some(entry.origin)))
        })
    }

    fn list_name(&self, list: u16) -> String {
        match list {
            DEFAULT_LIST => "(default)".to_owned(),
            MANAGEMENT_LIST => "(management)".to_owned(),
            slot => {
                let known = self.scene.installed.lists.get(&slot).cloned();
                known.unwrap_or_else(|| format!("(slot {slot})"))
            }
        }
    }

    fn is_to_vip(&self) -> bool {
        self.tables
            .destinations
            .get(&self.key.dst)
            .is_some_and(|found| found.flags & destination_flag::VIP != 0)
    }

    /// The service that the packet is addressed to: the exact port, then any.
    fn service(&self) -> Option<(ServiceKey, ServiceValue)> {
        [self.key.dport, Port::default()].into_iter().find_map(|port| {
            let key = ServiceKey::new(self.key.dst, port, self.key.proto);
            self.tables.services.get(&key).map(|value| (key, *value))
        })
    }

    fn service_name(&self, key: &ServiceKey) -> String {
        let vip = vip(key);
        let services = &self.scene.desired.services;
        let named = services.iter().find(|(_, service)| service.vip == vip);
        named.map_or_else(|| "(unnamed)".to_owned(), |(name, _)| name.clone())
    }

    fn ring(&self, service: &ServiceValue) -> Option<RingPlace> {
        let first = u32::try_from(service.ring >> 32).ok()?;
        let length = u32::try_from(service.ring & u64::from(u32::MAX)).ok().filter(|length| *length > 0)?;
        let slot = hash::ring_index(hash::flow_hash(self.tables.config.seed, &self.key), length);
        let block = first.checked_add(slot / limits::RING_BLOCK_SLOTS)?;
        let owners = self.tables.ring_slot(block, slot % limits::RING_BLOCK_SLOTS)?;
        let (current, previous) = ring_owners(owners);
        Some(RingPlace { slot, length, current, previous })
    }

    fn backend(&self, ring: Option<&RingPlace>) -> Option<ExplainBackend> {
        let slot = self.outcome.backend;
        let value = self.backend_value(slot)?;
        let previous = ring.filter(|ring| ring.previous != ring.current && ring.previous != slot);
        let resolved = value.flags & backend_flag::RESOLVED != 0;
        // An answer goes back to the client's side, not to the backend's next hop.
        let reply = self.outcome.reply;
        Some(ExplainBackend {
            address: self.backend_text(slot)?,
            slot,
            previous: previous.and_then(|ring| self.backend_text(ring.previous)),
            interface: self.interface_name(if reply { self.outcome.ifindex } else { value.ifindex }),
            next_hop: (resolved && !reply).then(|| rewrites::mac(&value.dst_mac)),
            snat: self.snat(),
        })
    }

    /// The source that a NAT flow's packets get.
    fn snat(&self) -> Option<String> {
        if self.outcome.reason != Reason::Nat {
            return None;
        }
        let flow = self.memory.flows.get(&self.key)?;
        let source = BackendAddr { addr: flow.new_src.to_ip(), port: flow.new_sport.number() };
        Some(if self.outcome.new_flow {
            format!("{source}, or the next port that is free")
        } else {
            source.to_string()
        })
    }

    fn backend_value(&self, slot: u16) -> Option<BackendValue> {
        (slot != 0).then(|| self.tables.backends.get(&slot).copied()).flatten()
    }

    fn backend_text(&self, slot: u16) -> Option<String> {
        let value = self.backend_value(slot)?;
        Some(BackendAddr { addr: value.addr.to_ip(), port: value.port.number() }.to_string())
    }

    fn interface_name(&self, ifindex: u32) -> Option<String> {
        let known = self.scene.interfaces.get(&ifindex).cloned();
        (ifindex != 0).then(|| known.unwrap_or_else(|| format!("interface {ifindex}")))
    }
}

fn vip(key: &ServiceKey) -> Vip {
    let protocol = if key.proto == proto::UDP { Protocol::Udp } else { Protocol::Tcp };
    Vip { protocol, addr: key.addr.to_ip(), port: key.port.number() }
}
