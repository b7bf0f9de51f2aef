//! An interface of the laboratory: its state, addresses, routes and neighbours.

use std::io;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressMessage};
use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkMessage};
use netlink_packet_route::neighbour::{NeighbourAttribute, NeighbourMessage, NeighbourState};
use netlink_packet_route::route::RouteType;
use rtnetlink::packet_core::{NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};

use super::{LabError, Namespace, Route, run_async_in};
use crate::net::convert::{family, to_neighbour};
use crate::net::netlink::{Netlink, NetlinkError};
use crate::net::{host, link};

/// An interface in a namespace. A handle only: it ends with [`Port::delete`] or with its namespace, whose lifetime
/// it extends.
#[derive(Clone, Debug)]
pub struct Port {
    namespace: Namespace,
    name: String,
    index: u32,
    mac: [u8; 6],
}

impl Port {
    /// An interface that is there.
    ///
    /// # Errors
    /// [`LabError`], `ENODEV` if it is not.
    pub fn named(namespace: &Namespace, name: &str) -> Result<Self, LabError> {
        check_name(name)?;
        let found = run_async_in(namespace, || async { link::by_name(&Netlink::open()?, name).await })??;
        let Some(link) = found else {
            let what = format!("look up {name} in {}", namespace.name());
            return Err(LabError::at(what)(io::Error::from_raw_os_error(libc::ENODEV)));
        };
        Ok(Self {
            namespace: namespace.clone(),
            name: name.into(),
            index: link.index,
            mac: link.mac.unwrap_or_default(),
        })
    }

    /// Its namespace.
    #[must_use]
    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its index within its namespace.
    #[must_use]
    pub fn index(&self) -> u32 {
        self.index
    }

    /// Its MAC address.
    #[must_use]
    pub fn mac(&self) -> [u8; 6] {
        self.mac
    }

    /// Sets it up.
    ///
    /// # Errors
    /// [`LabError`].
    pub fn up(&self) -> Result<(), LabError> {
        self.set_flags("set up", LinkFlags::Up)
    }

    /// Sets it down.
    ///
    /// # Errors
    /// [`LabError`].
    pub fn down(&self) -> Result<(), LabError> {
        self.set_flags("set down", LinkFlags::empty())
    }

    /// Waits until it carries packets. The kernel reports that a moment after both ends are up; until then frames are
    /// lost and IPv6 addresses have no local route.
    ///
    /// # Errors
    /// [`LabError`], `ETIMEDOUT` after 3 s, mostly because the other end is down.
    pub fn wait_running(&self) -> Result<(), LabError> {
        wait(&self.namespace, &self.what("wait for the carrier of"), async |netlink| {
            Ok(link::by_index(netlink, self.index).await?.is_some_and(|link| link.running))
        })
    }

    /// Sets its MTU, bytes.
    ///
    /// # Errors
    /// [`LabError`].
    pub fn set_mtu(&self, mtu: u32) -> Result<(), LabError> {
        self.set_attribute("set the MTU of", LinkAttribute::Mtu(mtu))
    }

    /// Sets its MAC address.
    ///
    /// # Errors
    /// [`LabError`].
    pub fn set_mac(&mut self, mac: [u8; 6]) -> Result<(), LabError> {
        self.set_attribute("set the MAC address of", LinkAttribute::Address(mac.to_vec()))?;
        self.mac = mac;
        Ok(())
    }

    /// Gives it another name, also while it is up.
    ///
    /// # Errors
    /// [`LabError`].
    pub fn rename(&mut self, name: &str) -> Result<(), LabError> {
        check_name(name)?;
        self.set_attribute("rename", LinkAttribute::IfName(name.into()))?;
        self.name = name.into();
        Ok(())
    }

    /// Removes it and, if it is one, the other end of its veth pair.
    ///
    /// # Errors
    /// [`LabError`].
    pub fn delete(self) -> Result<(), LabError> {
        let mut message = LinkMessage::default();
        message.header.index = self.index;
        change(&self.namespace, &self.what("delete"), RouteNetlinkMessage::DelLink(message), 0)
    }

    /// Adds an address with its prefix, such as `10.0.0.1/24`. It is usable on return if the port is running: the
    /// kernel makes an IPv6 address's local route later, also without duplicate address detection.
    ///
    /// # Errors
    /// [`LabError`].
    pub fn add_address(&self, address: IpNet) -> Result<(), LabError> {
        let message = RouteNetlinkMessage::NewAddress(self.address(address));
        let what = self.what(&format!("add {address} to"));
        change(&self.namespace, &what, message, NLM_F_CREATE | NLM_F_EXCL)?;
        wait(&self.namespace, &what, async |netlink| {
            let running = link::by_index(netlink, self.index).await?.is_some_and(|link| link.running);
            Ok(!running || host::owns(netlink, address.addr()).await?)
        })
    }

    /// Removes an address.
    ///
    /// # Errors
    /// [`LabError`].
    pub fn delete_address(&self, address: IpNet) -> Result<(), LabError> {
        let message = RouteNetlinkMessage::DelAddress(self.address(address));
        change(&self.namespace, &self.what(&format!("delete {address} from")), message, 0)
    }

    /// Adds or replaces a route over it.
    ///
    /// # Errors
    /// [`LabError`].
    pub fn add_route(&self, route: Route) -> Result<(), LabError> {
        let message = RouteNetlinkMessage::NewRoute(route.message(self.index));
        let what = self.what(&format!("add the route {} over", route.to));
        change(&self.namespace, &what, message, NLM_F_CREATE | NLM_F_REPLACE)
    }

    /// Removes a route over it.
    ///
    /// # Errors
    /// [`LabError`].
    pub fn delete_route(&self, route: Route) -> Result<(), LabError> {
        let message = RouteNetlinkMessage::DelRoute(route.message(self.index));
        change(&self.namespace, &self.what(&format!("delete the route {} over", route.to)), message, 0)
    }

    /// Adds or replaces a permanent neighbour.
    ///
    /// # Errors
    /// [`LabError`].
    pub fn add_neighbour(&self, addr: IpAddr, mac: [u8; 6]) -> Result<(), LabError> {
        let mut message = self.neighbour(addr);
        message.header.state = NeighbourState::Permanent;
        message.attributes.push(NeighbourAttribute::LinkLayerAddress(mac.to_vec()));
        let what = self.what(&format!("add the neighbour {addr} on"));
        change(
            &self.namespace,
            &what,
            RouteNetlinkMessage::NewNeighbour(message),
            NLM_F_CREATE | NLM_F_REPLACE,
        )
    }

    /// Removes a neighbour.
    ///
    /// # Errors
    /// [`LabError`].
    pub fn delete_neighbour(&self, addr: IpAddr) -> Result<(), LabError> {
        let what = self.what(&format!("delete the neighbour {addr} on"));
        change(&self.namespace, &what, RouteNetlinkMessage::DelNeighbour(self.neighbour(addr)), 0)
    }

    fn set_attribute(&self, verb: &str, attribute: LinkAttribute) -> Result<(), LabError> {
        let mut message = LinkMessage::default();
        message.header.index = self.index;
        message.attributes.push(attribute);
        change(&self.namespace, &self.what(verb), RouteNetlinkMessage::SetLink(message), 0)
    }

    fn set_flags(&self, verb: &str, flags: LinkFlags) -> Result<(), LabError> {
        let mut message = LinkMessage::default();
        message.header.index = self.index;
        message.header.flags = flags;
        message.header.change_mask = LinkFlags::Up;
        change(&self.namespace, &self.what(verb), RouteNetlinkMessage::SetLink(message), 0)
    }

    fn address(&self, address: IpNet) -> AddressMessage {
        let mut message = AddressMessage::default();
        message.header.family = family(address.addr());
        message.header.prefix_len = address.prefix_len();
        message.header.index = self.index;
        message.attributes = vec![
            AddressAttribute::Local(address.addr()),
            AddressAttribute::Address(address.addr()),
            AddressAttribute::Flags(AddressFlags::Nodad),
        ];
        message
    }

    fn neighbour(&self, addr: IpAddr) -> NeighbourMessage {
        let mut message = NeighbourMessage::default();
        message.header.family = family(addr);
        message.header.ifindex = self.index;
        message.header.kind = RouteType::Unicast;
        message.attributes.push(NeighbourAttribute::Destination(to_neighbour(addr)));
        message
    }

    fn what(&self, verb: &str) -> String {
        format!("{verb} {} in {}", self.name, self.namespace.name())
    }
}

/// Sends one change from inside the namespace.
pub(super) fn change(
    namespace: &Namespace,
    what: &str,
    message: RouteNetlinkMessage,
    flags: u16,
) -> Result<(), LabError> {
    Ok(run_async_in(namespace, || async { Netlink::open()?.change(what, message, flags).await })??)
}

/// Waits up to 3 s for something that the kernel does later.
fn wait(
    namespace: &Namespace,
    what: &str,
    done: impl AsyncFn(&Netlink) -> Result<bool, NetlinkError> + Send,
) -> Result<(), LabError> {
    run_async_in(namespace, || async move {
        let netlink = Netlink::open()?;
        let end = Instant::now() + Duration::from_secs(3);
        while !done(&netlink).await? {
            if Instant::now() > end {
                return Err(LabError::at(what)(io::ErrorKind::TimedOut.into()));
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Ok(())
    })?
}

/// The kernel's own rule (`dev_valid_name`), so that the message can say it.
pub(super) fn check_name(name: &str) -> Result<(), LabError> {
    let bad = |byte: u8| byte == 0 || byte == b'/' || byte == b':' || byte.is_ascii_whitespace();
    if name.is_empty() || name.len() > 15 || name == "." || name == ".." || name.bytes().any(bad) {
        return Err(LabError::Name(name.to_owned()));
    }
    Ok(())
}
