//! What the decision asks for: look-ups, flow memory, the clock. The kernel answers from BPF maps, the host from memory.

use proxy_common::{
    AclClass, Addr, BackendValue, BudgetValue, CacheLine, ConfigValue, DestinationValue, FlowKey, FlowValue,
    ServiceKey, ServiceValue, SnatValue,
};

use crate::work::AlignedMac;

/// Why a flow entry could not be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClaimError {
    /// The key is taken.
    Taken,
    /// The table is full.
    Full,
}

/// A way out, as the FIB gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FibHop {
    /// Interface.
    pub ifindex: u32,
    /// Next hop's MAC address.
    pub dst_mac: AlignedMac,
    /// The interface's MAC address.
    pub src_mac: AlignedMac,
}

/// What says how the ACL is to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Switches {
    /// Sum of `config_flag`s.
    pub flags: u32,
    /// Which of the two ACL tables is in force.
    pub acl_table: u32,
}

/// What the daemon writes. Values that are more than a word or two are lent, since the kernel's stack has no room for them.
pub trait Tables {
    /// Ticks (jiffies) since some moment, lower half; wraps.
    fn now(&self) -> u32;

    /// The settings.
    fn config(&self) -> Option<&ConfigValue>;

    /// The settings' flags and the number of the ACL table in force, read together: a switch of both must not be seen by
    /// halves.
    fn switches(&self) -> Option<Switches>;

    /// A word of the destination filter.
    fn filter_word(&self, word: u32) -> u64;

    /// The class at the longest prefix of an ACL table (0 or 1) that holds the address.
    fn acl_class(&self, table: u32, addr: &Addr, is_v4: bool) -> Option<AclClass>;

    /// An address of ours.
    fn destination(&self, addr: &Addr) -> Option<DestinationValue>;

    /// A service.
    fn service(&self, key: &ServiceKey) -> Option<&ServiceValue>;

    /// A ring slot: `slot` below 16 of a block of the arena.
    fn ring_slot(&self, block: u32, slot: u32) -> Option<u32>;

    /// A backend slot.
    fn backend(&self, slot: u16) -> Option<&BackendValue>;

    /// A source-NAT address.
    fn snat(&self, index: u32) -> Option<&SnatValue>;

    /// The FIB's way from one address to another, for a packet that came in through `ifindex`.
    fn fib(&self, from: &Addr, to: &Addr, is_v4: bool, ifindex: u32) -> Option<FibHop>;
}

/// What packets write: flows, the flow cache, budgets. Entries are lent, and change in place.
pub trait Memory {
    /// A flow entry.
    fn flow(&mut self, key: &FlowKey) -> Option<&mut FlowValue>;

    /// Makes a flow entry where there is none; `fill` gets a zeroed value.
    ///
    /// # Errors
    /// [`ClaimError`]; `fill` may have run all the same.
    fn flow_claim(&mut self, key: &FlowKey, fill: impl FnOnce(&mut FlowValue)) -> Result<(), ClaimError>;

    /// Takes out a flow entry.
    fn flow_remove(&mut self, key: &FlowKey);

    /// The budget of a service.
    fn budget(&mut self, service: u16) -> Option<&mut BudgetValue>;

    /// What this CPU has spent of the flow cache's budget.
    fn spent(&mut self) -> Option<&mut BudgetValue>;

    /// A line of the flow cache.
    fn cache_line(&mut self, line: u32) -> Option<&mut CacheLine>;
}
