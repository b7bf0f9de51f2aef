//! Whether a request is one of a route's.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::l7::codec::{Codec, Head};
use crate::l7::snapshot::{Matches, TextMatch};

/// A request as routes see it.
#[derive(Clone, Copy)]
pub struct Asking<'a> {
    /// Its protocol.
    pub codec: &'static dyn Codec,
    /// What was decoded.
    pub head: &'a Head,
    /// From where it was decoded.
    pub message: &'a [u8],
    /// Who sent it.
    pub peer: IpAddr,
}

impl Asking<'_> {
    /// Its host without port.
    #[must_use]
    pub fn host(&self) -> &[u8] {
        let host = self.head.keys.host.of(self.message);
        match host {
            [b'[', rest @ ..] => rest.split(|byte| *byte == b']').next().unwrap_or_default(),
            _ => host.split(|byte| *byte == b':').next().unwrap_or_default(),
        }
    }

    pub(super) fn header(&self, name: &str) -> Option<&[u8]> {
        self.codec.header(self.message, self.head, name.as_bytes())
    }
}

/// Whether all of `matches` hold.
pub(super) fn hold(matches: &Matches, asking: &Asking<'_>) -> bool {
    let keys = &asking.head.keys;
    let of = |span: &crate::l7::codec::Span| Some(span.of(asking.message)).filter(|text| !text.is_empty());
    let method = keys.method.of(asking.message);
    matches.service.as_ref().is_none_or(|wanted| text(wanted, of(&keys.service)))
        && (matches.methods.is_empty() || matches.methods.iter().any(|wanted| wanted.as_bytes() == method))
        && matches.path.as_ref().is_none_or(|wanted| path(wanted, of(&keys.path), keys.path_is_odd))
        && matches.headers.iter().all(|wanted| text(&wanted.value, asking.header(&wanted.name)))
        && (matches.sources.is_empty() || within(&matches.sources, asking.peer))
}

/// Whether one of `nets` has the address. A mapped IPv4 address counts as IPv4.
pub(super) fn within(nets: &[IpNet], address: IpAddr) -> bool {
    let address = address.to_canonical();
    nets.iter().any(|net| net.contains(&address))
}

pub(super) fn text(wanted: &TextMatch, found: Option<&[u8]>) -> bool {
    match (wanted, found) {
        (TextMatch::Exact(wanted), Some(found)) => wanted.as_bytes() == found,
        (TextMatch::Prefix(wanted), Some(found)) => found.starts_with(wanted.as_bytes()),
        (TextMatch::Present, found) => found.is_some(),
        (TextMatch::Absent, found) => found.is_none(),
        (_, None) => false,
    }
}

pub(super) fn path(wanted: &TextMatch, found: Option<&[u8]>, odd: bool) -> bool {
    match (wanted, found) {
        (TextMatch::Prefix(wanted), Some(found)) => {
            let wanted = wanted.as_bytes();
            let inside = || {
                found
                    .strip_prefix(wanted)
                    .is_some_and(|rest| wanted.ends_with(b"/") || rest.is_empty() || rest.starts_with(b"/"))
            };
            wanted == b"/" || !odd && inside()
        }
        (TextMatch::Exact(_), _) if odd => false,
        _ => text(wanted, found),
    }
}
