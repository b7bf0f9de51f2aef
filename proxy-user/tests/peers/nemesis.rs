//! Registries that die, freeze, lose their data and lie, in an order drawn from a seed, with traffic through the VIP all
//! the while. `WEIR_NEMESIS_SEED` replays one; `WEIR_NEMESIS_SECONDS` makes it longer,
//! `WEIR_NEMESIS_ONLY` keeps to events with this in their names.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use proxy_user::lab::http::HttpServer;
use proxy_user::registry::source::MAX_ENDPOINTS;

use crate::bed::{Bed, bed};
use crate::meddler::Mischief;
use crate::sources::{EtcdKeys, Json, Sofa, Source};
use crate::trial::{Checker, Shared, Traffic, VIP, eligible, has_seen, lock};
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

#[cfg(feature = "dns")]
#[test]
fn nemesis_of_dns() {
    bed(BACKENDS, |bed| {
        if let Some(source) = crate::names::Names::start(bed) {
            run(bed, Box::new(source));
        }
    });
}

#[test]
fn nemesis_of_file() {
    bed(BACKENDS, |bed| run(bed, Box::new(Json::start(bed))));
}

/// What happens to a source, or by it.
#[derive(Clone, Copy, Debug)]
enum Ill {
    Killed,
    Frozen,
    /// Packets to it and from it are lost.
    Partitioned,
    Emptied,
    AllDeregistered,
    BackendDies,
    /// Another set, often with a lie in it.
    Published,
    /// As many entries as a query may have, all but a few of them nonsense.
    Crowded,
    /// It answers with errors.
    Failing,
    /// Somebody on the way has his hands in it, while it says something else.
    Meddled(Mischief),
}

/// Drawn until it is empty, then anew.
const DECK: [Ill; 19] = {
    use Ill::*;
    [
        Killed,
        Frozen,
        Partitioned,
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
        Crowded,
        Failing,
        Meddled(Mischief::Slow),
        Meddled(Mischief::Garbage),
        Meddled(Mischief::Truncated),
        Meddled(Mischief::Oversized),
    ]
};

fn run(bed: &Bed, mut source: Box<dyn Source>) {
    let seed = setting("WEIR_NEMESIS_SEED").unwrap_or_else(|| fastrand::u64(..));
    let length = Duration::from_secs(setting("WEIR_NEMESIS_SECONDS").unwrap_or(20));
    let only = std::env::var("WEIR_NEMESIS_ONLY").unwrap_or_default();
    println!("nemesis: WEIR_NEMESIS_SEED={seed}");
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut servers: Vec<_> = (1..=BACKENDS).map(|n| Some(serve(bed, n))).collect();
    let (registry, discover) = source.config();
    let shared = Arc::new(Mutex::new(Shared::default()));
    let all: Vec<String> = (1..=BACKENDS).map(|n| address(bed, n)).collect();
    source.publish(&all, &mut |entries| lock(&shared).publish(entries));
    let daemon = bed.start(&format!(
        "{registry}[[service]]\nname = \"web\"\nvip = \"tcp/{VIP}\"\ndiscover = {discover}\n\
         guard = {{ hold = \"{HOLD:?}\", hold_min = \"never\", interval = \"2s\" }}\n"
    ));
    wait_until("all backends", SETTLED, || eligible(&bed.places()).0.len() == BACKENDS);
    let checker = Checker::start(bed.places(), Arc::clone(&shared));
    let traffic = Traffic::start(bed);

    let end = Instant::now() + length;
    let mut deck = Vec::new();
    while Instant::now() < end {
        if deck.is_empty() {
            deck = DECK.iter().filter(|ill| format!("{ill:?}").contains(&only)).copied().collect();
            rng.shuffle(&mut deck);
        }
        let event = deck.pop().unwrap();
        println!("nemesis: {event:?}");
        let pause = Duration::from_millis(rng.u64(200..2500));
        match event {
            Ill::Killed => source.kill(pause),
            Ill::Frozen => source.freeze(pause),
            Ill::Partitioned => source.link().into_iter().for_each(|link| link.cut(pause)),
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
                thread::sleep(HOLD * 3 / 2);
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
            Ill::Crowded => {
                let count = source
                    .crowd(&all, MAX_ENDPOINTS - BACKENDS, &mut |entries| lock(&shared).publish(entries));
                let begun = Instant::now();
                wait_until("the crowd is seen", SETTLED, || has_seen(&bed.places(), count));
                println!("nemesis: {count} more seen after {:?}", begun.elapsed());
            }
            Ill::Failing => source.fail(pause),
            Ill::Meddled(mischief) => {
                source.meddler().into_iter().for_each(|meddler| meddler.set(mischief));
                let entries = draw(&mut rng, &all);
                source.publish(&entries, &mut |entries| lock(&shared).publish(entries));
                thread::sleep(pause);
                source.meddler().into_iter().for_each(|meddler| meddler.set(Mischief::None));
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

fn serve(bed: &Bed, n: usize) -> HttpServer {
    let at: SocketAddr = address(bed, n).parse().unwrap();
    HttpServer::start(&bed.backends[n - 1], at, &n.to_string(), false).unwrap()
}

fn address(bed: &Bed, n: usize) -> String {
    bed.backend_at(u8::try_from(n).unwrap(), 80).to_string()
}

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap())
}

const BACKENDS: usize = 5;
/// After it, what need not be confirmed is removed.
const HOLD: Duration = Duration::from_secs(2);
const LARGE: usize = 1000;
const SETTLED: Duration = Duration::from_secs(60);
