//! The decision library over plain memory, counted as the kernel shell counts.

use ipnet::IpNet;
use proxy_common::{
    AclClass, Addr, BackendValue, ConfigValue, DestinationValue, Reason, RingBlock, ServiceKey, ServiceValue,
    SnatValue,
};
use proxy_ebpf::Scratch;
use proxy_ebpf::memory::{AclPrefix, FlowMemory, MemoryTables, SliceFrame};

use crate::engine::{self, Counters, Facts, Verdict};
use crate::world::{Maps, World, mapped};

/// The host build.
#[derive(Clone, Debug, Default)]
pub struct Host {
    /// What the daemon would write.
    pub tables: MemoryTables,
    /// What packets write.
    pub memory: FlowMemory,
    /// What was counted.
    pub counters: Counters,
    scratch: Scratch,
}

impl Host {
    /// With these settings, nothing remembered, and room for so many flow entries.
    pub fn new(world: &World, capacity: usize, now: u32) -> Self {
        let mut host = Self::default();
        host.memory.capacity = capacity;
        host.set(world, now);
        host
    }

    /// Other settings, what packets have written kept.
    pub fn set(&mut self, world: &World, now: u32) {
        let fib = std::mem::take(&mut self.tables.fib);
        self.tables = MemoryTables { now, fib, ..MemoryTables::default() };
        world.install(&mut self.tables, now);
    }

    /// Decides and counts.
    pub fn run(&mut self, frame: &[u8], ingress: u32) -> (Reason, engine::Result) {
        let mut slice = SliceFrame::new(frame.to_vec());
        let outcome =
            proxy_ebpf::decide(&mut slice, &self.tables, &mut self.memory, &mut self.scratch, ingress);
        let facts = Facts {
            bytes: u64::from(outcome.bytes),
            list: outcome.list,
            service: outcome.service,
            backend: outcome.backend,
            new_flow: outcome.new_flow,
            reply: outcome.reply,
        };
        self.counters.add(outcome.reason, &facts);
        let verdict = Verdict::of(outcome.reason, ingress, outcome.ifindex);
        (outcome.reason, engine::Result { verdict, frame: slice.bytes })
    }
}

impl Maps for MemoryTables {
    fn config(&mut self, value: ConfigValue) {
        self.config = value;
    }
    fn filter_word(&mut self, word: u32, value: u64) {
        self.filter.insert(word, value);
    }
    fn destination(&mut self, addr: Addr, value: DestinationValue) {
        self.destinations.insert(addr, value);
    }
    fn service(&mut self, key: ServiceKey, value: ServiceValue) {
        self.services.insert(key, value);
    }
    fn ring_block(&mut self, block: u32, value: RingBlock) {
        self.rings.insert(block, value);
    }
    fn backend(&mut self, slot: u16, value: BackendValue) {
        self.backends.insert(slot, value);
    }
    fn snat(&mut self, index: u32, value: SnatValue) {
        self.snat.insert(index, value);
    }
    fn acl(&mut self, table: u32, prefix: &IpNet, class: u32) {
        let key = AclPrefix {
            addr: mapped(prefix.network()),
            len: prefix.prefix_len(),
            is_v4: prefix.addr().is_ipv4(),
        };
        self.acl[table as usize].insert(key, class);
    }
    fn class(&mut self, index: u32, value: AclClass) {
        self.classes.insert(index, value);
    }
}
