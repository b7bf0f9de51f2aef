//! Two daemons in one network namespace, each with interfaces and directories of its own.

use std::collections::BTreeSet;
use std::fs;
use std::net::{IpAddr, SocketAddr};

use crate::bed::{Bed, FAMILIES, Family, bed};
use crate::daemon::Places;
use crate::l7_bed::{Leftovers, local_routes_of};

/// An `l7` service of each family on these ports of a VIP.
fn services(bed: &Bed, interfaces: &str, vip: impl Fn(Family) -> IpAddr, ports: &[u16]) -> String {
    let mut text =
        format!("version = 1\n[limits]\nacl_ipv4_prefixes = 1024\nacl_ipv6_prefixes = 1024\n{interfaces}");
    for (family, n) in FAMILIES.into_iter().zip(["4", "6"]) {
        for port in ports {
            let vip = SocketAddr::new(vip(family), *port);
            let service = bed.service(&format!("s{n}-{port}"), "tcp", family, *port, "forward = \"l7\"");
            text += &service.replace(&family.vip_at(*port).to_string(), &vip.to_string());
        }
    }
    text
}

#[test]
fn daemons_leave_each_others_routes_alone() {
    bed(2, |bed| {
        let first = bed.places();
        let dir = bed.dir.join("second");
        fs::create_dir(&dir).unwrap();
        let second = Places::new(dir);
        let _leftovers = (Leftovers(first.clone()), Leftovers(second.clone()));
        let own_vip = |family: Family| family.pick("198.51.100.20", "2001:db8::20");
        let text = services(bed, "[interface.cl]\n[interface.b1]\n", Family::vip, &[80]);
        fs::write(first.config(), text).unwrap();
        // An address of its own, and another port of one that the first has, too.
        let text = services(bed, "[interface.b2]\n", own_vip, &[80]);
        let shared = services(bed, "", Family::vip, &[8080]);
        let shared = &shared[shared.find("[[service]]").unwrap()..];
        fs::write(second.config(), text + shared).unwrap();

        let _servers: Vec<_> = FAMILIES.into_iter().map(|family| bed.http(family, 80)).collect();
        let serves = |vip: fn(Family) -> IpAddr| {
            for family in FAMILIES {
                bed.gets(family.client(), SocketAddr::new(vip(family), 80), 10);
            }
        };
        let vips: BTreeSet<IpAddr> = FAMILIES.map(Family::vip).into();
        let both: BTreeSet<IpAddr> = vips.iter().copied().chain(FAMILIES.map(own_vip)).collect();

        let daemon = first.start();
        serves(Family::vip);
        let mut other = second.start();
        for _ in 0..2 {
            assert_eq!(local_routes_of(bed, &first), vips, "the second daemon leaves them");
            assert_eq!(local_routes_of(bed, &second), both);
            serves(Family::vip);
            serves(own_vip);
            other.crash();
            other = second.start();
        }
        other.done(&["detach"]);
        assert!(other.wait_end().success());
        assert!(local_routes_of(bed, &second).is_empty());
        assert_eq!(local_routes_of(bed, &first), vips, "nor does a detach take them");
        serves(Family::vip);
        let _other = second.start();
        daemon.done(&["detach"]);
        assert!(local_routes_of(bed, &first).is_empty());
        assert_eq!(local_routes_of(bed, &second), both, "also those to an address that both had");
        serves(own_vip);
    });
}
