//! Services: what a packet is addressed to.

use crate::addr::{Addr, Port};

/// A VIP's address, port and protocol. Port 0 matches every port that has no service of its own.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ServiceKey {
    /// VIP address.
    pub addr: Addr,
    /// VIP port, or 0 for any.
    pub port: Port,
    /// Protocol number: TCP or UDP.
    pub proto: u8,
    /// Zero.
    pub reserved: u8,
    /// Zero.
    pub reserved2: u32,
}

impl ServiceKey {
    /// A key.
    #[inline(always)]
    #[must_use]
    pub const fn new(addr: Addr, port: Port, proto: u8) -> Self {
        Self { addr, port, proto, reserved: 0, reserved2: 0 }
    }
}

/// How packets of a service reach its backends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Mode {
    /// Full NAT: source and destination are rewritten; needs nothing of the backend.
    Nat = 1,
    /// Direct server return on the backend's link: only the MAC addresses are rewritten.
    DsrL2 = 2,
    /// To the L7 path of this host: untouched to the stack, where socket look-up finds a worker's listener.
    L7 = 3,
}

impl Mode {
    /// From a map byte; `None` for a mode that this object does not know.
    #[inline(always)]
    #[must_use]
    pub const fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            1 => Some(Self::Nat),
            2 => Some(Self::DsrL2),
            3 => Some(Self::L7),
            _ => None,
        }
    }
}

/// A service as the data path sees it.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct ServiceValue {
    /// The ring: first block in the upper half, length in slots in the lower. One word, so that a reader sees the old
    /// ring or the new one, never half of each. 0 is no ring: no backend.
    pub ring: u64,
    /// Index into the service counters and budgets; never reused while a packet may still carry it.
    pub id: u16,
    /// [`Mode`].
    pub mode: u8,
    /// Zero.
    pub reserved: u8,
    /// New NAT flows that may wait for their handshake in one window (`ConfigValue::syn_ticks`).
    pub syn_budget: u32,
    /// Tick at which the ring last changed; for UDP flows of the stateless modes.
    pub changed_at: u32,
    /// Zero.
    pub reserved2: u32,
}

/// The ring word of a [`ServiceValue`].
#[inline(always)]
#[must_use]
pub const fn ring_word(first_block: u32, length: u32) -> u64 {
    ((first_block as u64) << 32) | length as u64
}

/// An address that is ours.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct DestinationValue {
    /// Sum of [`destination_flag`] flags.
    pub flags: u32,
}

/// Flags of a [`DestinationValue`].
pub mod destination_flag {
    /// A VIP.
    pub const VIP: u32 = 1;
    /// A source-NAT address.
    pub const SNAT: u32 = 2;
    /// Packets to a port without a service pass to the host instead of being dropped.
    pub const UNKNOWN_PORT_PASS: u32 = 4;
}

/// Bits of a destination filter bucket: what some address in it is.
pub mod filter_bit {
    /// A VIP: ask the service map.
    pub const VIP: u32 = 1;
    /// A VIP of a NAT service: ask the flow map first.
    pub const NAT: u32 = 2;
    /// A source-NAT address: ask the flow map first; answers are above the ACL.
    pub const SNAT: u32 = 4;
}

/// The bits of one bucket.
pub const FILTER_MASK: u32 = 0xf;

/// Word of the destination filter, and the shift in it, at which a bucket's bits stand.
#[inline(always)]
#[must_use]
pub const fn filter_place(bucket: u32) -> (u32, u32) {
    (bucket / 16, bucket % 16 * 4)
}

/// A source-NAT address and its ports.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct SnatValue {
    /// The address.
    pub addr: Addr,
    /// First port, host order, at least 1.
    pub port_min: u16,
    /// Last port, host order, not below `port_min`.
    pub port_max: u16,
    /// Zero.
    pub reserved: u32,
}

/// New flows of a service that wait for their handshake.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct BudgetValue {
    /// Number of the window: tick divided by `ConfigValue::syn_ticks`.
    pub window: u32,
    /// Flows begun in this window and not yet established.
    pub waiting: u32,
}
