//! Each peer against itself, so that a failure elsewhere is not the laboratory's.

use std::net::Ipv4Addr;
use std::time::Duration;

use proxy_user::lab::Namespace;

use crate::bed::{Bed, bed};
use crate::etcd::Etcd;
use crate::http::get;
use crate::knot::{BROKEN, Knot};
use crate::registry::{SofaRegistry, Version};
use crate::rpc::{Consumer, GROUP, Provider, Publisher, Through, data_id};
use crate::wait::wait_until;

const PUSH: Duration = Duration::from_secs(20);

#[test]
fn a_consumer_finds_providers_in_the_registry_and_follows_them() {
    bed(2, |bed| {
        let Some(registry) = SofaRegistry::shared() else { return };
        let _link = bed.link(registry.space(), registry.address());
        let (unique, endpoint) = ("smoke", registry.endpoint());
        let start = |n: u8, more: &[&str]| {
            let space = &bed.backends[usize::from(n) - 1];
            let at = bed.backend_at(n, 12200);
            Provider::start(&format!("p{n}"), space, &bed.dir, at, unique, Some(endpoint), more)
        };
        let Some(mut first) = start(1, &["weight=50"]) else { return };
        let client =
            |name, through| Consumer::start(name, &bed.client, &bed.dir, through, unique, 20, &[]).unwrap();
        let mut consumer = client("consumer", Through::Registry(endpoint));
        consumer.wait_for("calls", |second| second.ok > 10 && second.failed == 0);
        wait_until("the list", PUSH, || {
            let published = registry.published(&data_id(unique), GROUP);
            published.iter().any(|entry| entry.starts_with("10.2.1.1:12200?"))
        });

        let second = start(2, &[]).unwrap();
        consumer.wait_for("calls to both", |second| second.by.len() == 2);
        first.unregister();
        consumer.wait_for("calls to the second", |second| second.by.keys().eq(["p2"]));
        let direct = client("direct", Through::Address(bed.backend_at(1, 12200)));
        let mut fresh = client("fresh", Through::FreshConnections(bed.backend_at(1, 12200)));
        fresh.wait_for("calls over new connections", |second| second.by.keys().eq(["p1"]));
        fresh.pause();
        let paused = fresh.seconds().len();
        first.register();
        consumer.wait_for("calls to both again", |second| second.by.len() == 2);
        assert_eq!(fresh.seconds().len(), paused);
        fresh.resume();
        fresh.wait_second();
        for one in [direct, fresh] {
            let summary = one.finish();
            assert_eq!((summary.failed, summary.by.keys().map(String::as_str).collect()), (0, vec!["p1"]));
        }

        second.exit();
        consumer.wait_for("calls to the first", |second| second.failed == 0 && second.by.keys().eq(["p1"]));
        first.freeze();
        consumer.wait_for("calls that fail", |second| second.failed > 0);
        first.thaw();
        consumer.wait_for("calls that succeed", |second| second.ok > 0);
        first.kill();
        let summary = {
            consumer.wait_for("calls that fail", |second| second.ok == 0 && second.failed > 0);
            consumer.finish()
        };
        assert!(summary.ok > 50 && summary.failed > 0, "{summary:?}");
        let last = summary.failures.last().unwrap();
        assert!(last.at > 0 && last.ms <= summary.slowest_ms && !last.text.is_empty(), "{summary:?}");
        assert!(summary.longest_gap_ms > 0 && !summary.errors.is_empty(), "{summary:?}");
    });
}

#[test]
fn the_registry_pushes_empties_compresses_and_holds_back() {
    bed(1, |bed| {
        let Some(registry) = SofaRegistry::shared() else { return };
        let _link = bed.link(registry.space(), registry.address());
        let publisher = |name, space| Publisher::start(name, space, &bed.dir, registry.endpoint(), &[]);
        let Some(mut writer) = publisher("writer", &bed.backends[0]) else { return };
        let mut reader = publisher("reader", &bed.client).unwrap();
        let id = "smoke.push";
        reader.subscribe(id);
        writer.publish(id, &["10.2.1.1:80", "10.2.1.1:81"]);
        reader.wait_push(id, &["10.2.1.1:80", "10.2.1.1:81"]);

        registry.compress(Some(1));
        writer.publish(id, &["10.2.1.1:82"]);
        reader.wait_push(id, &["10.2.1.1:82"]);
        registry.compress(None);

        let writers = [Ipv4Addr::new(10, 2, 1, 1)];
        registry.clients_off(&writers);
        reader.wait_push(id, &[]);
        registry.clients_on(&writers);
        reader.wait_push(id, &["10.2.1.1:82"]);

        registry.stop_push(true);
        let pushed = |registry: &SofaRegistry| {
            let at = registry.endpoint();
            get(registry.space(), at, "/digest/pushSwitch").is_ok_and(|(_, text)| text.contains("open"))
        };
        wait_until("the switch", PUSH, || !pushed(registry));
        registry.stop_push(false);
        wait_until("the switch", PUSH, || pushed(registry));
        writer.unpublish(id);
        reader.wait_push(id, &[]);
        assert_eq!(bed.client_address(), Ipv4Addr::new(10, 1, 0, 1));
    });
}

#[test]
fn a_registry_of_one_s_own_freezes_dies_and_comes_back_empty() {
    own_registry(Version::V6);
}

#[test]
fn the_old_registry_serves_too() {
    own_registry(Version::V5);
}

fn own_registry(version: Version) {
    bed(1, move |bed| {
        let space = Namespace::new("registry").unwrap();
        let address = Ipv4Addr::new(10, 99, 1, 1);
        let Some(mut registry) = SofaRegistry::start(version, &space, address, &bed.dir) else { return };
        let link = bed.link(&space, address);
        assert_eq!(link.weir_port.namespace().name(), "weir");
        let endpoint = registry.endpoint();
        let Some(mut reader) = Publisher::start("reader", &bed.client, &bed.dir, endpoint, &[]) else {
            return;
        };
        let mut writer = Publisher::start("writer", &bed.backends[0], &bed.dir, endpoint, &[]).unwrap();
        reader.subscribe("smoke.own");
        writer.publish("smoke.own", &["10.2.1.1:80"]);
        reader.wait_push("smoke.own", &["10.2.1.1:80"]);
        registry.freeze();
        assert!(std::net::TcpStream::connect(registry.session()).is_ok(), "the kernel still accepts");
        registry.thaw();
        drop(writer);
        reader.wait_push("smoke.own", &[]);
        registry.kill();
        assert!(std::net::TcpStream::connect(registry.session()).is_err());
        registry.restart_empty();
        // Its client tells its own subscriber again when it has come back.
        let mut writer = Publisher::start("writer2", &bed.backends[0], &bed.dir, endpoint, &[]).unwrap();
        writer.publish("smoke.own", &["10.2.1.1:81"]);
        reader.wait_push("smoke.own", &["10.2.1.1:81"]);
    });
}

#[test]
fn etcd_keeps_leases_and_forgets_when_wiped() {
    bed(1, |bed: &Bed| {
        let address = Ipv4Addr::new(10, 2, 1, 1);
        let Some(mut etcd) = Etcd::start(&bed.backends[0], address, &bed.dir) else { return };
        assert!(std::net::TcpStream::connect(etcd.endpoint()).is_ok());
        let first = etcd.put("/weir/a", "10.0.0.1:80", None);
        let lease = etcd.grant(60);
        let second = etcd.put("/weir/b", "10.0.0.2:80", Some(lease));
        assert!(second > first);
        etcd.revoke(lease);
        assert_eq!((etcd.value("/weir/a").as_deref(), etcd.value("/weir/b")), (Some("10.0.0.1:80"), None));
        etcd.compact(second);
        etcd.freeze();
        etcd.thaw();
        etcd.kill();
        etcd.restart();
        assert_eq!((etcd.delete("/weir/a"), etcd.delete_prefix("/weir/")), (1, 0));
        etcd.restart_empty();
        assert!(etcd.put("/weir/c", "10.0.0.3:80", None) < second, "revisions begin again");
        assert_eq!(etcd.delete_prefix("/weir/"), 1);
    });
}

#[test]
fn knot_takes_updates_and_fails_on_broken_zones() {
    bed(1, |bed: &Bed| {
        let address = Ipv4Addr::new(10, 2, 1, 1);
        let zones = [("example", "web 5 A 10.0.0.1"), ("broken", BROKEN)];
        let Some(mut knot) = Knot::start(&bed.backends[0], address, &bed.dir, &zones) else { return };
        assert!(std::net::TcpStream::connect(knot.endpoint()).is_ok());
        assert!(knot.ask("web.example", "A").contains("10.0.0.1"));
        knot.update("example", &["add web 5 A 10.0.0.2", "add _web._tcp 5 SRV 0 10 80 web.example."]);
        assert!(knot.ask("web.example", "A").contains("10.0.0.2"));
        assert!(knot.ask("_web._tcp.example", "SRV").contains("0 10 80 web.example."));
        knot.update("example", &["del web A"]);
        assert!(knot.ask("web.example", "A").contains("NXDOMAIN"));
        assert!(knot.ask("web.broken", "A").contains("SERVFAIL"));
        knot.freeze();
        assert!(!knot.ask("web.example", "A").contains("status:"), "nobody answers");
        knot.thaw();
        assert!(knot.ask("web.example", "A").contains("NXDOMAIN"));
        knot.kill();
        knot.restart();
        assert!(knot.ask("web.example", "A").contains("10.0.0.1"), "as at first");
    });
}
