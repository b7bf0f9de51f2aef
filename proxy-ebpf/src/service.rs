//! Destination to service.

use proxy_common::{FILTER_MASK, Port, ServiceKey, ServiceValue, destination_flag, filter_place};

use crate::hash;
use crate::packet::Packet;
use crate::tables::Tables;

/// What a packet is addressed to.
pub(crate) enum Target<'a> {
    /// A service.
    Service(&'a ServiceValue),
    /// A VIP, but none of its services; whether such packets pass.
    Vip { pass: bool },
    /// Not ours.
    Other,
}

/// The destination filter's bits for an address ([`proxy_common::filter_bit`]); 0 means that it is not ours.
#[inline(always)]
pub(crate) fn filter_bits<T: Tables>(tables: &T, packet: &Packet) -> u32 {
    // An IPv6 packet to a mapped address would look like IPv4 from here on: never ours.
    if !packet.is_v4 && packet.key.dst.is_v4() {
        return 0;
    }
    let bucket = hash::filter_bucket(&packet.key.dst);
    let (word, shift) = filter_place(bucket);
    #[expect(clippy::cast_possible_truncation, reason = "masked to four bits")]
    let bits = (tables.filter_word(word) >> shift) as u32 & FILTER_MASK;
    bits
}

/// Looks the destination up: the exact port, then port 0, then whether the address is a VIP at all.
#[inline(always)]
pub(crate) fn find<'a, T: Tables>(tables: &'a T, packet: &Packet) -> Target<'a> {
    if packet.has_flow() {
        let mut key = ServiceKey::new(packet.key.dst, packet.key.dport, packet.key.proto);
        if let Some(service) = tables.service(&key) {
            return Target::Service(service);
        }
        key.port = Port::default();
        if let Some(service) = tables.service(&key) {
            return Target::Service(service);
        }
    }
    match tables.destination(&packet.key.dst) {
        Some(found) if found.flags & destination_flag::VIP != 0 => {
            Target::Vip { pass: found.flags & destination_flag::UNKNOWN_PORT_PASS != 0 }
        }
        _ => Target::Other,
    }
}
