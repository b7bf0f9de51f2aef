//! Who may ask, by the address of a client that may be behind trusted hops. What cannot be read is denied.

use std::net::IpAddr;

use ipnet::IpNet;

use super::matches::{Asking, within};
use crate::l7::snapshot::Access;

/// The client by the header of trusted hops; `None`: the header is missing or says no address.
#[must_use]
pub fn client(access: &Access, trusted: &[IpNet], asking: &Asking<'_>) -> Option<IpAddr> {
    let Some(name) = &access.header else { return Some(asking.peer) };
    if !within(trusted, asking.peer) {
        return Some(asking.peer);
    }
    // Fields of one name are one list; the last entry is the nearest hop's.
    let mut entries: [&[u8]; MOST_ENTRIES] = [b""; MOST_ENTRIES];
    let mut count: usize = 0;
    asking.codec.headers(asking.message, asking.head, &mut |found, value| {
        if found.eq_ignore_ascii_case(name.as_bytes()) {
            for entry in value.split(|byte| *byte == b',') {
                if let Some(place) = entries.get_mut(count % MOST_ENTRIES) {
                    *place = entry;
                }
                count += 1;
            }
        }
        true
    });
    let back = usize::from(access.hops.max(1));
    if back > MOST_ENTRIES {
        return None;
    }
    let entry = entries.get(count.checked_sub(back)? % MOST_ENTRIES)?;
    address(entry)
}

/// Whether the client may ask.
#[must_use]
pub fn allows(access: &Access, trusted: &[IpNet], asking: &Asking<'_>) -> bool {
    client(access, trusted, asking).is_some_and(|client| allows_address(access, client))
}

/// Whether a client of this address may ask, where it is the peer.
#[must_use]
pub fn allows_address(access: &Access, client: IpAddr) -> bool {
    let rule = rule_of(access, client).and_then(|place| access.rules.get(place));
    rule.map_or(!access.default_deny, |rule| !rule.deny)
}

/// The place of the rule that decides on a client of this address; `None`: the default does.
#[must_use]
pub fn rule_of(access: &Access, client: IpAddr) -> Option<usize> {
    access.rules.iter().position(|rule| within(&rule.sources, client))
}

/// An address with or without a port, quotes (`Forwarded`: `for="[2001:db8::1]:80"`) and space around it.
fn address(entry: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(entry).ok()?.trim();
    let text = text.split(';').map(str::trim).find_map(|part| {
        let (key, value) = part.split_once('=')?;
        key.trim().eq_ignore_ascii_case("for").then_some(value.trim())
    });
    let text = text.or_else(|| std::str::from_utf8(entry).ok().map(str::trim))?;
    let text = text.trim_matches('"');
    let bare = match text.strip_prefix('[') {
        Some(rest) => {
            let (inside, port) = rest.split_once(']')?;
            if !(port.is_empty() || port.strip_prefix(':').is_some_and(|port| port.parse::<u16>().is_ok())) {
                return None;
            }
            return inside
                .parse::<std::net::Ipv6Addr>()
                .ok()
                .map(|address| IpAddr::V6(address).to_canonical());
        }
        None => text,
    };
    let parsed: Option<IpAddr> = bare.parse().ok();
    let with_port = || bare.parse::<std::net::SocketAddrV4>().ok().map(|address| IpAddr::V4(*address.ip()));
    parsed.or_else(with_port).map(|address| address.to_canonical())
}

/// Entries of the header that are looked at, from its end.
const MOST_ENTRIES: usize = 32;
