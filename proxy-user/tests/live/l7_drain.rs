//! Workers that end: clients that ask all the while lose nothing, and a worker that hangs meanwhile is ended.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use proxy_user::lab::bolt::{BoltClient, BoltServer};
use proxy_user::lab::run_in;
use proxy_user::lab::talk::Talk;

use crate::bed::{Bed, Family, bed};
use crate::l7_bed::{Leftovers, alive};
use crate::traffic::{PATIENCE, Repeat, pause, wait_for};

const V4: Family = Family::V4;
const CLIENTS: u64 = 12;

fn web(bed: &Bed) -> String {
    bed.service("web", "tcp", V4, 80, "forward = \"l7\"\ncodec = \"http1\"\n")
}

/// What clients saw.
#[derive(Debug, Default)]
struct Seen {
    answered: AtomicU64,
    told_to_go: AtomicU64,
    failures: Mutex<Vec<String>>,
}

impl Seen {
    fn go_on(&self, more: u64) {
        let before = self.answered.load(Ordering::Relaxed);
        wait_for("answers", || self.answered.load(Ordering::Relaxed) >= before + more);
    }

    fn note(&self, result: Result<(), String>) {
        match result {
            Ok(()) => drop(self.answered.fetch_add(1, Ordering::Relaxed)),
            Err(error) => self.failures.lock().unwrap().push(error),
        }
    }
}

/// Clients that keep their connections until they are told that these end, and rest a little between two requests: each is
/// idle most of the time.
fn keep_alive(bed: &Bed, seen: &Arc<Seen>) -> Vec<Repeat> {
    let client = |number| {
        let (seen, talk) = (Arc::clone(seen), Mutex::new(None));
        bed.repeat(move || {
            pause(5 + 3 * number);
            let mut talk = talk.lock().unwrap();
            let connect = || Talk::connect(V4.vip_at(80), Some(V4.client()), PATIENCE).unwrap();
            let answer = talk.get_or_insert_with(connect).get("/", "vip", "");
            let ends = answer
                .as_ref()
                .map_or(true, |answer| answer.head.to_ascii_lowercase().contains("connection: close"));
            if ends {
                *talk = None;
                seen.told_to_go.fetch_add(1, Ordering::Relaxed);
            }
            seen.note(match answer {
                Ok(answer) if answer.status == 200 => Ok(()),
                Ok(answer) => Err(answer.head),
                Err(error) => Err(error.to_string()),
            });
        })
    };
    (0..CLIENTS).map(client).collect()
}

#[test]
fn clients_that_keep_their_connections_lose_nothing_while_workers_are_replaced() {
    bed(1, |bed| {
        let _leftovers = Leftovers(bed.places());
        let config = "[l7]\nworkers = 2\n".to_owned() + &web(bed);
        let mut daemon = bed.start(&config);
        let _http = bed.http(V4, 80);
        wait_for("the workers", || daemon.workers().len() == 2);
        let seen: Arc<Seen> = Arc::default();
        let clients = keep_alive(bed, &seen);
        seen.go_on(200);
        let check = |what: &str| {
            assert!(seen.failures.lock().unwrap().is_empty(), "{what}: {seen:?}");
            // Each has learnt from an answer that its connection ends.
            assert!(seen.told_to_go.swap(0, Ordering::Relaxed) >= CLIENTS, "{what}: {seen:?}");
        };
        // One by one they are told to end.
        for pid in daemon.workers() {
            kill(Pid::from_raw(pid), Signal::SIGTERM).unwrap();
            wait_for("its end", || alive(&[pid]).is_empty());
            wait_for("its successor", || daemon.workers().len() == 2);
            seen.go_on(200);
        }
        check("told to end");
        // Another build.
        let before = daemon.workers();
        daemon.terminate();
        daemon = bed.places().start_copy();
        wait_for("the end of the old ones", || alive(&before).is_empty());
        wait_for("their successors", || daemon.workers().len() == 2);
        seen.go_on(200);
        check("another build");
        // Fewer of them.
        let before = daemon.workers();
        daemon.terminate();
        bed.configure(&config.replace("workers = 2", "workers = 1"));
        daemon = bed.places().start();
        wait_for("the end of those too many", || alive(&before).is_empty());
        seen.go_on(200);
        check("fewer workers");
        assert_eq!(daemon.json(&["status"])["ready"], true);
        drop(clients);
    });
}

#[test]
fn a_client_that_was_not_told_to_go_is_answered_until_it_is_silent_for_long() {
    bed(1, |bed| {
        let _leftovers = Leftovers(bed.places());
        let service = format!(
            "[[service]]\nname = \"rpc\"\nvip = \"tcp/{}\"\nforward = \"l7\"\ncodec = \"bolt\"\nbackends = [\"{}\"]\n",
            V4.vip_at(12200),
            V4.backend_at(1, 12200)
        );
        let daemon = bed.start(&(service + "[l7]\nworkers = 1\n"));
        let _rpc = BoltServer::start(&bed.backends[0].space, V4.backend_at(1, 12200), "1").unwrap();
        wait_for("the worker", || daemon.workers().len() == 1);
        let worker = daemon.workers()[0];
        let seen: Arc<Seen> = Arc::default();
        let client = {
            let (seen, client) = (Arc::clone(&seen), Mutex::new(None));
            bed.repeat(move || {
                let mut client = client.lock().unwrap();
                let connect = || BoltClient::connect(V4.vip_at(12200), Some(V4.client()), PATIENCE).unwrap();
                let answers = client.get_or_insert_with(connect).call("com.example.Greeter:1.0", 1);
                seen.note(answers.map(drop).map_err(|error| error.to_string()));
                // Longer than a client that was told to go may be silent.
                pause(1_400);
            })
        };
        seen.go_on(1);
        kill(Pid::from_raw(worker), Signal::SIGTERM).unwrap();
        wait_for("the successor", || daemon.workers().len() == 2);
        for _ in 0..3 {
            seen.go_on(1);
        }
        assert!(seen.failures.lock().unwrap().is_empty(), "{seen:?}");
        assert_eq!(alive(&[worker]).len(), 1, "it drains");
        drop(client);
    });
}

#[test]
fn a_worker_that_hangs_while_it_drains_is_killed() {
    bed(1, |bed| {
        let _leftovers = Leftovers(bed.places());
        let daemon = bed.start(&("[l7]\nworkers = 1\n".to_owned() + &web(bed)));
        let _http = bed.http(V4, 80);
        wait_for("the worker", || daemon.workers().len() == 1);
        let victim = daemon.workers()[0];
        let mut talk = bed.talk(V4.vip_at(80));
        talk.ask().unwrap();
        kill(Pid::from_raw(victim), Signal::SIGTERM).unwrap();
        wait_for("the successor", || daemon.workers().len() == 2);
        kill(Pid::from_raw(victim), Signal::SIGSTOP).unwrap();
        pause(7_500);
        assert_eq!(alive(&[victim]).len(), 1, "it has its time");
        let end = Instant::now() + Duration::from_secs(10);
        while !alive(&[victim]).is_empty() {
            assert!(Instant::now() < end, "it is there for ever");
            pause(50);
        }
        assert!(daemon.log().contains("no sign of life"), "{}", daemon.log());
        let worker = &daemon.json(&["l7", "status"])["workers"][0];
        assert_eq!((&worker["restarts"], &worker["hangs"]), (&1.into(), &1.into()), "{worker:#}");
        bed.gets(V4.client(), V4.vip_at(80), 10);
    });
}

#[test]
fn a_change_holds_for_clients_of_a_worker_that_drains() {
    bed(1, |bed| {
        let _leftovers = Leftovers(bed.places());
        let head = "[l7]\nworkers = 1\n";
        let daemon = bed.start(&(head.to_owned() + &web(bed)));
        let _http = bed.http(V4, 80);
        wait_for("the worker", || daemon.workers().len() == 1);
        let victim = daemon.workers()[0];
        let connect = || Talk::connect(V4.vip_at(80), Some(V4.client()), PATIENCE).unwrap();
        let mut talk = run_in(&bed.client, connect).unwrap();
        assert_eq!(talk.get("/", "vip", "").unwrap().status, 200);
        kill(Pid::from_raw(victim), Signal::SIGTERM).unwrap();
        wait_for("the successor", || daemon.workers().len() == 2);
        let rule = format!("{{ action = \"deny\", sources = [\"{}\"] }}", V4.client());
        let denied =
            format!("forward = \"l7\"\ncodec = \"http1\"\nl7 = {{ access = {{ rules = [{rule}] }} }}\n");
        bed.configure(&(head.to_owned() + &bed.service("web", "tcp", V4, 80, &denied)));
        daemon.done(&["reload"]);
        // Nobody waits for it to say that it has taken the change.
        pause(500);
        assert_eq!(alive(&[victim]).len(), 1, "it drains");
        assert_eq!(talk.get("/", "vip", "").unwrap().status, 403);
    });
}
