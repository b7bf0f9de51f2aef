//! Names, addresses and times as people write them: the texts of [`crate::config::parse`], refused in the API's words.

use std::time::Duration;

use ipnet::IpNet;

use super::Refusal;
use crate::config::parse::{self, ParseError};
use crate::control::types::Code;
use crate::model::{BackendAddr, Vip};

/// A VIP as written: `tcp/198.51.100.10:80`, `udp/[2001:db8::1]:53`.
#[must_use]
pub fn vip_text(vip: &Vip) -> String {
    vip.to_string()
}

/// A backend's address as written: `10.0.0.11:8080`, `[2001:db8::1]:8080`.
#[must_use]
pub fn backend_text(backend: &BackendAddr) -> String {
    backend.to_string()
}

/// Reads a VIP.
///
/// # Errors
/// Says which part is wrong.
pub fn parse_vip(text: &str) -> Result<Vip, Refusal> {
    text.parse().map_err(refused)
}

/// Reads a backend's address.
///
/// # Errors
/// Says how to write one.
pub fn parse_backend(text: &str) -> Result<BackendAddr, Refusal> {
    text.parse().map_err(refused)
}

/// Reads an address or a prefix, of an IPv4-mapped IPv6 one the IPv4 prefix, and says whether host bits were set; the
/// prefix comes without them.
///
/// # Errors
/// Says how to write one.
pub fn parse_prefix(text: &str) -> Result<(IpNet, bool), Refusal> {
    parse::prefix(text).map(|prefix| (prefix.net, prefix.masked)).map_err(refused)
}

/// Reads a duration such as `90s`, `4h`, `7d` or `1h30m`; a day has 24 hours. At least a second, at most ten years.
///
/// # Errors
/// Says how to write one.
pub fn parse_ttl(text: &str) -> Result<Duration, Refusal> {
    let wrong = |why: &str| {
        Refusal::new(Code::InvalidRequest, format!("{text:?} is not a time to live: {why}"))
            .hint("write a duration such as 90s, 4h or 7d, from 1s to 3650d")
    };
    let span: jiff::Span = text.parse().map_err(|_| wrong("it cannot be read as a duration"))?;
    let duration = span
        .to_duration(jiff::SpanRelativeTo::days_are_24_hours())
        .map_err(|_| wrong("months and years have no fixed length"))?;
    let duration = Duration::try_from(duration).map_err(|_| wrong("it is negative"))?;
    if duration < Duration::from_secs(1) || duration > MAX_TTL {
        return Err(wrong("it is out of range"));
    }
    Ok(duration)
}

/// Whether a name is allowed for a list or a service.
#[must_use]
pub fn valid_name(name: &str) -> bool {
    parse::name(name).is_ok()
}

fn refused(error: ParseError) -> Refusal {
    let (what, how) = error.what_and_how();
    Refusal::new(Code::InvalidRequest, what).hint(how)
}

const MAX_TTL: Duration = Duration::from_secs(3_650 * 86_400);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vips_and_backends_read_as_written() {
        for text in ["tcp/198.51.100.10:80", "udp/[2001:db8::1]:53", "tcp/198.51.100.10:0"] {
            assert_eq!(vip_text(&parse_vip(text).unwrap()), text);
        }
        for text in ["10.0.0.11:8080", "[2001:db8::1]:1"] {
            assert_eq!(backend_text(&parse_backend(text).unwrap()), text);
        }
        for text in
            ["", "tcp/", "tcp/1.2.3.4", "tcp/1.2.3.4:+1", "tcp/1.2.3.4:70000", "sctp/1.2.3.4:1", "1.2.3.4:1"]
        {
            assert_eq!(parse_vip(text).unwrap_err().code, Code::InvalidRequest, "{text}");
        }
        assert!(parse_backend("2001:db8::1:80").is_err(), "an IPv6 address without brackets is ambiguous");
    }

    #[test]
    fn prefixes_lose_their_host_bits_and_say_so() {
        let prefix = |text: &str| parse_prefix(text).map(|(net, masked)| (net.to_string(), masked)).unwrap();
        assert_eq!(prefix("203.0.113.7"), ("203.0.113.7/32".into(), false));
        assert_eq!(prefix("203.0.113.7/24"), ("203.0.113.0/24".into(), true));
        assert_eq!(prefix("2001:db8::1/32"), ("2001:db8::/32".into(), true));
        assert_eq!(prefix("::ffff:203.0.113.7/120"), ("203.0.113.0/24".into(), true));
        assert_eq!(prefix("::ffff:203.0.113.7"), ("203.0.113.7/32".into(), false));
        assert!(parse_prefix("203.0.113.0/33").is_err());
        assert!(parse_prefix("").is_err());
    }

    #[test]
    fn times_to_live() {
        assert_eq!(parse_ttl("90s").unwrap(), Duration::from_secs(90));
        assert_eq!(parse_ttl("4h").unwrap(), Duration::from_secs(14_400));
        assert_eq!(parse_ttl("7d").unwrap(), Duration::from_secs(7 * 86_400));
        assert_eq!(parse_ttl("1h30m").unwrap(), Duration::from_secs(5_400));
        for text in ["", "0s", "-4h", "1mo", "4", "9999y", "4000d", "soon"] {
            assert!(parse_ttl(text).is_err(), "{text}");
        }
    }

    #[test]
    fn names() {
        assert!(valid_name("web-1.example_a") && valid_name("0"));
        for name in ["", "A", "a b", "a/b", "ä", &"a".repeat(64)] {
            assert!(!valid_name(name), "{name}");
        }
    }
}
