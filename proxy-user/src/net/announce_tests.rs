//! Announcing on a veth, seen from its other end.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use super::announce::{Added, Announcer, announce};
use super::netlink::Netlink;
use super::{gratuitous, link};
use crate::lab::tests::root;
use crate::lab::{FrameSocket, Namespace, Veth, run_async_in};

#[test]
fn only_own_addresses_are_removed_also_by_a_later_process() {
    if !root() {
        return;
    }
    let a = Namespace::new("a").unwrap();
    let (port, _other) = Veth::pair((&a, "one"), (&a, "two")).unwrap();
    port.add_address("198.51.100.7/32".parse().unwrap()).unwrap();
    port.add_address("10.0.0.1/24".parse().unwrap()).unwrap();
    let foreign: [IpAddr; 2] = ["198.51.100.7", "10.0.0.1"].map(|text| text.parse().unwrap());
    let vips: [IpAddr; 2] = ["198.51.100.10", "2001:db8::10"].map(|text| text.parse().unwrap());
    run_async_in(&a, || async {
        let netlink = Netlink::open().unwrap();
        let link = link::by_name(&netlink, "one").await.unwrap().unwrap();
        let mut first = Announcer::new(netlink.clone());
        for vip in vips {
            assert_eq!(first.add(&link, vip).await.unwrap(), Added::New);
            assert_eq!(first.add(&link, vip).await.unwrap(), Added::Own);
        }
        for addr in foreign {
            assert_eq!(first.add(&link, addr).await.unwrap(), Added::Foreign);
        }
        drop(first);
        let mut second = Announcer::new(netlink.clone());
        let own = BTreeSet::from(vips.map(|vip| (link.index, vip)));
        assert_eq!(second.own().await.unwrap(), own);
        for addr in foreign {
            assert!(!second.remove(link.index, addr).await.unwrap());
        }
        for vip in vips {
            assert_eq!(second.add(&link, vip).await.unwrap(), Added::Own);
            assert!(second.remove(link.index, vip).await.unwrap());
            assert!(!second.remove(link.index, vip).await.unwrap());
        }
        assert!(second.own().await.unwrap().is_empty());
        let left = super::host::addresses(&netlink).await.unwrap();
        assert!(foreign.iter().all(|addr| left.iter().any(|found| found.addr.addr() == *addr)));
    })
    .unwrap();
}

#[test]
fn the_peer_sees_three_announcements() {
    if !root() {
        return;
    }
    let [a, b] = ["a", "b"].map(|name| Namespace::new(name).unwrap());
    let (pa, pb) = Veth::pair((&a, "eth0"), (&b, "eth0")).unwrap();
    let peer = FrameSocket::open(&pb).unwrap();
    for vip in ["198.51.100.10", "2001:db8::10"] {
        let vip: IpAddr = vip.parse().unwrap();
        run_async_in(&a, || async {
            let netlink = Netlink::open().unwrap();
            let link = link::by_index(&netlink, pa.index()).await.unwrap().unwrap();
            announce(&link, vip).await.unwrap();
        })
        .unwrap();
        let expected = gratuitous::frame(pa.mac(), vip);
        for _ in 0..3 {
            let seen = peer.recv_matching(Duration::from_secs(2), |frame| frame == expected).unwrap();
            assert!(seen.is_some(), "{vip}");
        }
    }
}

#[test]
fn a_removed_interface_is_named() {
    if !root() {
        return;
    }
    let a = Namespace::new("a").unwrap();
    let (port, _other) = Veth::pair((&a, "one"), (&a, "two")).unwrap();
    run_async_in(&a, || async {
        let netlink = Netlink::open().unwrap();
        let link = link::by_name(&netlink, "one").await.unwrap().unwrap();
        port.clone().delete().unwrap();
        let vip = "198.51.100.10".parse().unwrap();
        let error = announce(&link, vip).await.unwrap_err().to_string();
        assert!(error.contains("198.51.100.10 on one"), "{error}");
        let mut announcer = Announcer::new(netlink);
        assert!(
            announcer.add(&link, vip).await.unwrap_err().to_string().contains("add 198.51.100.10 to one")
        );
        assert!(!announcer.remove(link.index, vip).await.unwrap());
    })
    .unwrap();
}
