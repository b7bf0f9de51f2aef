//! The settings that the data path reads for each packet, and the schema that guards the pins.

/// Settings of the data path, one value.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct ConfigValue {
    /// Generation in force.
    pub generation: u64,
    /// Seed of the flow hash that picks a ring slot; the same on every node of an ECMP group.
    pub seed: u64,
    /// Secret of this instance, for tags and port choice.
    pub secret: u64,
    /// Sum of [`config_flag`] flags.
    pub flags: u32,
    /// Which of the two ACL tables is in force: 0 or 1.
    pub acl_table: u32,
    /// Ticks in a second.
    pub hz: u32,
    /// Idle ticks after which a flow not yet confirmed is over; also the budget's window. Never 0.
    pub syn_ticks: u32,
    /// ... an established TCP flow.
    pub tcp_ticks: u32,
    /// ... a TCP flow that one side has closed.
    pub closing_ticks: u32,
    /// ... a TCP flow that is closed.
    pub closed_ticks: u32,
    /// ... a UDP flow with answers.
    pub udp_ticks: u32,
    /// Ticks after which an entry of the flow cache may be used for another flow.
    pub cache_ticks: u32,
    /// Entries that the cache takes per CPU and second at most; beyond it, new flows go by the previous owner.
    pub cache_budget: u32,
    /// Zero.
    pub reserved: [u64; 5],
}

/// Flags of a [`ConfigValue`].
pub mod config_flag {
    /// The IPv4 ACL table has entries.
    pub const ACL_V4: u32 = 1;
    /// The IPv6 ACL table has entries.
    pub const ACL_V6: u32 = 2;
    /// Packets to a VIP whose source no list matches are dropped.
    pub const SERVICE_DEFAULT_DROP: u32 = 4;
    /// All other packets whose source no list matches are dropped.
    pub const TRAFFIC_DEFAULT_DROP: u32 = 8;
    /// Answers of NAT flows are routed by the FIB; the learned way is the fallback.
    pub const REPLY_BY_FIB: u32 = 16;
}

/// What wrote the pinned maps: compared before they are used again.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct SchemaValue {
    /// [`SCHEMA_MAGIC`].
    pub magic: u64,
    /// [`SCHEMA_VERSION`].
    pub version: u64,
}

/// "weirmaps".
pub const SCHEMA_MAGIC: u64 = u64::from_be_bytes(*b"weirmaps");
/// Raised with each change of a key, a value or their meaning.
pub const SCHEMA_VERSION: u64 = 1;
