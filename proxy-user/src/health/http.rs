//! A request, and whether the head of what comes back is a good answer. No sockets.

use std::net::SocketAddr;

use super::stats::Outcome;

/// Longest head of an answer, bytes, interim answers before it counted.
pub(super) const MAX_HEAD: usize = 8 << 10;
/// Most header fields of a head.
const MAX_FIELDS: usize = 128;

/// The request, whole.
pub(super) fn request(addr: SocketAddr, path: &str, host: Option<&str>) -> Vec<u8> {
    let own;
    let host = match host {
        Some(host) => host,
        None => {
            own = if addr.port() == 80 { bare(addr) } else { addr.to_string() };
            &own
        }
    };
    format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: weir-health/{}\r\nAccept: */*\r\nConnection: close\r\n\r\n",
        env!("CARGO_PKG_VERSION")
    )
    .into_bytes()
}

/// What the bytes that have come so far are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Head {
    /// Not whole yet.
    More,
    /// A good status.
    Good(u16),
    /// Another status.
    Other(u16),
    /// No answer that can be understood.
    Garbled(String),
}

/// Reads the head in `bytes`, the answer from its first byte on. Interim answers (1xx) are passed over.
pub(super) fn head(mut bytes: &[u8], good: &[(u16, u16)]) -> Head {
    let all = bytes.len();
    loop {
        let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
        let mut answer = httparse::Response::new(&mut fields);
        let length = match answer.parse(bytes) {
            Ok(httparse::Status::Complete(length)) => length,
            Ok(httparse::Status::Partial) if all >= MAX_HEAD => {
                return Head::Garbled(format!("the head of the answer is longer than {MAX_HEAD} bytes"));
            }
            Ok(httparse::Status::Partial) => return Head::More,
            Err(error) => return Head::Garbled(format!("the answer is not HTTP/1: {error}")),
        };
        match answer.code {
            Some(code @ 200..) if good.iter().any(|(from, to)| (*from..=*to).contains(&code)) => {
                return Head::Good(code);
            }
            // 101 is the last that is said in HTTP.
            Some(code @ (101 | 200..)) => return Head::Other(code),
            _ => bytes = bytes.get(length..).unwrap_or_default(),
        }
    }
}

/// What a head says of the backend; none while it is not whole.
pub(super) fn judged(head: Head, good: &[(u16, u16)]) -> Option<(Outcome, String)> {
    match head {
        Head::More => None,
        Head::Good(code) => Some((Outcome::Good, format!("HTTP {code}"))),
        Head::Other(code) => Some((Outcome::Status, format!("HTTP {code}, wanted {}", wanted(good)))),
        Head::Garbled(why) => Some((Outcome::Garbled, why)),
    }
}

/// What is wrong with a path for [`crate::model::Probe::Http`].
pub fn path_problem(path: &str) -> Option<&'static str> {
    if !path.starts_with('/') {
        return Some("it does not begin with `/`");
    }
    if path.len() > 1024 {
        return Some("it is longer than 1024 bytes");
    }
    let plain = path.bytes().all(|b| b.is_ascii_graphic() && b != b'#');
    (!plain).then_some("it has blanks, `#` or characters beyond ASCII: write them as %XX")
}

/// What is wrong with a Host header for [`crate::model::Probe::Http`].
pub fn host_problem(host: &str) -> Option<&'static str> {
    if host.is_empty() || host.len() > 255 {
        return Some("it has to have 1 to 255 bytes");
    }
    let plain = host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._:[]".contains(&b));
    (!plain).then_some("it has characters that a host name, address or port does not have")
}

/// For fuzzing: whatever the bytes are, an answer is judged without panic, and alike however it is cut.
pub fn fuzz(data: &[u8]) {
    let good = [(200, 299)];
    let whole = head(data, &good);
    let half = head(data.get(..data.len() / 2).unwrap_or_default(), &good);
    assert!(half == Head::More || half == whole || data.len() > MAX_HEAD, "{half:?}, later {whole:?}");
}

fn bare(addr: SocketAddr) -> String {
    match addr {
        SocketAddr::V4(v4) => v4.ip().to_string(),
        SocketAddr::V6(v6) => format!("[{}]", v6.ip()),
    }
}

fn wanted(good: &[(u16, u16)]) -> String {
    let range = |&(from, to): &(u16, u16)| if from == to { from.to_string() } else { format!("{from}-{to}") };
    good.iter().map(range).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const GOOD: [(u16, u16); 2] = [(200, 299), (404, 404)];

    #[test]
    fn requests_name_the_host() {
        let text =
            |addr: &str, host| String::from_utf8(request(addr.parse().unwrap(), "/h?x=1", host)).unwrap();
        let own = text("10.0.0.1:8080", None);
        assert!(
            own.starts_with("GET /h?x=1 HTTP/1.1\r\nHost: 10.0.0.1:8080\r\n") && own.ends_with("\r\n\r\n")
        );
        assert!(text("[2001:db8::1]:80", None).contains("Host: [2001:db8::1]\r\n"));
        assert!(text("10.0.0.1:80", Some("a.example")).contains("Host: a.example\r\n"));
    }

    #[test]
    fn heads_are_judged() {
        let at = |text: &str| judged(head(text.as_bytes(), &GOOD), &GOOD);
        assert_eq!(at("HTTP/1.1 200 OK\r\n\r\nbody"), Some((Outcome::Good, "HTTP 200".to_owned())));
        assert_eq!(at("HTTP/1.0 404 No\r\na: b\r\n\r\n"), Some((Outcome::Good, "HTTP 404".to_owned())));
        let wanted = "HTTP 503, wanted 200-299, 404".to_owned();
        assert_eq!(at("HTTP/1.1 503 \r\n\r\n"), Some((Outcome::Status, wanted)));
        assert_eq!(at("HTTP/1.1 200 OK\r\na: b\r\n"), None);
        assert_eq!(at("HTTP/1.1 103 Hints\r\n\r\nHTTP/1.1 2"), None);
        assert_eq!(at("HTTP/1.1 100 Go\r\n\r\nHTTP/1.1 204 N\r\n\r\n").unwrap().0, Outcome::Good);
        assert_eq!(at("HTTP/1.1 101 Switch\r\n\r\n").unwrap().0, Outcome::Status);
        for garbled in
            ["SSH-2.0-OpenSSH\r\n", "\x15\x03\x01\0\x02", "HTTP/2 200\r\n\r\n", "HTTP/1.1 99999 x\r\n\r\n"]
        {
            assert_eq!(at(garbled).unwrap().0, Outcome::Garbled, "{garbled:?}");
        }
        let long = format!("HTTP/1.1 200 OK\r\na: {}", "x".repeat(MAX_HEAD));
        assert_eq!(at(&long).unwrap().0, Outcome::Garbled);
    }

    #[test]
    fn paths_and_hosts_that_could_smuggle_are_refused() {
        assert_eq!((path_problem("/a?b=c%20"), host_problem("[::1]:80")), (None, None));
        for path in ["", "a", "/a b", "/a\r\nX: y", "/ü", "/a#b"] {
            assert!(path_problem(path).is_some(), "{path:?}");
        }
        for host in ["", "a b", "a\r\n", "a/b", "ü"] {
            assert!(host_problem(host).is_some(), "{host:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes(data in proptest::collection::vec(any::<u8>(), 0..600)) {
            fuzz(&data);
        }

        #[test]
        fn any_almost_heads(text in "HTTP/1\\.[01] [0-9]{3} [a-z]{0,4}\r\n([a-z]{1,3}: ?[a-z]{0,3}\r\n){0,3}(\r\n)?.{0,9}") {
            fuzz(text.as_bytes());
        }
    }
}
