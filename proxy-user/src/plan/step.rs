//! A plan's steps: each is one write that leaves the data path consistent.

use ipnet::IpNet;
use proxy_common::{
    AclClass, Addr, BackendValue, ConfigValue, DestinationValue, ServiceKey, ServiceValue, SnatValue,
};

use super::Ring;

/// One write to the maps, or a wait.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Name a list slot and zero its counters.
    NameList {
        /// Slot.
        slot: u16,
        /// Name, empty to free the slot.
        name: String,
    },
    /// Write an ACL class.
    SetClass {
        /// Class.
        class: u32,
        /// Value.
        value: AclClass,
    },
    /// Write a prefix into one of the two ACL tables.
    SetPrefix {
        /// Table, 0 or 1.
        table: usize,
        /// Prefix.
        prefix: IpNet,
        /// Class.
        class: u32,
    },
    /// Take a prefix out of one of the two ACL tables.
    DeletePrefix {
        /// Table, 0 or 1.
        table: usize,
        /// Prefix.
        prefix: IpNet,
    },
    /// Write an entry of the source-NAT pool.
    SetSnat {
        /// Index.
        index: u16,
        /// Value; all zero to free it.
        value: SnatValue,
    },
    /// Write a backend slot; a slot that was free gets its counters zeroed first.
    SetBackend {
        /// Slot.
        slot: u16,
        /// Value. A free slot keeps its generation.
        value: BackendValue,
    },
    /// Write a ring, which nothing points at yet.
    SetRing {
        /// First block.
        first: u32,
        /// All of them.
        blocks: Ring,
    },
    /// Write a word of the destination filter.
    SetFilter {
        /// Word.
        word: u32,
        /// Value.
        value: u64,
    },
    /// Write an address of ours.
    SetDestination {
        /// Address.
        addr: Addr,
        /// Value.
        value: DestinationValue,
    },
    /// Take out an address of ours.
    DeleteDestination {
        /// Address.
        addr: Addr,
    },
    /// Write a service; an id that was not in use gets its counters and budget zeroed first.
    SetService {
        /// Key.
        key: ServiceKey,
        /// Value.
        value: ServiceValue,
    },
    /// Take out a service.
    DeleteService {
        /// Key.
        key: ServiceKey,
    },
    /// Write the settings: the switch between ACL tables, defaults, times.
    SetConfig {
        /// Value.
        value: ConfigValue,
    },
    /// Wait until no packet that read the maps before this step is still under way (an RCU grace period).
    Grace,
}
