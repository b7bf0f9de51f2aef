//! What is in the maps, decoded: the planner's starting point, always read from the kernel and never remembered.

use std::collections::BTreeMap;
use std::sync::Arc;

use ipnet::IpNet;
use proxy_common::{
    AclClass, Addr, BackendValue, ConfigValue, DestinationValue, RingBlock, ServiceKey, ServiceValue,
    SnatValue,
};

/// The blocks of a ring, shared by what is installed and the plans that leave it as it is.
pub type Ring = Arc<[RingBlock]>;

/// The content of the maps that the daemon writes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Installed {
    /// `weir_config`.
    pub config: ConfigValue,
    /// Words of `weir_filter` that are not zero.
    pub filter: BTreeMap<u32, u64>,
    /// `weir_dests`.
    pub destinations: BTreeMap<Addr, DestinationValue>,
    /// `weir_services`.
    pub services: BTreeMap<ServiceKey, ServiceValue>,
    /// Rings in `weir_rings` that services' ring words cover, by their first block.
    pub rings: BTreeMap<u32, Ring>,
    /// Slots of `weir_backends` that are not free.
    pub backends: BTreeMap<u16, BackendValue>,
    /// Generation of each free slot of `weir_backends` that was used before, so that it is not used again.
    pub retired: BTreeMap<u16, u32>,
    /// Entries of `weir_snat` that are not zero.
    pub snat: BTreeMap<u16, SnatValue>,
    /// Names in `weir_lists`.
    pub lists: BTreeMap<u16, String>,
    /// Entries of `weir_classes` that are not zero.
    pub classes: BTreeMap<u32, AclClass>,
    /// The two ACL tables, IPv4 and IPv6 prefixes of each.
    pub acl: [BTreeMap<IpNet, u32>; 2],
}
