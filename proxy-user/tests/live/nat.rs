//! Full NAT with real peers.

use std::net::SocketAddr;
use std::process::{Command, Stdio};

use proxy_user::lab::udp::UdpSender;
use proxy_user::lab::{left_out, run_in};

use crate::bed::{Bed, FAMILIES, Family, bed};
use crate::traffic::wait_for;

#[test]
fn connections_bulk_and_datagrams_pass() {
    bed(3, |bed| {
        let mut services = String::new();
        for (family, n) in FAMILIES.into_iter().zip(["4", "6"]) {
            services += &bed.service(&format!("web{n}"), "tcp", family, 80, "");
            services += &bed.service(&format!("bulk{n}"), "tcp", family, 5001, "");
            services += &bed.service(&format!("udp{n}"), "udp", family, 7000, "");
        }
        let daemon = bed.start(&services);
        for (family, n) in FAMILIES.into_iter().zip(["4", "6"]) {
            let http = bed.http(family, 80);
            let answered = bed.gets(family.client(), family.vip_at(80), 510);
            assert!(answered.iter().all(|count| (100..=240).contains(count)), "the spread: {answered:?}");
            assert_eq!(http.iter().map(|server| server.connections()).sum::<u64>(), 510);
            assert_eq!(daemon.service(&format!("web{n}"))["connections"], 510);
            curl(bed, family);

            let sinks = bed.bulk_at(|n| family.backend_at(n, 5001));
            bed.bulk(family.vip_at(5001), 50_000_000);
            assert_eq!(sinks.iter().map(|sink| sink.connections()).sum::<u64>(), 1);
            datagrams(bed, family);
        }
        iperf3(bed);
        assert_eq!(daemon.json(&["status"])["ready"], true);
    });
}

fn datagrams(bed: &Bed, family: Family) {
    let receivers = bed.udp_at(|n| family.backend_at(n, 7000));
    let from = SocketAddr::new(family.client(), 0);
    let sender = UdpSender::start(&bed.client, from, family.vip_at(7000), 1000).unwrap();
    wait_for("datagrams", || sender.sent() >= 300);
    let (sent, back) = sender.stop().unwrap();
    let there: Vec<u64> = receivers.into_iter().map(|receiver| receiver.stop().unwrap().received).collect();
    assert_eq!((back.received, back.duplicates, back.foreign), (sent, 0, 0), "{there:?}");
    assert_eq!(there.iter().filter(|received| **received > 0).count(), 1, "one flow, one backend: {there:?}");
}

fn curl(bed: &Bed, family: Family) {
    let url = format!("http://{}/", family.vip_at(80));
    let run = || Command::new("curl").args(["-sS", "--max-time", "5", &url]).output();
    match run_in(&bed.client, run).unwrap() {
        Ok(output) => assert!(output.status.success(), "curl: {}", String::from_utf8_lossy(&output.stderr)),
        Err(error) => left_out(&format!("curl ({error})")),
    }
}

fn iperf3(bed: &Bed) {
    if let Err(error) = Command::new("iperf3").arg("--version").output() {
        left_out(&format!("iperf3 ({error})"));
        return;
    }
    // Control and data connections must meet at one server: one backend's service.
    let servers: Vec<_> = bed
        .backends
        .iter()
        .take(1)
        .map(|backend| {
            run_in(&backend.space, || {
                Command::new("iperf3").args(["-s", "-1", "-p", "5201"]).stdout(Stdio::null()).spawn()
            })
        })
        .collect();
    let client = ["-c", "198.51.100.11", "-p", "5201", "-t", "1", "-J"];
    let backend = Family::V4.backend_at(1, 5201).to_string();
    let places = bed.places();
    let added =
        places.weir(&["service", "add", "iperf", "--vip", "tcp/198.51.100.11:5201", "--backend", &backend]);
    assert_eq!(added.exit, 0, "{added:?}");
    let output = run_in(&bed.client, || Command::new("iperf3").args(client).output()).unwrap().unwrap();
    for server in servers {
        let mut server = server.unwrap().unwrap();
        let _ = server.kill();
        let _ = server.wait();
    }
    assert!(output.status.success(), "iperf3: {}", String::from_utf8_lossy(&output.stdout));
}
