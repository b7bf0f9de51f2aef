//! A request in words becomes bytes, and these a head: what is decided on is what a worker would decide on.

use crate::control::types::{L7Header, L7Query, L7Request};
use crate::l7::codec::bolt::Bolt;
use crate::l7::codec::http1::Http1;
use crate::l7::codec::{self, Codec, Decoded, Detection, Head, Refusal, Session, Side};
use crate::l7::snapshot::Service;
use crate::wire::bolt;

use super::L7ExplainError;

/// A request as its client would send it.
#[derive(Clone)]
pub(super) struct Asked {
    pub(super) codec: &'static dyn Codec,
    pub(super) message: Vec<u8>,
    /// Host with port, as the URL has it.
    pub(super) authority: String,
}

impl Asked {
    pub(super) fn of(query: &L7Query) -> Result<Self, L7ExplainError> {
        let texts = query.headers.iter().flat_map(|header| [&header.name, &header.value]);
        for text in texts.chain(query.request.texts()) {
            if text.chars().any(char::is_control) {
                return Err(L7ExplainError::Control(text.clone()));
            }
        }
        match &query.request {
            L7Request::Http { method, url } => http(method, url, &query.headers),
            L7Request::Bolt { service, method } => bolt(service, method, &query.headers),
        }
    }

    /// The head that a worker finds.
    pub(super) fn decode(&self, service: &Service) -> Result<Head, Refusal> {
        let mut session = Session::new(Side::Client, service.codec_limits());
        match self.codec.decode(&mut session, &self.message) {
            Ok(Decoded::Head(head)) => Ok(head),
            Ok(Decoded::More(_)) => Err(Refusal::fatal(
                codec::LocalReason::BadRequest,
                "the request is not complete as it stands: weir would wait for the rest",
            )),
            Err(refusal) => Err(refusal),
        }
    }
}

/// What a service takes the request for that speaks several protocols.
pub(super) enum Detected {
    /// One codec is all that it has.
    Nothing,
    /// It is this one.
    Is(&'static dyn Codec),
    /// No codec has it.
    Unknown,
}

impl Asked {
    /// What its first bytes are taken for.
    pub(super) fn detect(&self, service: &Service) -> Detected {
        let names = &service.rules.detect;
        let candidates: Vec<_> = names.iter().filter_map(|name| codec::by_name(name)).collect();
        if candidates.is_empty() {
            return Detected::Nothing;
        }
        match codec::detect(&candidates, &self.message) {
            Detection::Is(found) => Detected::Is(found),
            // Nothing follows.
            Detection::More | Detection::Unknown => Detected::Unknown,
        }
    }
}

impl L7Request {
    fn texts(&self) -> [&String; 2] {
        match self {
            Self::Http { method, url } => [method, url],
            Self::Bolt { service, method } => [service, method],
        }
    }
}

fn http(method: &str, url: &str, headers: &[L7Header]) -> Result<Asked, L7ExplainError> {
    let wrong = || L7ExplainError::Url(url.to_owned());
    let rest = url.strip_prefix("http://").ok_or_else(wrong)?;
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, target) = rest.split_at_checked(end).ok_or_else(wrong)?;
    let target = target.split('#').next().unwrap_or_default();
    if authority.is_empty() || method.is_empty() || url.contains(' ') || method.contains(' ') {
        return Err(wrong());
    }
    let slash = if target.starts_with('/') { "" } else { "/" };
    let mut message = format!("{method} {slash}{target} HTTP/1.1\r\n");
    if !headers.iter().any(|header| header.name.eq_ignore_ascii_case("host")) {
        message.push_str(&format!("host: {authority}\r\n"));
    }
    for L7Header { name, value } in headers {
        message.push_str(&format!("{name}: {value}\r\n"));
    }
    message.push_str("\r\n");
    Ok(Asked { codec: &Http1, message: message.into_bytes(), authority: authority.to_owned() })
}

/// As SOFARPC 5 sends it.
fn bolt(service: &str, method: &str, headers: &[L7Header]) -> Result<Asked, L7ExplainError> {
    let mut map = Vec::new();
    let own =
        [("service", service), ("sofa_head_target_service", service), ("sofa_head_method_name", method)];
    let more = headers.iter().map(|header| (header.name.as_str(), header.value.as_str()));
    let mut message = Vec::new();
    let head = bolt::Head {
        version: bolt::Version::V1,
        kind: bolt::Kind::Request { timeout: 0 },
        command: bolt::command::REQUEST,
        ver2: 1,
        id: 1,
        codec: bolt::codec::HESSIAN2,
        class_len: 0,
        header_len: 0,
        content_len: 0,
    };
    own.into_iter()
        .chain(more)
        .try_for_each(|(name, value)| bolt::put_header(name.as_bytes(), value.as_bytes(), &mut map))
        .and_then(|()| bolt::encode(&head, CLASS, &map, b"", &mut message))
        .map_err(|error| L7ExplainError::Long(error.to_string()))?;
    Ok(Asked { codec: &Bolt, message, authority: String::new() })
}

const CLASS: &[u8] = b"com.alipay.sofa.rpc.core.request.SofaRequest";
