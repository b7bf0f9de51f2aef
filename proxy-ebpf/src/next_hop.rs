//! Whether a packet can leave towards a backend.

use proxy_common::{BackendValue, Reason, backend_flag};

use crate::packet::Packet;

/// Checks the way to the backend.
#[inline(always)]
pub(crate) fn check(packet: &Packet, backend: &BackendValue, ingress: u32) -> Result<(), Reason> {
    if backend.flags & backend_flag::RESOLVED == 0 {
        return Err(Reason::NeighbourUnresolved);
    }
    if packet.ip_len > u32::from(backend.mtu) {
        return Err(Reason::TooBig);
    }
    check_tags(packet, backend.ifindex, ingress)
}

/// A tag belongs to its link: tagged frames leave only by the interface that they came in by.
#[inline(always)]
pub(crate) fn check_tags(packet: &Packet, egress: u32, ingress: u32) -> Result<(), Reason> {
    if packet.tags != 0 && egress != ingress {
        return Err(Reason::VlanAcross);
    }
    Ok(())
}
