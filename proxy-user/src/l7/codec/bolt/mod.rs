//! SOFABolt, versions 1 and 2. Frames are [`crate::wire::bolt`]; here is what they mean to a proxy.
//!
//! Class and content stay opaque; service and method come from the header map. A frame with a CRC is taken whole, its
//! CRC compared, and made anew after each change: a proxy that writes another id must.

mod decode;
mod forward;
mod status;
#[cfg(test)]
mod tests;

use super::{
    Abilities, Asked, Codec, Decoded, Detect, Edits, Forwarded, Head, LocalReason, PoolMode, Refusal, Reply,
    ReplyEnd, Session,
};
use crate::wire::bolt::{self, Headers, Kind, Version, command};

/// SOFABolt.
#[derive(Clone, Copy, Debug)]
pub struct Bolt;

impl Codec for Bolt {
    fn name(&self) -> &'static str {
        "bolt"
    }

    fn pool(&self) -> PoolMode {
        PoolMode::Multiplex
    }

    fn abilities(&self) -> Abilities {
        Abilities { rpc: true, headers: true, goaway: true, ..Abilities::default() }
    }

    fn id_bits(&self) -> u32 {
        32
    }

    /// The first byte is 1 or 2, and the fields behind it are a request's.
    fn detect(&self, bytes: &[u8]) -> Detect {
        let rest = match bytes {
            [] | [2] => return Detect::More,
            [1, rest @ ..] | [2, 1 | 2, rest @ ..] => rest,
            _ => return Detect::No,
        };
        match rest {
            [1 | 2, 0, 0 | 1 | 100, 1, ..] => Detect::Yes,
            [] | [1 | 2] | [1 | 2, 0] | [1 | 2, 0, 0 | 1 | 100] => Detect::More,
            _ => Detect::No,
        }
    }

    fn decode(&self, session: &mut Session, bytes: &[u8]) -> Result<Decoded, Refusal> {
        decode::decode(session, bytes)
    }

    fn glimpse(&self, session: &Session, bytes: &[u8]) -> Option<Head> {
        decode::glimpse(session, bytes)
    }

    fn header<'a>(&self, message: &'a [u8], head: &Head, name: &[u8]) -> Option<&'a [u8]> {
        Headers::new(head.headers.of(message)).last(name)
    }

    fn headers<'a>(&self, message: &'a [u8], head: &Head, each: &mut dyn FnMut(&'a [u8], &'a [u8]) -> bool) {
        for (name, value) in Headers::new(head.headers.of(message)).map_while(Result::ok) {
            if !each(name, value) {
                return;
            }
        }
    }

    /// All of exactly that name: MOSN uses the first of them, Java the last.
    fn values<'a>(
        &self,
        message: &'a [u8],
        head: &Head,
        name: &[u8],
        each: &mut dyn FnMut(&'a [u8]) -> bool,
    ) {
        let pairs = Headers::new(head.headers.of(message)).map_while(Result::ok);
        for (_, value) in pairs.filter(|(found, _)| *found == name) {
            if !each(value) {
                return;
            }
        }
    }

    fn is_name(&self, name: &[u8], other: &[u8]) -> bool {
        name == other
    }

    fn patch_id(&self, message: &mut [u8], head: &Head, id: u64) {
        forward::patch(message, head, id);
    }

    fn forward(
        &self,
        message: &[u8],
        head: &Head,
        edits: &Edits<'_>,
        out: &mut Vec<u8>,
    ) -> Result<Forwarded, Refusal> {
        forward::forward(message, head, edits, out)
    }

    fn heartbeat(&self, variant: u8, id: u64, out: &mut Vec<u8>) -> bool {
        bolt::encode_heartbeat(version_of(variant), wire_id(id), out);
        true
    }

    fn heartbeat_reply(&self, asked: &Asked, out: &mut Vec<u8>) {
        bolt::encode_heartbeat_reply(Notes::of(asked).version, wire_id(asked.id), out);
    }

    fn goaway(&self, variant: u8, id: u64, out: &mut Vec<u8>) -> bool {
        bolt::encode_goaway(version_of(variant), wire_id(id), out);
        true
    }

    fn reply(&self, asked: &Asked, reply: &Reply<'_>, out: &mut Vec<u8>) -> ReplyEnd {
        let notes = Notes::of(asked);
        match notes.asks {
            Asks::Nothing => return ReplyEnd::Mute,
            Asks::OneWay if reply.close => return ReplyEnd::Mute,
            Asks::OneWay => return ReplyEnd::Silent,
            Asks::Answer => {}
        }
        let status = status::of_reply(reply);
        bolt::encode_error(notes.version, wire_id(asked.id), notes.codec, status, out);
        if reply.close { ReplyEnd::Close } else { ReplyEnd::Keep }
    }

    fn status_words(&self, reply: &Reply<'_>) -> String {
        let status = status::of_reply(reply);
        format!("status {status} {}", status::name(status))
    }

    fn http_status(&self, wire: u32) -> u16 {
        u16::try_from(wire).map_or(500, status::to_http)
    }

    fn wire_status(&self, http: u16) -> u32 {
        u32::from(status::of_http(http))
    }
}

/// What of a request its answer needs, as it lies in [`Asked::notes`].
struct Notes {
    asks: Asks,
    version: Version,
    codec: u8,
}

#[derive(Clone, Copy)]
enum Asks {
    /// No request could be read: an id to answer is not known.
    Nothing,
    OneWay,
    Answer,
}

impl Notes {
    fn of(asked: &Asked) -> Self {
        let [asks, proto, ver1, switch, codec, ..] = asked.notes;
        Self {
            asks: match asks {
                0 => Asks::Nothing,
                1 => Asks::OneWay,
                _ => Asks::Answer,
            },
            version: if proto == 2 { Version::V2 { ver1, switch } } else { Version::V1 },
            codec,
        }
    }

    fn from_head(head: &bolt::Head) -> Asked {
        let asks = match head.kind {
            Kind::OneWay { .. } => 1,
            Kind::Request { .. } | Kind::Response { .. } => 2,
        };
        let [proto, ver1, switch] = match head.version {
            Version::V1 => [1, 0, 0],
            Version::V2 { ver1, switch } => [2, ver1, switch],
        };
        Asked { id: u64::from(head.id), notes: [asks, proto, ver1, switch, head.codec, 0, 0, 0] }
    }
}

/// A number for each form of the protocol that a Java peer keeps apart: it answers in the first form that it saw on a
/// connection.
const fn variant_of(version: Version) -> u8 {
    match version {
        Version::V1 => 1,
        Version::V2 { ver1: 2, .. } if version.has_crc() => 4,
        Version::V2 { ver1: 2, .. } => 3,
        Version::V2 { .. } => 2,
    }
}

const fn version_of(variant: u8) -> Version {
    match variant {
        4 => Version::V2_CRC,
        3 => Version::V2 { ver1: 2, switch: 0 },
        2 => Version::V2 { ver1: 1, switch: 0 },
        _ => Version::V1,
    }
}

/// An id of the engine's, which counts in [`Codec::id_bits`].
fn wire_id(id: u64) -> u32 {
    u32::try_from(id & u64::from(u32::MAX)).unwrap_or_default()
}

/// Whether the command belongs to the kind of frame.
const fn known(head: &bolt::Head) -> bool {
    match head.kind {
        Kind::Response { .. } => matches!(head.command, command::HEARTBEAT | command::RESPONSE),
        Kind::Request { .. } | Kind::OneWay { .. } => {
            matches!(head.command, command::HEARTBEAT | command::REQUEST | command::GOAWAY)
        }
    }
}

const fn refusal(reason: LocalReason, what: &'static str) -> Refusal {
    Refusal::fatal(reason, what)
}
