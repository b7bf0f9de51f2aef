//! Listening sockets: two for each worker, one of each family, in one `SO_REUSEPORT` group a family, so that the kernel
//! spreads connections over the workers. They are bound to a loopback address and a port of the kernel's choice, which
//! no client ever sees: socket look-up gives them the connections to VIPs.
//!
//! `TCP_NODELAY` is set here, since accepted connections inherit it. `TCP_DEFER_ACCEPT` is not: a service whose server
//! speaks first would wait for its client, and services share the listeners.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use rustix::net::sockopt;
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use super::message::Families;

/// The listeners of one worker.
#[derive(Debug, Default)]
pub struct Pair {
    /// IPv4.
    pub v4: Option<OwnedFd>,
    /// IPv6; none where the host has no IPv6.
    pub v6: Option<OwnedFd>,
}

impl Pair {
    /// Makes a pair in the groups of `other`, or in new ones.
    ///
    /// # Errors
    /// The kernel's.
    pub fn make(other: Option<&Self>) -> io::Result<Self> {
        let port = |socket: Option<&OwnedFd>| {
            let addr = SockRef::from(socket?).local_addr().ok()?.as_socket()?;
            Some(addr.port())
        };
        let v4 =
            SocketAddr::from((Ipv4Addr::LOCALHOST, port(other.and_then(|o| o.v4.as_ref())).unwrap_or(0)));
        let v6 =
            SocketAddr::from((Ipv6Addr::LOCALHOST, port(other.and_then(|o| o.v6.as_ref())).unwrap_or(0)));
        Ok(Self { v4: Some(listen(v4)?), v6: none_without_family(listen(v6))? })
    }

    /// Those that a worker has handed back, after a look at what they are.
    ///
    /// # Errors
    /// They are not what the worker says.
    pub fn handed_back(families: Families, descriptors: Vec<OwnedFd>) -> io::Result<Self> {
        let mut descriptors = descriptors.into_iter();
        let mut take = |there: bool, domain| match there.then(|| descriptors.next()) {
            None => Ok(None),
            Some(Some(socket)) if is_listener(&socket, domain) => Ok(Some(socket)),
            Some(_) => Err(io::Error::new(io::ErrorKind::InvalidData, "it handed back no listener")),
        };
        Ok(Self { v4: take(families.v4, Domain::IPV4)?, v6: take(families.v6, Domain::IPV6)? })
    }

    /// Which there are.
    #[must_use]
    pub fn families(&self) -> Families {
        Families { v4: self.v4.is_some(), v6: self.v6.is_some() }
    }

    /// Their descriptors in the order of [`Families`].
    #[must_use]
    pub fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        self.v4.iter().chain(&self.v6).map(OwnedFd::as_fd).collect()
    }

    /// Duplicates.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn duplicate(&self) -> io::Result<Self> {
        let copy = |socket: &Option<OwnedFd>| socket.as_ref().map(OwnedFd::try_clone).transpose();
        Ok(Self { v4: copy(&self.v4)?, v6: copy(&self.v6)? })
    }

    /// As listeners of the standard library.
    #[must_use]
    pub fn into_listeners(self) -> (Option<TcpListener>, Option<TcpListener>) {
        (self.v4.map(TcpListener::from), self.v6.map(TcpListener::from))
    }
}

fn listen(addr: SocketAddr) -> io::Result<OwnedFd> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    match addr {
        // A namespace may have its loopback down, and no client uses the address.
        SocketAddr::V4(_) => socket.set_freebind_v4(true)?,
        SocketAddr::V6(_) => {
            socket.set_only_v6(true)?;
            socket.set_freebind_v6(true)?;
        }
    }
    socket.set_reuse_port(true)?;
    socket.set_tcp_nodelay(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&addr.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// A host without IPv6 has no such sockets.
fn none_without_family(made: io::Result<OwnedFd>) -> io::Result<Option<OwnedFd>> {
    match made {
        Ok(socket) => Ok(Some(socket)),
        Err(error) if matches!(error.raw_os_error(), Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL)) => {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

fn is_listener(socket: &OwnedFd, domain: Domain) -> bool {
    let socket_ref = SockRef::from(socket);
    sockopt::socket_acceptconn(socket).unwrap_or(false)
        && socket_ref.domain().ok() == Some(domain)
        && socket_ref.protocol().ok() == Some(Some(Protocol::TCP))
}

/// Connections that wait while a worker is away; the kernel lowers it to `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_of_one_group_share_their_ports_and_survive_duplication() {
        let first = Pair::make(None).unwrap();
        let second = Pair::make(Some(&first)).unwrap();
        let port = |pair: &Pair| {
            let addr = SockRef::from(pair.v4.as_ref().unwrap()).local_addr().unwrap();
            addr.as_socket().unwrap().port()
        };
        assert_eq!(port(&first), port(&second));
        let copy = first.duplicate().unwrap();
        drop(first);
        let (families, copies) = (copy.families(), [copy.v4, copy.v6].into_iter().flatten().collect());
        let back = Pair::handed_back(families, copies).unwrap();
        assert_eq!((back.families(), port(&back)), (families, port(&second)));
    }

    #[test]
    fn what_is_no_listener_is_refused() {
        let pair = Pair::make(None).unwrap();
        let families = Families { v4: true, v6: false };
        assert!(Pair::handed_back(families, Vec::new()).is_err());
        let udp = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        assert!(Pair::handed_back(families, vec![udp.into()]).is_err());
        if let Some(v6) = pair.v6 {
            assert!(Pair::handed_back(families, vec![v6]).is_err(), "of the other family");
        }
        assert!(Pair::handed_back(Families { v4: false, v6: false }, Vec::new()).is_ok());
    }
}
