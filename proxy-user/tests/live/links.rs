//! Interfaces go and return, addresses come and go.

use std::time::Duration;

use proxy_user::lab::{FrameSocket, Route, Veth, run_in};

use crate::bed::{Bed, FAMILIES, Family, addresses, bed};
use crate::traffic::wait_for;

#[test]
fn an_interface_that_returns_is_attached_again() {
    bed(2, |bed| {
        let family = Family::V4;
        let daemon = bed.start(&bed.service("web", "tcp", family, 80, ""));
        let _http = bed.http(family, 80);
        bed.gets(family.client(), family.vip_at(80), 20);

        bed.client_port.clone().delete().unwrap();
        let status = daemon.wait_status("gone", |status| status["ready"] == false);
        let interface = |status: &serde_json::Value| {
            let all = status["interfaces"].as_array().unwrap();
            all.iter().find(|found| found["name"] == "cl").unwrap().clone()
        };
        let gone = interface(&status);
        assert_eq!(gone["attached"], false);
        let detail = gone["detail"].as_str().unwrap();
        assert!(detail.contains("cl is gone") && detail.contains("attaches again"), "{detail}");

        let (client, weir) = Veth::pair((&bed.client, "eth0"), (&bed.weir, "cl")).unwrap();
        let back = std::time::Instant::now();
        addresses(&weir, &["10.1.0.254/24"]);
        addresses(&client, &["10.1.0.1/24"]);
        let route = Route::via("198.51.100.0/24".parse().unwrap(), "10.1.0.254".parse().unwrap());
        client.add_route(route).unwrap();
        let status = daemon.wait_status("attached again", |status| status["ready"] == true);
        assert!(back.elapsed() < Duration::from_secs(3), "{:?}", back.elapsed());
        assert_eq!(interface(&status)["attached"], true);
        bed.gets(family.client(), family.vip_at(80), 20);
    });
}

#[test]
fn a_backend_s_interface_that_returns_carries_its_flows_again() {
    bed(2, |bed| {
        let family = Family::V4;
        let daemon = bed.start(&bed.service("web", "tcp", family, 80, ""));
        let http = bed.http(family, 80);
        bed.gets(family.client(), family.vip_at(80), 20);
        bed.backends[0].port.clone().delete().unwrap();
        daemon.wait_status("gone", |status| status["ready"] == false);
        drop(http);
        let (far, near) = Veth::pair((&bed.backends[0].space, "eth0"), (&bed.weir, "b1")).unwrap();
        addresses(&near, &["10.2.1.254/24"]);
        addresses(&far, &["10.2.1.1/24"]);
        daemon.wait_status("attached again", |status| status["ready"] == true);
        let _http = bed.http(family, 80);
        let up = || {
            let service = daemon.json(&["service", "show", "web", "--no-rates"]);
            let backends = service["services"][0]["backends"].as_array().unwrap().clone();
            backends.iter().all(|backend| backend["health"]["up"] == true)
        };
        wait_for("both backends", up);
        let spread = bed.gets(family.client(), family.vip_at(80), 100);
        assert!(spread.iter().all(|count| *count > 20), "{spread:?}");
    });
}

#[test]
fn a_vip_s_address_is_announced_and_taken_away() {
    bed(1, |bed| {
        let seen: Vec<_> = FAMILIES.map(|_| FrameSocket::open(&bed.client_port).unwrap()).into();
        let mut services = String::new();
        for (family, n) in FAMILIES.into_iter().zip(["4", "6"]) {
            services += &bed.service(&format!("web{n}"), "tcp", family, 80, "announce = \"address\"");
        }
        // In the client's network, so that the address belongs on its interface.
        let services = services.replace("198.51.100.10", "10.1.0.200").replace("2001:db8::10", "fd01::200");
        let daemon = bed.start(&services);
        let vips = [Family::V4.pick("10.1.0.200", ""), Family::V6.pick("", "fd01::200")];
        for (vip, seen) in vips.into_iter().zip(&seen) {
            let wanted = |frame: &[u8]| match vip {
                std::net::IpAddr::V4(vip) => {
                    // ARP whose sender and target are the VIP.
                    frame[12..14] == [0x08, 0x06]
                        && frame[28..32] == vip.octets()
                        && frame[38..42] == vip.octets()
                }
                std::net::IpAddr::V6(vip) => {
                    // A neighbour advertisement of the VIP.
                    frame[12..14] == [0x86, 0xdd] && frame[54] == 136 && frame[62..78] == vip.octets()
                }
            };
            let frame = seen.recv_matching(Duration::from_secs(2), wanted).unwrap();
            let frame = frame.unwrap_or_else(|| panic!("{vip} is not announced"));
            assert_eq!(frame[6..12], bed.weir_port.mac());
            assert!(owns(bed, vip));
            assert!(ping(bed, vip), "the host answers pings of {vip}");
        }
        for (vip, n) in vips.into_iter().zip(["4", "6"]) {
            // A service of the file stays as the file says: the API's own come and go.
            let other = format!("extra{n}");
            let (family, tail) =
                if vip.is_ipv4() { (Family::V4, "10.1.0.201") } else { (Family::V6, "fd01::201") };
            let extra: std::net::IpAddr = tail.parse().unwrap();
            let at = format!("tcp/{}", std::net::SocketAddr::new(extra, 80));
            let backend = family.backend_at(1, 80).to_string();
            let add =
                ["service", "add", &other, "--vip", &at, "--backend", &backend, "--announce", "address"];
            daemon.done(&add);
            assert!(owns(bed, extra));
            daemon.done(&["service", "del", &other]);
            assert!(!owns(bed, extra), "{extra} is left");
        }
        daemon.done(&["detach"]);
        assert!(vips.iter().all(|vip| !owns(bed, *vip)), "addresses are left");
    });
}

fn owns(bed: &Bed, addr: std::net::IpAddr) -> bool {
    run_in(&bed.weir, || std::net::UdpSocket::bind((addr, 0)).is_ok()).unwrap()
}

/// An echo request by a ping socket, for which the client's namespace is opened.
fn ping(bed: &Bed, addr: std::net::IpAddr) -> bool {
    use socket2::{Domain, Protocol, Socket, Type};
    bed.client.set_sysctl("net/ipv4/ping_group_range", "0 0").unwrap();
    let (domain, proto, kind) = match addr {
        std::net::IpAddr::V4(_) => (Domain::IPV4, Protocol::ICMPV4, 8),
        std::net::IpAddr::V6(_) => (Domain::IPV6, Protocol::ICMPV6, 128),
    };
    run_in(&bed.client, || {
        let socket = Socket::new(domain, Type::DGRAM, Some(proto)).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
        socket.connect(&std::net::SocketAddr::new(addr, 0).into()).unwrap();
        socket.send(&[kind, 0, 0, 0, 0, 0, 0, 1, b'w']).unwrap();
        let mut buffer = [std::mem::MaybeUninit::uninit(); 64];
        socket.recv(&mut buffer).is_ok()
    })
    .unwrap()
}

#[test]
fn an_endpoint_at_an_address_of_the_host_is_no_backend_while_it_is_there() {
    bed(2, |bed| {
        let endpoint = "10.2.2.77:80";
        std::fs::write(bed.dir.join("found"), format!("10.2.1.1:80\n{endpoint}\n")).unwrap();
        let daemon = bed.start(
            "[registry.local]\nkind = \"file\"\n[[service]]\nname = \"web\"\nvip = \"tcp/198.51.100.10:80\"\n\
             discover = { registry = \"local\", service = \"found\" }\n",
        );
        let stands = |wanted: &str| {
            let dump = daemon.json(&["registry", "dump", "web"]);
            let mut all = dump["candidates"].as_array().unwrap().iter();
            all.any(|one| one["address"] == endpoint && one["standing"] == wanted)
        };
        wait_for("the endpoint", || stands("used"));
        let seen = daemon.json(&["status"])["generation"].to_string();
        let own = "10.2.2.77/32".parse().unwrap();
        bed.backends[1].weir_port.add_address(own).unwrap();
        wait_for("its refusal", || stands("refused"));
        bed.backends[1].weir_port.delete_address(own).unwrap();
        wait_for("its return", || stands("used"));

        // Endpoints come and go without making what an operator has seen stale; another operator does.
        assert_ne!(daemon.json(&["status"])["generation"].to_string(), seen);
        daemon.done(&["backend", "drain", "web", endpoint, "--if-gen", &seen]);
        let refused = daemon.weir(&["backend", "undrain", "web", endpoint, "--if-gen", &seen]);
        assert_eq!(refused.exit, 4, "{}", refused.err);
    });
}
