//! What the ACL maps hold: a prefix maps to a class, a class to what happens.

/// What a list says about a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum AclAction {
    /// No list matched in this scope: the default action holds.
    None = 0,
    /// Let it through.
    Pass = 1,
    /// Drop it.
    Drop = 2,
}

impl AclAction {
    /// From a map byte; anything unknown is [`AclAction::None`].
    #[inline(always)]
    #[must_use]
    pub const fn from_byte(byte: u8) -> Self {
        match byte {
            1 => Self::Pass,
            2 => Self::Drop,
            _ => Self::None,
        }
    }
}

/// The winning outcome at a prefix, once for packets to a VIP and once for everything else: lists of scope `services`
/// act only on the former, so that the winner may differ.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct AclClass {
    /// [`AclAction`] for packets to a VIP.
    pub service_action: u8,
    /// [`AclAction`] for all other packets.
    pub traffic_action: u8,
    /// Unused, zero.
    pub reserved: u16,
    /// Slot of the list that won for packets to a VIP.
    pub service_list: u16,
    /// Slot of the list that won for all other packets.
    pub traffic_list: u16,
}

/// The name of a list slot, so that counters can be read without the daemon.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListName {
    /// UTF-8, zero-padded.
    pub bytes: [u8; 64],
}

/// List slot counted for the default action.
pub const DEFAULT_LIST: u16 = 0;
/// List slot of the management prefixes.
pub const MANAGEMENT_LIST: u16 = 1;
