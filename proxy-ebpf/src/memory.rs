//! Frame, tables and memory in plain host memory: for tests, `explain` and `check`.

use std::collections::HashMap;

use proxy_common::{
    AclClass, Addr, BackendValue, BudgetValue, CacheLine, ConfigValue, DestinationValue, FlowKey, FlowValue,
    RingBlock, ServiceKey, ServiceValue, SnatValue, filter_place,
};

use crate::frame::Frame;
use crate::hash;
use crate::outcome::Outcome;
use crate::tables::{ClaimError, FibHop, Memory, Switches, Tables};
use crate::work::Scratch;

/// The decision, with a scratch of its own.
pub fn decide(
    frame: &mut SliceFrame,
    tables: &MemoryTables,
    memory: &mut FlowMemory,
    ifindex: u32,
) -> Outcome {
    *crate::decide(frame, tables, memory, &mut Scratch::default(), ifindex)
}

/// A frame in a byte vector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SliceFrame {
    /// The bytes that windows reach.
    pub bytes: Vec<u8>,
}

impl SliceFrame {
    /// A frame of these bytes.
    #[must_use]
    pub const fn new(bytes: Vec<u8>) -> Self {
        Self { bytes }
    }
}

impl Frame for SliceFrame {
    fn len(&self) -> usize {
        self.bytes.len()
    }

    fn total_len(&self) -> usize {
        self.bytes.len()
    }

    fn window<const N: usize>(&self, offset: usize) -> Option<&[u8; N]> {
        self.bytes.get(offset..offset.checked_add(N)?)?.try_into().ok()
    }

    fn window_mut<const N: usize>(&mut self, offset: usize) -> Option<&mut [u8; N]> {
        self.bytes.get_mut(offset..offset.checked_add(N)?)?.try_into().ok()
    }
}

/// A prefix of an ACL table: the address with host bits zero, and the length counted in the wire family (0 to 32 for
/// IPv4, 0 to 128 for IPv6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AclPrefix {
    /// Network address.
    pub addr: Addr,
    /// Length in bits.
    pub len: u8,
    /// Family.
    pub is_v4: bool,
}

/// What the daemon writes, in host memory.
#[derive(Clone, Debug, Default)]
pub struct MemoryTables {
    /// Tick that [`Tables::now`] answers.
    pub now: u32,
    /// Settings.
    pub config: ConfigValue,
    /// Words of the destination filter, those that are not zero.
    pub filter: HashMap<u32, u64>,
    /// The two ACL tables.
    pub acl: [HashMap<AclPrefix, u32>; 2],
    /// Classes.
    pub classes: HashMap<u32, AclClass>,
    /// Addresses of ours.
    pub destinations: HashMap<Addr, DestinationValue>,
    /// Services.
    pub services: HashMap<ServiceKey, ServiceValue>,
    /// Ring blocks.
    pub rings: HashMap<u32, RingBlock>,
    /// Backends by slot.
    pub backends: HashMap<u16, BackendValue>,
    /// Source-NAT addresses.
    pub snat: HashMap<u32, SnatValue>,
    /// Ways by destination address.
    pub fib: HashMap<Addr, FibHop>,
}

impl MemoryTables {
    /// Sets filter bits ([`proxy_common::filter_bit`]) for an address.
    pub fn set_filter(&mut self, addr: &Addr, bits: u32) {
        let (word, shift) = filter_place(hash::filter_bucket(addr));
        *self.filter.entry(word).or_default() |= u64::from(bits) << shift;
    }

    /// The longest prefix of an ACL table that holds the address, with its class number.
    #[must_use]
    pub fn acl_longest(&self, table: u32, addr: &Addr, is_v4: bool) -> Option<(AclPrefix, u32)> {
        let table = self.acl.get(table as usize)?;
        let bits: u8 = if is_v4 { 32 } else { 128 };
        (0..=bits).rev().find_map(|len| {
            let prefix = AclPrefix { addr: mask(addr, len + (128 - bits)), len, is_v4 };
            table.get(&prefix).map(|class| (prefix, *class))
        })
    }
}

/// A slot never written: arrays hold zeros.
const FREE: BackendValue = BackendValue {
    addr: Addr::v6([0; 16]),
    port: proxy_common::Port([0; 2]),
    state: 0,
    flags: 0,
    generation: 0,
    ifindex: 0,
    mtu: 0,
    service: 0,
    dst_mac: [0; 6],
    src_mac: [0; 6],
    snat_first: 0,
    snat_count: 0,
};

/// The address with all but its first `bits` of 128 zero.
fn mask(addr: &Addr, bits: u8) -> Addr {
    let value = u128::from_be_bytes(addr.octets());
    let mask = u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0);
    Addr::v6((value & mask).to_be_bytes())
}

impl Tables for MemoryTables {
    fn now(&self) -> u32 {
        self.now
    }

    fn config(&self) -> Option<&ConfigValue> {
        Some(&self.config)
    }

    fn switches(&self) -> Option<Switches> {
        Some(Switches { flags: self.config.flags, acl_table: self.config.acl_table })
    }

    fn filter_word(&self, word: u32) -> u64 {
        self.filter.get(&word).copied().unwrap_or(0)
    }

    fn acl_class(&self, table: u32, addr: &Addr, is_v4: bool) -> Option<AclClass> {
        let (_, class) = self.acl_longest(table, addr, is_v4)?;
        // An array has every index: a class never written is all zero.
        Some(self.classes.get(&class).copied().unwrap_or_default())
    }

    fn destination(&self, addr: &Addr) -> Option<DestinationValue> {
        self.destinations.get(addr).copied()
    }

    fn service(&self, key: &ServiceKey) -> Option<&ServiceValue> {
        self.services.get(key)
    }

    fn ring_slot(&self, block: u32, slot: u32) -> Option<u32> {
        let block = self.rings.get(&block).copied().unwrap_or_default();
        block.slots.get(slot as usize).copied()
    }

    fn backend(&self, slot: u16) -> Option<&BackendValue> {
        Some(self.backends.get(&slot).unwrap_or(&FREE))
    }

    fn snat(&self, index: u32) -> Option<&SnatValue> {
        self.snat.get(&index)
    }

    fn fib(&self, _from: &Addr, to: &Addr, _is_v4: bool, _ifindex: u32) -> Option<FibHop> {
        self.fib.get(to).copied()
    }
}

/// What packets write, in host memory.
#[derive(Clone, Debug)]
pub struct FlowMemory {
    /// Flow entries.
    pub flows: HashMap<FlowKey, FlowValue>,
    /// Entries that the flow table takes.
    pub capacity: usize,
    /// Budgets by service id.
    pub budgets: HashMap<u16, BudgetValue>,
    /// What the (one) CPU has spent of the cache's budget.
    pub spent: BudgetValue,
    /// Lines of the flow cache.
    pub cache: HashMap<u32, CacheLine>,
}

impl Default for FlowMemory {
    fn default() -> Self {
        Self {
            flows: HashMap::new(),
            capacity: proxy_common::limits::FLOWS as usize,
            budgets: HashMap::new(),
            spent: BudgetValue::default(),
            cache: HashMap::new(),
        }
    }
}

impl Memory for FlowMemory {
    fn flow(&mut self, key: &FlowKey) -> Option<&mut FlowValue> {
        self.flows.get_mut(key)
    }

    fn flow_claim(&mut self, key: &FlowKey, fill: impl FnOnce(&mut FlowValue)) -> Result<(), ClaimError> {
        let mut value = FlowValue::default();
        fill(&mut value);
        if self.flows.contains_key(key) {
            return Err(ClaimError::Taken);
        }
        if self.flows.len() >= self.capacity {
            return Err(ClaimError::Full);
        }
        self.flows.insert(*key, value);
        Ok(())
    }

    fn flow_remove(&mut self, key: &FlowKey) {
        self.flows.remove(key);
    }

    fn budget(&mut self, service: u16) -> Option<&mut BudgetValue> {
        Some(self.budgets.entry(service).or_default())
    }

    fn spent(&mut self) -> Option<&mut BudgetValue> {
        Some(&mut self.spent)
    }

    fn cache_line(&mut self, line: u32) -> Option<&mut CacheLine> {
        Some(self.cache.entry(line).or_default())
    }
}
