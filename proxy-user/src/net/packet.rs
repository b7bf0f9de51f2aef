//! Raw Ethernet frames in and out of one interface (AF_PACKET).

use std::io::{self, Read};
use std::time::Duration;

use socket2::{Domain, Protocol, SockAddr, SockAddrStorage, Socket, Type};

/// A socket that sends and receives whole Ethernet frames on one interface. It sees what enters the interface, not
/// what leaves it.
#[derive(Debug)]
pub struct PacketSocket {
    socket: Socket,
}

impl PacketSocket {
    /// Opens a socket on the interface `index` of the calling thread's network namespace for frames of any ethertype.
    ///
    /// # Errors
    /// `EPERM` without CAP_NET_RAW, `ENODEV` without such an interface.
    pub fn open(index: u32) -> io::Result<Self> {
        Self::open_for(index, EVERY_ETHERTYPE)
    }

    /// Opens a socket that only sends.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_to_send(index: u32) -> io::Result<Self> {
        Self::open_for(index, 0)
    }

    /// Sends a frame, Ethernet header first, without its checksum.
    ///
    /// # Errors
    /// `ENETDOWN` while the interface is down, `ENXIO` once it is gone, `EMSGSIZE` for a frame beyond its MTU.
    pub fn send(&self, frame: &[u8]) -> io::Result<()> {
        self.socket.send(frame).map(drop)
    }

    /// The next frame that entered the interface, or nothing within `timeout`. Frames longer than 64 KiB are cut.
    ///
    /// # Errors
    /// `ENETDOWN` when the interface was set down.
    pub fn recv_timeout(&self, timeout: Duration) -> io::Result<Option<Vec<u8>>> {
        // A time of zero would mean "for ever".
        self.socket.set_read_timeout(Some(timeout.max(Duration::from_micros(1))))?;
        let mut frame = vec![0; MAX_FRAME];
        match (&self.socket).read(&mut frame) {
            Ok(length) => {
                frame.truncate(length);
                Ok(Some(frame))
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    fn open_for(index: u32, ethertype: u16) -> io::Result<Self> {
        // Protocol 0 keeps the socket deaf until it is bound, so that it never sees another interface's frames.
        let socket = Socket::new(Domain::PACKET, Type::RAW, Some(Protocol::from(0)))?;
        if ethertype != 0 {
            ignore_outgoing(&socket)?;
        }
        socket.bind(&link_address(index, ethertype)?)?;
        Ok(Self { socket })
    }
}

fn link_address(index: u32, ethertype: u16) -> io::Result<SockAddr> {
    let index = i32::try_from(index).map_err(io::Error::other)?;
    let family = libc::sa_family_t::try_from(libc::AF_PACKET).map_err(io::Error::other)?;
    let mut storage = SockAddrStorage::zeroed();
    // SAFETY: sockaddr_ll is one of the kernel's address structures, plain data for which all bit patterns are valid.
    let address = unsafe { storage.view_as::<libc::sockaddr_ll>() };
    address.sll_family = family;
    address.sll_protocol = ethertype.to_be();
    address.sll_ifindex = index;
    let length = u32::try_from(size_of::<libc::sockaddr_ll>()).map_err(io::Error::other)?;
    // SAFETY: the first `length` bytes of the storage are the sockaddr_ll written above.
    Ok(unsafe { SockAddr::new(storage, length) })
}

fn ignore_outgoing(socket: &Socket) -> io::Result<()> {
    use std::os::fd::AsRawFd;
    let on: libc::c_int = 1;
    let length = u32::try_from(size_of_val(&on)).map_err(io::Error::other)?;
    // SAFETY: the option takes an int; pointer and length are those of `on`, which outlives the call.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_PACKET,
            PACKET_IGNORE_OUTGOING,
            (&raw const on).cast(),
            length,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// ETH_P_ALL.
const EVERY_ETHERTYPE: u16 = 0x0003;
/// Since Linux 4.20.
const PACKET_IGNORE_OUTGOING: libc::c_int = 23;
const MAX_FRAME: usize = 65_536;
