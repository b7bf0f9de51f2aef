//! What a nemesis is judged by: the set that takes new flows, and requests through the VIP.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use proxy_user::lab::http::Get;
use proxy_user::lab::spawn_in;
use serde_json::Value;

use crate::bed::Bed;
use crate::daemon::Places;

pub(crate) type Addresses = BTreeSet<String>;

/// What the harness has done.
#[derive(Default)]
pub(crate) struct Shared {
    /// What was published, in order.
    published: Vec<Addresses>,
    /// Backends that are dead, and for how long others were so while they may have been in use.
    dead: Vec<(String, Instant, Option<Instant>)>,
}

impl Shared {
    pub(crate) fn publish(&mut self, entries: &[String]) {
        self.published.push(good(entries));
    }

    pub(crate) fn publish_last_full(&mut self) {
        let last = self.published.iter().rfind(|set| !set.is_empty()).cloned();
        self.published.extend(last);
    }

    pub(crate) fn dies(&mut self, address: &str, dies: bool) {
        if dies {
            self.dead.push((address.to_owned(), Instant::now(), None));
        } else if let Some(dead) = self.dead.last_mut() {
            dead.2 = Some(Instant::now());
        }
    }
}

/// Looks at the set that takes new flows, again and again.
pub(crate) struct Checker {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<u64>,
}

impl Checker {
    pub(crate) fn start(places: Places, shared: Arc<Mutex<Shared>>) -> Self {
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

    pub(crate) fn stop(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

/// Used, held, and whether a hold is reported.
pub(crate) fn eligible(places: &Places) -> (Addresses, Addresses, bool) {
    let dump = places.json(&["registry", "dump", "web"]);
    let stand = |standing: &str| -> Addresses {
        let all = dump["candidates"].as_array().unwrap().iter().filter(|one| one["standing"] == standing);
        all.map(|one| one["address"].as_str().unwrap().to_owned()).collect()
    };
    (stand("used"), stand("held"), dump["hold"] != Value::Null)
}

/// Whether so many entries were read, or refused whole for being too many.
pub(crate) fn has_seen(places: &Places, count: usize) -> bool {
    let dump = places.json(&["registry", "dump", "web"]);
    let source = &dump["sources"][0];
    let too_many = source["detail"].as_str().is_some_and(|why| why.contains("max_endpoints"));
    too_many || source["seen"].as_u64().is_some_and(|seen| seen >= count as u64)
}

/// A connection for each request.
pub(crate) struct Traffic {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<std::io::Result<Requests>>,
}

/// How many were answered; begin, end and error of the others.
type Requests = (u64, Vec<(Instant, Instant, String)>);

impl Traffic {
    pub(crate) fn start(bed: &Bed) -> Self {
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

    pub(crate) fn stop(self, shared: &Mutex<Shared>) -> u64 {
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

/// What of these texts takes new flows.
pub(crate) fn good(entries: &[String]) -> Addresses {
    let good = entries.iter().filter_map(|entry| {
        let (text, weight) = entry.split_once("/?weight=").unwrap_or((entry, "100"));
        let address = text.trim_start_matches("http://");
        let is_ours = address.starts_with("10.2.") && address.ends_with(":80");
        (is_ours && weight.parse::<u64>().is_ok_and(|weight| weight > 0)).then(|| address.to_owned())
    });
    good.collect()
}

pub(crate) fn lock(shared: &Mutex<Shared>) -> std::sync::MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) const VIP: &str = "198.51.100.10:80";
