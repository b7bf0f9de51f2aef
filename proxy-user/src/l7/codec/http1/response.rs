//! A response's head, which depends on what was asked.

use std::mem::MaybeUninit;

use httparse::{Header, ParserConfig, Response, Status as Parse};

use super::super::{
    Body, Decoded, Head, Keys, Kind, LocalReason, Refusal, Session, Side, Span, Status, Timeout,
};
use super::accept::{self, Found};
use super::bad_response;
use super::decode::MOST_HEADERS;
use super::fields::Fields;
use super::notes::Notes;

pub(super) fn response(session: &mut Session, bytes: &[u8]) -> Result<Decoded, Refusal> {
    if let Found::More = accept::search(session, bytes)? {
        return Ok(Decoded::More(bytes.len() + 1));
    }
    let mut room = [const { MaybeUninit::<Header<'_>>::uninit() }; MOST_HEADERS];
    let room = room.get_mut(..session.limits.headers.min(MOST_HEADERS)).unwrap_or_default();
    let mut parsed = Response::new(&mut []);
    let len = match ParserConfig::default().parse_response_with_uninit_headers(&mut parsed, bytes, room) {
        Ok(Parse::Complete(len)) => len,
        Ok(Parse::Partial) => {
            accept::not_complete(session, bytes)?;
            return Ok(Decoded::More(bytes.len() + 1));
        }
        Err(error) => return Err(accept::of_error(error, Side::Upstream)),
    };
    session.searched = 0;
    if len > session.limits.head {
        return Err(accept::too_large(Side::Upstream));
    }
    let code = parsed.code.filter(|code| (100..600).contains(code));
    let (Some(version), Some(code)) = (parsed.version, code) else {
        return Err(bad_response("a status that is not 100 to 599 (RFC 9110, 15)"));
    };
    head(session, bytes, len, version == 1, code, parsed.headers).map(Decoded::Head)
}

fn head<'b>(
    session: &Session,
    bytes: &'b [u8],
    len: usize,
    http11: bool,
    code: u16,
    headers: &[Header<'b>],
) -> Result<Head, Refusal> {
    let line_end = bytes.iter().position(|byte| *byte == b'\n').map_or(len, |at| at + 1);
    let line = bytes.get(..line_end).unwrap_or_default();
    if !line.starts_with(b"HTTP/1.") || !line.ends_with(b"\r\n") {
        return Err(accept::line_end(Side::Upstream));
    }
    let mut fields = Fields::default();
    accept::fields(bytes, headers, line_end, len, Side::Upstream, |name, value, at| {
        // An answer's `Expect` and `Host` mean nothing.
        if name.len() == 6 { Ok(()) } else { fields.take(name, value, at, LocalReason::BadResponse) }
    })?;
    let notes = Notes::of(&session.asked);
    let framed = fields.body(http11, LocalReason::BadResponse)?;
    let (kind, body) = framing(code, &notes, &fields, framed)?;
    if matches!(body, Body::Length(length) if length > session.limits.body) {
        return Err(bad_response("a body that passes the limit"));
    }
    Ok(Head {
        kind,
        len,
        body,
        whole: false,
        id: None,
        asked: session.asked,
        own: u8::from(fields.names),
        variant: 0,
        keep: fields.keep(http11) && !matches!(body, Body::UntilClose | Body::Tunnel),
        expects: false,
        timeout: Timeout::Unset,
        status: Status { wire: u32::from(code), http: code },
        keys: Keys::default(),
        headers: Span::new(line_end, len - 2 - line_end),
    })
}

/// RFC 9112, 6.3, in its order.
fn framing(code: u16, notes: &Notes, fields: &Fields, framed: Option<Body>) -> Result<(Kind, Body), Refusal> {
    let says_body = framed.is_some_and(|body| body != Body::None);
    match code {
        101 if notes.upgrade && fields.websocket && !says_body => Ok((Kind::Response, Body::Tunnel)),
        101 => Err(bad_response("101 to a request that asked for no such upgrade (RFC 9110, 15.2.2)")),
        100..=199 if says_body => Err(bad_response("an interim answer with a body (RFC 9110, 15.2)")),
        100..=199 => Ok((Kind::Interim, Body::None)),
        200..=299 if notes.connect => Ok((Kind::Response, Body::Tunnel)),
        204 if says_body && !notes.head => Err(bad_response("204 with a body (RFC 9110, 15.3.5)")),
        204 | 304 => Ok((Kind::Response, Body::None)),
        _ if notes.head => Ok((Kind::Response, Body::None)),
        _ => Ok((Kind::Response, framed.unwrap_or(Body::UntilClose))),
    }
}

/// Offset of the status in a status line.
const STATUS_AT: usize = 9;

/// The reason phrase with its CRLF, of a head that was decoded.
pub(super) fn status_and_reason<'a>(message: &'a [u8], head: &Head) -> &'a [u8] {
    message.get(STATUS_AT..head.headers.start as usize).unwrap_or_default()
}

/// Whether an answer of this kind may say a length (304 and answers to HEAD say that of another).
pub(super) fn may_say_length(head: &Head, notes: &Notes) -> bool {
    let tunnel = notes.connect && (200..=299).contains(&head.status.http);
    head.status.http >= 200 && head.status.http != 204 && !tunnel
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_of_a_status_line() {
        let bytes = b"HTTP/1.1 200 OK\r\n\r\n";
        let mut session = Session::new(Side::Upstream, super::super::super::Limits::default());
        let Ok(Decoded::Head(head)) = response(&mut session, bytes) else { panic!() };
        assert_eq!(status_and_reason(bytes, &head), b"200 OK\r\n");
    }
}
