//! HTTP/1.0 and 1.1 (RFC 9110, 9112), strictly: what two implementations could read in two ways is refused.
//!
//! `httparse` finds the tokens of a head; line ends, framing, hosts, targets and what becomes of them are decided here.
//! The head is written anew for the other side, the body's bytes pass through untouched.

mod accept;
mod decode;
mod fields;
mod forward;
mod lines;
mod note;
mod notes;
mod reply;
mod response;
mod target;

pub use target::{is_host, path_is_odd};
#[cfg(test)]
mod tests;

use super::{
    Abilities, Asked, Codec, Decoded, Detect, Edits, Forwarded, Head, LocalReason, PoolMode, Refusal, Reply,
    ReplyEnd, Session, Side,
};

/// HTTP/1.
#[derive(Clone, Copy, Debug)]
pub struct Http1;

/// The longest method that is taken.
const LONGEST_METHOD: usize = 24;

impl Codec for Http1 {
    fn name(&self) -> &'static str {
        "http1"
    }

    fn pool(&self) -> PoolMode {
        PoolMode::PingPong
    }

    fn abilities(&self) -> Abilities {
        Abilities { http: true, headers: true, ..Abilities::default() }
    }

    fn id_bits(&self) -> u32 {
        0
    }

    /// A method in capitals, a space, and what a target begins with. Not HTTP/2's preface.
    fn detect(&self, bytes: &[u8]) -> Detect {
        let bytes = bytes.strip_prefix(b"\r\n").unwrap_or(bytes);
        if bytes == b"\r" {
            return Detect::More;
        }
        let end = bytes.iter().position(|byte| !byte.is_ascii_uppercase() && *byte != b'-');
        match end {
            None if bytes.len() <= LONGEST_METHOD => Detect::More,
            Some(end @ 3..=LONGEST_METHOD) => match bytes.get(end..) {
                Some([b' ']) => Detect::More,
                Some([b' ', b'*', ..]) if bytes.starts_with(b"PRI ") => Detect::No,
                Some([b' ', b'!'..=b'~', ..]) => Detect::Yes,
                _ => Detect::No,
            },
            None | Some(_) => Detect::No,
        }
    }

    fn decode(&self, session: &mut Session, bytes: &[u8]) -> Result<Decoded, Refusal> {
        match session.side {
            Side::Client => decode::request(session, bytes),
            Side::Upstream => response::response(session, bytes),
        }
    }

    /// The first of that name: this codec refuses several where one is meant.
    fn header<'a>(&self, message: &'a [u8], head: &Head, name: &[u8]) -> Option<&'a [u8]> {
        lines::Lines::of(message, head)
            .find(|line| line.name.eq_ignore_ascii_case(name))
            .map(|line| line.value)
    }

    fn headers<'a>(&self, message: &'a [u8], head: &Head, each: &mut dyn FnMut(&'a [u8], &'a [u8]) -> bool) {
        for line in lines::Lines::of(message, head) {
            if !each(line.name, line.value) {
                return;
            }
        }
    }

    /// In any case, and with `_` for `-`: to a CGI these are one.
    fn values<'a>(
        &self,
        message: &'a [u8],
        head: &Head,
        name: &[u8],
        each: &mut dyn FnMut(&'a [u8]) -> bool,
    ) {
        for line in lines::Lines::of(message, head).filter(|line| lines::same(line.name, name)) {
            if !each(line.value) {
                return;
            }
        }
    }

    fn is_name(&self, name: &[u8], other: &[u8]) -> bool {
        name.eq_ignore_ascii_case(other)
    }

    fn patch_id(&self, _message: &mut [u8], _head: &Head, _id: u64) {}

    fn forward(
        &self,
        message: &[u8],
        head: &Head,
        edits: &Edits<'_>,
        out: &mut Vec<u8>,
    ) -> Result<Forwarded, Refusal> {
        forward::forward(message, head, edits, out)
    }

    fn heartbeat(&self, _variant: u8, _id: u64, _out: &mut Vec<u8>) -> bool {
        false
    }

    fn heartbeat_reply(&self, _asked: &Asked, _out: &mut Vec<u8>) {}

    fn goaway(&self, _variant: u8, _id: u64, _out: &mut Vec<u8>) -> bool {
        false
    }

    fn reply(&self, asked: &Asked, reply: &Reply<'_>, out: &mut Vec<u8>) -> ReplyEnd {
        reply::reply(asked, reply, out)
    }

    fn http_status(&self, wire: u32) -> u16 {
        u16::try_from(wire).unwrap_or(500)
    }

    fn wire_status(&self, http: u16) -> u32 {
        u32::from(http)
    }
}

/// The client's fault.
const fn bad(what: &'static str) -> Refusal {
    Refusal::fatal(LocalReason::BadRequest, what)
}

/// The upstream's fault.
const fn bad_response(what: &'static str) -> Refusal {
    Refusal::fatal(LocalReason::BadResponse, what)
}
