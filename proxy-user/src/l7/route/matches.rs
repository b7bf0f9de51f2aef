//! Whether a request is one of a route's.

use std::net::IpAddr;

use super::query::Value;
use super::ranges::Ranges;
use crate::l7::codec::{Codec, Head};
use crate::l7::snapshot::{HeaderMatch, Matches, QueryMatch, TextMatch};

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

    /// Shows `each` the values of all headers that a backend may take for `name`, until it says `false`.
    pub(super) fn values(&self, name: &str, each: &mut dyn FnMut(&[u8]) -> bool) {
        self.codec.values(self.message, self.head, name.as_bytes(), each);
    }
}

/// Whether all of `matches` hold, with their `sources` compiled.
pub(super) fn hold(matches: &Matches, sources: &Ranges, asking: &Asking<'_>) -> bool {
    let keys = &asking.head.keys;
    let of = |span: &crate::l7::codec::Span| Some(span.of(asking.message)).filter(|text| !text.is_empty());
    let method = keys.method.of(asking.message);
    matches.service.as_ref().is_none_or(|wanted| text(wanted, of(&keys.service)))
        && (matches.methods.is_empty() || matches.methods.iter().any(|wanted| wanted.as_bytes() == method))
        && matches.path.as_ref().is_none_or(|wanted| path(wanted, of(&keys.path), keys.path_is_odd))
        && matches.query.iter().all(|wanted| query(wanted, parameter(wanted, asking)))
        && matches.headers.iter().all(|wanted| header(wanted, asking))
        && (matches.sources.is_empty() || sources.has(asking.peer))
}

/// The parameter that is looked at.
pub(super) fn parameter<'a>(wanted: &QueryMatch, asking: &'a Asking<'_>) -> Option<Value<'a>> {
    Value::first(asking.head.keys.query.of(asking.message), &wanted.name)
}

/// Whether it is as wanted.
pub(super) fn query(wanted: &QueryMatch, found: Option<Value<'_>>) -> bool {
    match &wanted.value {
        TextMatch::Exact(text) => found.is_some_and(|value| value.is(text)),
        TextMatch::Prefix(text) => found.is_some_and(|value| value.starts_with(text)),
        TextMatch::Present => found.is_some(),
        TextMatch::Absent => found.is_none(),
    }
}

/// Whether the headers of a name are as wanted: one of them, or all of them as one list (RFC 9110, 5.3). Nobody gets around
/// a route by one more header.
pub(super) fn header(wanted: &HeaderMatch, asking: &Asking<'_>) -> bool {
    let (text, whole): (&[u8], bool) = match &wanted.value {
        TextMatch::Exact(text) => (text.as_bytes(), true),
        TextMatch::Prefix(text) => (text.as_bytes(), false),
        TextMatch::Present | TextMatch::Absent => (b"", false),
    };
    let (mut there, mut holds) = (false, false);
    // What of the text is not yet in the list of values up to here; none: the list is another.
    let mut left = Some(text);
    asking.values(&wanted.name, &mut |value| {
        if there {
            left = left.and_then(|left| behind(left, b", ", whole));
        }
        left = left.and_then(|left| behind(left, value, whole));
        there = true;
        holds = if whole { value == text } else { value.starts_with(text) || left == Some(b"") };
        !holds
    });
    match &wanted.value {
        TextMatch::Exact(_) => holds || there && left == Some(b""),
        TextMatch::Prefix(_) => holds,
        TextMatch::Present => there,
        TextMatch::Absent => !there,
    }
}

/// What is left of a text behind a part of what it is compared with.
fn behind<'t>(text: &'t [u8], part: &[u8], whole: bool) -> Option<&'t [u8]> {
    if !whole && part.starts_with(text) { Some(b"") } else { text.strip_prefix(part) }
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
