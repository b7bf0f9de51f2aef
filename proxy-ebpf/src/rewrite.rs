//! Edits: addresses, ports, TTL, MAC addresses, with every checksum kept right.

use proxy_common::{FlowKey, FlowValue, Mac, Reason, proto};

use crate::checksum::{Sum, update, update_udp};
use crate::frame::Frame;
use crate::packet::Packet;
use crate::parse::error;
use crate::work::AlignedMac;

/// Offsets of the checksum in a transport header.
const TCP_CHECK: usize = 16;
const UDP_CHECK: usize = 6;
const ICMP_CHECK: usize = 2;

/// NAT of a packet of the flow: both addresses, both ports, TTL less one.
#[inline(always)]
pub(crate) fn nat<F: Frame>(frame: &mut F, packet: &Packet, flow: &FlowValue) -> Result<(), Reason> {
    let key = &packet.key;
    let old = Sum::default().addr(&key.src).addr(&key.dst);
    let new = Sum::default().addr(&flow.new_src).addr(&flow.new_dst);
    network(frame, packet, Some(flow), old, new)?;
    let old = old.port(key.sport).port(key.dport);
    let new = new.port(flow.new_sport).port(flow.new_dport);
    ports(frame, packet.l4, flow.new_sport.0, flow.new_dport.0)?;
    if key.proto == proto::TCP {
        let check = frame.window_mut::<2>(packet.l4 + TCP_CHECK).ok_or(Reason::HelperFailed)?;
        *check = update(u16::from_be_bytes(*check), old, new).to_be_bytes();
    } else {
        let check = frame.window_mut::<2>(packet.l4 + UDP_CHECK).ok_or(Reason::HelperFailed)?;
        *check = update_udp(u16::from_be_bytes(*check), old, new).to_be_bytes();
    }
    Ok(())
}

/// NAT of an ICMP error about the flow (RFC 5508 section 4.2): the outer addresses as any packet's, and the quoted
/// packet back to what its sender had sent. `key` is the flow's, in the direction of the error.
#[inline(always)]
pub(crate) fn nat_error<F: Frame>(
    frame: &mut F,
    packet: &Packet,
    key: &FlowKey,
    inner_l4: usize,
    flow: &FlowValue,
) -> Result<(), Reason> {
    let outer_old = Sum::default().addr(&packet.key.src).addr(&packet.key.dst);
    let outer_new = Sum::default().addr(&flow.new_src).addr(&flow.new_dst);
    network(frame, packet, Some(flow), outer_old, outer_new)?;

    // The quoted packet travelled the other way: its source was `key.dst` and becomes `new_dst`.
    let mut old = Sum::default().addr(&key.src).addr(&key.dst);
    let mut new = Sum::default().addr(&flow.new_src).addr(&flow.new_dst);
    quoted_addresses(frame, packet, flow, old, new)?;
    let pseudo_old = old.port(key.sport).port(key.dport);
    let pseudo_new = new.port(flow.new_sport).port(flow.new_dport);
    ports(frame, inner_l4, flow.new_dport.0, flow.new_sport.0)?;
    let (old_check, new_check) = quoted_check(frame, packet, key.proto, inner_l4, pseudo_old, pseudo_new);
    if packet.is_v4 {
        // An IPv4 header's sum, checksum and all, is the same before and after: it adds nothing.
        old = Sum::default();
        new = Sum::default();
    }
    old = old.port(key.sport).port(key.dport).word(old_check);
    new = new.port(flow.new_sport).port(flow.new_dport).word(new_check);
    if !packet.is_v4 {
        // ICMPv6 sums the pseudo-header too.
        old = old.addr(&packet.key.src).addr(&packet.key.dst);
        new = new.addr(&flow.new_src).addr(&flow.new_dst);
    }
    let check = frame.window_mut::<2>(packet.l4 + ICMP_CHECK).ok_or(Reason::HelperFailed)?;
    *check = update(u16::from_be_bytes(*check), old, new).to_be_bytes();
    Ok(())
}

/// TTL or hop limit less one. The caller has seen that it is above one.
#[inline(always)]
pub(crate) fn decrement_ttl<F: Frame>(frame: &mut F, packet: &Packet) -> Result<(), Reason> {
    network(frame, packet, None, Sum::default(), Sum::default())
}

/// The frame's MAC addresses.
#[inline(always)]
pub(crate) fn macs<F: Frame>(frame: &mut F, dst: &Mac, src: &Mac) -> Result<(), Reason> {
    *frame.window_mut::<6>(0).ok_or(Reason::HelperFailed)? = *dst;
    *frame.window_mut::<6>(6).ok_or(Reason::HelperFailed)? = *src;
    Ok(())
}

/// Destination and source MAC address of the frame.
#[inline(always)]
pub(crate) fn frame_macs<F: Frame>(frame: &F) -> Result<(AlignedMac, AlignedMac), Reason> {
    let dst = *frame.window::<6>(0).ok_or(Reason::HelperFailed)?;
    let src = *frame.window::<6>(6).ok_or(Reason::HelperFailed)?;
    Ok((AlignedMac(dst), AlignedMac(src)))
}

/// The IP header: TTL less one and, with a flow, its addresses.
#[inline(always)]
fn network<F: Frame>(
    frame: &mut F,
    packet: &Packet,
    flow: Option<&FlowValue>,
    old: Sum,
    new: Sum,
) -> Result<(), Reason> {
    if packet.is_v4 {
        let head = frame.window_mut::<4>(packet.l3 + 8).ok_or(Reason::HelperFailed)?;
        let &mut [ttl, protocol, c0, c1] = head;
        let ttl_after = ttl.wrapping_sub(1);
        let old = old.word(u16::from_be_bytes([ttl, protocol]));
        let new = new.word(u16::from_be_bytes([ttl_after, protocol]));
        let [c0, c1] = update(u16::from_be_bytes([c0, c1]), old, new).to_be_bytes();
        *head = [ttl_after, protocol, c0, c1];
        if let Some(flow) = flow {
            *frame.window_mut::<4>(packet.l3 + 12).ok_or(Reason::HelperFailed)? = flow.new_src.v4_octets();
            *frame.window_mut::<4>(packet.l3 + 16).ok_or(Reason::HelperFailed)? = flow.new_dst.v4_octets();
        }
    } else {
        let hop_limit = frame.window_mut::<1>(packet.l3 + 7).ok_or(Reason::HelperFailed)?;
        *hop_limit = [packet.ttl.wrapping_sub(1)];
        if let Some(flow) = flow {
            *frame.window_mut::<16>(packet.l3 + 8).ok_or(Reason::HelperFailed)? = flow.new_src.octets();
            *frame.window_mut::<16>(packet.l3 + 24).ok_or(Reason::HelperFailed)? = flow.new_dst.octets();
        }
    }
    Ok(())
}

/// The quoted IP header's addresses, exchanged.
#[inline(always)]
fn quoted_addresses<F: Frame>(
    frame: &mut F,
    packet: &Packet,
    flow: &FlowValue,
    old: Sum,
    new: Sum,
) -> Result<(), Reason> {
    let l3 = error::inner_l3(packet);
    if packet.is_v4 {
        let check = frame.window_mut::<2>(l3 + 10).ok_or(Reason::HelperFailed)?;
        *check = update(u16::from_be_bytes(*check), old, new).to_be_bytes();
        *frame.window_mut::<4>(l3 + 12).ok_or(Reason::HelperFailed)? = flow.new_dst.v4_octets();
        *frame.window_mut::<4>(l3 + 16).ok_or(Reason::HelperFailed)? = flow.new_src.v4_octets();
    } else {
        *frame.window_mut::<16>(l3 + 8).ok_or(Reason::HelperFailed)? = flow.new_dst.octets();
        *frame.window_mut::<16>(l3 + 24).ok_or(Reason::HelperFailed)? = flow.new_src.octets();
    }
    Ok(())
}

/// The quoted transport checksum, where the quote is long enough to hold it: before and after.
#[inline(always)]
fn quoted_check<F: Frame>(
    frame: &mut F,
    packet: &Packet,
    protocol: u8,
    l4: usize,
    old: Sum,
    new: Sum,
) -> (u16, u16) {
    let offset = if protocol == proto::TCP { TCP_CHECK } else { UDP_CHECK };
    if l4 + offset + 2 > packet.end() {
        return (0, 0);
    }
    let Some(check) = frame.window_mut::<2>(l4 + offset) else { return (0, 0) };
    let before = u16::from_be_bytes(*check);
    let after = if protocol == proto::TCP { update(before, old, new) } else { update_udp(before, old, new) };
    *check = after.to_be_bytes();
    (before, after)
}

#[inline(always)]
fn ports<F: Frame>(frame: &mut F, l4: usize, source: [u8; 2], destination: [u8; 2]) -> Result<(), Reason> {
    *frame.window_mut::<2>(l4).ok_or(Reason::HelperFailed)? = source;
    *frame.window_mut::<2>(l4 + 2).ok_or(Reason::HelperFailed)? = destination;
    Ok(())
}
