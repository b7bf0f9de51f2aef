//! Making links: veth pairs, and `lo` up.

use std::os::fd::AsRawFd;

use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{InfoData, InfoKind, InfoVeth, LinkAttribute, LinkInfo, LinkMessage};
use rtnetlink::packet_core::{NLM_F_CREATE, NLM_F_EXCL};

use super::port::{change, check_name};
use super::{LabError, Namespace, Offloads, Port};

/// Maker of veth pairs.
pub struct Veth;

impl Veth {
    /// Makes a veth pair with its ends in two namespaces (or in one), both up and carrying packets, with the offloads of
    /// [`Offloads::for_xdp_redirect`], without which frames made or redirected by XDP are lost silently.
    ///
    /// # Errors
    /// [`LabError`]; a pair half made is removed with its namespace.
    pub fn pair(a: (&Namespace, &str), b: (&Namespace, &str)) -> Result<(Port, Port), LabError> {
        check_name(a.1)?;
        check_name(b.1)?;
        let mut peer = LinkMessage::default();
        peer.attributes =
            vec![LinkAttribute::IfName(b.1.into()), LinkAttribute::NetNsFd(b.0.fd().as_raw_fd())];
        let mut link = LinkMessage::default();
        link.attributes = vec![
            LinkAttribute::IfName(a.1.into()),
            LinkAttribute::LinkInfo(vec![
                LinkInfo::Kind(InfoKind::Veth),
                LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(peer))),
            ]),
        ];
        let what = format!("make the veth pair {} in {}, {} in {}", a.1, a.0.name(), b.1, b.0.name());
        change(a.0, &what, RouteNetlinkMessage::NewLink(link), NLM_F_CREATE | NLM_F_EXCL)?;
        let (a, b) = (Port::named(a.0, a.1)?, Port::named(b.0, b.1)?);
        for port in [&a, &b] {
            port.set_offloads(Offloads::for_xdp_redirect())?;
            port.up()?;
        }
        a.wait_running()?;
        b.wait_running()?;
        Ok((a, b))
    }
}

pub(super) fn loopback_up(namespace: &Namespace) -> Result<(), LabError> {
    Port::named(namespace, "lo")?.up()
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::time::Duration;

    use super::*;
    use crate::lab::tests::root;
    use crate::lab::{Route, run_in};

    fn echo(a: &Namespace, b: &Namespace, to: &str) {
        let server = run_in(b, || UdpSocket::bind(to)).unwrap().unwrap();
        let client = run_in(a, || UdpSocket::bind(if to.starts_with('[') { "[::]:0" } else { "0.0.0.0:0" }));
        let client = client.unwrap().unwrap();
        for socket in [&client, &server] {
            socket.set_read_timeout(Some(Duration::from_secs(3))).unwrap();
        }
        client.send_to(b"ping", to).unwrap();
        let mut buffer = [0; 16];
        let (length, from) = server.recv_from(&mut buffer).unwrap();
        server.send_to(&buffer[..length], from).unwrap();
        assert_eq!(client.recv_from(&mut buffer).unwrap().0, 4);
    }

    #[test]
    fn traffic_flows_over_a_pair_and_through_a_router() {
        if !root() {
            return;
        }
        let [a, r, b] = ["a", "r", "b"].map(|name| Namespace::new(name).unwrap());
        let (mut pa, ra) = Veth::pair((&a, "eth0"), (&r, "ra")).unwrap();
        let (rb, pb) = Veth::pair((&r, "rb"), (&b, "eth0")).unwrap();
        pa.set_mac([2, 0, 0, 0, 0, 1]).unwrap();
        assert_eq!(Port::named(&a, "eth0").unwrap().mac(), pa.mac());
        for (port, address) in [
            (&pa, "10.1.0.1/24"),
            (&ra, "10.1.0.254/24"),
            (&rb, "10.2.0.254/24"),
            (&pb, "10.2.0.1/24"),
            (&pa, "fd00:1::1/64"),
            (&ra, "fd00:1::ff/64"),
            (&rb, "fd00:2::ff/64"),
            (&pb, "fd00:2::1/64"),
        ] {
            port.add_address(address.parse().unwrap()).unwrap();
        }
        r.set_sysctl("net/ipv4/ip_forward", "1").unwrap();
        r.set_sysctl("net/ipv6/conf/all/forwarding", "1").unwrap();
        for (port, gateway) in
            [(&pa, "10.1.0.254"), (&pb, "10.2.0.254"), (&pa, "fd00:1::ff"), (&pb, "fd00:2::ff")]
        {
            port.add_route(Route::default_via(gateway.parse().unwrap())).unwrap();
        }
        echo(&a, &r, "10.1.0.254:7");
        echo(&a, &r, "[fd00:1::ff]:7");
        echo(&a, &b, "10.2.0.1:7");
        echo(&a, &b, "[fd00:2::1]:7");
    }

    #[test]
    fn links_are_changed_and_removed() {
        if !root() {
            return;
        }
        let a = Namespace::new("a").unwrap();
        let (mut one, two) = Veth::pair((&a, "one"), (&a, "two")).unwrap();
        one.set_mtu(1400).unwrap();
        one.rename("three").unwrap();
        assert!(Port::named(&a, "one").is_err());
        assert_eq!(Port::named(&a, "three").unwrap().index(), one.index());
        assert_eq!(run_in(&a, || nix::net::if_::if_nametoindex("three")).unwrap().unwrap(), one.index());
        one.add_neighbour("10.0.0.9".parse().unwrap(), [2, 0, 0, 0, 0, 9]).unwrap();
        one.delete_neighbour("10.0.0.9".parse().unwrap()).unwrap();
        one.add_address("10.0.0.1/24".parse().unwrap()).unwrap();
        one.delete_address("10.0.0.1/24".parse().unwrap()).unwrap();
        one.down().unwrap();
        one.delete().unwrap();
        assert!(Port::named(&a, "two").is_err(), "both ends go together");
        drop(two);
        let error = Veth::pair((&a, "much-too-long-name"), (&a, "x")).unwrap_err().to_string();
        assert!(error.contains("shorter name"), "{error}");
    }

    #[test]
    fn a_dropped_namespace_takes_its_links_with_it() {
        if !root() {
            return;
        }
        let [a, b] = ["a", "b"].map(|name| Namespace::new(name).unwrap());
        let (pa, pb) = Veth::pair((&a, "eth0"), (&b, "eth0")).unwrap();
        drop((b, pb));
        // The kernel takes namespaces apart in the background.
        let gone = (0..300).any(|_| {
            std::thread::sleep(Duration::from_millis(10));
            Port::named(&a, pa.name()).is_err()
        });
        assert!(gone);
    }
}
