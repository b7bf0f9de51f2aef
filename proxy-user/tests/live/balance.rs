//! Backends come, go and drain while connections stand.

use std::net::SocketAddr;

use crate::bed::{FAMILIES, Family, bed};
use crate::traffic::Talk;

#[test]
fn a_drained_backend_keeps_its_connections_and_gets_no_new_ones() {
    bed(2, |bed| {
        let mut services = String::new();
        for (family, n) in FAMILIES.into_iter().zip(["4", "6"]) {
            services += &bed.service(&format!("web{n}"), "tcp", family, 80, "");
        }
        let daemon = bed.start(&services);
        for (family, n) in FAMILIES.into_iter().zip(["4", "6"]) {
            let _http = bed.http(family, 80);
            let to = family.vip_at(80);
            let mut talks = talks(bed, to, 20);
            let service = format!("web{n}");
            let first = family.backend_at(1, 80).to_string();

            daemon.done(&["backend", "drain", &service, &first]);
            assert_eq!(bed.gets(family.client(), to, 60), [0, 60]);
            all_stay(&mut talks);
            daemon.done(&["backend", "undrain", &service, &first]);
            let spread = bed.gets(family.client(), to, 200);
            assert!(spread[0] > 50, "{spread:?}");

            daemon.done(&["backend", "weight", &service, &first, "300"]);
            let spread = bed.gets(family.client(), to, 400);
            assert!((250..=350).contains(&spread[0]), "three to one: {spread:?}");
            daemon.done(&["backend", "weight", &service, &first, "0"]);
            assert_eq!(bed.gets(family.client(), to, 60), [0, 60]);
            all_stay(&mut talks);
        }
    });
}

#[test]
fn a_new_backend_takes_no_connection_that_stands() {
    bed(3, |bed| {
        bed.share_vips();
        let daemon = bed.start("");
        for (family, n) in FAMILIES.into_iter().zip(["4", "6"]) {
            let _http = bed.http(family, 80);
            let _direct = bed.http_at(|_| family.vip_at(8080));
            for (forward, port) in [("nat", 80), ("dsr-l2", 8080)] {
                let service = format!("{forward}{n}");
                let vip = format!("tcp/{}", family.vip_at(port));
                let backends: Vec<_> = (1..=3).map(|n| family.backend_at(n, port).to_string()).collect();
                daemon.done(&[
                    "service",
                    "add",
                    &service,
                    "--vip",
                    &vip,
                    "--forward",
                    forward,
                    "--backend",
                    &backends[0],
                    "--backend",
                    &backends[1],
                ]);
                let to = family.vip_at(port);
                let mut talks = talks(bed, to, 40);
                daemon.done(&["backend", "add", &service, &backends[2]]);
                all_stay(&mut talks);
                let spread = bed.gets(family.client(), to, 300);
                assert!(spread.iter().all(|count| *count > 50), "{spread:?}");
                all_stay(&mut talks);

                daemon.done(&["backend", "del", &service, &backends[0]]);
                let spread = bed.gets(family.client(), to, 100);
                assert_eq!(spread[0], 0, "{spread:?}");
                talks.retain(|(_, backend)| *backend != 1);
                all_stay(&mut talks);
            }
        }
    });
}

#[test]
fn without_a_usable_backend_packets_are_dropped_under_their_own_reason() {
    bed(1, |bed| {
        let family = Family::V4;
        let daemon = bed.start(&bed.service("web", "tcp", family, 80, ""));
        let _http = bed.http(family, 80);
        bed.gets(family.client(), family.vip_at(80), 5);
        daemon.done(&["backend", "drain", "web", &family.backend_at(1, 80).to_string()]);
        let patience = std::time::Duration::from_millis(200);
        assert!(bed.get_within(family.client(), family.vip_at(80), patience).is_err());
        assert!(daemon.reason("no_backend") > 0);
        assert!(bed.get_within(family.client(), family.vip_at(81), patience).is_err());
        assert!(daemon.reason("unknown_port") > 0);
    });
}

/// Connections that stand, with their backends.
fn talks(bed: &crate::bed::Bed, to: SocketAddr, count: usize) -> Vec<(Talk, usize)> {
    let talk = |_| {
        let mut talk = bed.talk(to);
        let backend = talk.ask().unwrap();
        (talk, backend)
    };
    (0..count).map(talk).collect()
}

fn all_stay(talks: &mut [(Talk, usize)]) {
    let moved = |(talk, backend): &mut (Talk, usize)| {
        let answered = talk.ask();
        (answered.as_ref() != Ok(backend))
            .then(|| format!("{} of backend {backend}: {answered:?}", talk.name()))
    };
    let moved: Vec<_> = talks.iter_mut().filter_map(moved).collect();
    assert!(moved.is_empty(), "connections that stand were moved: {moved:?}");
}

#[test]
fn connections_begun_between_two_changes_stay() {
    bed(3, |bed| {
        bed.share_vips();
        let daemon = bed.start("");
        for (family, n) in FAMILIES.into_iter().zip(["4", "6"]) {
            let _direct = bed.http_at(|_| family.vip_at(8080));
            let service = format!("web{n}");
            let to = family.vip_at(8080);
            let vip = format!("tcp/{to}");
            let backends: Vec<_> = (1..=3).map(|n| family.backend_at(n, 8080).to_string()).collect();
            let add = ["service", "add", &service, "--vip", &vip, "--forward", "dsr-l2", "--backend"];
            daemon.done(&[&add[..], &[&backends[0]]].concat());
            let mut before = talks(bed, to, 20);
            daemon.done(&["backend", "add", &service, &backends[1]]);
            let mut between = talks(bed, to, 40);
            all_stay(&mut before);
            daemon.done(&["backend", "add", &service, &backends[2]]);
            all_stay(&mut before);
            all_stay(&mut between);
        }
    });
}
