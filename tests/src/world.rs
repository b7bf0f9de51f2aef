//! What weir is set to in a test, as an operator would say it: lists in their order, VIPs, services, rings, backends.
//! The oracle reads it as it stands; [`World::install`] flattens it into map entries.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;
use proxy_common::{
    AclAction, AclClass, Addr, BackendState, BackendValue, ConfigValue, DestinationValue, MANAGEMENT_LIST,
    Mode, Port, RingBlock, ServiceKey, ServiceValue, SnatValue, backend_flag, config_flag, destination_flag,
    filter_bit, filter_place, limits, ring_slot, ring_word,
};

/// An ACL list.
#[derive(Clone, Debug)]
pub struct List {
    /// Drops rather than passes.
    pub drop: bool,
    /// Acts on packets to a VIP only.
    pub services_only: bool,
    /// Its prefixes.
    pub prefixes: Vec<IpNet>,
}

/// A VIP's address.
#[derive(Clone, Debug)]
pub struct Vip {
    /// The address.
    pub addr: IpAddr,
    /// `unknown_port = pass`.
    pub unknown_port_pass: bool,
}

/// A service.
#[derive(Clone, Debug)]
pub struct Service {
    /// VIP address.
    pub addr: IpAddr,
    /// Port, 0 for any.
    pub port: u16,
    /// TCP or UDP.
    pub proto: u8,
    /// How packets reach the backends.
    pub mode: Mode,
    /// The map holds a mode that the object does not know instead.
    pub unknown_mode: bool,
    /// Index of its counters.
    pub id: u16,
    /// Flows that may wait for their handshake.
    pub syn_budget: u32,
    /// Ticks since the last change of the ring.
    pub changed_ago: u32,
    /// Current and previous owner of each slot.
    pub ring: Vec<(u16, u16)>,
}

/// All settings.
#[derive(Clone, Debug)]
pub struct World {
    /// Times, seed, secret, default actions.
    pub config: ConfigValue,
    /// Sources never dropped.
    pub management: Vec<IpNet>,
    /// Lists in their order; the first has slot [`FIRST_LIST`].
    pub lists: Vec<List>,
    /// VIPs.
    pub vips: Vec<Vip>,
    /// Services.
    pub services: Vec<Service>,
    /// Backends by slot.
    pub backends: BTreeMap<u16, BackendValue>,
    /// Source-NAT addresses.
    pub snat: Vec<SnatValue>,
}

/// Slot of the first list; those below are the default action and the management list.
pub const FIRST_LIST: u16 = 2;

/// Where map entries go: plain memory or the loaded object.
pub trait Maps {
    /// Writes `weir_config`.
    fn config(&mut self, value: ConfigValue);
    /// Writes a word of `weir_filter`.
    fn filter_word(&mut self, word: u32, value: u64);
    /// Adds to `weir_dests`.
    fn destination(&mut self, addr: Addr, value: DestinationValue);
    /// Adds to `weir_services`.
    fn service(&mut self, key: ServiceKey, value: ServiceValue);
    /// Writes a block of `weir_rings`.
    fn ring_block(&mut self, block: u32, value: RingBlock);
    /// Writes a slot of `weir_backends`.
    fn backend(&mut self, slot: u16, value: BackendValue);
    /// Writes an entry of `weir_snat`.
    fn snat(&mut self, index: u32, value: SnatValue);
    /// Adds to ACL table 0 or 1 of the prefix's family.
    fn acl(&mut self, table: u32, prefix: &IpNet, class: u32);
    /// Writes `weir_classes`.
    fn class(&mut self, index: u32, value: AclClass);
}

impl World {
    /// Nothing set: no list, no VIP; times too long to pass in a test.
    pub fn empty() -> Self {
        let config = ConfigValue {
            generation: 1,
            seed: 0x5eed,
            secret: 0x5ec2e7,
            hz: 1_000,
            syn_ticks: LONG,
            tcp_ticks: LONG,
            closing_ticks: LONG,
            closed_ticks: LONG,
            udp_ticks: LONG,
            cache_ticks: LONG,
            cache_budget: 1_000_000,
            ..ConfigValue::default()
        };
        Self {
            config,
            management: Vec::new(),
            lists: Vec::new(),
            vips: Vec::new(),
            services: Vec::new(),
            backends: BTreeMap::new(),
            snat: Vec::new(),
        }
    }

    /// The same with changes.
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    /// Writes everything, at this tick.
    pub fn install(&self, maps: &mut impl Maps, now: u32) {
        for (prefix, class, index) in self.flattened() {
            maps.class(index, class);
            maps.acl(self.config.acl_table, &prefix, index);
        }
        for (index, snat) in (0..).zip(&self.snat) {
            maps.snat(index, *snat);
        }
        for (slot, backend) in &self.backends {
            maps.backend(*slot, *backend);
        }
        let mut block = 1;
        for service in &self.services {
            let word = if service.ring.is_empty() { 0 } else { ring_word(block, service.ring.len() as u32) };
            for slots in service.ring.chunks(limits::RING_BLOCK_SLOTS as usize) {
                let mut value = RingBlock::default();
                for (slot, (current, previous)) in value.slots.iter_mut().zip(slots) {
                    *slot = ring_slot(*current, *previous);
                }
                maps.ring_block(block, value);
                block += 1;
            }
            maps.service(service.key(), service.value(word, now));
        }
        for (word, bits) in self.filter() {
            maps.filter_word(word, bits);
        }
        for (addr, flags) in self.destinations() {
            maps.destination(addr, DestinationValue { flags });
        }
        maps.config(self.config_value());
    }

    /// The settings with the flags that say which ACL tables have entries.
    pub fn config_value(&self) -> ConfigValue {
        let mut config = self.config;
        for prefix in self.management.iter().chain(self.lists.iter().flat_map(|l| &l.prefixes)) {
            config.flags |= if prefix.addr().is_ipv4() { config_flag::ACL_V4 } else { config_flag::ACL_V6 };
        }
        config
    }

    /// The first list (management first, then in order) that holds the address and acts in the scope: its slot and
    /// whether it drops.
    pub fn winner(&self, covers: impl Fn(&IpNet) -> bool, to_vip: bool) -> Option<(u16, bool)> {
        if self.management.iter().any(&covers) {
            return Some((MANAGEMENT_LIST, false));
        }
        (FIRST_LIST..)
            .zip(&self.lists)
            .find(|(_, list)| (to_vip || !list.services_only) && list.prefixes.iter().any(&covers))
            .map(|(slot, list)| (slot, list.drop))
    }

    /// Each prefix of any list, with what holds for the addresses that have no longer one, and a number for that class.
    fn flattened(&self) -> Vec<(IpNet, AclClass, u32)> {
        let all: BTreeSet<IpNet> = self
            .management
            .iter()
            .chain(self.lists.iter().flat_map(|list| &list.prefixes))
            .map(IpNet::trunc)
            .collect();
        let mut classes: Vec<AclClass> = Vec::new();
        let mut entries = Vec::new();
        for prefix in all {
            let covers = |other: &IpNet| other.trunc().contains(&prefix);
            let part = |winner: Option<(u16, bool)>| match winner {
                None => (AclAction::None as u8, 0),
                Some((slot, false)) => (AclAction::Pass as u8, slot),
                Some((slot, true)) => (AclAction::Drop as u8, slot),
            };
            let (service_action, service_list) = part(self.winner(covers, true));
            let (traffic_action, traffic_list) = part(self.winner(covers, false));
            let class = AclClass { service_action, traffic_action, reserved: 0, service_list, traffic_list };
            let position = classes.iter().position(|c| *c == class).unwrap_or_else(|| {
                classes.push(class);
                classes.len() - 1
            });
            entries.push((prefix, class, position as u32 + 1));
        }
        entries
    }

    fn destinations(&self) -> BTreeMap<Addr, u32> {
        let mut flags = BTreeMap::new();
        for vip in &self.vips {
            let pass = if vip.unknown_port_pass { destination_flag::UNKNOWN_PORT_PASS } else { 0 };
            *flags.entry(mapped(vip.addr)).or_default() |= destination_flag::VIP | pass;
        }
        for snat in &self.snat {
            *flags.entry(snat.addr).or_default() |= destination_flag::SNAT;
        }
        flags
    }

    fn filter(&self) -> BTreeMap<u32, u64> {
        let mut words = BTreeMap::new();
        let mut set = |addr: Addr, bit: u32| {
            let (word, shift) = filter_place(proxy_ebpf::hash::filter_bucket(&addr));
            *words.entry(word).or_default() |= u64::from(bit) << shift;
        };
        for vip in &self.vips {
            set(mapped(vip.addr), filter_bit::VIP);
        }
        for service in self.services.iter().filter(|s| s.mode == Mode::Nat) {
            set(mapped(service.addr), filter_bit::NAT);
        }
        for snat in &self.snat {
            set(snat.addr, filter_bit::SNAT);
        }
        words
    }
}

impl Service {
    /// Its key.
    pub fn key(&self) -> ServiceKey {
        ServiceKey {
            addr: mapped(self.addr),
            port: Port::new(self.port),
            proto: self.proto,
            ..ServiceKey::default()
        }
    }

    fn value(&self, ring: u64, now: u32) -> ServiceValue {
        ServiceValue {
            ring,
            id: self.id,
            mode: if self.unknown_mode { 0xee } else { self.mode as u8 },
            reserved: 0,
            syn_budget: self.syn_budget,
            changed_at: now.wrapping_sub(self.changed_ago),
            reserved2: 0,
        }
    }
}

/// A time in ticks that does not pass in a test.
pub const LONG: u32 = 0x4000_0000;

/// An address as the maps hold it.
pub fn mapped(addr: IpAddr) -> Addr {
    match addr {
        IpAddr::V4(v4) => Addr::v4(v4.octets()),
        IpAddr::V6(v6) => Addr::v6(v6.octets()),
    }
}

/// An active, resolved backend of a service, reached through an interface, with its source addresses.
pub fn backend(addr: IpAddr, port: u16, service: u16, ifindex: u32, snat: (u16, u16)) -> BackendValue {
    BackendValue {
        addr: mapped(addr),
        port: Port::new(port),
        state: BackendState::Active as u8,
        flags: backend_flag::RESOLVED,
        generation: 1,
        ifindex,
        mtu: 1_500,
        service,
        dst_mac: BACKEND_MAC,
        src_mac: EGRESS_MAC,
        snat_first: snat.0,
        snat_count: snat.1,
    }
}

/// MAC address of the next hop towards the backends.
pub const BACKEND_MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 0x0b];
/// MAC address of weir's interface towards the backends.
pub const EGRESS_MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 0x0e];
