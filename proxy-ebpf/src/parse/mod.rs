//! Headers to [`Packet`]. Stops with a pass reason where nothing can be said about the addresses; notes a fault, and
//! goes on, where the addresses are known: whether the fault matters depends on who the packet is for.

pub mod error;
mod eth;
mod icmp;
mod ipv4;
mod ipv6;
mod l4;

use crate::frame::Frame;
use crate::packet::Packet;
use proxy_common::Reason;

/// Parses a frame.
///
/// # Errors
/// As [`packet_into`].
pub fn packet<F: Frame>(frame: &F) -> Result<Packet, Reason> {
    let mut packet = Packet::default();
    packet_into(frame, &mut packet)?;
    Ok(packet)
}

/// Parses a frame into `packet`, which in the kernel lies outside the stack.
///
/// # Errors
/// A reason of class pass, for frames that are not IP or hold no addresses.
#[inline(always)]
pub fn packet_into<F: Frame>(frame: &F, packet: &mut Packet) -> Result<(), Reason> {
    *packet = Packet::default();
    eth::parse(frame, packet)?;
    if packet.is_v4 {
        ipv4::parse(frame, packet)?;
    } else {
        ipv6::parse(frame, packet)?;
    }
    if packet.fault.is_none() {
        l4::parse(frame, packet);
    }
    Ok(())
}
