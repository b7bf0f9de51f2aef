//! Backends and the rings that point at them.

use crate::addr::{Addr, Mac, Port};

/// A backend of one service. Its address, port, service and generation never change while it is in use; a freed slot
/// is used again under another generation, and flows remember theirs, so a flow that points at a reused slot is stale.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct BackendValue {
    /// Address.
    pub addr: Addr,
    /// Port; 0 keeps the packet's (services of port 0).
    pub port: Port,
    /// [`BackendState`].
    pub state: u8,
    /// Sum of [`backend_flag`] flags.
    pub flags: u8,
    /// Generation of the slot, never 0 in use.
    pub generation: u32,
    /// Interface that the next hop is reached through.
    pub ifindex: u32,
    /// Largest IP packet on the way to the next hop, bytes.
    pub mtu: u16,
    /// Id of the service.
    pub service: u16,
    /// The next hop's MAC address.
    pub dst_mac: Mac,
    /// The egress interface's MAC address.
    pub src_mac: Mac,
    /// First source-NAT address for this backend, an index into the pool.
    pub snat_first: u16,
    /// Number of source-NAT addresses from there.
    pub snat_count: u16,
}

/// Whether a backend takes packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum BackendState {
    /// The slot is free.
    Free = 0,
    /// New and old flows.
    Active = 1,
    /// Old flows only.
    Draining = 2,
    /// None.
    Down = 3,
}

impl BackendState {
    /// From a map byte; anything unknown counts as free.
    #[inline(always)]
    #[must_use]
    pub const fn from_byte(byte: u8) -> Self {
        match byte {
            1 => Self::Active,
            2 => Self::Draining,
            3 => Self::Down,
            _ => Self::Free,
        }
    }
}

/// Flags of a [`BackendValue`].
pub mod backend_flag {
    /// The next hop's MAC address is known.
    pub const RESOLVED: u8 = 1;
}

/// Sixteen ring slots, one cache line. A slot holds the backend's slot number in its lower half and, in its upper half,
/// the owner before the last change (the same number where nothing changed lately). 0 is none.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct RingBlock {
    /// The slots.
    pub slots: [u32; 16],
}

/// A ring slot from its current and previous owner.
#[inline(always)]
#[must_use]
pub const fn ring_slot(current: u16, previous: u16) -> u32 {
    ((previous as u32) << 16) | current as u32
}

/// Marks a slot whose owner is again the one before the changes, while flows begun in between may be remembered. Above
/// every backend slot's number.
pub const RING_REMEMBERS: u32 = 1 << 31;

const _: () = assert!(crate::limits::BACKENDS <= RING_REMEMBERS >> 16);

/// Whether flows of a slot may be elsewhere than with its owner.
#[inline(always)]
#[must_use]
pub const fn ring_remembers(slot: u32) -> bool {
    let (current, previous) = ring_owners(slot);
    current != previous || slot & RING_REMEMBERS != 0
}

/// Current and previous owner of a ring slot.
#[inline(always)]
#[must_use]
#[expect(clippy::cast_possible_truncation, reason = "takes the two halves")]
pub const fn ring_owners(slot: u32) -> (u16, u16) {
    (slot as u16, ((slot & !RING_REMEMBERS) >> 16) as u16)
}
