//! Offloads of an interface, by the ethtool ioctl.

use std::io;
use std::os::fd::AsRawFd;

use socket2::{Domain, Socket, Type};

use super::{LabError, Port, run_in};

/// The offloads that decide whether frames made by XDP arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offloads {
    /// Transmit checksums are left to the device. A veth has none to compute them: frames keep partial sums.
    pub tx_checksum: bool,
    /// TCP segmentation is left to the device.
    pub tso: bool,
    /// Segmentation of other protocols is left to the end of the stack.
    pub gso: bool,
    /// Received segments are joined. On a veth it also switches the receive path to NAPI, without which a frame that
    /// XDP redirects to the other end is lost.
    pub gro: bool,
}

impl Offloads {
    /// What both ends of a veth pair need when XDP forwards between stacks.
    #[must_use]
    pub fn for_xdp_redirect() -> Self {
        Self { tx_checksum: false, tso: false, gso: false, gro: true }
    }
}

impl Port {
    /// Sets the offloads.
    ///
    /// # Errors
    /// [`LabError`].
    pub fn set_offloads(&self, offloads: Offloads) -> Result<(), LabError> {
        let what = format!("set offloads of {} in {}", self.name(), self.namespace().name());
        run_in(self.namespace(), || {
            let control = Control::open(self.name())?;
            control.set(ETHTOOL_STXCSUM, offloads.tx_checksum)?;
            control.set(ETHTOOL_STSO, offloads.tso)?;
            control.set(ETHTOOL_SGSO, offloads.gso)?;
            control.set(ETHTOOL_SGRO, offloads.gro)
        })?
        .map_err(LabError::at(what))
    }

    /// The offloads in force.
    ///
    /// # Errors
    /// [`LabError`].
    pub fn offloads(&self) -> Result<Offloads, LabError> {
        let what = format!("read offloads of {} in {}", self.name(), self.namespace().name());
        run_in(self.namespace(), || {
            let control = Control::open(self.name())?;
            Ok(Offloads {
                tx_checksum: control.read(ETHTOOL_GTXCSUM)?,
                tso: control.read(ETHTOOL_GTSO)?,
                gso: control.read(ETHTOOL_GGSO)?,
                gro: control.read(ETHTOOL_GGRO)?,
            })
        })?
        .map_err(LabError::at(what))
    }
}

/// A socket of the interface's namespace, which SIOCETHTOOL needs, and the interface's name.
struct Control {
    socket: Socket,
    name: [libc::c_char; libc::IFNAMSIZ],
}

impl Control {
    fn open(name: &str) -> io::Result<Self> {
        let mut field = [0; libc::IFNAMSIZ];
        for (to, from) in field.iter_mut().zip(name.bytes()) {
            *to = libc::c_char::from_ne_bytes([from]);
        }
        Ok(Self { socket: Socket::new(Domain::IPV4, Type::DGRAM, None)?, name: field })
    }

    fn set(&self, command: u32, on: bool) -> io::Result<()> {
        self.call(EthtoolValue { command, data: u32::from(on) }).map(drop)
    }

    fn read(&self, command: u32) -> io::Result<bool> {
        Ok(self.call(EthtoolValue { command, data: 0 })?.data != 0)
    }

    fn call(&self, mut value: EthtoolValue) -> io::Result<EthtoolValue> {
        let mut request = libc::ifreq {
            ifr_name: self.name,
            ifr_ifru: libc::__c_anonymous_ifr_ifru { ifru_data: (&raw mut value).cast() },
        };
        // SAFETY: SIOCETHTOOL takes an ifreq whose data pointer leads to the command's structure; all commands used
        // here read and write `struct ethtool_value`. Both live until the call returns.
        let result = unsafe { libc::ioctl(self.socket.as_raw_fd(), SIOCETHTOOL, &raw mut request) };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(value) }
    }
}

/// `struct ethtool_value`.
#[repr(C)]
struct EthtoolValue {
    command: u32,
    data: u32,
}

const SIOCETHTOOL: libc::Ioctl = 0x8946;
// linux/ethtool.h; the kernel applies these to the feature bits, so that the newer ETHTOOL_SFEATURES is not needed.
const ETHTOOL_GTXCSUM: u32 = 0x16;
const ETHTOOL_STXCSUM: u32 = 0x17;
const ETHTOOL_GTSO: u32 = 0x1e;
const ETHTOOL_STSO: u32 = 0x1f;
const ETHTOOL_GGSO: u32 = 0x23;
const ETHTOOL_SGSO: u32 = 0x24;
const ETHTOOL_GGRO: u32 = 0x2b;
const ETHTOOL_SGRO: u32 = 0x2c;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::tests::root;
    use crate::lab::{Namespace, Veth};

    #[test]
    fn offloads_are_read_back_as_set() {
        if !root() {
            return;
        }
        let a = Namespace::new("a").unwrap();
        let (one, two) = Veth::pair((&a, "one"), (&a, "two")).unwrap();
        assert_eq!(one.offloads().unwrap(), Offloads::for_xdp_redirect());
        assert_eq!(two.offloads().unwrap(), Offloads::for_xdp_redirect());
        let all = Offloads { tx_checksum: true, tso: true, gso: true, gro: true };
        one.set_offloads(all).unwrap();
        assert_eq!(one.offloads().unwrap(), all);
        let none = Offloads { tx_checksum: false, tso: false, gso: false, gro: false };
        one.set_offloads(none).unwrap();
        assert_eq!(one.offloads().unwrap(), none);
        one.clone().delete().unwrap();
        assert!(one.offloads().unwrap_err().to_string().contains("one in a"));
    }
}
