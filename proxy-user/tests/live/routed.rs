//! Routers between weir and its peers: one interface for both sides, and a narrow link behind.

use std::fs;
use std::path::Path;

use proxy_user::kernel::adopt;
use proxy_user::kernel::attach::{Interface, Policy};
use proxy_user::kernel::bpffs::PinDir;
use proxy_user::kernel::load;
use proxy_user::kernel::schema::Capacity;
use proxy_user::lab::bulk::{self, BulkServer};
use proxy_user::lab::http::{Get, HttpServer};
use proxy_user::lab::{Namespace, Port, Route, Veth, run_in};

use crate::bed::{FAMILIES, Family, addresses, bed, sandbox};
use crate::daemon::Places;
use crate::traffic::PATIENCE;

#[test]
fn one_interface_serves_both_sides() {
    sandbox(|dir, weir| {
        let [router, client, backend] =
            ["router", "client", "backend"].map(|name| Namespace::new(name).unwrap());
        forward(&router);
        for (n, space) in [(1, &client), (2, &backend), (3, &weir)] {
            let (own, far) = Veth::pair((space, "eth0"), (&router, &format!("r{n}"))).unwrap();
            addresses(&own, &[&format!("10.6.{n}.1/24"), &format!("fd06:{n}::1/64")]);
            addresses(&far, &[&format!("10.6.{n}.254/24"), &format!("fd06:{n}::fe/64")]);
            for gateway in [format!("10.6.{n}.254"), format!("fd06:{n}::fe")] {
                own.add_route(Route::default_via(gateway.parse().unwrap())).unwrap();
            }
            if n == 3 {
                hear(&dir, &far);
                for (vip, via) in [("198.51.100.10/32", "10.6.3.1"), ("2001:db8::10/128", "fd06:3::1")] {
                    far.add_route(Route::via(vip.parse().unwrap(), via.parse().unwrap())).unwrap();
                }
            }
        }
        let places = Places::new(dir);
        let backends = ["10.6.2.1", "fd06:2::1"];
        let mut text = String::from("version = 1\n[limits]\nflows = 65536\n[interface.eth0]\n");
        for (family, (backend, n)) in FAMILIES.into_iter().zip(backends.into_iter().zip(["4", "6"])) {
            for port in [80, 5001] {
                text += &format!(
                    "[[service]]\nname = \"s{n}-{port}\"\nvip = \"tcp/{}\"\nbackends = [\"{backend}\"]\n",
                    family.vip_at(port)
                );
            }
        }
        fs::write(places.config(), text).unwrap();
        let daemon = places.start();
        for (family, addr) in FAMILIES.into_iter().zip(backends) {
            let addr: std::net::IpAddr = addr.parse().unwrap();
            let _http = HttpServer::start(&backend, (addr, 80).into(), "1", false).unwrap();
            let _sink = BulkServer::start(&backend, (addr, 5001).into()).unwrap();
            let get = Get { to: family.vip_at(80), from: None, timeout: PATIENCE };
            run_in(&client, || (0..100).for_each(|_| drop(get.send().unwrap()))).unwrap();
            let send = || bulk::send(family.vip_at(5001), 10_000_000, PATIENCE);
            assert_eq!(run_in(&client, send).unwrap().unwrap(), 10_000_000);
        }
        assert_eq!(daemon.json(&["status"])["ready"], true);
    });
}

/// The client learns of the narrow link only by the router's ICMP errors, which are about packets that weir sent.
#[test]
fn a_router_s_packet_too_big_reaches_the_client() {
    bed(1, |bed| {
        let router = &bed.backends[0];
        forward(&router.space);
        let far = Namespace::new("far").unwrap();
        let (near_end, far_end) = Veth::pair((&router.space, "down"), (&far, "eth0")).unwrap();
        // Only on the way there: the far end offers segments of full size.
        near_end.set_mtu(1300).unwrap();
        addresses(&near_end, &["10.4.1.254/24", "fd04:1::fe/64"]);
        addresses(&far_end, &["10.4.1.1/24", "fd04:1::1/64"]);
        let ways = [("10.4.1.0/24", "10.2.1.1", "10.4.1.254"), ("fd04:1::/64", "fd02:1::1", "fd04:1::fe")];
        let mut services = String::new();
        for (family, (net, via, gateway)) in FAMILIES.into_iter().zip(ways) {
            let route = Route::via(net.parse().unwrap(), via.parse().unwrap());
            router.weir_port.add_route(route).unwrap();
            far_end.add_route(Route::default_via(gateway.parse().unwrap())).unwrap();
            let n = if family == Family::V4 { "4" } else { "6" };
            services += &format!(
                "[[service]]\nname = \"bulk{n}\"\nvip = \"tcp/{}\"\nbackends = [\"{}\"]\n",
                family.vip_at(5001),
                family.pick("10.4.1.1", "fd04:1::1")
            );
        }
        let daemon = bed.start(&services);
        for family in FAMILIES {
            let before = daemon.reason("nat_icmp");
            let sink = BulkServer::start(&far, (family.pick("10.4.1.1", "fd04:1::1"), 5001).into()).unwrap();
            bed.bulk(family.vip_at(5001), 5_000_000);
            assert_eq!(sink.connections(), 1);
            assert!(daemon.reason("nat_icmp") > before, "no ICMP error was translated");
        }
    });
}

/// A veth end learns of frames that XDP sends back to it (`XDP_TX`) only if it runs an XDP program itself: here one of
/// weir's that has nothing to do.
fn hear(dir: &Path, port: &Port) {
    let pins = PinDir::prepare(&dir.join("other")).unwrap();
    let sizes = Capacity { acl_v4: 1_024, acl_v6: 1_024, flows: 4_096 };
    let mut loaded = load::load(load::OBJECT, &pins, &sizes, 0).unwrap();
    let interface = Interface { ifindex: port.index(), name: port.name().to_owned() };
    let attach = || adopt::bring_up(&pins, &mut loaded, &interface, Policy::NativeOnly);
    run_in(port.namespace(), attach).unwrap().unwrap();
}

fn forward(space: &Namespace) {
    for key in ["net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"] {
        space.set_sysctl(key, "1").unwrap();
    }
}
