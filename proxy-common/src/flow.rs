//! Flow memory: exact entries for NAT, a small cache of fingerprints for the stateless modes.

use crate::addr::{Addr, Mac, Port};

/// A packet's addresses, ports and protocol, as they arrive. For an ICMP error, those of the packets of the flow that
/// it speaks about, in the direction in which the error travels.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct FlowKey {
    /// Source address.
    pub src: Addr,
    /// Destination address.
    pub dst: Addr,
    /// Source port.
    pub sport: Port,
    /// Destination port.
    pub dport: Port,
    /// Protocol number.
    pub proto: u8,
    /// Zero.
    pub reserved: [u8; 3],
}

impl FlowKey {
    /// A key.
    #[inline(always)]
    #[must_use]
    pub const fn new(src: Addr, dst: Addr, sport: Port, dport: Port, proto: u8) -> Self {
        Self { src, dst, sport, dport, proto, reserved: [0; 3] }
    }
}

/// One direction of a NAT flow: what its packets are rewritten to. The forward entry is found by the client's packets,
/// the reply entry by the backend's.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct FlowValue {
    /// New source address.
    pub new_src: Addr,
    /// New destination address.
    pub new_dst: Addr,
    /// New source port.
    pub new_sport: Port,
    /// New destination port.
    pub new_dport: Port,
    /// The backend's slot.
    pub backend: u16,
    /// The service's id.
    pub service: u16,
    /// The backend slot's generation when the flow began.
    pub generation: u32,
    /// Tick of the last packet in this direction.
    pub last_seen: u32,
    /// In a reply entry: the acknowledgement number that completes the handshake.
    pub expected_ack: u32,
    /// In a reply entry: interface of the client.
    pub ifindex: u32,
    /// In a reply entry: the client side's MAC address, from which its packets came.
    pub dst_mac: Mac,
    /// In a reply entry: our MAC address on that side.
    pub src_mac: Mac,
    /// [`FlowState`]; the same in both entries but for moments.
    pub state: u8,
    /// [`Direction`].
    pub direction: u8,
    /// Sum of [`flow_flag`] flags.
    pub flags: u8,
    /// Zero.
    pub reserved: [u8; 9],
}

impl FlowValue {
    /// The key under which the other direction of this flow stands.
    #[inline(always)]
    #[must_use]
    pub const fn peer_key(&self, proto: u8) -> FlowKey {
        FlowKey {
            src: self.new_dst,
            dst: self.new_src,
            sport: self.new_dport,
            dport: self.new_sport,
            proto,
            reserved: [0; 3],
        }
    }
}

/// Where a NAT flow stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum FlowState {
    /// Begun by the client, not yet confirmed by both sides: short-lived and on the service's budget.
    New = 1,
    /// Both sides have been heard.
    Established = 2,
    /// One side has closed.
    Closing = 3,
    /// Both sides have closed, or one has reset.
    Closed = 4,
}

impl FlowState {
    /// From a map byte; anything unknown counts as closed.
    #[inline(always)]
    #[must_use]
    pub const fn from_byte(byte: u8) -> Self {
        match byte {
            1 => Self::New,
            2 => Self::Established,
            3 => Self::Closing,
            _ => Self::Closed,
        }
    }
}

/// Which way an entry's packets travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Direction {
    /// From the client to the backend.
    Forward = 0,
    /// From the backend to the client.
    Reply = 1,
}

/// Flags of a [`FlowValue`].
pub mod flow_flag {
    /// This direction has sent a FIN.
    pub const FIN: u8 = 1;
    /// In a reply entry: the backend has answered (`expected_ack` is valid for TCP).
    pub const ANSWERED: u8 = 2;
}

/// A line of the flow cache: entries of a 32-bit tag (upper half), a backend slot and a 16-bit age (tick / 256); 0 is
/// empty.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct CacheLine {
    /// The entries.
    pub ways: [u64; 8],
}
