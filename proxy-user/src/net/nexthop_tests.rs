//! Next hops in a network of three namespaces: here, a gateway, and what is behind it.

use std::net::IpAddr;

use super::netlink::Netlink;
use super::nexthop::{Unreachable, resolve, way};
use crate::lab::tests::root;
use crate::lab::{Namespace, Route, Veth, run_async_in};
use crate::model::NextHop;

fn addr(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn on_link_gateway_local_and_unreachable() {
    if !root() {
        return;
    }
    let [here, gate] = ["here", "gate"].map(|name| Namespace::new(name).unwrap());
    let (port, far) = Veth::pair((&here, "eth0"), (&gate, "eth0")).unwrap();
    for (port, address) in
        [(&port, "10.0.0.1/24"), (&far, "10.0.0.254/24"), (&port, "fd00::1/64"), (&far, "fd00::ff/64")]
    {
        port.add_address(address.parse().unwrap()).unwrap();
    }
    port.add_route(Route::via("10.9.0.0/16".parse().unwrap(), addr("10.0.0.254")).mtu(1400)).unwrap();
    port.add_route(Route::via("fd09::/16".parse().unwrap(), addr("fd00::ff")).mtu(1380)).unwrap();
    let gateway_mac = far.mac();
    port.add_neighbour(addr("10.0.0.254"), gateway_mac).unwrap();
    port.add_neighbour(addr("fd00::ff"), gateway_mac).unwrap();
    port.add_neighbour(addr("10.0.0.7"), [2, 0, 0, 0, 0, 7]).unwrap();

    let on_link = |source: &str, dst_mac| NextHop {
        ifindex: port.index(),
        src_mac: port.mac(),
        dst_mac,
        mtu: 1500,
        on_link: true,
        source: addr(source),
    };
    let behind = |source: &str, mtu| NextHop {
        mtu,
        on_link: false,
        dst_mac: Some(gateway_mac),
        ..on_link(source, None)
    };
    let expected = [
        ("10.0.0.7", Ok(on_link("10.0.0.1", Some([2, 0, 0, 0, 0, 7])))),
        ("10.0.0.8", Ok(on_link("10.0.0.1", None))),
        ("fd00::8", Ok(on_link("fd00::1", None))),
        ("10.9.1.1", Ok(behind("10.0.0.1", 1400))),
        ("fd09::1", Ok(behind("fd00::1", 1380))),
        ("10.0.0.1", Err(Unreachable::Local)),
        ("fd00::1", Err(Unreachable::Local)),
        ("127.0.0.1", Err(Unreachable::Local)),
        ("192.0.2.1", Err(Unreachable::NoRoute)),
        ("2001:db8::1", Err(Unreachable::NoRoute)),
        ("10.0.0.255", Err(Unreachable::Refused("broadcast"))),
        ("224.0.0.9", Err(Unreachable::NoRoute)),
    ];
    run_async_in(&here, || async {
        let netlink = Netlink::open().unwrap();
        for (to, expected) in expected {
            assert_eq!(resolve(&netlink, addr(to)).await.unwrap(), expected, "{to}");
        }
    })
    .unwrap();

    port.down().unwrap();
    run_async_in(&here, || async {
        let netlink = Netlink::open().unwrap();
        assert!(way(&netlink, addr("10.0.0.7")).await.unwrap().is_err());
    })
    .unwrap();
}

#[test]
fn a_preferred_source_of_the_route_is_used() {
    if !root() {
        return;
    }
    let here = Namespace::new("here").unwrap();
    let (port, _far) = Veth::pair((&here, "eth0"), (&here, "eth1")).unwrap();
    for address in ["10.0.0.1/24", "10.0.0.2/24"] {
        port.add_address(address.parse().unwrap()).unwrap();
    }
    port.add_route(Route::on_link("192.0.2.0/24".parse().unwrap()).source(addr("10.0.0.2"))).unwrap();
    run_async_in(&here, || async {
        let netlink = Netlink::open().unwrap();
        let way = way(&netlink, addr("192.0.2.1")).await.unwrap().unwrap();
        assert_eq!((way.source, way.gateway), (addr("10.0.0.2"), None));
    })
    .unwrap();
}
