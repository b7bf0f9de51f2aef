//! The opaque codec: bytes without messages, one upstream connection for each of a client.

use super::{
    Abilities, Asked, Body, Codec, Decoded, Detect, Edits, Forwarded, Head, Keys, Kind, PoolMode, Refusal,
    Reply, ReplyEnd, Session, Side, Span, Status, Timeout,
};

/// Opaque TCP.
#[derive(Clone, Copy, Debug)]
pub struct Tcp;

impl Codec for Tcp {
    fn name(&self) -> &'static str {
        super::FALLBACK
    }

    fn pool(&self) -> PoolMode {
        PoolMode::OneToOne
    }

    fn abilities(&self) -> Abilities {
        Abilities { proxy: true, ..Abilities::default() }
    }

    fn id_bits(&self) -> u32 {
        0
    }

    fn detect(&self, _bytes: &[u8]) -> Detect {
        Detect::No
    }

    /// A head of no bytes, whose body is a tunnel: there from the start, as an upstream may speak first.
    fn decode(&self, session: &mut Session, _bytes: &[u8]) -> Result<Decoded, Refusal> {
        Ok(Decoded::Head(Head {
            kind: match session.side {
                Side::Client => Kind::Request,
                Side::Upstream => Kind::Response,
            },
            len: 0,
            body: Body::Tunnel,
            whole: false,
            id: None,
            asked: Asked::default(),
            own: 0,
            variant: 0,
            keep: false,
            expects: false,
            timeout: Timeout::Unset,
            status: Status::default(),
            keys: Keys::default(),
            headers: Span::default(),
        }))
    }

    fn header<'a>(&self, _message: &'a [u8], _head: &Head, _name: &[u8]) -> Option<&'a [u8]> {
        None
    }

    fn headers<'a>(
        &self,
        _message: &'a [u8],
        _head: &Head,
        _each: &mut dyn FnMut(&'a [u8], &'a [u8]) -> bool,
    ) {
    }

    fn values<'a>(
        &self,
        _message: &'a [u8],
        _head: &Head,
        _name: &[u8],
        _each: &mut dyn FnMut(&'a [u8]) -> bool,
    ) {
    }

    fn is_name(&self, _name: &[u8], _other: &[u8]) -> bool {
        false
    }

    fn patch_id(&self, _message: &mut [u8], _head: &Head, _id: u64) {}

    fn forward(
        &self,
        _message: &[u8],
        _head: &Head,
        _edits: &Edits<'_>,
        _out: &mut Vec<u8>,
    ) -> Result<Forwarded, Refusal> {
        Ok(Forwarded { used: 0, dechunk: false, close: true })
    }

    fn heartbeat(&self, _variant: u8, _id: u64, _out: &mut Vec<u8>) -> bool {
        false
    }

    fn heartbeat_reply(&self, _asked: &Asked, _out: &mut Vec<u8>) {}

    fn goaway(&self, _variant: u8, _id: u64, _out: &mut Vec<u8>) -> bool {
        false
    }

    fn reply(&self, _asked: &Asked, _reply: &Reply<'_>, _out: &mut Vec<u8>) -> ReplyEnd {
        ReplyEnd::Mute
    }

    fn http_status(&self, _wire: u32) -> u16 {
        200
    }

    fn wire_status(&self, _http: u16) -> u32 {
        0
    }
}
