//! The follower against a network that changes under it.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::follow::{NextHops, Ways};
use super::nexthop::Unreachable;
use crate::lab::tests::root;
use crate::lab::{Namespace, Port, Route, Veth, run_async_in};

fn addr(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn network(a: &Namespace, b: &Namespace) -> (Port, Port) {
    let (pa, pb) = Veth::pair((a, "eth0"), (b, "eth0")).unwrap();
    for (port, address) in
        [(&pa, "10.0.0.1/24"), (&pb, "10.0.0.2/24"), (&pa, "fd00::1/64"), (&pb, "fd00::2/64")]
    {
        port.add_address(address.parse().unwrap()).unwrap();
    }
    (pa, pb)
}

async fn until(ways: &mut watch::Receiver<Arc<Ways>>, what: &str, wanted: impl Fn(&Ways) -> bool) {
    let late =
        tokio::time::timeout(Duration::from_secs(5), ways.wait_for(|ways| wanted(ways))).await.is_err();
    if late {
        panic!("{what}: {:?}", ways.borrow());
    }
}

fn mac(ways: &Ways, to: &str) -> Option<[u8; 6]> {
    ways.get(&addr(to))?.as_ref().ok()?.dst_mac
}

#[test]
fn neighbours_routes_and_links_are_followed() {
    if !root() {
        return;
    }
    let [a, b] = ["a", "b"].map(|name| Namespace::new(name).unwrap());
    let (pa, pb) = network(&a, &b);
    run_async_in(&a, || async {
        let wanted = |all: &[&str]| all.iter().map(|text| addr(text)).collect::<BTreeSet<_>>();
        let (backends, receiver) = watch::channel(wanted(&["10.0.0.2", "fd00::2", "10.9.0.1", "10.0.0.1"]));
        let hops = NextHops::follow(receiver).unwrap();
        let mut ways = hops.ways();
        until(&mut ways, "both are probed and found", |ways| {
            mac(ways, "10.0.0.2") == Some(pb.mac()) && mac(ways, "fd00::2") == Some(pb.mac())
        })
        .await;
        assert_eq!(ways.borrow()[&addr("10.0.0.1")], Err(Unreachable::Local));
        assert_eq!(ways.borrow()[&addr("10.9.0.1")], Err(Unreachable::NoRoute));

        pa.add_neighbour(addr("10.0.0.2"), [2, 0, 0, 0, 0, 9]).unwrap();
        until(&mut ways, "a new MAC address", |ways| mac(ways, "10.0.0.2") == Some([2, 0, 0, 0, 0, 9])).await;

        pa.add_route(Route::via("10.9.0.0/16".parse().unwrap(), addr("10.0.0.2")).mtu(1400)).unwrap();
        until(&mut ways, "a new route", |ways| {
            matches!(&ways[&addr("10.9.0.1")], Ok(hop) if !hop.on_link && hop.mtu == 1400
                && hop.dst_mac == Some([2, 0, 0, 0, 0, 9]))
        })
        .await;
        pa.set_mtu(1300).unwrap();
        until(&mut ways, "a new MTU", |ways| matches!(&ways[&addr("10.9.0.1")], Ok(hop) if hop.mtu == 1300))
            .await;

        backends.send_replace(wanted(&["10.0.0.2"]));
        until(&mut ways, "fewer backends", |ways| ways.len() == 1).await;

        pa.down().unwrap();
        until(&mut ways, "the link is down", |ways| ways[&addr("10.0.0.2")].is_err()).await;
        pa.up().unwrap();
        until(&mut ways, "the link is up", |ways| mac(ways, "10.0.0.2").is_some()).await;

        pa.clone().delete().unwrap();
        until(&mut ways, "the link is gone", |ways| ways[&addr("10.0.0.2")] == Err(Unreachable::NoRoute))
            .await;
        let (again, far) = network(&a, &b);
        until(&mut ways, "the link is back", |ways| {
            matches!(&ways[&addr("10.0.0.2")], Ok(hop) if hop.ifindex == again.index()
                && hop.dst_mac == Some(far.mac()))
        })
        .await;
    })
    .unwrap();
}

#[test]
fn nothing_is_published_without_a_change() {
    if !root() {
        return;
    }
    let [a, b] = ["a", "b"].map(|name| Namespace::new(name).unwrap());
    let (pa, _pb) = network(&a, &b);
    pa.add_neighbour(addr("10.0.0.2"), [2; 6]).unwrap();
    run_async_in(&a, || async {
        let (_backends, receiver) = watch::channel(BTreeSet::from([addr("10.0.0.2")]));
        let hops = NextHops::follow(receiver).unwrap();
        let mut ways = hops.ways();
        until(&mut ways, "found", |ways| mac(ways, "10.0.0.2").is_some()).await;
        ways.mark_unchanged();
        // Looked at again, and the same.
        pa.add_route(Route::on_link("10.77.0.0/16".parse().unwrap())).unwrap();
        pa.add_neighbour(addr("10.0.0.77"), [3; 6]).unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert!(!ways.has_changed().unwrap());
    })
    .unwrap();
}
