//! Who may ask, by the address of a client that may be behind trusted hops. What cannot be read is denied.

use std::net::IpAddr;

use super::matches::Asking;
use super::ranges::Ranges;
use crate::l7::snapshot::Access;

/// Rules of a service, made ready for requests: a look-up costs the same however long they are.
#[derive(Clone, Debug)]
pub struct AccessList {
    header: Option<String>,
    hops: usize,
    /// Of each rule.
    denies: Vec<bool>,
    ranges: Ranges,
    default_deny: bool,
}

impl AccessList {
    /// Of these rules.
    #[must_use]
    pub fn compile(access: &Access) -> Self {
        Self {
            header: access.header.clone(),
            hops: usize::from(access.hops.max(1)),
            denies: access.rules.iter().map(|rule| rule.deny).collect(),
            ranges: Ranges::of_lists(access.rules.iter().map(|rule| rule.sources.as_slice())),
            default_deny: access.default_deny,
        }
    }

    /// The client by the header of trusted hops; `None`: the header is missing or says no address. Only fields of exactly
    /// that name count: one that a CGI takes for the same is not what a trusted hop has written.
    #[must_use]
    pub fn client(&self, trusted: &Ranges, asking: &Asking<'_>) -> Option<IpAddr> {
        let Some(name) = &self.header else { return Some(asking.peer) };
        if !trusted.has(asking.peer) {
            return Some(asking.peer);
        }
        // Fields of one name are one list; the last entry is the nearest hop's.
        let mut entries: [&[u8]; MOST_ENTRIES] = [b""; MOST_ENTRIES];
        let mut count: usize = 0;
        asking.codec.headers(asking.message, asking.head, &mut |found, value| {
            if asking.codec.is_name(found, name.as_bytes()) {
                for entry in value.split(|byte| *byte == b',') {
                    if let Some(place) = entries.get_mut(count % MOST_ENTRIES) {
                        *place = entry;
                    }
                    count += 1;
                }
            }
            true
        });
        if self.hops > MOST_ENTRIES {
            return None;
        }
        let entry = entries.get(count.checked_sub(self.hops)? % MOST_ENTRIES)?;
        address(entry)
    }

    /// Whether the client may ask.
    #[must_use]
    pub fn allows(&self, trusted: &Ranges, asking: &Asking<'_>) -> bool {
        self.client(trusted, asking).is_some_and(|client| self.allows_address(client))
    }

    /// Whether a client of this address may ask, where it is the peer.
    #[must_use]
    pub fn allows_address(&self, client: IpAddr) -> bool {
        let denies = self.rule_of(client).and_then(|place| self.denies.get(place));
        !denies.copied().unwrap_or(self.default_deny)
    }

    /// The place of the rule that decides on a client of this address; `None`: the default does.
    #[must_use]
    pub fn rule_of(&self, client: IpAddr) -> Option<usize> {
        self.ranges.first(client)
    }
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
