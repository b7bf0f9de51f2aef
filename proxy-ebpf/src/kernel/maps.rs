//! The maps. Names, types and meaning: the table in `proxy-common`. The sizes of the ACL and flow maps are set at load.

#![expect(non_upper_case_globals, reason = "a map is named by its static")]

use aya_ebpf::bindings::BPF_F_NO_PREALLOC;
use aya_ebpf::btf_maps::{Array, HashMap, LpmTrie, PerCpuArray, SockMap};
use aya_ebpf::macros::btf_map;
use proxy_common::{
    AclClass, Addr, BackendValue, BudgetValue, CacheLine, ConfigValue, Count, DestinationValue, FlowKey,
    FlowValue, ListName, RingBlock, SchemaValue, ServiceKey, ServiceValue, SnatValue, TrafficCount, limits,
};
use proxy_ebpf::Scratch;

const NO_PREALLOC: usize = BPF_F_NO_PREALLOC as usize;

#[btf_map]
pub(super) static weir_config: Array<ConfigValue, 1> = Array::new();
#[btf_map]
pub(super) static weir_schema: Array<SchemaValue, 1> = Array::new();
#[btf_map]
pub(super) static weir_filter: Array<u64, { limits::FILTER_WORDS as usize }> = Array::new();
#[btf_map]
pub(super) static weir_dests: HashMap<
    Addr,
    DestinationValue,
    { limits::DESTINATIONS as usize },
    NO_PREALLOC,
> = HashMap::new();
#[btf_map]
pub(super) static weir_services: HashMap<
    ServiceKey,
    ServiceValue,
    { limits::SERVICES as usize },
    NO_PREALLOC,
> = HashMap::new();
#[btf_map]
pub(super) static weir_rings: Array<RingBlock, { limits::RING_BLOCKS as usize }> = Array::new();
#[btf_map]
pub(super) static weir_backends: Array<BackendValue, { limits::BACKENDS as usize }> = Array::new();
#[btf_map]
pub(super) static weir_snat: Array<SnatValue, { limits::SNAT_ADDRESSES as usize }> = Array::new();
#[btf_map]
pub(super) static weir_acl4_a: LpmTrie<[u8; 4], u32, { limits::ACL_V4_PREFIXES as usize }> = LpmTrie::new();
#[btf_map]
pub(super) static weir_acl4_b: LpmTrie<[u8; 4], u32, { limits::ACL_V4_PREFIXES as usize }> = LpmTrie::new();
#[btf_map]
pub(super) static weir_acl6_a: LpmTrie<[u8; 16], u32, { limits::ACL_V6_PREFIXES as usize }> = LpmTrie::new();
#[btf_map]
pub(super) static weir_acl6_b: LpmTrie<[u8; 16], u32, { limits::ACL_V6_PREFIXES as usize }> = LpmTrie::new();
#[btf_map]
pub(super) static weir_classes: Array<AclClass, { limits::ACL_CLASSES as usize }> = Array::new();
#[btf_map]
pub(super) static weir_lists: Array<ListName, { limits::LISTS as usize }> = Array::new();
#[btf_map]
pub(super) static weir_flows: HashMap<FlowKey, FlowValue, { limits::FLOWS as usize }, NO_PREALLOC> =
    HashMap::new();
#[btf_map]
pub(super) static weir_cache: Array<CacheLine, { limits::CACHE_LINES as usize }> = Array::new();
#[btf_map]
pub(super) static weir_budget: Array<BudgetValue, { limits::SERVICES as usize }> = Array::new();
#[btf_map]
pub(super) static weir_spent: PerCpuArray<BudgetValue, 1> = PerCpuArray::new();
/// Listeners of the L7 path: IPv4's, then IPv6's.
#[btf_map]
pub(super) static weir_listeners: SockMap<{ 2 * limits::LISTENERS as usize }> = SockMap::new();
/// A flow value is made here and not on the stack.
#[btf_map]
pub(super) static weir_scratch: PerCpuArray<FlowValue, 1> = PerCpuArray::new();
/// What is known of the packet, kept off the stack.
#[btf_map]
pub(super) static weir_packet: PerCpuArray<Scratch, 1> = PerCpuArray::new();
#[btf_map]
pub(super) static stats_reasons: PerCpuArray<
    Count,
    { (limits::INTERFACES * limits::REASON_SLOTS) as usize },
> = PerCpuArray::new();
#[btf_map]
pub(super) static stats_lists: PerCpuArray<Count, { limits::LISTS as usize }> = PerCpuArray::new();
#[btf_map]
pub(super) static stats_services: PerCpuArray<TrafficCount, { limits::SERVICES as usize }> =
    PerCpuArray::new();
#[btf_map]
pub(super) static stats_backends: PerCpuArray<TrafficCount, { limits::BACKENDS as usize }> =
    PerCpuArray::new();
