//! SOFARPC through the VIP with the real registry: providers register, weir follows and registers the VIP, an unchanged
//! consumer finds it there and calls.
//!
//! A call names the service as its consumer knows it, with the unique id. So providers answer to the VIP's unique id,
//! too, and register under another one.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::bed::{Bed, bed};
use crate::daemon::Daemon;
use crate::registry::SofaRegistry;
use crate::rpc::{Consumer, GROUP, Provider, Publisher, Summary, Through, data_id};
use crate::wait::wait_until;

#[test]
fn calls_pass_through_the_vip_while_providers_come_and_go() {
    bed(3, |bed| {
        let names = ("e2e.behind", "e2e.vip");
        let Some(scene) = Scene::new(bed, names) else { return };
        let Some(mut first) = scene.provider(1) else { return };
        let daemon = bed.start(&scene.config());
        scene.wait_used(&daemon, &[1]);
        let (mut fresh, mut consumer) = scene.clients();
        let second = scene.provider(2).unwrap();
        fresh.wait_for("calls to both", |one| one.by.len() == 2);

        let address = bed.backend_at(1, PORT).to_string();
        daemon.done(&["backend", "drain", "hello", &address]);
        fresh.wait_for("calls to the second", |one| one.by.keys().eq(["p2"]));
        daemon.done(&["backend", "undrain", "hello", &address]);
        fresh.wait_for("calls to both again", |one| one.by.len() == 2);

        // The consumer's one connection is the first's, since it was alone.
        let mut third = scene.provider(3).unwrap();
        fresh.wait_for("calls to three", |one| one.by.len() == 3);
        leave(second);
        fresh.wait_for("calls to two", |one| one.by.keys().eq(["p1", "p3"]));
        assert_eq!((failed(&fresh), failed(&consumer)), (0, 0), "calls failed");

        // The consumer knows the VIP alone, so nobody tells it that the end of its connection goes.
        first.unregister();
        fresh.wait_for("calls to the third", |one| one.by.keys().eq(["p3"]));
        thread::sleep(BEFORE_CLOSE);
        first.exit();
        consumer.wait_for("calls to the third", |one| one.by.keys().eq(["p3"]));
        assert_eq!(failed(&fresh), 0, "calls over new connections failed");
        println!(
            "figure: a kept connection's provider deregistered 3 s before it closed: {} calls failed",
            failed(&consumer)
        );

        let first = scene.provider(1).unwrap();
        fresh.wait_for("calls to both", |one| one.by.len() == 2);
        third.kill();
        scene.wait_used(&daemon, &[1]);
        fresh.wait_for("calls without failures", |one| one.failed == 0 && one.by.keys().eq(["p1"]));
        consumer.wait_for("calls to the first", |one| one.by.keys().eq(["p1"]));
        let (fresh, consumer) = (fresh.finish(), consumer.finish());
        report("a provider killed, new connections", &fresh);
        report("all, a kept connection", &consumer);

        assert_eq!(scene.vip_entries(), 1);
        daemon.done(&["detach"]);
        wait_until("the VIP is withdrawn", PUSH, || scene.vip_entries() == 0);
        drop((daemon, first));
    });
}

/// Above TCP a connection outlives the provider that its calls went to: weir sends each call where it can be answered.
#[test]
fn calls_pass_through_the_l7_path_while_providers_come_and_go() {
    bed(2, |bed| {
        let Some(scene) = Scene::new(bed, ("e2e.behind7", "e2e.vip7")) else { return };
        let Some(first) = scene.provider(1) else { return };
        let daemon = bed.start(&(scene.config() + "forward = \"l7\"\ncodec = \"bolt\"\n"));
        scene.wait_used(&daemon, &[1]);
        let (mut fresh, mut consumer) = scene.clients();
        let second = scene.provider(2).unwrap();
        fresh.wait_for("calls to both", |one| one.by.len() == 2);
        consumer.wait_for("calls to both over its one connection", |one| one.by.len() == 2);

        let address = bed.backend_at(2, PORT).to_string();
        daemon.done(&["backend", "drain", "hello", &address]);
        consumer.wait_for("calls to the first", |one| one.by.keys().eq(["p1"]));
        daemon.done(&["backend", "undrain", "hello", &address]);
        consumer.wait_for("calls to both again", |one| one.by.len() == 2);

        leave(first);
        consumer.wait_for("calls to the second", |one| one.by.keys().eq(["p2"]));
        fresh.wait_for("calls to the second", |one| one.by.keys().eq(["p2"]));
        assert_eq!((failed(&fresh), failed(&consumer)), (0, 0), "calls failed");
        daemon.done(&["detach"]);
        wait_until("the VIP is withdrawn", PUSH, || scene.vip_entries() == 0);
        drop((daemon, second, fresh.finish(), consumer.finish()));
    });
}

#[test]
fn restarts_of_weir_keep_calls_and_the_registration() {
    bed(2, |bed| {
        let names = ("e2e.behind2", "e2e.vip2");
        let Some(scene) = Scene::new(bed, names) else { return };
        let Some(first) = scene.provider(1) else { return };
        let second = scene.provider(2).unwrap();
        let mut old = bed.start(&scene.config());
        scene.wait_used(&old, &[1, 2]);
        let (mut fresh, mut consumer) = scene.clients();
        let mut subscriber =
            Publisher::start("subscriber", &bed.backends[0], &bed.dir, scene.registry.endpoint(), &[])
                .unwrap();
        let vip = data_id(names.1);
        subscriber.subscribe(&vip);
        wait_until("the VIP's push", PUSH, || subscriber.pushes(&vip).last().is_some_and(|push| push.1 == 1));

        let before = subscriber.pushes(&vip).len();
        let new = bed.places().start_with(&["--replace"]);
        assert!(old.wait_end().success(), "{}", old.log());
        scene.wait_used(&new, &[1, 2]);
        thread::sleep(QUIET);
        fresh.wait_for("calls after the restart", |one| one.ok > 0);
        let pushes = subscriber.pushes(&vip);
        assert!(pushes[before..].iter().all(|push| push.1 == 1), "the VIP was gone: {pushes:?}");
        assert_eq!((failed(&fresh), failed(&consumer)), (0, 0), "calls failed in a planned restart");

        let before = subscriber.pushes(&vip).len();
        let absence = scene.watch();
        new.crash();
        // As a service manager does.
        thread::sleep(Duration::from_millis(100));
        let third = bed.places().start();
        scene.wait_used(&third, &[1, 2]);
        wait_until("the VIP's push", PUSH, || {
            scene.vip_entries() == 1 && subscriber.pushes(&vip).last().is_some_and(|push| push.1 == 1)
        });
        thread::sleep(QUIET);
        consumer.wait_for("calls", |one| one.failed == 0 && one.ok > 0);
        println!(
            "figure: kill -9 and start: the registry had no VIP for {} ms, a subscriber for {} ms",
            absence.stop(),
            gap(&subscriber, &vip, before)
        );
        let (fresh, consumer) = (fresh.finish(), consumer.finish());
        assert_eq!(fresh.failed, 0, "calls over new connections failed: {:?}", fresh.failures);
        report("kill -9 and start, new connections", &fresh);
        report("kill -9 and start, a consumer by the registry", &consumer);
        drop((third, first, second));
    });
}

/// What a test needs, with the unique ids behind and of the VIP.
struct Scene<'a> {
    bed: &'a Bed,
    registry: &'static SofaRegistry,
    _link: crate::bed::Link,
    names: (&'static str, &'static str),
}

impl<'a> Scene<'a> {
    fn new(bed: &'a Bed, names: (&'static str, &'static str)) -> Option<Self> {
        let registry = SofaRegistry::shared()?;
        let link = bed.link(registry.space(), registry.address());
        Some(Self { bed, registry, _link: link, names })
    }

    fn config(&self) -> String {
        let (registry, group) = (self.registry.endpoint(), GROUP);
        let (behind, vip) = (data_id(self.names.0), data_id(self.names.1));
        format!(
            "[registry.main]\nkind = \"sofa\"\nendpoints = [\"{registry}\"]\ngroup = \"{group}\"\n\
             [[service]]\nname = \"hello\"\nvip = \"tcp/{VIP}:{PORT}\"\n\
             discover = {{ registry = \"main\", service = \"{behind}\" }}\n\
             publish = {{ registry = \"main\", service = \"{vip}\" }}\n\
             guard = {{ max_removed = 100 }}\n"
        )
    }

    fn provider(&self, n: u8) -> Option<Provider> {
        let (space, at) = (&self.bed.backends[usize::from(n) - 1], self.bed.backend_at(n, PORT));
        let also = format!("also={}", self.names.1);
        let registry = Some(self.registry.endpoint());
        Provider::start(&format!("p{n}"), space, &self.bed.dir, at, self.names.0, registry, &[&also])
    }

    /// One with a connection for each call, and SOFARPC by the registry; both call.
    fn clients(&self) -> (Consumer, Consumer) {
        wait_until("the VIP is registered", PUSH, || self.vip_entries() == 1);
        let vip: SocketAddr = format!("{VIP}:{PORT}").parse().unwrap();
        let start = |name, through| {
            let started =
                Consumer::start(name, &self.bed.client, &self.bed.dir, through, self.names.1, 20, &[]);
            let mut client = started.unwrap();
            client.wait_for("calls", |one| one.ok > 10 && one.failed == 0);
            client
        };
        (
            start("fresh", Through::FreshConnections(vip)),
            start("consumer", Through::Registry(self.registry.endpoint())),
        )
    }

    fn vip_entries(&self) -> usize {
        self.registry.published(&data_id(self.names.1), GROUP).len()
    }

    /// Watches at the registry whether the VIP is there.
    fn watch(&self) -> Absence {
        let stop = Arc::new(AtomicBool::new(false));
        let (ended, registry, id) = (Arc::clone(&stop), self.registry, data_id(self.names.1));
        let thread = thread::spawn(move || {
            let (mut since, mut longest) = (None, Duration::ZERO);
            while !ended.load(Ordering::Relaxed) {
                if registry.published(&id, GROUP).is_empty() {
                    longest = longest.max(since.get_or_insert_with(Instant::now).elapsed());
                } else {
                    since = None;
                }
                thread::sleep(Duration::from_millis(5));
            }
            longest.as_millis()
        });
        Absence { stop, thread }
    }

    /// Waits until just these backends take new flows.
    fn wait_used(&self, daemon: &Daemon, numbers: &[u8]) {
        let wanted: BTreeSet<_> = numbers.iter().map(|n| self.bed.backend_at(*n, PORT).to_string()).collect();
        wait_until(&format!("{wanted:?} in use"), PUSH, || {
            let dump = daemon.json(&["registry", "dump", "hello"]);
            let all = dump["candidates"].as_array().unwrap().iter();
            let used = all.filter(|one| one["standing"] == "used" || one["standing"] == "held");
            used.map(|one| one["address"].as_str().unwrap().to_owned()).collect::<BTreeSet<_>>() == wanted
        });
    }
}

/// How long the VIP has been away from the registry.
struct Absence {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<u128>,
}

impl Absence {
    /// In milliseconds, the longest time.
    fn stop(self) -> u128 {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

/// Out of the registry, and its port closed 3 s later.
fn leave(mut provider: Provider) {
    provider.unregister();
    thread::sleep(BEFORE_CLOSE);
    provider.exit();
}

fn failed(consumer: &Consumer) -> u64 {
    consumer.seconds().iter().map(|second| second.failed).sum()
}

/// How long a subscriber saw no entry after a push, in milliseconds.
fn gap(subscriber: &Publisher, data_id: &str, from: usize) -> u64 {
    let pushes = subscriber.pushes(data_id);
    let (mut gone, mut total) = (None, 0);
    for (at, count) in &pushes[from..] {
        match (gone, count) {
            (None, 0) => gone = Some(*at),
            (Some(since), 1..) => {
                total += at - since;
                gone = None;
            }
            _ => {}
        }
    }
    total
}

fn report(what: &str, summary: &Summary) {
    println!(
        "figure: {what}: {} answered, {} failed, longest time without an answer {} ms, {:?}",
        summary.ok, summary.failed, summary.longest_gap_ms, summary.errors
    );
}

const VIP: &str = "198.51.100.10";
const PORT: u16 = 12200;
const PUSH: Duration = Duration::from_secs(20);
const BEFORE_CLOSE: Duration = Duration::from_secs(3);
/// Long enough for a push of what has just happened.
const QUIET: Duration = Duration::from_secs(3);
