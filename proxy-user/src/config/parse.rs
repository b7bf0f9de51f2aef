//! The small texts of every door: VIPs, backends, prefixes, port ranges, names. File, flags, API and CLI all parse and
//! print them here, so that they mean the same everywhere.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::ops::RangeInclusive;
use std::str::FromStr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use thiserror::Error;

use crate::model::{BackendAddr, Protocol, Vip};

/// Why a text was not understood. The message says what was found and how to write it instead.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ParseError {
    /// Neither an IPv4 nor an IPv6 address.
    #[error("`{0}` is not an IP address; write it like 203.0.113.7 or 2001:db8::7")]
    Address(String),
    /// An address with a port where none fits.
    #[error("`{0}` has a port; a source is an address or a prefix, like 203.0.113.7 or 203.0.113.0/24")]
    PortInPrefix(String),
    /// Not a prefix length of the family.
    #[error("`/{found}` is not a prefix length; it is a number from 0 to {max} for this address family")]
    PrefixLength {
        /// What stood there.
        found: String,
        /// The largest length.
        max: u8,
    },
    /// Not a port.
    #[error("`{0}` is not a port; it is a number from 0 to 65535")]
    Port(String),
    /// A port range that is none.
    #[error("`{0}` is not a port range; write FIRST-LAST with 1 <= FIRST <= LAST <= 65535, like 1024-32767")]
    PortRange(String),
    /// Neither tcp nor udp.
    #[error("`{0}` is not a protocol; write tcp or udp")]
    Protocol(String),
    /// No protocol before the address.
    #[error("`{0}` names no protocol; a VIP is written PROTOCOL/ADDRESS:PORT, like tcp/198.51.100.10:80")]
    NoProtocol(String),
    /// No port after the address.
    #[error(
        "`{0}` names no port; write ADDRESS:PORT or [IPV6]:PORT, like 198.51.100.10:80 or [2001:db8::1]:80"
    )]
    NoPort(String),
    /// An IPv6 address and a port without brackets.
    #[error("`{0}` is ambiguous; put the IPv6 address in brackets, like [2001:db8::1]:80")]
    Brackets(String),
    /// Not a weight.
    #[error("`{0}` is not a weight; it is a number from 0 (takes no new flows) to {max}", max = MAX_WEIGHT)]
    Weight(String),
    /// Not a name.
    #[error("`{0}` is not a name; a name has 1 to 63 of the characters a-z 0-9 _ . -")]
    Name(String),
}

impl ParseError {
    /// What is wrong, and how to write it instead. Every message has the form "WHAT; HOW", and no HOW has a semicolon.
    #[must_use]
    pub fn what_and_how(&self) -> (String, String) {
        let text = self.to_string();
        match text.rsplit_once("; ") {
            Some((what, how)) => (what.to_owned(), how.to_owned()),
            None => (text, String::new()),
        }
    }
}

/// Largest weight of a backend.
pub const MAX_WEIGHT: u16 = 1_000;
/// Weight of a backend that names none.
pub const DEFAULT_WEIGHT: u16 = 100;
/// Longest name of a service or a list, bytes.
pub const MAX_NAME: usize = 63;

/// A prefix, and what had to be changed about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prefix {
    /// The prefix, host bits zero, never an IPv4-mapped IPv6 one.
    pub net: IpNet,
    /// Host bits were set and have been cleared.
    pub masked: bool,
    /// It was IPv4-mapped (`::ffff:0:0/96` or deeper) and has been turned into IPv4.
    pub unmapped: bool,
}

/// Parses an address or a prefix. Host bits are cleared and IPv4-mapped prefixes become IPv4; both are reported.
///
/// # Errors
/// When the text is neither.
pub fn prefix(text: &str) -> Result<Prefix, ParseError> {
    let (address, length) = match text.split_once('/') {
        Some((address, length)) => (address, Some(length)),
        None => (text, None),
    };
    let addr: IpAddr = address.parse().map_err(|_| {
        if socket(address).is_ok() {
            ParseError::PortInPrefix(text.to_owned())
        } else {
            ParseError::Address(address.to_owned())
        }
    })?;
    let max = if addr.is_ipv4() { 32 } else { 128 };
    let length = match length {
        None => max,
        Some(digits) => number::<u8>(digits, 0..=max)
            .ok_or_else(|| ParseError::PrefixLength { found: digits.to_owned(), max })?,
    };
    let (addr, length, unmapped) = match addr {
        IpAddr::V6(v6) => match (v6.to_ipv4_mapped(), length.checked_sub(96)) {
            (Some(v4), Some(short)) => (IpAddr::V4(v4), short, true),
            _ => (addr, length, false),
        },
        IpAddr::V4(_) => (addr, length, false),
    };
    let written = match addr {
        IpAddr::V4(v4) => Ipv4Net::new(v4, length).map(IpNet::V4),
        IpAddr::V6(v6) => Ipv6Net::new(v6, length).map(IpNet::V6),
    }
    .map_err(|_| ParseError::PrefixLength { found: length.to_string(), max })?;
    let net = written.trunc();
    Ok(Prefix { net, masked: net != written, unmapped })
}

/// Parses a backend: `ADDRESS:PORT`, `[IPV6]:PORT`, or a bare address, which takes the VIP's port.
///
/// # Errors
/// When the text is neither.
pub fn backend(text: &str, vip_port: u16) -> Result<BackendAddr, ParseError> {
    match text.parse::<IpAddr>() {
        Ok(addr) => Ok(BackendAddr { addr: addr.to_canonical(), port: vip_port }),
        Err(_) => text.parse(),
    }
}

/// Parses `BACKEND[@WEIGHT]` as in `--vip`; see [`backend`].
///
/// # Errors
/// When either part is not understood.
pub fn weighted_backend(text: &str, vip_port: u16) -> Result<(BackendAddr, u16), ParseError> {
    match text.split_once('@') {
        None => Ok((backend(text, vip_port)?, DEFAULT_WEIGHT)),
        Some((address, digits)) => {
            let weight =
                number(digits, 0..=MAX_WEIGHT).ok_or_else(|| ParseError::Weight(digits.to_owned()))?;
            Ok((backend(address, vip_port)?, weight))
        }
    }
}

/// Parses `FIRST-LAST`.
///
/// # Errors
/// When it is no range of ports, or port 0 is in it.
pub fn port_range(text: &str) -> Result<(u16, u16), ParseError> {
    let range = text
        .split_once('-')
        .and_then(|(first, last)| Some((number(first, 1..=u16::MAX)?, number(last, 1..=u16::MAX)?)));
    match range {
        Some((first, last)) if first <= last => Ok((first, last)),
        _ => Err(ParseError::PortRange(text.to_owned())),
    }
}

/// Checks the name of a service or a list.
///
/// # Errors
/// When it is empty, too long or has other characters than `[a-z0-9_.-]`.
pub fn name(text: &str) -> Result<(), ParseError> {
    let fits = (1..=MAX_NAME).contains(&text.len());
    if fits && text.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'.' | b'-')) {
        Ok(())
    } else {
        Err(ParseError::Name(text.to_owned()))
    }
}

/// The name of a service that was given no other: `tcp-198.51.100.10-80`, `udp-2001.db8..1-53`.
#[must_use]
pub fn vip_name(vip: &Vip) -> String {
    format!("{}-{}-{}", vip.protocol, vip.addr, vip.port).replace(':', ".")
}

impl FromStr for Vip {
    type Err = ParseError;

    /// Parses `tcp/198.51.100.10:80`, `udp/[2001:db8::1]:53`; port 0 is any port.
    fn from_str(text: &str) -> Result<Self, ParseError> {
        let (protocol, rest) = text.split_once('/').ok_or_else(|| ParseError::NoProtocol(text.to_owned()))?;
        let (addr, port) = socket(rest)?;
        Ok(Self { protocol: protocol.parse()?, addr, port })
    }
}

impl fmt::Display for Vip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/", self.protocol)?;
        write_socket(f, self.addr, self.port)
    }
}

impl FromStr for BackendAddr {
    type Err = ParseError;

    /// Parses `10.0.0.11:8080` or `[2001:db8::11]:8080`.
    fn from_str(text: &str) -> Result<Self, ParseError> {
        let (addr, port) = socket(text)?;
        Ok(Self { addr, port })
    }
}

impl fmt::Display for BackendAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_socket(f, self.addr, self.port)
    }
}

impl FromStr for Protocol {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        match text {
            "tcp" => Ok(Self::Tcp),
            "udp" => Ok(Self::Udp),
            _ => Err(ParseError::Protocol(text.to_owned())),
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        })
    }
}

fn socket(text: &str) -> Result<(IpAddr, u16), ParseError> {
    if text.parse::<Ipv6Addr>().is_ok() {
        return Err(ParseError::Brackets(text.to_owned()));
    }
    let (address, digits) = match text.strip_prefix('[') {
        Some(rest) => rest.split_once("]:").ok_or_else(|| ParseError::NoPort(text.to_owned()))?,
        None => text.rsplit_once(':').ok_or_else(|| ParseError::NoPort(text.to_owned()))?,
    };
    let addr: IpAddr = match (text.starts_with('['), address.parse()) {
        (true, Ok(IpAddr::V6(v6))) => v6.to_canonical(),
        (false, Ok(IpAddr::V4(v4))) => v4.into(),
        (false, Ok(IpAddr::V6(_))) => return Err(ParseError::Brackets(text.to_owned())),
        _ => return Err(ParseError::Address(address.to_owned())),
    };
    let port = number(digits, 0..=u16::MAX).ok_or_else(|| ParseError::Port(digits.to_owned()))?;
    Ok((addr, port))
}

fn write_socket(f: &mut fmt::Formatter<'_>, addr: IpAddr, port: u16) -> fmt::Result {
    match addr {
        IpAddr::V4(v4) => write!(f, "{v4}:{port}"),
        IpAddr::V6(v6) => write!(f, "[{v6}]:{port}"),
    }
}

/// Decimal digits only: no sign, no blanks.
fn number<T: FromStr + PartialOrd>(digits: &str, range: RangeInclusive<T>) -> Option<T> {
    let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    digits.parse().ok().filter(|n| plain && range.contains(n))
}

#[cfg(test)]
#[path = "parse_tests.rs"]
mod tests;
