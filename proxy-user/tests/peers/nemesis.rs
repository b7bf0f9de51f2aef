//! Registries that die, freeze, lose their data and lie, in an order drawn from a seed, with traffic through the VIP all
//! the while. `WEIR_NEMESIS_SEED` replays one; `WEIR_NEMESIS_SECONDS` makes it longer.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use proxy_user::lab::http::{Get, HttpServer};
use proxy_user::lab::spawn_in;
use serde_json::Value;

use crate::bed::{Bed, bed};
use crate::daemon::Places;
use crate::sources::{EtcdKeys, Json, Sofa, Source};
use crate::wait::wait_until;

#[test]
fn nemesis_of_sofa() {
    bed(BACKENDS, |bed| {
        if let Some(source) = Sofa::start(bed) {
            run(bed, Box::new(source));
        }
    });
}

#[test]
fn nemesis_of_etcd() {
    bed(BACKENDS, |bed| {
        if let Some(source) = EtcdKeys::start(bed) {
            run(bed, Box::new(source));
        }
    });
}

#[test]
fn nemesis_of_file() {
    bed(BACKENDS, |bed| run(bed, Box::new(Json::start(bed))));
}

type Addresses = BTreeSet<String>;

/// What happens to a source, or by it.
#[derive(Clone, Copy, Debug)]
enum Ill {
    Killed,
    Frozen,
    Emptied,
    AllDeregistered,
    BackendDies,
    /// Another set, often with a lie in it.
    Published,
}

/// Drawn until it is empty, then anew.
const DECK: [Ill; 12] = {
    use Ill::*;
    [
        Killed,
        Frozen,
        Emptied,
        AllDeregistered,
        BackendDies,
        BackendDies,
        Published,
        Published,
        Published,
        Published,
        Published,
        Published,
    ]
};

fn run(bed: &Bed, mut source: Box<dyn Source>) {
    let seed = setting("WEIR_NEMESIS_SEED").unwrap_or_else(|| fastrand::u64(..));
    let length = Duration::from_secs(setting("WEIR_NEMESIS_SECONDS").unwrap_or(12));
    println!("nemesis: WEIR_NEMESIS_SEED={seed}");
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut servers: Vec<_> = (1..=BACKENDS).map(|n| Some(serve(bed, n))).collect();
    let (registry, discover) = source.config();
    let shared = Arc::new(Mutex::new(Shared::default()));
    let all: Vec<String> = (1..=BACKENDS).map(|n| address(bed, n)).collect();
    source.publish(&all, &mut |entries| lock(&shared).publish(entries));
    let daemon = bed.start(&format!(
        "{registry}[[service]]\nname = \"web\"\nvip = \"tcp/{VIP}\"\ndiscover = {discover}\n\
         guard = {{ hold = \"2s\", hold_min = \"never\", interval = \"2s\" }}\n"
    ));
    wait_until("all backends", SETTLED, || eligible(&bed.places()).0.len() == BACKENDS);
    let checker = Checker::start(bed.places(), Arc::clone(&shared));
    let traffic = Traffic::start(bed);

    let end = Instant::now() + length;
    let mut deck = Vec::new();
    while Instant::now() < end {
        if deck.is_empty() {
            deck = DECK.to_vec();
            rng.shuffle(&mut deck);
        }
        let event = deck.pop().unwrap();
        println!("nemesis: {event:?}");
        let pause = Duration::from_millis(rng.u64(200..2500));
        match event {
            Ill::Killed => source.kill(pause),
            Ill::Frozen => source.freeze(pause),
            Ill::Emptied => {
                // Before, for what is seen on the way.
                lock(&shared).publish(&[]);
                if !source.restart_empty() {
                    lock(&shared).publish_last_full();
                }
            }
            Ill::AllDeregistered => {
                lock(&shared).publish(&[]);
                source.deregister_all();
            }
            Ill::BackendDies => {
                let victim = rng.usize(..BACKENDS);
                lock(&shared).dies(&all[victim], true);
                servers[victim] = None;
                thread::sleep(pause);
                let rest: Vec<_> = all.iter().filter(|one| **one != all[victim]).cloned().collect();
                source.publish(&rest, &mut |entries| lock(&shared).publish(entries));
                thread::sleep(pause);
                servers[victim] = Some(serve(bed, victim + 1));
                lock(&shared).dies(&all[victim], false);
            }
            Ill::Published => {
                let entries = draw(&mut rng, &all);
                source.publish(&entries, &mut |entries| lock(&shared).publish(entries));
            }
        }
        thread::sleep(pause / 2);
    }
    source.publish(&all, &mut |entries| lock(&shared).publish(entries));
    wait_until("all backends again, and nothing held", SETTLED, || {
        let (used, held, hold) = eligible(&bed.places());
        used.len() == BACKENDS && held.is_empty() && !hold
    });
    let answered = traffic.stop(&shared);
    let samples = checker.stop();
    println!("nemesis: {answered} requests answered, {samples} looks at the set");
    drop((daemon, servers));
}

/// A set with at least one good entry, and a lie now and then.
fn draw(rng: &mut fastrand::Rng, all: &[String]) -> Vec<String> {
    let mut good: Vec<String> = all.to_vec();
    rng.shuffle(&mut good);
    good.truncate(rng.usize(1..=all.len()));
    let spare: Vec<&String> = all.iter().filter(|one| !good.contains(one)).collect();
    let mut entries = good.clone();
    match rng.u8(..6) {
        0 => entries
            .extend(["rubbish", "host.example:80", "10.2.1.1:99999", "127.0.0.1:80"].map(str::to_owned)),
        1 => entries.push(VIP.to_owned()),
        2 => entries.extend(spare.iter().enumerate().map(|(n, one)| {
            let weight = ["-5", "many", "0"][n % 3];
            format!("http://{one}/?weight={weight}")
        })),
        3 => entries.extend(good),
        // Huge, and capped.
        4 => entries.extend(spare.first().map(|one| format!("http://{one}/?weight=4000000000"))),
        _ => {
            let many = (0..LARGE).map(|n| format!("http://10.3.{}.{}:80/?weight=0", n / 250, n % 250 + 1));
            entries.extend(many);
        }
    }
    entries
}

/// What of these texts takes new flows.
fn good(entries: &[String]) -> Addresses {
    let good = entries.iter().filter_map(|entry| {
        let (text, weight) = entry.split_once("/?weight=").unwrap_or((entry, "100"));
        let address = text.trim_start_matches("http://");
        let is_ours = address.starts_with("10.2.") && address.ends_with(":80");
        (is_ours && weight.parse::<u64>().is_ok_and(|weight| weight > 0)).then(|| address.to_owned())
    });
    good.collect()
}

/// What the harness has done.
#[derive(Default)]
struct Shared {
    /// What was published, in order.
    published: Vec<Addresses>,
    /// Backends that are dead, and for how long others were so while they may have been in use.
    dead: Vec<(String, Instant, Option<Instant>)>,
}

impl Shared {
    fn publish(&mut self, entries: &[String]) {
        self.published.push(good(entries));
    }

    fn publish_last_full(&mut self) {
        let last = self.published.iter().rfind(|set| !set.is_empty()).cloned();
        self.published.extend(last);
    }

    fn dies(&mut self, address: &str, dies: bool) {
        if dies {
            self.dead.push((address.to_owned(), Instant::now(), None));
        } else if let Some(dead) = self.dead.last_mut() {
            dead.2 = Some(Instant::now());
        }
    }
}

/// Looks at the set that takes new flows, again and again.
struct Checker {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<u64>,
}

impl Checker {
    fn start(places: Places, shared: Arc<Mutex<Shared>>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let ended = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            let (mut at, mut looks) = (0, 0);
            while !ended.load(Ordering::Relaxed) {
                let (used, held, hold) = eligible(&places);
                let shared = lock(&shared);
                assert!(
                    !used.is_empty() || !held.is_empty(),
                    "no backend is left, and nobody has confirmed it"
                );
                assert!(held.is_empty() || hold, "held without a hold: {held:?}");
                let place = shared.published[at..].iter().position(|set| *set == used);
                let Some(place) = place else {
                    panic!(
                        "never published from place {at} on: {used:?} (held {held:?}): {:?}",
                        shared.published
                    )
                };
                at += place;
                let before = shared.published[..=at].iter().flatten().collect::<BTreeSet<_>>();
                assert!(held.iter().all(|one| before.contains(one)), "never published: {held:?}");
                drop(shared);
                looks += 1;
                thread::sleep(Duration::from_millis(50));
            }
            looks
        });
        Self { stop, thread }
    }

    fn stop(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

/// Used, held, and whether a hold is reported.
fn eligible(places: &Places) -> (Addresses, Addresses, bool) {
    let dump = places.json(&["registry", "dump", "web"]);
    let stand = |standing: &str| -> Addresses {
        let all = dump["candidates"].as_array().unwrap().iter().filter(|one| one["standing"] == standing);
        all.map(|one| one["address"].as_str().unwrap().to_owned()).collect()
    };
    (stand("used"), stand("held"), dump["hold"] != Value::Null)
}

/// A connection for each request.
struct Traffic {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<std::io::Result<Requests>>,
}

/// How many were answered; begin, end and error of the others.
type Requests = (u64, Vec<(Instant, Instant, String)>);

impl Traffic {
    fn start(bed: &Bed) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let ended = Arc::clone(&stop);
        let get = Get { to: VIP.parse().unwrap(), from: None, timeout: Duration::from_secs(2) };
        let thread = spawn_in(&bed.client, move || {
            let (mut answered, mut failed) = (0, Vec::new());
            while !ended.load(Ordering::Relaxed) {
                let begin = Instant::now();
                match get.send() {
                    Ok(_) => answered += 1,
                    Err(error) => failed.push((begin, Instant::now(), error.to_string())),
                }
                thread::sleep(Duration::from_millis(5));
            }
            (answered, failed)
        });
        Self { stop, thread: thread.unwrap() }
    }

    fn stop(self, shared: &Mutex<Shared>) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        let (answered, failed) = self.thread.join().unwrap().unwrap();
        let dead = &lock(shared).dead;
        for (begin, end, error) in &failed {
            let died = dead.iter().any(|(_, from, to)| from <= end && to.is_none_or(|to| *begin <= to));
            assert!(died, "a request failed while every backend lived: {error}");
        }
        println!("nemesis: {} requests failed, all while a backend in use was dead", failed.len());
        assert!(answered > 100, "{answered} requests");
        answered
    }
}

fn serve(bed: &Bed, n: usize) -> HttpServer {
    let at: SocketAddr = address(bed, n).parse().unwrap();
    HttpServer::start(&bed.backends[n - 1], at, &n.to_string(), false).unwrap()
}

fn address(bed: &Bed, n: usize) -> String {
    bed.backend_at(u8::try_from(n).unwrap(), 80).to_string()
}

fn lock(shared: &Mutex<Shared>) -> std::sync::MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap())
}

const BACKENDS: usize = 5;
const VIP: &str = "198.51.100.10:80";
const LARGE: usize = 1000;
const SETTLED: Duration = Duration::from_secs(60);
