//! The daemon ends and returns under load.

use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::process::Command;

use proxy_user::lab::bulk;
use proxy_user::lab::udp::UdpSender;

use crate::bed::{Bed, FAMILIES, Family, bed};
use crate::daemon::Daemon;
use crate::traffic::{PATIENCE, pause, wait_for};

#[test]
fn a_crash_and_a_restart_lose_nothing_and_leak_nothing() {
    bed(3, |bed| {
        bed.share_vips();
        let mut services = String::from(DENY);
        for (family, n) in FAMILIES.into_iter().zip(["4", "6"]) {
            services += &bed.service(&format!("web{n}"), "tcp", family, 80, "");
            services += &bed.service(&format!("udp{n}"), "udp", family, 7000, "");
            services += &bed.service(&format!("denied{n}"), "udp", family, 7001, "");
            services += &bed.service(&format!("bulk{n}"), "tcp", family, 5001, "");
            services += &bed.service(&format!("dsr{n}"), "tcp", family, 8080, "forward = \"dsr-l2\"");
        }
        let mut daemon = bed.start(&services);

        let mut http = Vec::new();
        let mut sinks = Vec::new();
        let mut good = Vec::new();
        let mut bad = Vec::new();
        let mut talks = Vec::new();
        let mut senders = Vec::new();
        let mut denied = Vec::new();
        let mut loads = Vec::new();
        for family in FAMILIES {
            http.extend(bed.http(family, 80));
            http.extend(bed.http_at(|_| family.vip_at(8080)));
            sinks.extend(bed.bulk_at(|n| family.backend_at(n, 5001)));
            good.push(bed.udp_at(|n| family.backend_at(n, 7000)));
            bad.extend(bed.udp_at(|n| family.backend_at(n, 7001)));
            for port in [80, 80, 80, 8080, 8080, 8080] {
                let mut talk = bed.talk(family.vip_at(port));
                let backend = talk.ask().unwrap();
                talks.push((talk, backend));
            }
            let send = |from, port| {
                UdpSender::start(&bed.client, SocketAddr::new(from, 0), family.vip_at(port), 1000).unwrap()
            };
            senders.push(send(family.client(), 7000));
            denied.push(send(family.denied(), 7001));
            let to = family.vip_at(5001);
            loads.push(bed.repeat(move || {
                assert_eq!(bulk::send(to, 4_000_000, PATIENCE).unwrap(), 4_000_000);
            }));
        }
        wait_for("the load", || senders.iter().chain(&denied).all(|sender| sender.sent() > 200));

        for _ in 0..2 {
            let generation = daemon.json(&["status"])["generation"].clone();
            let (epoch, before) = counters(&daemon);
            daemon.crash();
            pause(300);
            daemon = bed.places().start();
            assert_eq!(daemon.log().matches("\"adopted\"").count(), 4, "{}", daemon.log());
            assert_eq!(daemon.json(&["status"])["generation"], generation);
            let (same, after) = counters(&daemon);
            assert_eq!(same, epoch, "the counters go on");
            assert!(before.iter().zip(&after).all(|(before, after)| before <= after), "{before:?} {after:?}");
            assert!(after.iter().sum::<u64>() > before.iter().sum::<u64>());
            for (talk, backend) in &mut talks {
                assert_eq!(talk.ask().unwrap(), *backend, "an established connection");
            }
        }

        for (sender, receivers) in senders.into_iter().zip(good) {
            let (sent, back) = sender.stop().unwrap();
            let there: Vec<_> =
                receivers.into_iter().map(|receiver| receiver.stop().unwrap().received).collect();
            assert_eq!((there.iter().sum::<u64>(), back.received), (sent, sent), "lost: {there:?} of {sent}");
            assert_eq!(
                there.iter().filter(|count| **count > 0).count(),
                1,
                "one flow, one backend: {there:?}"
            );
        }
        assert!(denied.into_iter().all(|sender| sender.stop().unwrap().0 > 500));
        let leaked: u64 = bad.into_iter().map(|receiver| receiver.stop().unwrap().received).sum();
        assert_eq!(leaked, 0, "denied packets reached a backend");
        assert!(loads.into_iter().all(|load| load.stop() > 0));
        drop((http, sinks));
    });
}

/// Of services and of the list; they must belong to one epoch.
fn counters(daemon: &Daemon) -> (String, Vec<u64>) {
    let stats = daemon.stats();
    let services = stats["services"].as_array().unwrap().iter();
    let mut counters: Vec<_> = services.map(|service| service["packets"].as_u64().unwrap()).collect();
    let lists = stats["lists"].as_array().unwrap().iter();
    counters.extend(lists.map(|list| list["hits"].as_u64().unwrap()));
    (stats["epoch"].to_string(), counters)
}

#[test]
fn without_a_daemon_the_data_path_stays_until_it_is_detached() {
    bed(2, |bed| {
        let family = Family::V4;
        let daemon = bed.start(&bed.service("web", "tcp", family, 80, "announce = \"address\""));
        let _http = bed.http(family, 80);
        bed.gets(family.client(), family.vip_at(80), 10);
        let log = daemon.terminate();
        assert!(log.contains("stays in force") && log.contains("weir detach"), "{log}");
        bed.gets(family.client(), family.vip_at(80), 50);
        assert!(owns(bed, family), "the VIP's address stays");

        let answer = bed.places().detach();
        assert_eq!(answer.exit, 0, "{answer:?}");
        assert_clean(bed, family);
        let answer = bed.places().detach();
        assert_eq!(answer.exit, 0, "there is nothing to do: {answer:?}");

        let daemon = bed.places().start();
        bed.gets(family.client(), family.vip_at(80), 10);
        daemon.done(&["detach"]);
        let mut daemon = daemon;
        assert!(daemon.wait_end().success());
        assert_clean(bed, family);

        let daemon = bed.places().start_with(&["--detach-on-exit"]);
        bed.gets(family.client(), family.vip_at(80), 10);
        daemon.terminate();
        assert_clean(bed, family);
    });
}

#[test]
fn a_successor_that_cannot_start_leaves_the_daemon_alone() {
    bed(2, |bed| {
        let family = Family::V4;
        let mut daemon = bed.start(&bed.service("web", "tcp", family, 80, ""));
        let _http = bed.http(family, 80);
        // One that connects and says nothing stops nobody either.
        let _silent = UnixStream::connect(bed.places().run_dir().join("handover.sock")).unwrap();
        for (interface, vip, why) in [
            ("eth9", "tcp/198.51.100.10:80=10.2.1.1:80", "no interface eth9"),
            ("cl", "tcp/198.51.100.10:80=10.2.1.254:80", "this host itself"),
        ] {
            let answer = bed.places().fails(&["--replace", "--iface", interface, "--vip", vip]);
            assert!(answer.err.contains(why), "{answer:?}");
        }
        // Where its own maps are not to be seen, as `ip netns exec` would start it.
        let (config, run_dir) = (bed.places().config(), bed.places().run_dir());
        let start = bed.places().run(&["--replace", "--config", config.to_str().unwrap()]);
        let hidden = Command::new("timeout")
            .args(["30", "unshare", "--mount", "sh", "-c", "umount \"$0/bpf\" && exec \"$@\""])
            .arg(run_dir)
            .arg(start.get_program())
            .args(start.get_args())
            .output()
            .unwrap();
        let why = String::from_utf8_lossy(&hidden.stderr).into_owned();
        assert!(!hidden.status.success() && why.contains("nsenter"), "{why}");
        daemon.done(&["status"]);
        bed.gets(family.client(), family.vip_at(80), 10);
        let new = bed.places().start_with(&["--replace"]);
        assert!(daemon.wait_end().success(), "{}", daemon.log());
        new.done(&["status"]);
        bed.gets(family.client(), family.vip_at(80), 10);
    });
}

fn owns(bed: &Bed, family: Family) -> bool {
    let binds = || std::net::UdpSocket::bind(family.vip_at(0)).is_ok();
    proxy_user::lab::run_in(&bed.weir, binds).unwrap()
}

/// Nothing of weir is left.
fn assert_clean(bed: &Bed, family: Family) {
    assert!(!owns(bed, family), "the VIP's address is left");
    for name in std::iter::once("cl").chain(bed.backends.iter().map(|backend| backend.weir_port.name())) {
        let output = Command::new("ip").args(["-d", "link", "show", name]).output();
        // Only where the tool is installed.
        if let Ok(output) = output {
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            assert!(!text.contains("xdp"), "{text}");
        }
    }
    let pins = bed.places().run_dir().join("bpf");
    let left = std::fs::read_dir(&pins).map(|dir| dir.count()).unwrap_or_default();
    assert_eq!(left, 0, "pins are left in {}", pins.display());
    assert!(
        bed.get_within(family.client(), family.vip_at(80), std::time::Duration::from_millis(200)).is_err()
    );
}

const DENY: &str = r#"
[[acl.list]]
name = "block"
order = 10
action = "drop"
entries = ["10.1.0.66", "fd01::66"]
"#;
