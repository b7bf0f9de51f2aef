//! Where a head ends, and whether its lines end as they must.
//!
//! `httparse` takes a lone LF for a line's end; proxies that do, and those that don't, see two messages. Here only
//! CRLF ends a line.

use httparse::{Error, Header};

use super::super::{Fault, LocalReason, Refusal, Session};
use super::Side;

/// What is known before the tokens of a head are looked at.
pub(super) enum Found {
    /// It is worth parsing: all of it is there, or nothing of it was searched yet.
    Try,
    /// The end is not there.
    More,
}

/// Up to here a head that is not complete is parsed again whenever more of it comes: a fault is told at its byte.
/// Beyond, what is new is searched for its end first, so that no sender makes parsing dear by sending slowly.
const SMALL: usize = 2048;

/// Whether to parse.
pub(super) fn search(session: &mut Session, bytes: &[u8]) -> Result<Found, Refusal> {
    if session.searched == 0 || bytes.len() <= SMALL || scan(bytes, session.searched, session.side)? {
        return Ok(Found::Try);
    }
    note(session, bytes)
}

/// Notes that a head is not complete: `httparse` wants more.
pub(super) fn not_complete(session: &mut Session, bytes: &[u8]) -> Result<Found, Refusal> {
    if scan(bytes, session.searched, session.side)? {
        // It skips empty lines in front, all of them.
        return Err(line_end(session.side));
    }
    note(session, bytes)
}

fn note(session: &mut Session, bytes: &[u8]) -> Result<Found, Refusal> {
    if bytes.len() >= session.limits.head {
        return Err(too_large(session.side));
    }
    session.searched = bytes.len();
    Ok(Found::More)
}

/// Looks for an empty line in `bytes` from `from` on; a line that ends without CR is refused.
fn scan(bytes: &[u8], from: usize, side: Side) -> Result<bool, Refusal> {
    let mut at = from;
    while let Some(offset) = bytes.get(at..).and_then(|rest| rest.iter().position(|byte| *byte == b'\n')) {
        at += offset + 1;
        let line = bytes.get(..at).unwrap_or_default();
        if !line.ends_with(b"\r\n") {
            return Err(line_end(side));
        }
        // The empty line that may stand before a start line is no end.
        if line.len() > 4 && line.ends_with(b"\r\n\r\n") {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Checks that between the fields, and behind the last, there is whitespace and one CRLF. `start` is the end of the
/// start line, `end` the head's. Calls `each` with name, value and the value's offset.
pub(super) fn fields<'b>(
    bytes: &'b [u8],
    headers: &[Header<'b>],
    start: usize,
    end: usize,
    side: Side,
    mut each: impl FnMut(&'b [u8], &'b [u8], usize) -> Result<(), Refusal>,
) -> Result<(), Refusal> {
    let mut line = start;
    for (number, header) in headers.iter().enumerate() {
        let value_at = offset(bytes, header.value);
        let value_end = value_at + header.value.len();
        let next = headers.get(number + 1).map_or(end - 2, |next| offset(bytes, next.name.as_bytes()));
        if offset(bytes, header.name.as_bytes()) != line || !is_line_end(bytes.get(value_end..next)) {
            return Err(line_end(side));
        }
        each(header.name.as_bytes(), header.value, value_at)?;
        line = next;
    }
    if line == end - 2 && bytes.get(line..end) == Some(b"\r\n") { Ok(()) } else { Err(line_end(side)) }
}

fn is_line_end(gap: Option<&[u8]>) -> bool {
    match gap {
        Some(b"\r\n") => true,
        Some([space @ .., b'\r', b'\n']) => space.iter().all(|byte| matches!(byte, b' ' | b'\t')),
        _ => false,
    }
}

/// Offset of `part`, which is a part of `bytes`.
pub(super) fn offset(bytes: &[u8], part: &[u8]) -> usize {
    part.as_ptr().addr().wrapping_sub(bytes.as_ptr().addr())
}

/// What `httparse` does not take.
pub(super) fn of_error(error: Error, side: Side) -> Refusal {
    let reason = fault(side);
    match error {
        Error::TooManyHeaders => too_large(side),
        Error::Version => {
            let refusal =
                Refusal::fatal(reason, "a version other than HTTP/1.0 and HTTP/1.1").of(Fault::Version);
            if side == Side::Client { refusal.with_status(505) } else { refusal }
        }
        Error::HeaderName => {
            Refusal::fatal(reason, "a field name that is no token, or whitespace around it (RFC 9112, 5.1)")
        }
        Error::HeaderValue => {
            Refusal::fatal(reason, "a control character in a field (RFC 9110, 5.5), or a CR without LF")
        }
        Error::NewLine => line_end(side),
        Error::Status => Refusal::fatal(reason, "a status that is not three digits (RFC 9112, 4)"),
        Error::Token => Refusal::fatal(reason, "a start line that is none of HTTP/1 (RFC 9112, 3)"),
    }
}

pub(super) fn too_large(side: Side) -> Refusal {
    match side {
        Side::Client => {
            Refusal::fatal(LocalReason::TooLarge, "a head that passes the limits on bytes or fields")
                .of(Fault::HeadSize)
                .with_status(431)
        }
        Side::Upstream => Refusal::fatal(LocalReason::BadResponse, "a head that passes the limits"),
    }
}

pub(super) const fn line_end(side: Side) -> Refusal {
    Refusal::fatal(fault(side), "a line that does not end with CRLF (RFC 9112, 2.2)")
}

pub(super) const fn fault(side: Side) -> LocalReason {
    match side {
        Side::Client => LocalReason::BadRequest,
        Side::Upstream => LocalReason::BadResponse,
    }
}
