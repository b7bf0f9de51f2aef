//! Request targets (RFC 9112, 3.2) and hosts.

use super::super::{Fault, Keys, Refusal, Span};

const fn bad(what: &'static str) -> Refusal {
    super::bad(what).of(Fault::Target)
}

/// A target, split. `host` is empty unless the target has one.
pub(super) fn split(method: &[u8], target: &[u8], at: usize) -> Result<Keys, Refusal> {
    if let Some(wrong) = target.iter().find(|byte| !matches!(byte, b'!' | b'"' | b'$'..=b'~')) {
        return Err(if *wrong == b'#' {
            bad("a fragment in the request target (RFC 9112, 3.2)")
        } else {
            bad("a control or non-ASCII character in the request target (RFC 3986, 2)")
        });
    }
    if method == b"CONNECT" {
        let port = target.iter().rposition(|byte| *byte == b':').and_then(|colon| target.get(colon + 1..));
        if !is_host(target) || port.is_none_or(|port| port.is_empty() || port.contains(&b']')) {
            return Err(bad("CONNECT wants host:port for its target (RFC 9112, 3.2.3)"));
        }
        return Ok(Keys { host: Span::new(at, target.len()), ..Keys::default() });
    }
    match target {
        b"*" if method == b"OPTIONS" => Ok(Keys { path: Span::new(at, 1), ..Keys::default() }),
        [b'/', ..] => path(target, at),
        _ => absolute(target, at),
    }
}

/// `http://host/path?query`.
fn absolute(target: &[u8], at: usize) -> Result<Keys, Refusal> {
    const WRONG: Refusal = bad("a request target that is neither /path nor http://host/path (RFC 9112, 3.2)");
    let scheme = match target {
        [b'h' | b'H', b't' | b'T', b't' | b'T', b'p' | b'P', b':', b'/', b'/', ..] => 7,
        [b'h' | b'H', b't' | b'T', b't' | b'T', b'p' | b'P', b's' | b'S', b':', b'/', b'/', ..] => 8,
        _ => return Err(WRONG),
    };
    let rest = target.get(scheme..).unwrap_or_default();
    let host_len = rest.iter().position(|byte| matches!(byte, b'/' | b'?')).unwrap_or(rest.len());
    let (host, rest) = rest.split_at_checked(host_len).ok_or(WRONG)?;
    if !is_host(host) {
        let what = "the request target's host is not a name or address with a port (RFC 9110, 4.2)";
        return Err(bad(what).of(Fault::Host));
    }
    let host = Span::new(at + scheme, host.len());
    if rest.starts_with(b"/") {
        return Ok(Keys { host, ..path(rest, at + scheme + host_len)? });
    }
    // No path means "/"; the scheme has one to point at.
    let query = if rest.is_empty() {
        Span::default()
    } else {
        Span::new(at + scheme + host_len + 1, rest.len().saturating_sub(1))
    };
    Ok(Keys { host, path: Span::new(at + scheme - 1, 1), query, ..Keys::default() })
}

/// `/path?query`.
fn path(target: &[u8], at: usize) -> Result<Keys, Refusal> {
    let path_len = target.iter().position(|byte| *byte == b'?').unwrap_or(target.len());
    let path = target.get(..path_len).unwrap_or_default();
    let query = if path_len < target.len() {
        Span::new(at + path_len + 1, target.len() - path_len - 1)
    } else {
        Span::default()
    };
    Ok(Keys { path: Span::new(at, path_len), query, path_is_odd: is_odd(path)?, ..Keys::default() })
}

/// Whether two hexadecimal digits stand for a character that needs no encoding (RFC 3986, 2.3): some readers decode it.
fn is_unreserved([high, low]: [u8; 2]) -> bool {
    let digit = |byte: u8| {
        char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok()).unwrap_or_default()
    };
    let byte = digit(high) << 4 | digit(low);
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// Whether two readers may resolve the path to two places. A percent sign without two digits behind it is refused.
fn is_odd(path: &[u8]) -> Result<bool, Refusal> {
    let mut odd = false;
    let mut rest = path;
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        match byte {
            b'/' => {
                odd |= matches!(rest, [b'/' | b';', ..] | [b'.'] | [b'.', b'/' | b'.' | b';' | b'%', ..]);
            }
            b'\\' => odd = true,
            b'%' => match rest {
                [high, low, ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                    let pair = [high.to_ascii_lowercase(), low.to_ascii_lowercase()];
                    odd |=
                        matches!(&pair, b"00" | b"25" | b"2f" | b"5c" | b"0a" | b"0d") || is_unreserved(pair);
                }
                _ => {
                    return Err(bad(
                        "a percent sign in the path without two hexadecimal digits (RFC 3986, 2.1)",
                    ));
                }
            },
            _ => {}
        }
    }
    Ok(odd)
}

/// Whether no route that looks at paths takes requests with this one: it can be read in two ways, or not at all.
#[must_use]
pub fn path_is_odd(path: &str) -> bool {
    is_odd(path.as_bytes()).unwrap_or(true)
}

/// A name, an IPv4 address or an IPv6 address in brackets, and perhaps a port. No user, no percent signs.
pub(super) fn is_host(host: &[u8]) -> bool {
    let (name, port) = if let Some(rest) = host.strip_prefix(b"[") {
        let Some(end) = rest.iter().position(|byte| *byte == b']') else { return false };
        let (address, after) = rest.split_at_checked(end).unwrap_or_default();
        let address = str::from_utf8(address).ok().and_then(|text| text.parse::<std::net::Ipv6Addr>().ok());
        if address.is_none() {
            return false;
        }
        (None, after.get(1..).unwrap_or_default())
    } else {
        let end = host.iter().position(|byte| *byte == b':').unwrap_or(host.len());
        let (name, port) = host.split_at_checked(end).unwrap_or_default();
        (Some(name), port)
    };
    let name_fits = name.is_none_or(|name| {
        (1..=255).contains(&name.len())
            && name
                .iter()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~'))
    });
    name_fits && is_port(port)
}

/// Nothing, or a colon and a number up to 65535.
fn is_port(port: &[u8]) -> bool {
    match port {
        [] => true,
        [b':', digits @ ..] => {
            digits.len() <= 5
                && digits.iter().all(u8::is_ascii_digit)
                && str::from_utf8(digits).is_ok_and(|text| text.parse::<u16>().is_ok())
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts() {
        for host in ["a", "a.b-c_d~e", "127.0.0.1", "a:80", "[::1]", "[2001:db8::1]:65535", "1"] {
            assert!(is_host(host.as_bytes()), "{host}");
        }
        for host in [
            "",
            ":80",
            "a:",
            "a:b",
            "a:65536",
            "a:-1",
            "a:+1",
            "a:000080",
            "a b",
            "a,b",
            "u@a",
            "a/b",
            "a?b",
            "a%2e",
            "[::1",
            "[]",
            "[::1]a",
            "[::1]:",
            "[g::1]",
            "::1",
            "a:80:80",
            "[1.2.3.4]",
            "é",
        ] {
            assert!(!is_host(host.as_bytes()), "{host}");
        }
    }

    #[test]
    fn paths_that_two_readers_resolve_in_two_ways() {
        for path in ["/", "/a", "/a/b.c", "/.well-known/x", "/a..b", "/a%20b", "/a;b=1/c", "/..."] {
            let odd = is_odd(path.as_bytes()).unwrap();
            assert_eq!(odd, path == "/...", "{path}");
        }
        for path in [
            "//", "/a//b", "/.", "/..", "/./a", "/../a", "/a/..", "/..;/a", "/%2e%2E/", "/a%2Fb", "/%00",
            "/a\\b",
        ] {
            assert!(is_odd(path.as_bytes()).unwrap(), "{path}");
        }
        for path in ["/%", "/%2", "/%zz", "/a%"] {
            assert!(is_odd(path.as_bytes()).is_err(), "{path}");
        }
    }
}
