//! One packet's work: what every step of the path shares, in one place so that it can be lent as a whole.
//!
//! BPF has 512 bytes of stack for all frames together, and a verifier that follows every constant. So what is known of
//! a packet to one of our addresses lies in a [`Scratch`] outside the stack, and the rest of the path is a function of
//! its own, which the verifier sees once with unknown values instead of once for each way through the parser. Steps that
//! few packets take are functions of their own too, for their stack.

use proxy_common::{ConfigValue, FlowKey, Mac};

use crate::outcome::Outcome;
use crate::packet::Packet;
use crate::tables::Switches;

/// What is known of a packet, and room for the keys that the path makes. Its content between packets means nothing; all
/// zero is valid.
#[derive(Clone, Debug, Default)]
pub struct Scratch {
    pub(crate) packet: Packet,
    pub(crate) arrival: Arrival,
    pub(crate) outcome: Outcome,
    /// Key of the flow's other direction.
    pub(crate) peer: FlowKey,
    /// Key of a flow that an ICMP error is about, or that is in the way of a new one.
    pub(crate) other: FlowKey,
}

/// The work.
pub(crate) struct Work<'a, F, T, M> {
    pub(crate) frame: &'a mut F,
    pub(crate) tables: &'a T,
    pub(crate) memory: &'a mut M,
    pub(crate) config: &'a ConfigValue,
    pub(crate) switches: Switches,
    pub(crate) scratch: &'a mut Scratch,
}

/// What a packet brings along beside its headers.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Arrival {
    /// Destination MAC address.
    pub(crate) dst_mac: AlignedMac,
    /// Source MAC address.
    pub(crate) src_mac: AlignedMac,
    /// Interface.
    pub(crate) ifindex: u32,
    /// Tick.
    pub(crate) now: u32,
}

/// A MAC address on the stack, where a read must not cross a word.
#[repr(align(8))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AlignedMac(pub Mac);
