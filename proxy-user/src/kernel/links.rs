//! Pins of links: what is attached, told by the pins alone, with or without a daemon.

use std::io;
use std::path::PathBuf;

use proxy_common::limits;
use thiserror::Error;

use super::bpffs::{BpffsError, PinDir};
use super::schema;
use super::sys;

/// Why links cannot be listed or removed.
#[derive(Debug, Error)]
pub enum LinksError {
    /// A pin cannot be read.
    #[error("cannot read the pinned link {path}: {source}; if it is no link of weir's, remove the file")]
    Unreadable {
        /// The pin.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The kernel does not detach.
    #[error("cannot detach the pinned link {path}: {source}")]
    Detach {
        /// The pin.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The directory of pins cannot be used.
    #[error(transparent)]
    Directory(#[from] BpffsError),
    /// All counter slots are taken.
    #[error(
        "weir attaches to at most {} interfaces, and all places are taken: `weir detach` one of them first",
        limits::INTERFACES
    )]
    TooMany,
}

/// An interface that weir is, or was, attached to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PinnedInterface {
    /// Name of the pin.
    pub pin: String,
    /// Its slot of the counters by interface.
    pub slot: u32,
    /// Interface index when it was attached.
    pub ifindex: u32,
    /// Interface name when it was attached.
    pub name: String,
    /// Whether the link is still attached: `false` after the interface has gone.
    pub alive: bool,
    /// Id of the program that the link runs.
    pub program_id: u32,
}

/// The interfaces of the pins.
///
/// # Errors
/// The directory or a pin cannot be read.
pub fn list(pins: &PinDir) -> Result<Vec<PinnedInterface>, LinksError> {
    let mut interfaces = Vec::new();
    for pin in names(pins)? {
        let Some((slot, ifindex, name)) = parse_pin(&pin) else { continue };
        let path = pins.pin(&pin);
        match sys::link_info(&path) {
            Ok(info) => interfaces.push(PinnedInterface {
                slot,
                ifindex,
                name,
                alive: info.ifindex != 0 && info.ifindex == ifindex,
                program_id: info.program_id,
                pin,
            }),
            Err(source) if source.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(LinksError::Unreadable { path, source }),
        }
    }
    Ok(interfaces)
}

/// The counter slot of an interface: the one that it has, or had under the same name, else the lowest free one. The
/// second value says whether the slot is new to this interface, so that its counters must be zeroed.
///
/// # Errors
/// All are taken.
pub fn slot_for(
    interfaces: &[PinnedInterface],
    ifindex: u32,
    name: &str,
    taken: &[u32],
) -> Result<(u32, bool), LinksError> {
    let same = |i: &&PinnedInterface| (i.alive && i.ifindex == ifindex) || (!i.alive && i.name == name);
    if let Some(interface) = interfaces.iter().find(same) {
        return Ok((interface.slot, false));
    }
    (0..limits::INTERFACES)
        .find(|slot| !taken.contains(slot) && interfaces.iter().all(|i| i.slot != *slot))
        .map(|slot| (slot, true))
        .ok_or(LinksError::TooMany)
}

/// Detaches an interface and removes its pin.
///
/// # Errors
/// The kernel refuses; the pin then stays.
pub fn detach(pins: &PinDir, interface: &PinnedInterface) -> Result<(), LinksError> {
    detach_pin(pins, &interface.pin)
}

/// Detaches everything, removes every pin of weir's, also of other versions, and takes the directory away if nothing
/// else is in it. Returns the names of the interfaces that were attached.
///
/// # Errors
/// Something cannot be removed; what stands before it is gone already.
pub fn detach_all(pins: PinDir) -> Result<Vec<String>, LinksError> {
    // A pin that cannot be read is removed all the same; it only is not named.
    let attached = list(&pins).unwrap_or_default().into_iter().filter(|i| i.alive).map(|i| i.name).collect();
    for pin in names(&pins)? {
        detach_pin(&pins, &pin)?;
    }
    schema::clear(&pins)?;
    for pin in pins.names()?.iter().filter(|pin| MAP_PREFIXES.iter().any(|prefix| pin.starts_with(prefix))) {
        pins.remove(pin)?;
    }
    pins.dismantle()?;
    Ok(attached)
}

pub(super) fn detach_pin(pins: &PinDir, pin: &str) -> Result<(), LinksError> {
    let path = pins.pin(pin);
    match sys::link_detach(&path) {
        Ok(()) => {}
        // Not a link (EINVAL), or gone: only the file is left to remove.
        Err(error) if matches!(error.raw_os_error(), Some(libc::EINVAL | libc::ENOENT)) => {}
        Err(source) => return Err(LinksError::Detach { path, source }),
    }
    Ok(pins.remove(pin)?)
}

/// Names of the pins of links.
pub(super) fn names(pins: &PinDir) -> Result<Vec<String>, BpffsError> {
    Ok(pins.names()?.into_iter().filter(|name| name.starts_with(PREFIX)).collect())
}

/// The pin's name. bpffs refuses dots and interface names may have them, so anything unusual is escaped.
pub(super) fn pin_name(slot: u32, ifindex: u32, name: &str) -> String {
    let mut pin = format!("{PREFIX}{slot}-{ifindex}-");
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_' {
            pin.push(char::from(byte));
        } else {
            pin.push_str(&format!("%{byte:02x}"));
        }
    }
    pin
}

fn parse_pin(pin: &str) -> Option<(u32, u32, String)> {
    let (slot, rest) = pin.strip_prefix(PREFIX)?.split_once('-')?;
    let (ifindex, escaped) = rest.split_once('-')?;
    let mut parts = escaped.split('%');
    let mut name = parts.next()?.as_bytes().to_vec();
    for part in parts {
        let (hex, plain) = part.split_at_checked(2)?;
        name.push(u8::from_str_radix(hex, 16).ok()?);
        name.extend_from_slice(plain.as_bytes());
    }
    let slot = slot.parse().ok().filter(|slot| *slot < limits::INTERFACES)?;
    Some((slot, ifindex.parse().ok()?, String::from_utf8(name).ok()?))
}

const PREFIX: &str = "link-";
/// Pin of the link of socket look-up. With the prefix of the others, so that whatever removes all removes it too.
pub(super) const LOOKUP: &str = "link-lookup";
const MAP_PREFIXES: [&str; 2] = ["weir_", "stats_"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pin_names_survive_a_round_trip() {
        for name in ["eth0", "eth0.100", "a-b_c", "wan%1", "br:x", "ü"] {
            let pin = pin_name(3, 17, name);
            assert!(!pin.contains('.') && !pin.contains('/'), "{pin}");
            assert_eq!(parse_pin(&pin), Some((3, 17, name.to_owned())));
        }
        for strange in ["link-", "link-1-2", "link-x-1-eth0", "link-64-1-eth0", "link-1-1-a%2", "other"] {
            assert_eq!(parse_pin(strange), None, "{strange}");
        }
    }

    #[test]
    fn slots_stay_with_their_interface() {
        let known = |slot, ifindex, name: &str, alive| PinnedInterface {
            pin: String::new(),
            slot,
            ifindex,
            name: name.into(),
            alive,
            program_id: 1,
        };
        let interfaces = [known(0, 5, "a", true), known(2, 6, "b", false)];
        assert_eq!(slot_for(&interfaces, 5, "renamed", &[]).unwrap(), (0, false));
        assert_eq!(slot_for(&interfaces, 9, "b", &[]).unwrap(), (2, false));
        assert_eq!(slot_for(&interfaces, 9, "a", &[]).unwrap(), (1, true));
        assert_eq!(slot_for(&interfaces, 9, "c", &[1]).unwrap(), (3, true));
        let all: Vec<u32> = (0..limits::INTERFACES).collect();
        assert!(matches!(slot_for(&[], 9, "c", &all), Err(LinksError::TooMany)));
    }
}
