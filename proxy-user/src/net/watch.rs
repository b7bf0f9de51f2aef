//! Notifications of changes of links, addresses, routes and neighbours.
//!
//! The kernel drops notifications when the socket's buffer is full; [`Watch`] then says [`Change::Resync`] and the
//! reader looks at everything anew. The reader's pace is the only queue: nothing is buffered here.

use std::collections::VecDeque;
use std::io;
use std::net::IpAddr;
use std::time::Duration;

use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::AddressMessage;
use netlink_packet_route::neighbour::{NeighbourAttribute, NeighbourMessage};
use rtnetlink::MulticastGroup;
use rtnetlink::packet_core::{NetlinkMessage, NetlinkPayload};
use rtnetlink::sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::convert::from_neighbour;
use super::link::Link;
use super::netlink::NetlinkError;

/// Something changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// An interface appeared or changed: its name, state, MTU, MAC address or XDP program.
    Link(Link),
    /// An interface is gone.
    LinkGone {
        /// Its index, which does not return.
        index: u32,
        /// The name that it had.
        name: String,
    },
    /// An address came, went or changed.
    Address {
        /// Interface.
        index: u32,
        /// The address.
        addr: IpAddr,
        /// Whether it is there.
        present: bool,
    },
    /// A route or a rule came, went or changed.
    Route,
    /// A neighbour came, went or changed its state.
    Neighbour {
        /// Interface.
        index: u32,
        /// The neighbour's address.
        addr: IpAddr,
    },
    /// Notifications may be missing: everything may have changed.
    Resync,
}

/// A subscription.
#[derive(Debug)]
pub struct Watch {
    socket: Option<AsyncFd<Socket>>,
    pending: VecDeque<Change>,
    buffer: Vec<u8>,
}

impl Watch {
    /// Subscribes, in the network namespace of the calling thread. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// [`NetlinkError::Open`].
    pub fn open() -> Result<Self, NetlinkError> {
        let socket = subscribe().map_err(NetlinkError::Open)?;
        Ok(Self { socket: Some(socket), pending: VecDeque::new(), buffer: vec![0; BUFFER] })
    }

    /// The next change. Never ends: a lost socket is opened anew, which gives [`Change::Resync`]. May be dropped while
    /// it waits without losing a change.
    pub async fn next(&mut self) -> Change {
        loop {
            if let Some(change) = self.pending.pop_front() {
                return change;
            }
            let Some(socket) = &self.socket else {
                match subscribe() {
                    Ok(socket) => self.socket = Some(socket),
                    Err(error) => {
                        tracing::warn!(%error, "cannot subscribe to netlink notifications; trying again");
                        tokio::time::sleep(REOPEN_TIME).await;
                        continue;
                    }
                }
                return Change::Resync;
            };
            let mut ready = match socket.readable().await {
                Ok(ready) => ready,
                Err(error) => {
                    self.lost(&error);
                    continue;
                }
            };
            let (buffer, pending) = (&mut self.buffer, &mut self.pending);
            // An error here means "not readable after all".
            if let Ok(Err(error)) = ready.try_io(|socket| read(socket.get_ref(), buffer, pending)) {
                self.lost(&error);
            }
        }
    }

    fn lost(&mut self, error: &io::Error) {
        tracing::warn!(%error, "netlink notifications lost; subscribing again");
        self.socket = None;
    }
}

/// Reads one datagram. After an overrun the kernel drops everything until the queue is empty, so the queue is emptied
/// first: whoever then looks at the state misses nothing.
fn read(socket: &Socket, buffer: &mut [u8], pending: &mut VecDeque<Change>) -> io::Result<()> {
    let mut overrun = false;
    loop {
        match socket.recv(&mut &mut *buffer, libc::MSG_TRUNC) {
            Ok(_) if overrun => {}
            Ok(length) => {
                match buffer.get(..length) {
                    Some(datagram) => decode(datagram, pending),
                    None => pending.push_back(Change::Resync),
                }
                return Ok(());
            }
            Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => overrun = true,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if overrun && error.kind() == io::ErrorKind::WouldBlock => {
                pending.push_back(Change::Resync);
                return Ok(());
            }
            Err(error) => return Err(error),
        }
    }
}

fn subscribe() -> io::Result<AsyncFd<Socket>> {
    let mut socket = Socket::new(NETLINK_ROUTE)?;
    socket.set_non_blocking(true)?;
    // A larger buffer makes overruns rare; where it is not granted they are only more frequent.
    let _ = socket2::SockRef::from(&socket).set_recv_buffer_size(RECEIVE_BUFFER);
    let groups = GROUPS.iter().fold(0, |bits, group| bits | 1 << (*group as u32 - 1));
    socket.bind(&SocketAddr::new(0, groups))?;
    // SAFETY: the socket owns its descriptor and is never given another, and `AsyncFd` owns the socket.
    let registered = unsafe { AsyncFd::register_with_interest(socket, Interest::READABLE) };
    registered.map_err(io::Error::from)
}

/// A datagram holds one or more messages, each aligned to 4 bytes.
fn decode(mut datagram: &[u8], changes: &mut VecDeque<Change>) {
    while !datagram.is_empty() {
        let Ok(message) = NetlinkMessage::<RouteNetlinkMessage>::deserialize(datagram) else {
            return changes.push_back(Change::Resync);
        };
        let length = usize::try_from(message.header.length).unwrap_or(usize::MAX).next_multiple_of(4);
        match message.payload {
            NetlinkPayload::InnerMessage(message) => changes.extend(change_of(&message)),
            NetlinkPayload::Overrun(_) => changes.push_back(Change::Resync),
            _ => {}
        }
        datagram = datagram.get(length..).unwrap_or_default();
    }
}

fn change_of(message: &RouteNetlinkMessage) -> Option<Change> {
    match message {
        RouteNetlinkMessage::NewLink(link) => Some(Change::Link(Link::from_message(link))),
        RouteNetlinkMessage::DelLink(link) => {
            let link = Link::from_message(link);
            Some(Change::LinkGone { index: link.index, name: link.name })
        }
        RouteNetlinkMessage::NewAddress(message) => address(message, true),
        RouteNetlinkMessage::DelAddress(message) => address(message, false),
        RouteNetlinkMessage::NewNeighbour(message) | RouteNetlinkMessage::DelNeighbour(message) => {
            neighbour(message)
        }
        RouteNetlinkMessage::NewRoute(_)
        | RouteNetlinkMessage::DelRoute(_)
        | RouteNetlinkMessage::NewRule(_)
        | RouteNetlinkMessage::DelRule(_) => Some(Change::Route),
        _ => None,
    }
}

fn address(message: &AddressMessage, present: bool) -> Option<Change> {
    let addr = super::host::addr_of(&message.attributes)?;
    Some(Change::Address { index: message.header.index, addr, present })
}

fn neighbour(message: &NeighbourMessage) -> Option<Change> {
    let addr = message.attributes.iter().find_map(|attribute| match attribute {
        NeighbourAttribute::Destination(addr) => from_neighbour(addr),
        _ => None,
    })?;
    Some(Change::Neighbour { index: message.header.ifindex, addr })
}

const GROUPS: [MulticastGroup; 8] = [
    MulticastGroup::Link,
    MulticastGroup::Neigh,
    MulticastGroup::Ipv4Ifaddr,
    MulticastGroup::Ipv6Ifaddr,
    MulticastGroup::Ipv4Route,
    MulticastGroup::Ipv6Route,
    MulticastGroup::Ipv4Rule,
    MulticastGroup::Ipv6Rule,
];
/// Larger than a notification can be (a page, or for links with many attributes some).
const BUFFER: usize = 64 * 1024;
const RECEIVE_BUFFER: usize = 1024 * 1024;
const REOPEN_TIME: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::tests::root;
    use crate::lab::{Namespace, Veth, run_async_in};

    async fn until(watch: &mut Watch, wanted: impl Fn(&Change) -> bool) {
        let found = async { while !wanted(&watch.next().await) {} };
        tokio::time::timeout(Duration::from_secs(3), found).await.unwrap();
    }

    #[test]
    fn links_addresses_routes_and_neighbours_are_reported() {
        if !root() {
            return;
        }
        let a = Namespace::new("a").unwrap();
        run_async_in(&a, || async {
            let mut watch = Watch::open().unwrap();
            let (mut one, _) = Veth::pair((&a, "one"), (&a, "two")).unwrap();
            let first = one.index();
            until(&mut watch, |c| matches!(c, Change::Link(link) if link.name == "one" && link.running))
                .await;
            let addr: IpAddr = "10.0.0.1".parse().unwrap();
            one.add_address("10.0.0.1/24".parse().unwrap()).unwrap();
            until(&mut watch, |c| *c == Change::Address { index: first, addr, present: true }).await;
            until(&mut watch, |c| *c == Change::Route).await;
            let next = "10.0.0.2".parse().unwrap();
            one.add_neighbour(next, [2; 6]).unwrap();
            until(&mut watch, |c| *c == Change::Neighbour { index: first, addr: next }).await;
            one.rename("uno").unwrap();
            until(&mut watch, |c| matches!(c, Change::Link(link) if link.name == "uno")).await;
            one.delete().unwrap();
            until(&mut watch, |c| *c == Change::LinkGone { index: first, name: "uno".into() }).await;
            let (uno, _) = Veth::pair((&a, "uno"), (&a, "two")).unwrap();
            assert_ne!(uno.index(), first);
            until(&mut watch, |c| matches!(c, Change::Link(link) if link.name == "uno")).await;
        })
        .unwrap();
    }

    #[test]
    fn an_overrun_asks_for_a_resync() {
        if !root() {
            return;
        }
        let a = Namespace::new("a").unwrap();
        run_async_in(&a, || async {
            let mut watch = Watch::open().unwrap();
            let socket = watch.socket.as_ref().unwrap();
            socket2::SockRef::from(socket.get_ref()).set_recv_buffer_size(2048).unwrap();
            let (one, _) = Veth::pair((&a, "one"), (&a, "two")).unwrap();
            for mtu in 1300..1320 {
                one.set_mtu(mtu).unwrap();
            }
            until(&mut watch, |c| *c == Change::Resync).await;
            // It goes on.
            one.add_address("10.0.0.1/24".parse().unwrap()).unwrap();
            until(&mut watch, |c| matches!(c, Change::Address { .. })).await;
        })
        .unwrap();
    }

    #[test]
    fn garbage_asks_for_a_resync_and_never_panics() {
        for bytes in [&[0u8; 3][..], &[0xff; 40], &[16, 0, 0, 0, 16, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]] {
            let mut changes = VecDeque::new();
            decode(bytes, &mut changes);
            assert_eq!(changes, [Change::Resync], "{bytes:?}");
        }
    }
}
