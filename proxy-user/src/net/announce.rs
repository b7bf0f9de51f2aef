//! VIP addresses that weir adds to an interface itself, and telling the link about them.
//!
//! What weir adds it marks ([`MARK`] in `IFA_PROTO`), so that it knows its own after a restart and never removes an
//! address of the operator. Kernels before 5.18 keep no mark: there weir knows only what the running process added.

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::{
    AddressAttribute, AddressFlags, AddressMessage, AddressProtocol, CacheInfo,
};
use rtnetlink::packet_core::{NLM_F_CREATE, NLM_F_EXCL};

use super::convert::{family, host_prefix};
use super::gratuitous;
use super::host::{self, HostAddress};
use super::link::Link;
use super::netlink::{Netlink, NetlinkError};
use super::packet::PacketSocket;

/// Why an address could not be added, removed or announced.
#[derive(Debug, thiserror::Error)]
pub enum AnnounceError {
    /// The kernel refused.
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
    /// The interface can't announce.
    #[error("interface {0} has no MAC address, so VIPs cannot be announced on it: use announce = \"none\"")]
    NotEthernet(String),
    /// The frame was not sent.
    #[error("cannot announce {addr} on {interface}: {source}; set the interface up, weir needs CAP_NET_RAW")]
    Send {
        /// The VIP.
        addr: IpAddr,
        /// Where.
        interface: String,
        /// The errno.
        source: io::Error,
    },
}

/// What became of adding an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Added {
    /// It is new.
    New,
    /// weir had added it before.
    Own,
    /// Somebody else has it on this interface: used as it is, and never removed by weir.
    Foreign,
}

/// Adds and removes VIP addresses.
#[derive(Debug)]
pub struct Announcer {
    netlink: Netlink,
    /// What this process added, for kernels that keep no mark.
    added: BTreeSet<(u32, IpAddr)>,
}

impl Announcer {
    /// An announcer over a netlink socket.
    #[must_use]
    pub fn new(netlink: Netlink) -> Self {
        Self { netlink, added: BTreeSet::new() }
    }

    /// Puts a VIP on an interface as /32 or /128. IPv6: usable at once, and not preferred as a source address.
    ///
    /// # Errors
    /// [`AnnounceError::Netlink`].
    pub async fn add(&mut self, link: &Link, vip: IpAddr) -> Result<Added, AnnounceError> {
        if let Some(found) = self.find(link.index, vip).await? {
            return Ok(if self.is_own(&found) { Added::Own } else { Added::Foreign });
        }
        let what = format!("add {vip} to {}", link.name);
        let message = RouteNetlinkMessage::NewAddress(message(link.index, vip));
        match self.netlink.change(&what, message, NLM_F_CREATE | NLM_F_EXCL).await {
            Ok(()) => {
                self.added.insert((link.index, vip));
                Ok(Added::New)
            }
            // Somebody was faster.
            Err(error) if error.errno() == Some(libc::EEXIST) => Ok(Added::Foreign),
            Err(error) => Err(error.into()),
        }
    }

    /// Takes a VIP off an interface if weir has added it; says whether it did.
    ///
    /// # Errors
    /// [`AnnounceError::Netlink`].
    pub async fn remove(&mut self, index: u32, vip: IpAddr) -> Result<bool, AnnounceError> {
        let own = match self.find(index, vip).await? {
            Some(found) => self.is_own(&found),
            None => false,
        };
        self.added.remove(&(index, vip));
        if !own {
            return Ok(false);
        }
        let what = format!("remove {vip} from interface {index}");
        let message = RouteNetlinkMessage::DelAddress(message(index, vip));
        match self.netlink.change(&what, message, 0).await {
            Ok(()) => Ok(true),
            Err(error) if matches!(error.errno(), Some(libc::EADDRNOTAVAIL | libc::ENODEV)) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// The addresses that weir has added, by interface index, also those of an earlier process.
    ///
    /// # Errors
    /// [`AnnounceError::Netlink`].
    pub async fn own(&self) -> Result<BTreeSet<(u32, IpAddr)>, AnnounceError> {
        let all = host::addresses(&self.netlink).await?;
        Ok(all
            .into_iter()
            .filter(|found| self.is_own(found))
            .map(|found| (found.index, found.addr.addr()))
            .collect())
    }

    async fn find(&self, index: u32, vip: IpAddr) -> Result<Option<HostAddress>, NetlinkError> {
        let vip = IpNet::from(vip);
        let all = host::addresses(&self.netlink).await?;
        let on_link = |found: &HostAddress| found.index == index && found.addr.addr() == vip.addr();
        // IPv4 can have an address with several lengths: weir's is the host prefix.
        let exact = all.iter().find(|found| on_link(found) && found.addr == vip);
        Ok(exact.or_else(|| all.iter().find(|found| on_link(found))).cloned())
    }

    fn is_own(&self, found: &HostAddress) -> bool {
        let host = found.addr.prefix_len() == found.addr.max_prefix_len();
        let known = self.added.contains(&(found.index, found.addr.addr()));
        host && (found.protocol == Some(MARK) || (found.protocol.is_none() && known))
    }
}

/// Tells the link that `vip` is at the interface's MAC address, three times.
///
/// # Errors
/// [`AnnounceError::NotEthernet`], [`AnnounceError::Send`].
pub async fn announce(link: &Link, vip: IpAddr) -> Result<(), AnnounceError> {
    let mac = link.mac.ok_or_else(|| AnnounceError::NotEthernet(link.name.clone()))?;
    let failed = |source| AnnounceError::Send { addr: vip, interface: link.name.clone(), source };
    let socket = PacketSocket::open_to_send(link.index).map_err(failed)?;
    let frame = gratuitous::frame(mac, vip);
    for time in 0..REPEATS {
        if time > 0 {
            tokio::time::sleep(GAP).await;
        }
        socket.send(&frame).map_err(failed)?;
    }
    Ok(())
}

fn message(index: u32, vip: IpAddr) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.family = family(vip);
    message.header.prefix_len = host_prefix(vip);
    message.header.index = index;
    message.attributes = vec![
        AddressAttribute::Local(vip),
        AddressAttribute::Address(vip),
        AddressAttribute::Protocol(AddressProtocol::Other(MARK)),
    ];
    if vip.is_ipv6() {
        message.attributes.push(AddressAttribute::Flags(AddressFlags::Nodad));
        // Preferred for no time: the host's own connections keep their source address.
        let mut lifetime = CacheInfo::default();
        (lifetime.ifa_preferred, lifetime.ifa_valid) = (0, u32::MAX);
        message.attributes.push(AddressAttribute::CacheInfo(lifetime));
    }
    message
}

/// `IFA_PROTO` of addresses that weir has added: 'W'.
pub const MARK: u8 = 0x57;
const REPEATS: usize = 3;
const GAP: Duration = Duration::from_millis(200);
