//! A request's head.

use std::mem::MaybeUninit;

use httparse::{Header, Request, Status as Parse};

use super::super::{
    Body, Decoded, Fault, Head, Keys, Kind, LocalReason, Refusal, Session, Side, Span, Status, Timeout,
};
use super::accept::{self, Found, offset};
use super::fields::Fields;
use super::notes::Notes;
use super::{LONGEST_METHOD, bad, target};

/// The most header fields of a message, whatever the limits say.
pub(super) const MOST_HEADERS: usize = 128;

pub(super) fn request(session: &mut Session, bytes: &[u8]) -> Result<Decoded, Refusal> {
    if let Found::More = accept::search(session, bytes)? {
        return Ok(Decoded::More(bytes.len() + 1));
    }
    let mut room = [const { MaybeUninit::<Header<'_>>::uninit() }; MOST_HEADERS];
    let most = session.limits.headers.min(MOST_HEADERS);
    let mut parsed = Request::new(&mut []);
    let len = match parsed.parse_with_uninit_headers(bytes, room.get_mut(..most).unwrap_or_default()) {
        Ok(Parse::Complete(len)) => len,
        Ok(Parse::Partial) => {
            accept::not_complete(session, bytes)?;
            return Ok(Decoded::More(bytes.len() + 1));
        }
        Err(error) => return Err(accept::of_error(error, Side::Client)),
    };
    session.searched = 0;
    if len > session.limits.head {
        return Err(accept::too_large(Side::Client));
    }
    let (Some(method), Some(target), Some(version)) = (parsed.method, parsed.path, parsed.version) else {
        return Err(bad("a start line that is none of HTTP/1 (RFC 9112, 3)"));
    };
    let start = Start { method: method.as_bytes(), target: target.as_bytes(), http11: version == 1 };
    head(session, bytes, len, &start, parsed.headers).map(Decoded::Head)
}

struct Start<'a> {
    method: &'a [u8],
    target: &'a [u8],
    http11: bool,
}

fn head<'b>(
    session: &Session,
    bytes: &'b [u8],
    len: usize,
    start: &Start<'b>,
    headers: &[Header<'b>],
) -> Result<Head, Refusal> {
    let line_end = start_line(bytes, start)?;
    let mut fields = Fields::default();
    accept::fields(bytes, headers, line_end, len, Side::Client, |name, value, at| {
        fields.take(name, value, at, LocalReason::BadRequest)
    })?;
    let keys = keys(bytes, start, &fields)?;
    let framed = fields.body(start.http11, LocalReason::BadRequest)?;
    let connect = start.method == b"CONNECT";
    if connect {
        if !session.limits.connect {
            return Err(bad("CONNECT where no tunnel is offered").of(Fault::Method).with_status(405));
        }
        if framed.is_some() {
            return Err(bad("CONNECT with a body (RFC 9110, 9.3.6)").of(Fault::Framing));
        }
    }
    let body = framed.unwrap_or(Body::None);
    if matches!(body, Body::Length(length) if length > session.limits.body) {
        return Err(Refusal::fatal(LocalReason::TooLarge, "a body that passes the limit"));
    }
    let keep = fields.keep(start.http11);
    let bodiless = body == Body::None;
    let upgrade =
        session.limits.upgrade && start.http11 && fields.upgrade && fields.websocket && bodiless && !connect;
    let notes = Notes { head: start.method == b"HEAD", connect, http11: start.http11, keep, upgrade };
    Ok(Head {
        kind: Kind::Request,
        len,
        body,
        whole: false,
        id: None,
        asked: notes.asked(),
        own: u8::from(fields.names),
        variant: 0,
        keep,
        expects: fields.expects && start.http11 && !bodiless,
        timeout: Timeout::Unset,
        status: Status::default(),
        keys,
        headers: Span::new(line_end, len - 2 - line_end),
    })
}

/// Checks the request line; the offset behind it.
fn start_line(bytes: &[u8], start: &Start<'_>) -> Result<usize, Refusal> {
    let method_at = offset(bytes, start.method);
    if method_at != 0 && !(method_at == 2 && bytes.starts_with(b"\r\n")) {
        return Err(bad("more than one empty line before a request (RFC 9112, 2.2)"));
    }
    let capital = |byte: &u8| matches!(byte, b'A'..=b'Z' | b'-' | b'_');
    if start.method.len() > LONGEST_METHOD || !start.method.iter().all(capital) {
        return Err(bad("a method that is not in capitals, or is too long (RFC 9110, 9.1)")
            .of(Fault::Method)
            .with_status(501));
    }
    // One space, "HTTP/1.x", CRLF.
    let end = offset(bytes, start.target) + start.target.len() + 11;
    if bytes.get(end - 2..end) == Some(b"\r\n") { Ok(end) } else { Err(accept::line_end(Side::Client)) }
}

/// The keys of target and `Host` together.
fn keys(bytes: &[u8], start: &Start<'_>, fields: &Fields) -> Result<Keys, Refusal> {
    let mut keys = target::split(start.method, start.target, offset(bytes, start.target))?;
    keys.method = Span::new(offset(bytes, start.method), start.method.len());
    match fields.host {
        None if start.http11 => return Err(bad("HTTP/1.1 without Host (RFC 9112, 3.2)").of(Fault::Host)),
        None => {}
        Some(host) if keys.host.is_empty() => keys.host = host,
        Some(host) if host.of(bytes).eq_ignore_ascii_case(keys.host.of(bytes)) => {}
        Some(_) => {
            return Err(bad("Host and the request target name two hosts (RFC 9112, 3.2.2)").of(Fault::Host));
        }
    }
    Ok(keys)
}
