//! Writes the packet that leaves. Checksums are worked out from nothing over the whole packet, before and after: a
//! wrong one stays wrong by as much, so that a receiver still sees it.

use std::net::IpAddr;

use proxy_common::{Mac, proto};

use super::parse::{Content, Parsed, Tuple, word};
use crate::packet::{checksum, pseudo_header};

/// The frame with other MAC addresses and a TTL less by one; with `to`, with that tuple instead of its own (and, for an
/// ICMP error, with that of its quote turned round).
pub(super) fn emit(frame: &[u8], parsed: &Parsed, dst: Mac, src: Mac, to: Option<Tuple>) -> Vec<u8> {
    let mut out = frame.to_vec();
    out[0..6].copy_from_slice(&dst);
    out[6..12].copy_from_slice(&src);
    out[parsed.ip + if parsed.v4 { 8 } else { 7 }] -= 1;
    if let Some(to) = to {
        put_addresses(&mut out, parsed.ip, to.src, to.dst);
        match parsed.content {
            Ok(Content::Error(Some((quoted, at)))) => put_quoted(&mut out, parsed, quoted, at, to),
            _ => put_ports(&mut out, parsed.l4, to),
        }
        let place = match parsed.content {
            Ok(Content::Tcp { .. }) => 16,
            Ok(Content::Udp { .. }) => 6,
            _ => 2,
        };
        let end = parsed.ip + parsed.ip_len;
        let sum = |bytes: &[u8], src, dst| transport_sum(&bytes[parsed.l4..end], place, parsed, src, dst);
        let (old, new) = (sum(frame, parsed.src, parsed.dst), sum(&out, to.src, to.dst));
        mend(&mut out, parsed.l4 + place, old, new, place == 6);
    }
    if parsed.v4 {
        mend_header(frame, &mut out, parsed.ip);
    }
    out
}

/// Rewrites the quoted packet, which travelled the other way.
fn put_quoted(out: &mut [u8], parsed: &Parsed, quoted: Tuple, at: usize, to: Tuple) {
    let (before, back) = (out.to_vec(), to.reversed());
    let ip = parsed.l4 + 8;
    put_addresses(out, ip, back.src, back.dst);
    put_ports(out, at, back);
    if parsed.v4 {
        mend_header(&before, out, ip);
    }
    let place = if quoted.proto == proto::TCP { 16 } else { 6 };
    if at + place + 2 <= parsed.ip + parsed.ip_len {
        // What of the quoted packet is missing is the same before and after.
        let sum = |bytes: &[u8], tuple: Tuple| {
            checksum(&[&pseudo_header(tuple.src, tuple.dst, tuple.proto, 0), &bytes[at..at + 4]].concat())
        };
        let (old, new) = (sum(&before, quoted), sum(out, back));
        mend(out, at + place, old, new, quoted.proto == proto::UDP);
    }
}

fn transport_sum(segment: &[u8], place: usize, parsed: &Parsed, src: IpAddr, dst: IpAddr) -> u16 {
    let mut bytes = match (&parsed.content, parsed.v4) {
        (Ok(Content::Tcp { .. }), _) => pseudo_header(src, dst, proto::TCP, segment.len()),
        (Ok(Content::Udp { .. }), _) => pseudo_header(src, dst, proto::UDP, segment.len()),
        (_, true) => Vec::new(),
        (_, false) => pseudo_header(src, dst, proto::ICMPV6, segment.len()),
    };
    let start = bytes.len() + place;
    bytes.extend(segment);
    bytes[start..start + 2].fill(0);
    checksum(&bytes)
}

/// Mends the checksum of the IPv4 header at an offset.
fn mend_header(before: &[u8], out: &mut [u8], at: usize) {
    let sum = |bytes: &[u8]| {
        let mut header = bytes[at..at + 20].to_vec();
        header[10..12].fill(0);
        checksum(&header)
    };
    let (old, new) = (sum(before), sum(out));
    mend(out, at + 10, old, new, false);
}

/// Changes the checksum at an offset as the right one changes from `old` to `new`.
fn mend(out: &mut [u8], at: usize, old: u16, new: u16, udp: bool) {
    let stored = word(out, at);
    if udp && stored == 0 {
        return;
    }
    let sum = (u32::from(stored) + u32::from(new) + 0xffff - u32::from(old)) % 0xffff;
    let sum = if udp && sum == 0 { 0xffff } else { sum as u16 };
    out[at..at + 2].copy_from_slice(&sum.to_be_bytes());
}

fn put_addresses(out: &mut [u8], ip: usize, src: IpAddr, dst: IpAddr) {
    match (src, dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            out[ip + 12..ip + 16].copy_from_slice(&src.octets());
            out[ip + 16..ip + 20].copy_from_slice(&dst.octets());
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            out[ip + 8..ip + 24].copy_from_slice(&src.octets());
            out[ip + 24..ip + 40].copy_from_slice(&dst.octets());
        }
        _ => panic!("two families: {src} and {dst}"),
    }
}

fn put_ports(out: &mut [u8], at: usize, tuple: Tuple) {
    out[at..at + 2].copy_from_slice(&tuple.sport.to_be_bytes());
    out[at + 2..at + 4].copy_from_slice(&tuple.dport.to_be_bytes());
}
