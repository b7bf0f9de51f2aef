//! The access log's lines: one JSON object for one of so many requests and tunnels. Queries and headers are not in it, since
//! they carry secrets.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};

use crate::l7::codec::{Fault, Head, LocalReason};

/// Longest line, with its end: a pipe takes so much as one, whoever else writes to it.
pub(super) const LONGEST: usize = 4096;

/// What is known of a request, a connection or a tunnel when it begins: the front of its line.
#[derive(Clone, Debug)]
pub(super) struct Line {
    text: String,
    /// Names of fields whose end is left out.
    cut: String,
}

/// Who it is that asks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Who<'a> {
    pub(super) service: &'a str,
    /// Empty: not known yet.
    pub(super) protocol: &'a str,
    pub(super) peer: SocketAddr,
    /// As access lists see it: behind trusted hops what their header says. `None`: it says nothing that can be read.
    pub(super) client: Option<IpAddr>,
}

/// How it ended.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Ended<'a> {
    /// 0: there was no answer that has one.
    pub(super) status: u16,
    /// Why weir ended it itself.
    pub(super) reason: Option<LocalReason>,
    pub(super) route: &'a str,
    pub(super) endpoint: Option<SocketAddr>,
    pub(super) micros: u64,
    pub(super) tries: u8,
    /// Bytes from the client, and to it.
    pub(super) up: u64,
    pub(super) down: u64,
}

impl Line {
    /// A connection's line, which has no request.
    pub(super) fn of_connection(who: &Who<'_>) -> Box<Self> {
        let mut line = Self { text: String::with_capacity(512), cut: String::new() };
        // Writing to memory does not fail.
        let _ = write!(line.text, "{{\"timestamp\":\"{:.6}\"", jiff::Timestamp::now());
        line.field("service", who.service.as_bytes(), NAME);
        line.field("protocol", who.protocol.as_bytes(), NAME);
        if let Some(client) = who.client {
            let _ = write!(line.text, ",\"client\":\"{client}\"");
        }
        let _ = write!(line.text, ",\"peer\":\"{}\"", who.peer);
        Box::new(line)
    }

    /// A request's.
    pub(super) fn of_request(who: &Who<'_>, head: &Head, message: &[u8]) -> Box<Self> {
        let mut line = Self::of_connection(who);
        // A host that is longer is not taken.
        line.field("host", head.keys.host.of(message), NAME);
        line.field("method", head.keys.method.of(message), TEXT);
        line.field("path", head.keys.path.of(message), PATH);
        line.field("rpc_service", head.keys.service.of(message), TEXT);
        line
    }

    /// What is wrong with bytes that were not taken, if they are to blame.
    pub(super) fn refused(&mut self, fault: Option<Fault>, what: &str) {
        if let Some(fault) = fault {
            self.field("refused", fault.label().as_bytes(), WHAT);
            self.field("detail", what.as_bytes(), WHAT);
        }
    }

    /// Its end. The whole line, which is at most [`LONGEST`] with the line's end that it has.
    pub(super) fn end(&self, ended: &Ended<'_>) -> String {
        let mut line = self.clone();
        if ended.status != 0 {
            let _ = write!(line.text, ",\"status\":{}", ended.status);
        }
        if let Some(reason) = ended.reason {
            let _ = write!(line.text, ",\"reason\":\"{}\"", reason.label());
        }
        line.field("route", ended.route.as_bytes(), TEXT);
        if let Some(endpoint) = ended.endpoint {
            let _ = write!(line.text, ",\"endpoint\":\"{endpoint}\"");
        }
        let Ended { up, down, micros, tries, .. } = ended;
        let _ = write!(
            line.text,
            ",\"bytes_up\":{up},\"bytes_down\":{down},\"duration_us\":{micros},\"tries\":{tries}"
        );
        if !line.cut.is_empty() {
            let _ = write!(line.text, ",\"truncated\":[{}]", line.cut);
        }
        line.text.push_str("}\n");
        line.text
    }

    /// A field with what a client may have made up: at most so many bytes of it as it is written. All but plain ASCII is
    /// escaped, so that a line says nothing to a terminal.
    fn field(&mut self, name: &str, value: &[u8], most: usize) {
        if value.is_empty() {
            return;
        }
        let _ = write!(self.text, ",\"{name}\":\"");
        let end = self.text.len() + most;
        for chunk in value.utf8_chunks() {
            let bad = (!chunk.invalid().is_empty()).then_some(char::REPLACEMENT_CHARACTER);
            for one in chunk.valid().chars().chain(bad) {
                // The longest is two escapes of six.
                if self.text.len() + 12 > end {
                    self.text.push('"');
                    let comma = if self.cut.is_empty() { "" } else { "," };
                    let _ = write!(self.cut, "{comma}\"{name}\"");
                    return;
                }
                match one {
                    '"' | '\\' => self.text.extend(['\\', one]),
                    ' '..='~' => self.text.push(one),
                    _ => {
                        for unit in one.encode_utf16(&mut [0; 2]) {
                            let _ = write!(self.text, "\\u{unit:04x}");
                        }
                    }
                }
            }
        }
        self.text.push('"');
    }
}

/// Bytes of a name, of other text, and of a path, as they are written. All together, with what has a length of its own, they
/// are less than [`LONGEST`].
const NAME: usize = 272;
const TEXT: usize = 512;
const WHAT: usize = 160;
const PATH: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::l7::codec::{Codec as _, Decoded, Limits, Session, Side, http1::Http1};

    fn head(request: &[u8]) -> Head {
        match Http1.decode(&mut Session::new(Side::Client, Limits::default()), request) {
            Ok(Decoded::Head(head)) => head,
            other => panic!("{other:?}"),
        }
    }

    fn who(service: &str) -> Who<'_> {
        let peer: SocketAddr = "[ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255]:65535".parse().unwrap();
        Who { service, protocol: "http1", peer, client: Some(peer.ip()) }
    }

    #[test]
    fn a_line_is_json_and_says_what_was_asked() {
        let request = b"GET /a/b?token=secret HTTP/1.1\r\nHost: shop:80\r\nAuthorization: secret\r\n\r\n";
        let line = Line::of_request(&who("web"), &head(request), request);
        let endpoint = Some("10.0.0.1:80".parse().unwrap());
        let ended =
            Ended { status: 200, route: "h/r", endpoint, micros: 5, tries: 1, up: 7, down: 9, reason: None };
        let line = line.end(&ended);
        assert!(!line.contains("secret") && line.ends_with("}\n"), "{line}");
        let object: serde_json::Value = serde_json::from_str(&line).unwrap();
        for (name, value) in [
            ("service", "web"),
            ("protocol", "http1"),
            ("host", "shop:80"),
            ("method", "GET"),
            ("path", "/a/b"),
            ("route", "h/r"),
            ("endpoint", "10.0.0.1:80"),
        ] {
            assert_eq!(object[name], value, "{line}");
        }
        for (name, value) in
            [("status", 200), ("bytes_up", 7), ("bytes_down", 9), ("duration_us", 5), ("tries", 1)]
        {
            assert_eq!(object[name], value, "{line}");
        }
        assert!(object["timestamp"].as_str().unwrap().parse::<jiff::Timestamp>().is_ok());
        assert!(object.get("reason").is_none() && object.get("truncated").is_none());
    }

    #[test]
    fn hostile_bytes_are_escaped_and_no_line_is_too_long() {
        let longest = "\u{1F600}\u{1}\"\\".repeat(1000);
        for bytes in
            [longest.as_bytes(), &[0xff; 5000], &[b'a'; 5000], &[1; 5000], b"\x1b[2J\xe2\x80\xae\xc2\x85"]
        {
            let mut line = Line::of_connection(&who(&longest));
            line.field("host", bytes, NAME);
            for name in ["method", "rpc_service"] {
                line.field(name, bytes, TEXT);
            }
            line.field("path", bytes, PATH);
            line.refused(Some(Fault::HeadSize), &longest);
            let route = String::from_utf8_lossy(bytes);
            let ended = Ended {
                status: 65535,
                reason: Some(LocalReason::QueueTimeout),
                route: &route,
                endpoint: Some(who("").peer),
                micros: u64::MAX,
                tries: u8::MAX,
                up: u64::MAX,
                down: u64::MAX,
            };
            let line = line.end(&ended);
            assert!(line.len() <= LONGEST, "{} bytes", line.len());
            let inner = line.strip_suffix('\n').unwrap();
            assert!(inner.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{inner}");
            let object: serde_json::Value = serde_json::from_str(inner).unwrap();
            assert_eq!(object["truncated"].as_array().is_some_and(|cut| cut.len() >= 4), bytes.len() >= 1000);
        }
    }
}
