//! A frame to a neutral head.

use super::super::{
    Body, Decoded, Fault, Head, IdPlace, Keys, Kind, Limits, LocalReason, Refusal, Session, Side, Span,
    Status, Timeout,
};
use super::{Notes, known, refusal, status, variant_of};
use crate::wire::bolt::{self, BoltError, Frame, FrameLimits, Headers, Parsed, command};

pub(super) fn decode(session: &Session, bytes: &[u8]) -> Result<Decoded, Refusal> {
    read(session, bytes, true)
}

/// As far as it is there, without its checksum.
pub(super) fn glimpse(session: &Session, bytes: &[u8]) -> Option<Head> {
    match read(session, bytes, false) {
        Ok(Decoded::Head(head)) => Some(head),
        Ok(Decoded::More(_)) | Err(_) => None,
    }
}

fn read(session: &Session, bytes: &[u8], sure: bool) -> Result<Decoded, Refusal> {
    let Limits { head: most_head, body, whole: most, .. } = session.limits;
    // A client's frame that is too long is passed over; an endpoint's ends its connection.
    let max_frame = if session.side == Side::Client { usize::MAX } else { most };
    let head = match bolt::Head::parse(bytes, FrameLimits { max_frame }) {
        Ok(Parsed::More(need)) => return Ok(Decoded::More(need)),
        Ok(Parsed::Head(head)) => head,
        Err(error) => return Err(of_error(error, session.side)),
    };
    let refuse = |reason, what| {
        let response = matches!(head.kind, bolt::Kind::Response { .. });
        let asked = if response { None } else { Some(Notes::from_head(&head)) };
        Refusal { asked, skip: head.total_len() as u64, ..refusal(reason, what) }
    };
    if !known(&head) {
        return Err(refuse(fault(session.side), "bolt: command code that its kind of frame does not have"));
    }
    if u64::from(head.content_len) > body || head.total_len() > most {
        return Err(refuse(LocalReason::TooLarge, "bolt: the frame passes the limit on whole messages"));
    }
    if head.content_at() > most_head {
        return Err(refuse(LocalReason::TooLarge, "bolt: class name and header map pass the limit on heads")
            .of(Fault::HeadSize));
    }
    let data = head.command == command::REQUEST || head.command == command::RESPONSE;
    let whole = sure && (head.version.has_crc() || !data);
    let need = if whole { head.total_len() } else { head.content_at() };
    if bytes.len() < need {
        return Ok(Decoded::More(need));
    }
    if whole && Frame::new(head, bytes).and_then(|frame| frame.check_crc()).is_err() {
        // The lengths that were read may be what changed on the way.
        return Err(refusal(fault(session.side), "bolt: the frame's CRC is wrong: bytes changed on the way")
            .of(Fault::Checksum));
    }
    let headers = Span::new(head.headers_at(), usize::from(head.header_len));
    let keys = keys(headers, bytes, session.side)
        .map_err(|what| refuse(fault(session.side), what).of(Fault::Target))?;
    Ok(Decoded::Head(neutral(&head, whole, headers, keys)))
}

fn neutral(head: &bolt::Head, whole: bool, headers: Span, keys: Keys) -> Head {
    let (kind, timeout, status) = match head.kind {
        _ if head.is_heartbeat() => (Kind::Heartbeat, Timeout::Unset, Status::default()),
        bolt::Kind::Response { status } => {
            let kind = if head.is_heartbeat_reply() { Kind::HeartbeatReply } else { Kind::Response };
            (kind, Timeout::Unset, Status { wire: u32::from(status), http: status::to_http(status) })
        }
        _ if head.command == command::GOAWAY => (Kind::GoAway, Timeout::Unset, Status::default()),
        bolt::Kind::Request { timeout } => (Kind::Request, timeout_of(timeout), Status::default()),
        bolt::Kind::OneWay { timeout } => (Kind::OneWay, timeout_of(timeout), Status::default()),
    };
    let id = Span::new(head.version.id_at(), 4);
    let left = head.total_len().saturating_sub(head.content_at()) as u64;
    Head {
        kind,
        len: head.content_at(),
        body: if left == 0 { Body::None } else { Body::Length(left) },
        whole,
        id: Some(IdPlace { value: u64::from(head.id), at: id.start, width: 4 }),
        asked: Notes::from_head(head),
        own: 0,
        variant: variant_of(head.version),
        keep: true,
        expects: false,
        timeout,
        status,
        keys,
        headers,
    }
}

/// Service and method. `service` goes before `sofa_head_target_service`, which says the same in frames of SOFARPC. A
/// client that says one of these twice, with two values, is refused: a Java peer uses the last, MOSN the first.
fn keys(headers: Span, bytes: &[u8], side: Side) -> Result<Keys, &'static str> {
    let map = headers.of(bytes);
    let mut keys = Keys::default();
    let (mut service, mut target, mut method) = (None, None, None);
    for pair in Headers::new(map) {
        let (name, value) = pair.map_err(|_| "bolt: the header map's lengths do not add up to its size")?;
        let place = match name {
            b"service" => &mut service,
            b"sofa_head_target_service" => &mut target,
            b"sofa_head_method_name" => &mut method,
            _ => continue,
        };
        if place.replace(value).is_some_and(|before: &[u8]| before != value) && side == Side::Client {
            return Err("bolt: a header that routes the message is there twice, with two values");
        }
    }
    let span = |value: Option<&[u8]>| {
        let value = value.filter(|value| !value.is_empty())?;
        let inside = value.as_ptr().addr().wrapping_sub(map.as_ptr().addr());
        Some(Span::new((headers.start as usize).wrapping_add(inside), value.len()))
    };
    keys.service = span(service).or_else(|| span(target)).unwrap_or_default();
    keys.method = span(method).unwrap_or_default();
    Ok(keys)
}

/// Negative: for ever. 0: not said.
fn timeout_of(millis: i32) -> Timeout {
    match u32::try_from(millis) {
        Ok(0) => Timeout::Unset,
        Ok(millis) => Timeout::Millis(millis),
        Err(_) => Timeout::Never,
    }
}

const fn fault(side: Side) -> LocalReason {
    match side {
        Side::Client => LocalReason::BadRequest,
        Side::Upstream => LocalReason::BadResponse,
    }
}

fn of_error(error: BoltError, side: Side) -> Refusal {
    let kind = match error {
        BoltError::Version(_) => Fault::Version,
        BoltError::Negative(_) => Fault::Framing,
        _ => Fault::Syntax,
    };
    let what = match error {
        BoltError::TooLong { .. } => {
            return refusal(LocalReason::TooLarge, "bolt: the frame passes the limit on whole messages");
        }
        BoltError::Protocol(_) => "bolt: a frame begins with protocol 1 or 2",
        BoltError::Version(_) => "bolt: protocol 2 has version 1 or 2",
        BoltError::Kind(_) => "bolt: a frame is of kind 0, 1 or 2",
        BoltError::Negative(_) => "bolt: a negative length",
        BoltError::Overflow(_) | BoltError::HeaderMap | BoltError::Crc { .. } | BoltError::Short { .. } => {
            "bolt: broken frame"
        }
    };
    refusal(fault(side), what).of(kind)
}
