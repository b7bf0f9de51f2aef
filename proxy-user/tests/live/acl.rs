//! Lists that change under load.

use std::net::SocketAddr;
use std::time::Duration;

use proxy_user::lab::udp::UdpSender;

use crate::bed::{FAMILIES, Family, bed};
use crate::traffic::{PATIENCE, pause, wait_for};

#[test]
fn a_denied_source_stops_within_the_answer_and_others_go_on() {
    bed(2, |bed| {
        let mut services = String::new();
        for (family, n) in FAMILIES.into_iter().zip(["4", "6"]) {
            services += &bed.service(&format!("web{n}"), "tcp", family, 80, "");
            services += &bed.service(&format!("good{n}"), "udp", family, 7000, "");
            services += &bed.service(&format!("bad{n}"), "udp", family, 7001, "");
        }
        let daemon = bed.start(&services);
        for family in FAMILIES {
            let _http = bed.http(family, 80);
            let good = bed.udp_at(|n| family.backend_at(n, 7000));
            let bad = bed.udp_at(|n| family.backend_at(n, 7001));
            let send = |from, port| {
                let from = SocketAddr::new(from, 0);
                UdpSender::start(&bed.client, from, family.vip_at(port), 1000).unwrap()
            };
            let (allowed, denied) = (send(family.client(), 7000), send(family.denied(), 7001));
            let get = proxy_user::lab::http::Get {
                to: family.vip_at(80),
                from: Some(family.client()),
                timeout: PATIENCE,
            };
            let connections = bed.repeat(move || drop(get.send().unwrap()));
            let reached = || bad.iter().map(|receiver| receiver.received()).sum::<u64>();
            wait_for("the load", || reached() >= 200);
            assert!(bed.get(family.denied(), family.vip_at(80)).is_ok());

            let denied_net = format!("{}/{}", family.denied(), if family == Family::V4 { 32 } else { 128 });
            daemon.done(&["acl", "add", &denied_net]);
            // What had passed before the answer is on its way to the receiver's count.
            pause(100);
            let (after, hits) = (reached(), daemon.hits("deny"));
            pause(500);
            assert_eq!(reached(), after, "denied packets reached a backend");
            let more = daemon.hits("deny") - hits;
            assert!(more > 200, "dropped in XDP, under the list's name: {more}");
            let refused = bed.get_within(family.denied(), family.vip_at(80), Duration::from_millis(300));
            assert!(refused.is_err(), "{refused:?}");

            daemon.done(&["acl", "del", &denied_net]);
            wait_for("traffic after the entry is gone", || reached() > after + 50);
            let (sent, back) = allowed.stop().unwrap();
            assert_eq!(back.received, sent, "the allowed source has lost datagrams");
            assert!(connections.stop() > 20);
            drop((denied, good));
        }
    });
}

#[test]
fn an_entry_ends_in_time_also_while_the_daemon_restarts() {
    bed(1, |bed| {
        let family = Family::V4;
        let daemon = bed.start(&bed.service("udp", "udp", family, 7000, ""));
        let receivers = bed.udp_at(|n| family.backend_at(n, 7000));
        let from = SocketAddr::new(family.denied(), 0);
        let _sender = UdpSender::start(&bed.client, from, family.vip_at(7000), 500).unwrap();
        let reached = || receivers[0].received();
        wait_for("the load", || reached() > 50);
        daemon.done(&["acl", "add", "10.1.0.66", "--ttl", "2s", "--reason", "test"]);
        daemon.done(&["acl", "add", "10.1.0.67", "--ttl", "1h"]);
        daemon.crash();
        pause(100);
        let before = reached();
        pause(300);
        assert_eq!(reached(), before, "denied also without a daemon");
        // Longer than the entry's life: it must not come back with the state.
        pause(2000);
        let daemon = bed.places().start();
        wait_for("the end of the entry", || reached() > before + 50);
        let list = daemon.json(&["acl", "list", "deny", "--all"]);
        let entries: Vec<_> =
            list["entries"].as_array().unwrap().iter().map(|entry| entry["prefix"].clone()).collect();
        assert_eq!(entries, ["10.1.0.67/32"], "{list}");

        daemon.done(&["acl", "add", "10.1.0.66", "--ttl", "1s"]);
        pause(100);
        let before = reached();
        pause(300);
        assert_eq!(reached(), before, "denied");
        wait_for("the end of the entry in time", || reached() > before + 50);
    });
}
