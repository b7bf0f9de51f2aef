//! Numbers by which the same endpoint is found for the same client.

use std::net::IpAddr;

use crate::l7::route::Asking;
use crate::l7::snapshot::HashBy;

/// The number of a request.
pub(super) fn hash_of(by: &HashBy, asking: &Asking<'_>) -> u64 {
    let header = match by {
        HashBy::Source => None,
        HashBy::Header(name) => asking.codec.header(asking.message, asking.head, name.as_bytes()),
    };
    header.map_or_else(|| hash_address(asking.peer), hash)
}

/// FNV-1a with a finisher: a ring's slot is its remainder, so that all bits must count.
pub(super) fn hash(bytes: &[u8]) -> u64 {
    let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    let hash = (hash ^ hash >> 33).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash ^ hash >> 33
}

/// The same of an address.
pub(super) fn hash_address(address: IpAddr) -> u64 {
    match address.to_canonical() {
        IpAddr::V4(v4) => hash(&v4.octets()),
        IpAddr::V6(v6) => hash(&v6.octets()),
    }
}
