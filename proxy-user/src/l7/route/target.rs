//! What a route makes of a request's target: for the upstream, or for the client that is sent elsewhere.

use std::io::Write as _;

use super::matches::Asking;
use crate::l7::codec::{Fault, LocalReason, PathEdit, Refusal};
use crate::l7::snapshot::{Location, PathChange, Rewrite, Route, Scheme, TextMatch};

/// Another path, compiled.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Path {
    /// Bytes of the prefix that it takes the place of; none: of all.
    front: Option<usize>,
    with: String,
}

impl Path {
    fn of(route: &Route) -> Option<Self> {
        Some(match route.path_change()? {
            PathChange::Whole(with) => Self { front: None, with: with.clone() },
            PathChange::Prefix(with) => {
                let front = match &route.matches.path {
                    Some(TextMatch::Prefix(prefix)) => prefix.trim_end_matches('/').len(),
                    // Refused with the snapshot.
                    _ => 0,
                };
                Self { front: Some(front), with: with.trim_end_matches('/').to_owned() }
            }
        })
    }

    fn edit(&self) -> PathEdit<'_> {
        match self.front {
            Some(front) => PathEdit::Front(front, self.with.as_bytes()),
            None => PathEdit::Whole(self.with.as_bytes()),
        }
    }
}

/// What an upstream gets instead of path and host.
#[derive(Debug)]
pub struct Rewriting {
    path: Option<Path>,
    host: Option<String>,
}

impl Rewriting {
    /// Of a route; `None`: it changes nothing.
    pub(super) fn of(route: &Route) -> Option<Self> {
        let Rewrite { path, host } = &route.rewrite;
        let changes = path.is_some() || host.is_some();
        changes.then(|| Self { path: Path::of(route), host: host.clone() })
    }

    /// The path.
    #[must_use]
    pub fn path(&self) -> PathEdit<'_> {
        self.path.as_ref().map_or(PathEdit::Keep, Path::edit)
    }

    /// The host.
    #[must_use]
    pub fn host(&self) -> Option<&[u8]> {
        self.host.as_deref().map(str::as_bytes)
    }

    /// Whether the head is within its bound (bytes) with the other path and host, too.
    ///
    /// # Errors
    /// What the client is told where it is not.
    pub fn fits(&self, asking: &Asking<'_>, bound: usize) -> Result<(), Refusal> {
        if self.head_len(asking) <= bound {
            return Ok(());
        }
        let why = "a target that its route makes too long";
        let refusal = Refusal::fatal(LocalReason::TooLarge, why).of(Fault::Target).with_status(414);
        Err(Refusal { asked: Some(asking.head.asked), ..refusal })
    }

    /// Bytes of the head as it was sent, but with the other path and host.
    fn head_len(&self, asking: &Asking<'_>) -> usize {
        let keys = &asking.head.keys;
        let (path, host) = (keys.path.of(asking.message), keys.host.of(asking.message));
        let (front, rest) = self.path().parts(path);
        let new = front.len() + rest.len() + self.host().unwrap_or(host).len();
        (asking.head.len + new).saturating_sub(path.len() + host.len())
    }
}

/// Where a client is sent.
#[derive(Debug)]
pub enum Elsewhere {
    /// There.
    Fixed(String),
    /// To other parts of the URL that it has asked for.
    Url(OtherUrl),
}

/// Other parts of a URL.
#[derive(Debug)]
pub struct OtherUrl {
    scheme: Option<Scheme>,
    host: Option<String>,
    port: Option<u16>,
    path: Option<Path>,
}

impl Elsewhere {
    pub(super) fn of(route: &Route, location: &Location) -> Self {
        match location {
            Location::Fixed(location) => Self::Fixed(location.clone()),
            Location::Url(url) => Self::Url(OtherUrl {
                scheme: url.scheme,
                host: url.host.clone(),
                // The scheme's own need not be said.
                port: url.port.filter(|port| url.scheme.is_none_or(|scheme| scheme.port() != *port)),
                path: Path::of(route),
            }),
        }
    }

    /// The value of `Location`, made in `room` if it must be made. `None`: it has the request's host, and the request has none.
    ///
    /// What comes from the request was checked with its head: its host is a host, and its path has no blank and no control
    /// character. Behind no host, the path begins with one slash, or it would be another's host.
    pub fn location<'a>(&'a self, asking: &Asking<'_>, room: &'a mut Vec<u8>) -> Option<&'a [u8]> {
        let url = match self {
            Self::Fixed(location) => return Some(location.as_bytes()),
            Self::Url(url) => url,
        };
        if let Some(scheme) = url.scheme {
            room.extend_from_slice(scheme.name().as_bytes());
            room.push(b':');
        }
        if url.scheme.is_some() || url.host.is_some() || url.port.is_some() {
            let sent = asking.head.keys.host.of(asking.message);
            let host = url.host.as_ref().map_or(without_port(sent), |host| host.as_bytes());
            if host.is_empty() {
                return None;
            }
            room.extend_from_slice(b"//");
            room.extend_from_slice(host);
            if let Some(port) = url.port {
                // Writing to memory does not fail.
                let _ = write!(room, ":{port}");
            }
        }
        let keys = &asking.head.keys;
        let path = keys.path.of(asking.message);
        // The asterisk of `OPTIONS` stands for the server, which a URL without a path does (RFC 9112, 3.2.4).
        let path = if path == b"*" { b"" } else { path };
        let (front, rest) = url.path.as_ref().map_or(PathEdit::Keep, Path::edit).parts(path);
        room.extend_from_slice(front);
        room.extend_from_slice(rest);
        if keys.query.start != 0 {
            room.push(b'?');
            room.extend_from_slice(keys.query.of(asking.message));
        }
        Some(room)
    }
}

/// A host that is one, without its port; an IPv6 address in its brackets.
fn without_port(host: &[u8]) -> &[u8] {
    let end = match host.first() {
        Some(b'[') => host.iter().position(|byte| *byte == b']').map(|end| end + 1),
        _ => host.iter().position(|byte| *byte == b':'),
    };
    end.and_then(|end| host.get(..end)).unwrap_or(host)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::l7::codec::{Codec as _, Decoded, Edits, Limits, Refusal, Session, Side, http1::Http1};
    use crate::l7::snapshot::{Action, Matches, Url};

    fn decode(request: &str) -> Result<crate::l7::codec::Head, Refusal> {
        match Http1.decode(&mut Session::new(Side::Client, Limits::default()), request.as_bytes())? {
            Decoded::Head(head) => Ok(head),
            Decoded::More(_) => panic!("more wanted of {request:?}"),
        }
    }

    fn with<R>(request: &str, then: impl FnOnce(&Asking<'_>) -> R) -> R {
        let head = decode(request).unwrap();
        let peer = "10.1.2.3".parse().unwrap();
        then(&Asking { codec: &Http1, head: &head, message: request.as_bytes(), peer })
    }

    fn prefix(matched: &str) -> Matches {
        Matches { path: Some(TextMatch::Prefix(matched.into())), ..Matches::default() }
    }

    fn forwarded(route: &Route, request: &str) -> (String, usize) {
        let rewriting = Rewriting::of(route).unwrap();
        with(request, |asking| {
            let edits = Edits { path: rewriting.path(), host: rewriting.host(), ..Edits::default() };
            let mut out = Vec::new();
            Http1.forward(asking.message, asking.head, &edits, &mut out).unwrap();
            (String::from_utf8(out).unwrap(), rewriting.head_len(asking))
        })
    }

    /// The table of the Gateway API for `ReplacePrefixMatch`, and more.
    #[test]
    fn a_prefix_is_replaced_up_to_the_end_of_a_segment() {
        for (path, matched, with, wanted) in [
            ("/foo/bar", "/foo", "/xyz", "/xyz/bar"),
            ("/foo/bar", "/foo", "/xyz/", "/xyz/bar"),
            ("/foo/bar", "/foo/", "/xyz", "/xyz/bar"),
            ("/foo/bar", "/foo/", "/xyz/", "/xyz/bar"),
            ("/foo", "/foo", "/xyz", "/xyz"),
            ("/foo", "/foo", "/xyz/", "/xyz"),
            ("/foo/", "/foo", "/xyz", "/xyz/"),
            ("/foo/", "/foo/", "/xyz", "/xyz/"),
            ("/foo/bar", "/foo", "", "/bar"),
            ("/foo/", "/foo", "", "/"),
            ("/foo", "/foo", "", "/"),
            ("/foo/", "/foo", "/", "/"),
            ("/foo", "/foo", "/", "/"),
            ("/foo/bar", "/", "/v2", "/v2/foo/bar"),
            ("/", "/", "/v2", "/v2/"),
            ("/", "/", "", "/"),
            ("/foo/a%20b;c=%C3%A9/", "/foo", "/%20", "/%20/a%20b;c=%C3%A9/"),
            ("/foo/foo", "/foo", "", "/foo"),
        ] {
            let rewrite = Rewrite { path: Some(PathChange::Prefix(with.into())), host: None };
            let route = Route { matches: prefix(matched), rewrite, ..Route::default() };
            for query in ["", "?", "?a=/foo&b"] {
                let request = format!("GET {path}{query} HTTP/1.1\r\nHost: h\r\nA: /foo\r\n\r\n");
                let wanted = format!("GET {wanted}{query} HTTP/1.1\r\nHost: h\r\nA: /foo\r\n\r\n");
                let (found, len) = forwarded(&route, &request);
                assert_eq!(found, wanted, "{path} {matched} {with}");
                assert_eq!(len, wanted.len(), "{path} {matched} {with}");
                let again = decode(&found).unwrap();
                assert!(!again.keys.path_is_odd, "{found}");
            }
        }
    }

    #[test]
    fn targets_of_every_form() {
        let rewrite =
            Rewrite { path: Some(PathChange::Whole("/x".into())), host: Some("in.example:81".into()) };
        let route = Route { rewrite, ..Route::default() };
        for (request, wanted) in [
            ("GET /a/b?c HTTP/1.1\r\nHost: out\r\n\r\n", "GET /x?c HTTP/1.1\r\nHost: in.example:81\r\n\r\n"),
            (
                "GET http://out/a?c HTTP/1.1\r\nA: b\r\nHost: OUT\r\n\r\n",
                "GET /x?c HTTP/1.1\r\nHost: in.example:81\r\nA: b\r\n\r\n",
            ),
            (
                "GET http://out HTTP/1.1\r\nHost: out\r\n\r\n",
                "GET /x HTTP/1.1\r\nHost: in.example:81\r\n\r\n",
            ),
            (
                "GET http://out?c HTTP/1.1\r\nHost: out\r\n\r\n",
                "GET /x?c HTTP/1.1\r\nHost: in.example:81\r\n\r\n",
            ),
            ("GET /a HTTP/1.0\r\n\r\n", "GET /x HTTP/1.1\r\nHost: in.example:81\r\n\r\n"),
            ("OPTIONS * HTTP/1.1\r\nHost: out\r\n\r\n", "OPTIONS * HTTP/1.1\r\nHost: in.example:81\r\n\r\n"),
        ] {
            assert_eq!(forwarded(&route, request).0, wanted);
        }
        let tunnel = "CONNECT out:1 HTTP/1.1\r\nHost: out:1\r\n\r\n";
        let mut session = Session::new(Side::Client, Limits { connect: true, ..Limits::default() });
        let Ok(Decoded::Head(head)) = Http1.decode(&mut session, tunnel.as_bytes()) else { panic!() };
        let rewriting = Rewriting::of(&route).unwrap();
        let edits = Edits { path: rewriting.path(), host: rewriting.host(), ..Edits::default() };
        let mut out = Vec::new();
        Http1.forward(tunnel.as_bytes(), &head, &edits, &mut out).unwrap();
        assert_eq!(out, tunnel.as_bytes(), "a tunnel's target is no route's to change");
    }

    fn sent(url: Url, matches: Matches, request: &str) -> Option<String> {
        let action = Action::Redirect { status: 308, location: Location::Url(url) };
        let route = Route { matches, action, ..Route::default() };
        let Action::Redirect { location, .. } = &route.action else { panic!() };
        let elsewhere = Elsewhere::of(&route, location);
        let location = |asking: &Asking<'_>| elsewhere.location(asking, &mut Vec::new()).map(<[u8]>::to_vec);
        with(request, location).map(|location| String::from_utf8(location).unwrap())
    }

    #[test]
    fn a_client_keeps_of_its_url_what_is_not_replaced() {
        let https = || Url { scheme: Some(Scheme::Https), ..Url::default() };
        let whole = |path: &str| Some(PathChange::Whole(path.into()));
        let host = |host: &str| Some(host.to_owned());
        for (url, target, at, wanted) in [
            (https(), "/a/b?c=d", "shop.example", "https://shop.example/a/b?c=d"),
            (https(), "/a", "shop.example:80", "https://shop.example/a"),
            (https(), "/a", "shop.example:8080", "https://shop.example/a"),
            (https(), "/", "[2001:db8::1]:80", "https://[2001:db8::1]/"),
            (https(), "http://shop.example:80?c", "shop.example:80", "https://shop.example/?c"),
            (https(), "//evil.example/..", "h", "https://h//evil.example/.."),
            (https(), "/\\evil.example", "h", "https://h/\\evil.example"),
            (https(), "/@evil.example", "h", "https://h/@evil.example"),
            (Url { port: Some(8443), ..https() }, "/a", "h:80", "https://h:8443/a"),
            (Url { port: Some(443), ..https() }, "/a", "h:80", "https://h/a"),
            (Url { host: host("new.example:1"), ..https() }, "/a", "h", "https://new.example:1/a"),
            (Url { host: host("new.example"), ..Url::default() }, "//a?b", "h:80", "//new.example//a?b"),
            (Url { port: Some(80), ..Url::default() }, "/a", "h:81", "//h:80/a"),
            (Url { path: whole("/x"), ..Url::default() }, "//evil.example?b", "h", "/x?b"),
            (Url { path: whole("/x"), ..https() }, "/a", "h", "https://h/x"),
        ] {
            let request = format!("GET {target} HTTP/1.1\r\nHost: {at}\r\n\r\n");
            assert_eq!(sent(url, Matches::default(), &request).as_deref(), Some(wanted), "{request}");
        }
        let prefix_to = |with: &str| Url { path: Some(PathChange::Prefix(with.into())), ..Url::default() };
        for (matched, with, target, wanted) in [
            ("/old", "/new", "/old/a?b", "/new/a?b"),
            ("/old", "", "/old", "/"),
            ("/old", "", "/old/evil.example", "/evil.example"),
            ("/", "/v2", "/a", "/v2/a"),
        ] {
            let request = format!("GET {target} HTTP/1.1\r\nHost: h\r\n\r\n");
            assert_eq!(
                sent(prefix_to(with), prefix(matched), &request).as_deref(),
                Some(wanted),
                "{request}"
            );
        }
        let asterisk = "OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n";
        assert_eq!(sent(https(), Matches::default(), asterisk).as_deref(), Some("https://h"));
        assert_eq!(sent(https(), Matches::default(), "GET / HTTP/1.0\r\n\r\n"), None, "no host to keep");
    }

    /// What could become a header or another's host in `Location` has no head.
    #[test]
    fn no_location_is_made_of_a_host_that_is_none() {
        for host in [
            "evil.example/x",
            "h@evil.example",
            "h\\evil",
            "h evil",
            "h\tx",
            "h\u{1}",
            "",
            "[::1]x",
            "h:1:2",
            "h%0d%0ax",
            "h?x",
            "h#x",
        ] {
            assert!(decode(&format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n")).is_err(), "{host:?}");
        }
        for target in ["/a\rLocation:x", "/a b", "/a#b", "/\u{7f}", "http://h@evil.example/"] {
            assert!(decode(&format!("GET {target} HTTP/1.1\r\nHost: h\r\n\r\n")).is_err(), "{target:?}");
        }
        assert!(decode("GET http://evil.example/ HTTP/1.1\r\nHost: h\r\n\r\n").is_err());
    }
}
