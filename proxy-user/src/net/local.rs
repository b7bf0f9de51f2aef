//! Local routes to VIPs: what makes the host take packets to an address that no interface has (AnyIP), so that they reach
//! socket look-up. In the table `local`, with a protocol number of weir's own and a metric that is the daemon's, so that it
//! knows its own after a restart, and never removes a route of the operator or of another daemon beside it.
//!
//! A host answers ARP for such an address on every interface (unless `arp_ignore` says otherwise), but IPv6 neighbour
//! discovery only for addresses of the interface.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::Path;

use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::route::{RouteAttribute, RouteMessage, RouteProtocol, RouteScope, RouteType};
use rtnetlink::packet_core::{NLM_F_CREATE, NLM_F_EXCL};

use super::convert::{family, from_route, host_prefix, to_route};
use super::netlink::{Netlink, NetlinkError};

/// Whose routes they are. Daemons of one network namespace have runtime directories of their own, whose lock keeps one daemon
/// in each, so the directory's path makes the metric. Each has a route of its own also to an address that both have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    metric: u32,
}

impl Owner {
    /// The daemon of this runtime directory, now and after a restart.
    #[must_use]
    pub fn of(run_dir: &Path) -> Self {
        let real = std::fs::canonicalize(run_dir).or_else(|_| std::path::absolute(run_dir));
        let path = real.unwrap_or_else(|_| run_dir.to_owned());
        let hash =
            path.as_os_str().as_encoded_bytes().iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
                (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
            });
        Self { metric: METRIC + u32::try_from((hash ^ hash >> 32) & METRIC_BITS).unwrap_or_default() }
    }
}

/// Makes the host take packets to an address. Says whether the route is new.
///
/// # Errors
/// [`NetlinkError`].
pub async fn add(netlink: &Netlink, owner: Owner, addr: IpAddr) -> Result<bool, NetlinkError> {
    let what = format!("add a local route to {addr}");
    let message = RouteNetlinkMessage::NewRoute(message(owner, addr));
    match netlink.change(&what, message, NLM_F_CREATE | NLM_F_EXCL).await {
        Ok(()) => Ok(true),
        Err(error) if error.errno() == Some(libc::EEXIST) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Takes a daemon's local route to an address away. Says whether there was one.
///
/// # Errors
/// [`NetlinkError`].
pub async fn remove(netlink: &Netlink, owner: Owner, addr: IpAddr) -> Result<bool, NetlinkError> {
    let what = format!("remove the local route to {addr}");
    match netlink.change(&what, RouteNetlinkMessage::DelRoute(message(owner, addr)), 0).await {
        Ok(()) => Ok(true),
        Err(error) if error.errno() == Some(libc::ESRCH) => Ok(false),
        Err(error) => Err(error),
    }
}

/// The addresses that a daemon has added local routes to, also those of an earlier process. Lists every route of the host.
///
/// # Errors
/// [`NetlinkError`].
pub async fn own(netlink: &Netlink, owner: Owner) -> Result<BTreeSet<IpAddr>, NetlinkError> {
    let mut own = BTreeSet::new();
    for any in [IpAddr::from([0u8; 4]), IpAddr::from([0u8; 16])] {
        let mut request = RouteMessage::default();
        request.header.address_family = family(any);
        request.header.table = TABLE;
        let answers = netlink.dump("list local routes", RouteNetlinkMessage::GetRoute(request)).await?;
        own.extend(answers.iter().filter_map(|answer| own_address(answer, owner)));
    }
    Ok(own)
}

fn own_address(message: &RouteNetlinkMessage, owner: Owner) -> Option<IpAddr> {
    let RouteNetlinkMessage::NewRoute(message) = message else { return None };
    let header = &message.header;
    if (header.kind, header.table, header.protocol) != (RouteType::Local, TABLE, MARK) {
        return None;
    }
    if !message.attributes.contains(&RouteAttribute::Priority(owner.metric)) {
        return None;
    }
    let addr = message.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Destination(addr) => from_route(addr),
        _ => None,
    })?;
    (header.destination_prefix_length == host_prefix(addr)).then_some(addr)
}

fn message(owner: Owner, addr: IpAddr) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header.address_family = family(addr);
    message.header.destination_prefix_length = host_prefix(addr);
    message.header.table = TABLE;
    message.header.protocol = MARK;
    message.header.kind = RouteType::Local;
    message.header.scope = if addr.is_ipv4() { RouteScope::Host } else { RouteScope::Universe };
    message.attributes = vec![
        RouteAttribute::Destination(to_route(addr)),
        RouteAttribute::Oif(LOOPBACK),
        RouteAttribute::Priority(owner.metric),
    ];
    message
}

/// Protocol number of weir's routes: 'W'. `ip route show table local proto 87` lists them.
const MARK: RouteProtocol = RouteProtocol::Other(0x57);
/// The kernel's table `local`.
const TABLE: u8 = 255;
/// The loopback's interface index, in every namespace.
const LOOPBACK: u32 = 1;
/// The least metric of weir's: behind the kernel's own route to an address of an interface, so that both may stand.
const METRIC: u32 = 1024;
/// How far above it a daemon's metric is at most.
const METRIC_BITS: u64 = 0x3fff_ffff;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::tests::root;
    use crate::lab::{Namespace, run_async_in};
    use crate::net::host;

    #[test]
    fn own_routes_come_and_go_and_others_stay() {
        if !root() {
            return;
        }
        let a = Namespace::new("a").unwrap();
        run_async_in(&a, || async {
            let netlink = Netlink::open().unwrap();
            let [one, other] = ["/run/weir", "/run/other"].map(|path| Owner::of(Path::new(path)));
            assert_ne!(one, other);
            assert_eq!(one, Owner::of(Path::new("/run/weir")));
            let mut foreign = message(one, "192.0.2.9".parse().unwrap());
            foreign.header.protocol = RouteProtocol::Static;
            let foreign = RouteNetlinkMessage::NewRoute(foreign);
            netlink.change("add a route", foreign, NLM_F_CREATE | NLM_F_EXCL).await.unwrap();
            let vips: BTreeSet<IpAddr> =
                ["198.51.100.10", "2001:db8::10"].map(|text| text.parse().unwrap()).into();
            for vip in &vips {
                assert!(!host::owns(&netlink, *vip).await.unwrap());
                assert!(add(&netlink, one, *vip).await.unwrap());
                assert!(!add(&netlink, one, *vip).await.unwrap(), "it is there already");
                assert!(host::owns(&netlink, *vip).await.unwrap());
            }
            assert_eq!(own(&netlink, one).await.unwrap(), vips);
            assert!(own(&netlink, other).await.unwrap().is_empty(), "not its own");
            for vip in &vips {
                assert!(!remove(&netlink, other, *vip).await.unwrap(), "of another daemon");
                assert!(add(&netlink, other, *vip).await.unwrap());
                assert!(remove(&netlink, one, *vip).await.unwrap());
                assert!(!remove(&netlink, one, *vip).await.unwrap());
                assert!(host::owns(&netlink, *vip).await.unwrap(), "the other daemon has it still");
                assert!(remove(&netlink, other, *vip).await.unwrap());
                assert!(!host::owns(&netlink, *vip).await.unwrap());
            }
            assert!(own(&netlink, one).await.unwrap().is_empty());
            assert!(!remove(&netlink, one, "192.0.2.9".parse().unwrap()).await.unwrap(), "not weir's");
            assert!(host::owns(&netlink, "192.0.2.9".parse().unwrap()).await.unwrap());
        })
        .unwrap();
    }
}
