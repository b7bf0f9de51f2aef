//! Capacities of the maps and bounds of the decision. The object is built with these; the daemon may lower or raise
//! the ones marked "at load" through `[limits]`, and never changes the others.

/// Interfaces that one daemon attaches to.
pub const INTERFACES: u32 = 64;
/// Counter slots for each interface; reasons use the first [`crate::Reason::COUNT`].
pub const REASON_SLOTS: u32 = 64;
/// Named ACL lists (slot 0 is the default action, slot 1 the management list).
pub const LISTS: u32 = 1_024;
/// Distinct ACL classes: pairs of outcome for VIP traffic and for all other traffic.
pub const ACL_CLASSES: u32 = 4_096;
/// Flattened IPv4 prefixes (at load).
pub const ACL_V4_PREFIXES: u32 = 1_048_576;
/// Flattened IPv6 prefixes (at load).
pub const ACL_V6_PREFIXES: u32 = 262_144;
/// Services (at load at most this).
pub const SERVICES: u32 = 4_096;
/// VIP and source-NAT addresses together.
pub const DESTINATIONS: u32 = 8_192;
/// Backend slots: one for each backend of each service; slot 0 is never used.
pub const BACKENDS: u32 = 16_384;
/// Source-NAT addresses.
pub const SNAT_ADDRESSES: u32 = 256;
/// Flow entries; a NAT flow takes two (at load).
pub const FLOWS: u32 = 524_288;

/// Buckets of the destination filter; four bits each.
pub const FILTER_BUCKETS: u32 = 65_536;
/// Words of the destination filter: 16 buckets each.
pub const FILTER_WORDS: u32 = FILTER_BUCKETS / 16;

/// Ring slots in a block: one cache line of u32.
pub const RING_BLOCK_SLOTS: u32 = 16;
/// Ring blocks in the arena (8 MiB).
pub const RING_BLOCKS: u32 = 131_072;
/// Ring lengths, each a prime; a service takes the first that is at least 100 times its backends, else the last.
pub const RING_LENGTHS: [u32; 6] = [2_039, 4_093, 8_191, 16_381, 32_749, 65_537];

/// Lines of the stateless modes' flow cache; 8 entries of 8 bytes each.
pub const CACHE_LINES: u32 = 16_384;
/// Entries in a line of the flow cache.
pub const CACHE_WAYS: usize = 8;

/// Listening sockets of the L7 path in each family: at most so many workers.
pub const LISTENERS: u32 = 64;

/// Ports tried for a new NAT flow before it counts as exhausted.
pub const SNAT_TRIES: u32 = 32;
/// IPv6 extension headers walked.
pub const EXTENSION_HEADERS: u32 = 6;
/// VLAN tags walked.
pub const VLAN_TAGS: u32 = 2;
