//! Backends of the L7 path come, go, drain and die under load.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use proxy_user::lab::bolt::{BoltClient, BoltServer};
use proxy_user::lab::run_in;
use proxy_user::lab::talk::Talk;

use crate::bed::{Bed, Family, bed};
use crate::daemon::Daemon;
use crate::l7_bed::Leftovers;
use crate::traffic::{PATIENCE, Repeat, wait_for};

const V4: Family = Family::V4;
const BACKENDS: usize = 3;
/// Name, codec, port.
const SERVICES: [(&str, &str, u16); 2] = [("web", "http1", 80), ("rpc", "bolt", 12200)];
const LOADS: u64 = 3;
/// Bolt requests that a client has under way at once.
const AT_ONCE: u32 = 8;

/// What a load saw.
#[derive(Debug, Default)]
struct Seen {
    answered: AtomicU64,
    failed: AtomicU64,
    /// Answers of the backend that is to die.
    of_first: AtomicU64,
}

impl Seen {
    fn note(&self, result: Result<String, String>) {
        match result {
            Ok(name) => {
                self.answered.fetch_add(1, Ordering::Relaxed);
                self.of_first.fetch_add(u64::from(name.trim() == "1"), Ordering::Relaxed);
            }
            Err(_) => drop(self.failed.fetch_add(1, Ordering::Relaxed)),
        }
    }

    fn count(counter: &AtomicU64) -> u64 {
        counter.load(Ordering::Relaxed)
    }

    /// Waits for so many more answers.
    fn go_on(&self, more: u64) {
        let before = Self::count(&self.answered);
        wait_for("answers", || Self::count(&self.answered) >= before + more);
    }
}

/// Clients with a connection each, which is made anew if it ended.
fn loads<C: Send + 'static>(
    bed: &Bed,
    seen: &Arc<Seen>,
    connect: fn() -> Option<C>,
    ask: fn(&mut C) -> Vec<Result<String, String>>,
) -> Vec<Repeat> {
    let load = |_| {
        let (seen, client) = (Arc::clone(seen), Mutex::new(None));
        bed.repeat(move || {
            let mut client = client.lock().unwrap();
            let Some(open) = client.get_or_insert_with(connect) else {
                *client = None;
                return seen.note(Err("no connection".into()));
            };
            let answers = ask(open);
            if answers.iter().any(Result::is_err) {
                *client = None;
            }
            answers.into_iter().for_each(|answer| seen.note(answer));
        })
    };
    (0..LOADS).map(load).collect()
}

fn http(bed: &Bed, seen: &Arc<Seen>) -> Vec<Repeat> {
    let connect = || Talk::connect(V4.vip_at(80), Some(V4.client()), PATIENCE).ok();
    loads(bed, seen, connect, |talk| {
        vec![match talk.get("/", "vip", "") {
            Ok(answer) if answer.status == 200 => Ok(answer.body),
            Ok(answer) => Err(answer.head),
            Err(error) => Err(error.to_string()),
        }]
    })
}

fn bolt(bed: &Bed, seen: &Arc<Seen>) -> Vec<Repeat> {
    let connect = || BoltClient::connect(V4.vip_at(12200), Some(V4.client()), PATIENCE).ok();
    loads(bed, seen, connect, |client| match client.call("com.example.Greeter:1.0", AT_ONCE) {
        Ok(answers) => answers
            .into_iter()
            .map(|one| if one.status == 0 { Ok(one.content) } else { Err(one.status.to_string()) })
            .collect(),
        Err(error) => vec![Err(error.to_string()); AT_ONCE as usize],
    })
}

/// Both services without the backends that `gone` names.
fn services(gone: &[usize]) -> String {
    let one = |(name, codec, port)| {
        let left = (1..=BACKENDS).filter(|n| !gone.contains(n));
        let backends: Vec<String> = left.map(|n| format!("\"{}\"", V4.backend_at(n, port))).collect();
        format!(
            "[[service]]\nname = \"{name}\"\nvip = \"tcp/{}\"\nforward = \"l7\"\ncodec = \"{codec}\"\nbackends = [{}]\n",
            V4.vip_at(port),
            backends.join(", ")
        )
    };
    SERVICES.map(one).concat()
}

/// Removes, adds, drains and weighs backends, in an order in which one is always left.
fn meddle(bed: &Bed, daemon: &Daemon) {
    for n in 1..=BACKENDS {
        bed.configure(&services(&[n]));
        daemon.done(&["reload"]);
        for (name, _, port) in SERVICES {
            let next = V4.backend_at(n % BACKENDS + 1, port).to_string();
            daemon.done(&["backend", "drain", name, &next]);
            daemon.done(&["backend", "undrain", name, &next]);
            daemon.done(&["backend", "weight", name, &next, "30"]);
        }
        bed.configure(&services(&[n, n % BACKENDS + 1]));
        daemon.done(&["reload"]);
        bed.configure(&services(&[]));
        daemon.done(&["reload"]);
    }
}

#[test]
fn no_request_fails_while_backends_change_and_one_that_dies_takes_its_own_along() {
    bed(BACKENDS, |bed| {
        let _leftovers = Leftovers(bed.places());
        let daemon = bed.start(&services(&[]));
        daemon.wait_workers();
        let mut web = bed.http(V4, 80);
        let mut rpc: Vec<_> = (1..=BACKENDS)
            .map(|n| BoltServer::start(&bed.backends[n - 1].space, V4.backend_at(n, 12200), &n.to_string()))
            .map(Result::unwrap)
            .collect();
        let (of_web, of_rpc): (Arc<Seen>, Arc<Seen>) = Default::default();
        let all: Vec<Repeat> = http(bed, &of_web).into_iter().chain(bolt(bed, &of_rpc)).collect();
        for _ in 0..3 {
            meddle(bed, &daemon);
            of_web.go_on(50);
            of_rpc.go_on(50);
        }
        let failed = || [&of_web, &of_rpc].map(|seen| Seen::count(&seen.failed));
        assert_eq!(failed(), [0, 0], "backends changed: {of_web:?} {of_rpc:?}");

        // Listener and connections of a backend end at once.
        drop((web.remove(0), rpc.remove(0)));
        of_web.go_on(200);
        of_rpc.go_on(200);
        let [of_get, of_call] = failed();
        // A GET is tried elsewhere; a call that was sent may have been carried out.
        assert_eq!(of_get, 0, "{of_web:?}");
        assert!(of_call <= LOADS * u64::from(AT_ONCE), "{of_rpc:?}");
        let before = [&of_web, &of_rpc].map(|seen| Seen::count(&seen.of_first));
        of_web.go_on(200);
        of_rpc.go_on(200);
        let after = [&of_web, &of_rpc].map(|seen| Seen::count(&seen.of_first));
        assert_eq!((failed(), after), ([of_get, of_call], before), "what is dead stays so");
        drop(all);
        let asked = run_in(&bed.client, || Talk::connect(V4.vip_at(80), Some(V4.client()), PATIENCE));
        assert_eq!(asked.unwrap().unwrap().get("/", "vip", "").unwrap().status, 200);
    });
}
