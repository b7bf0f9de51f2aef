//! What crosses weir's map boundary, and nothing else: keys, values, reasons, limits.
//!
//! | map | type | key | value | written by | read by |
//! |---|---|---|---|---|---|
//! | `weir_config` | array | 0 | [`ConfigValue`] | daemon | data path |
//! | `weir_schema` | array | 0 | [`SchemaValue`] | daemon | daemon |
//! | `weir_filter` | array | word | u64: 16 buckets of 4 bits ([`filter_bit`]) | daemon | data path |
//! | `weir_dests` | hash | [`Addr`] | [`DestinationValue`] | daemon | data path |
//! | `weir_services` | hash | [`ServiceKey`] | [`ServiceValue`] | daemon | data path |
//! | `weir_rings` | array | block | [`RingBlock`] | daemon | data path |
//! | `weir_backends` | array | slot | [`BackendValue`] | daemon | data path |
//! | `weir_snat` | array | index | [`SnatValue`] | daemon | data path |
//! | `weir_acl4_a`, `weir_acl4_b` | LPM trie | IPv4 prefix | u32 class | daemon | data path |
//! | `weir_acl6_a`, `weir_acl6_b` | LPM trie | IPv6 prefix | u32 class | daemon | data path |
//! | `weir_classes` | array | class | [`AclClass`] | daemon | data path |
//! | `weir_lists` | array | list slot | [`ListName`] | daemon | daemon, bpftool |
//! | `weir_flows` | hash | [`FlowKey`] | [`FlowValue`] | data path, daemon (expiry) | both |
//! | `weir_cache` | array | line | [`CacheLine`] | data path | data path |
//! | `weir_budget` | array | service id | [`BudgetValue`] | data path | data path |
//! | `weir_spent` | per-CPU array | 0 | [`BudgetValue`] of the flow cache | data path | data path |
//! | `weir_listeners` | sockmap | family (0 IPv4, 1 IPv6) × [`limits::LISTENERS`] + worker | listening socket | daemon | socket look-up |
//! | `stats_reasons` | per-CPU array | interface slot × [`limits::REASON_SLOTS`] + reason | [`Count`] | data path | daemon, bpftool |
//! | `stats_lists` | per-CPU array | list slot | [`Count`] | data path | daemon, bpftool |
//! | `stats_services` | per-CPU array | service id | [`TrafficCount`] | data path | daemon, bpftool |
//! | `stats_backends` | per-CPU array | backend slot | [`TrafficCount`] | data path | daemon, bpftool |
#![cfg_attr(not(feature = "user"), no_std)]

mod acl;
pub mod addr;
mod backend;
mod config;
mod flow;
pub mod limits;
mod plain;
mod reason;
mod service;
mod stats;

pub use acl::{AclAction, AclClass, DEFAULT_LIST, ListName, MANAGEMENT_LIST};
pub use addr::{Addr, Mac, Port, proto};
pub use backend::{
    BackendState, BackendValue, RING_REMEMBERS, RingBlock, backend_flag, ring_owners, ring_remembers,
    ring_slot,
};
pub use config::{ConfigValue, SCHEMA_MAGIC, SCHEMA_VERSION, SchemaValue, config_flag};
pub use flow::{CacheLine, Direction, FlowKey, FlowState, FlowValue, flow_flag};
pub use reason::{Class, Reason};
pub use service::{
    BudgetValue, DestinationValue, FILTER_MASK, Mode, ServiceKey, ServiceValue, SnatValue, destination_flag,
    filter_bit, filter_place, ring_word,
};
pub use stats::{Count, TrafficCount};
