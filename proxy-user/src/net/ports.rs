//! Ports for source NAT beside the host's own ephemeral ports. Reads sysctls, never writes them.

use std::fs;
use std::io;
use std::num::ParseIntError;

/// A range of ports, both ends included.
pub type Ports = (u16, u16);

/// Why a range can't be had.
#[derive(Debug, thiserror::Error)]
pub enum PortsError {
    /// The sysctl can't be read.
    #[error("cannot read {SYSCTL}: {0}; weir needs it to keep out of the host's own ports: mount /proc")]
    Read(#[source] io::Error),
    /// The sysctl does not hold two ports.
    #[error("{SYSCTL} holds {text:?}, which is not two ports with the lower first: correct the sysctl")]
    Sysctl {
        /// What it holds.
        text: String,
    },
    /// The ranges overlap.
    #[error(
        "the source-NAT ports {}-{} overlap the host's ephemeral ports {}-{} (net.ipv4.ip_local_port_range), so answers to the host's own connections could be taken for weir's: use a range outside, such as {}-{}, or narrow net.ipv4.ip_local_port_range",
        asked.0, asked.1, ephemeral.0, ephemeral.1, free.0, free.1
    )]
    Overlap {
        /// The configured range.
        asked: Ports,
        /// The host's ephemeral range.
        ephemeral: Ports,
        /// The default range for this host.
        free: Ports,
    },
    /// The configured range is empty or has privileged ports.
    #[error("the source-NAT ports {}-{} are not a range within 1024-65535 with the lower port first", .0.0, .0.1)]
    Range(Ports),
    /// Nothing is left.
    #[error(
        "the host's ephemeral ports {}-{} (net.ipv4.ip_local_port_range) leave no room for source NAT within 1024-65535: narrow that sysctl, for instance to 32768-60999",
        .0.0, .0.1
    )]
    NoRoom(Ports),
}

/// The host's ephemeral ports, of the calling thread's network namespace.
///
/// # Errors
/// [`PortsError::Read`], [`PortsError::Sysctl`].
pub fn ephemeral() -> Result<Ports, PortsError> {
    parse(&fs::read_to_string(SYSCTL).map_err(PortsError::Read)?)
}

/// The larger part of 1024 to 65535 outside the ephemeral range.
///
/// # Errors
/// [`PortsError::NoRoom`].
pub fn default_range(ephemeral: Ports) -> Result<Ports, PortsError> {
    let below = (FIRST, ephemeral.0.saturating_sub(1));
    let above = (ephemeral.1.saturating_add(1).max(FIRST), LAST);
    let above_size = if ephemeral.1 == LAST { 0 } else { size(above) };
    match (size(below), above_size) {
        (0, 0) => Err(PortsError::NoRoom(ephemeral)),
        (low, high) => Ok(if low >= high { below } else { above }),
    }
}

/// Checks a configured range against the ephemeral one.
///
/// # Errors
/// [`PortsError::Range`], [`PortsError::Overlap`], [`PortsError::NoRoom`].
pub fn check(asked: Ports, ephemeral: Ports) -> Result<(), PortsError> {
    if asked.0 < FIRST || size(asked) == 0 {
        return Err(PortsError::Range(asked));
    }
    if asked.0 <= ephemeral.1 && ephemeral.0 <= asked.1 {
        return Err(PortsError::Overlap { asked, ephemeral, free: default_range(ephemeral)? });
    }
    Ok(())
}

fn size(ports: Ports) -> u32 {
    (u32::from(ports.1) + 1).saturating_sub(u32::from(ports.0))
}

fn parse(text: &str) -> Result<Ports, PortsError> {
    let ports: Result<Vec<u16>, ParseIntError> = text.split_whitespace().map(str::parse).collect();
    match ports.as_deref() {
        Ok(&[low, high]) if low <= high => Ok((low, high)),
        _ => Err(PortsError::Sysctl { text: text.trim_end().to_owned() }),
    }
}

const SYSCTL: &str = "/proc/sys/net/ipv4/ip_local_port_range";
const FIRST: u16 = 1024;
const LAST: u16 = u16::MAX;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::tests::root;
    use crate::lab::{Namespace, run_in};

    #[test]
    fn the_larger_part_outside_is_the_default() {
        for (ephemeral, expected) in [
            ((32768, 60999), Some((1024, 32767))),
            ((1024, 20000), Some((20001, 65535))),
            ((1, 500), Some((1024, 65535))),
            ((10000, 65535), Some((1024, 9999))),
            ((1024, 65535), None),
            ((1, 65534), Some((65535, 65535))),
        ] {
            assert_eq!(default_range(ephemeral).ok(), expected, "{ephemeral:?}");
        }
    }

    #[test]
    fn a_configured_range_keeps_out() {
        let ephemeral = (32768, 60999);
        assert!(check((1024, 32767), ephemeral).is_ok());
        assert!(check((61000, 65535), ephemeral).is_ok());
        for overlapping in [(1024, 32768), (60999, 65535), (40000, 40001), (1024, 65535)] {
            let error = check(overlapping, ephemeral).unwrap_err().to_string();
            assert!(error.contains("32768-60999") && error.contains("such as 1024-32767"), "{error}");
        }
        assert!(matches!(check((80, 90), ephemeral), Err(PortsError::Range(_))));
        assert!(matches!(check((3000, 2000), ephemeral), Err(PortsError::Range(_))));
    }

    #[test]
    fn the_sysctl_is_read_and_garbage_is_named() {
        assert_eq!(parse("32768\t60999\n").unwrap(), (32768, 60999));
        for garbage in ["", "1", "2 1", "1 2 3", "a b", "1 99999"] {
            let error = parse(garbage).unwrap_err().to_string();
            assert!(error.contains(&format!("{garbage:?}")), "{error}");
        }
        if !root() {
            return;
        }
        let a = Namespace::new("a").unwrap();
        a.set_sysctl("net/ipv4/ip_local_port_range", "20000 30000").unwrap();
        assert_eq!(run_in(&a, ephemeral).unwrap().unwrap(), (20000, 30000));
    }
}
