//! Logs whose reader is gone, or whose disk is full: whoever writes them goes on, and says what is lost.

use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::Stdio;

use nix::mount::{MsFlags, mount};
use nix::unistd::Pid;
use serde_json::Value;

use crate::bed::{Bed, Family, bed};
use crate::daemon::Daemon;
use crate::l7_bed::{Leftovers, is_worker};
use crate::traffic::wait_for;

const V4: Family = Family::V4;

fn config(bed: &Bed) -> String {
    let log = "forward = \"l7\"\ncodec = \"http1\"\n[service.l7]\naccess_log = 1\n";
    "[l7]\nworkers = 1\n".to_owned() + &bed.service("web", "tcp", V4, 80, log)
}

/// A daemon whose standard error is this.
fn start(bed: &Bed, stderr: impl Into<Stdio>) -> Daemon {
    bed.configure(&config(bed));
    let config = bed.places().config();
    let daemon = bed.places().spawn_to(&["--config", config.to_str().unwrap()], stderr.into());
    wait_for("the daemon", || daemon.weir(&["status"]).exit == 0);
    daemon.wait_status("it is ready", |status| status["ready"] == true);
    daemon
}

fn worker(daemon: &Daemon) -> i32 {
    let pid = || daemon.json(&["l7", "status"])["workers"][0]["pid"].as_i64();
    wait_for("the worker", || pid().is_some());
    pid().unwrap().try_into().unwrap()
}

fn lost(daemon: &Daemon) -> f64 {
    let text = daemon.done(&["metrics"]).out;
    let value = text.lines().find_map(|line| line.strip_prefix("weir_l7_access_log_lost_total"));
    value.map_or(0.0, |value| value.split_whitespace().last().unwrap().parse().unwrap())
}

/// Many requests, of which lines are lost; the daemon, too, has something to say.
fn goes_on(bed: &Bed, daemon: &Daemon, what: &str) {
    let (pid, before) = (worker(daemon), lost(daemon));
    for _ in 0..3 {
        bed.gets(V4.client(), V4.vip_at(80), 100);
        daemon.done(&["reload"]);
        daemon.done(&["backend", "weight", "web", &V4.backend_at(1, 80).to_string(), "30"]);
    }
    wait_for(&format!("lost lines: {what}"), || lost(daemon) > before);
    assert!(is_worker(pid) && worker(daemon) == pid, "{what}: the worker has ended");
    assert_eq!(daemon.json(&["status"])["ready"], true, "{what}");
}

/// Also a worker that is started anew, and is none of those that were there before.
fn starts_again(bed: &Bed, daemon: &Daemon, what: &str) {
    let before = worker(daemon);
    nix::sys::signal::kill(Pid::from_raw(before), nix::sys::signal::Signal::SIGKILL).unwrap();
    wait_for(what, || {
        daemon.json(&["l7", "status"])["workers"][0]["pid"]
            .as_i64()
            .is_some_and(|pid| pid != i64::from(before))
    });
    daemon.wait_status("it serves", |status| status["ready"] == true);
    goes_on(bed, daemon, what);
}

fn end(mut daemon: Daemon) {
    daemon.done(&["detach"]);
    assert!(daemon.wait_end().success());
}

#[test]
fn a_log_that_nobody_reads_any_more_stops_nobody() {
    bed(1, |bed| {
        let _leftovers = Leftovers(bed.places());
        let _http = bed.http(V4, 80);
        let (from, into) = std::io::pipe().unwrap();
        let daemon = start(bed, OwnedFd::from(into));
        bed.gets(V4.client(), V4.vip_at(80), 10);
        drop(from);
        goes_on(bed, &daemon, "a pipe");
        starts_again(bed, &daemon, "a pipe without a reader");
        end(daemon);

        let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        let daemon = start(bed, OwnedFd::from(theirs));
        drop(ours);
        goes_on(bed, &daemon, "a socket");
        starts_again(bed, &daemon, "a socket without a reader");
        end(daemon);

        let daemon = start(bed, File::options().write(true).open("/dev/full").unwrap());
        goes_on(bed, &daemon, "/dev/full");
        starts_again(bed, &daemon, "/dev/full");
        end(daemon);
    });
}

/// Lines of a log that are JSON, and those that are not.
fn lines(path: &Path) -> (Vec<Value>, Vec<String>) {
    let text = fs::read_to_string(path).unwrap();
    let (good, bad): (Vec<_>, Vec<_>) = text
        .lines()
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_str(line).map_err(|_| line.to_owned()))
        .partition(Result::is_ok);
    (good.into_iter().map(Result::unwrap).collect(), bad.into_iter().map(Result::unwrap_err).collect())
}

#[test]
fn a_full_disk_stops_nobody_and_lines_are_whole_once_there_is_room() {
    bed(1, |bed| {
        let _leftovers = Leftovers(bed.places());
        let _http = bed.http(V4, 80);
        let small = bed.places().dir().join("small");
        fs::create_dir(&small).unwrap();
        mount(Some("none"), &small, Some("tmpfs"), MsFlags::empty(), Some("size=128k")).unwrap();
        let (log, ballast) = (small.join("log"), small.join("ballast"));
        fs::write(&ballast, vec![0; 64 << 10]).unwrap();
        let daemon = start(bed, File::create(&log).unwrap());
        bed.gets(V4.client(), V4.vip_at(80), 10);
        wait_for("lines", || lines(&log).0.iter().filter(|line| line["path"] == "/").count() == 10);
        bed.gets(V4.client(), V4.vip_at(80), 200);
        goes_on(bed, &daemon, "a full disk");
        fs::remove_file(&ballast).unwrap();
        let before = lines(&log).0.len();
        bed.gets(V4.client(), V4.vip_at(80), 20);
        wait_for("lines once there is room", || lines(&log).0.len() >= before + 20);
        let (good, bad) = lines(&log);
        assert!(bad.len() <= 2, "cut where the disk was full, and nowhere else: {bad:#?}");
        let asked = good.iter().filter(|line| line["path"] == "/").count();
        assert!(asked >= 30, "{asked}");
        daemon.done(&["detach"]);
    });
}

#[test]
fn workers_that_are_taken_over_log_where_the_new_daemon_does() {
    bed(1, |bed| {
        let _leftovers = Leftovers(bed.places());
        let _http = bed.http(V4, 80);
        bed.configure(&config(bed));
        let daemon = bed.places().start();
        let asked = |daemon: &Daemon| daemon.log().matches("\"path\":\"/\"").count();
        let mut talk = bed.talk(V4.vip_at(80));
        talk.ask().unwrap();
        wait_for("its line", || asked(&daemon) == 1);
        let pid = worker(&daemon);
        let first = daemon.terminate();
        let daemon = bed.places().start();
        assert_eq!(worker(&daemon), pid, "taken over");
        talk.ask().unwrap();
        wait_for("its line", || asked(&daemon) == 1);
        assert_eq!(first.matches("\"path\":\"/\"").count(), 1);
        // Nothing of the worker's is the first one's any more.
        let links = fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
        let open: Vec<_> = links.map(|link| fs::read_link(link.unwrap().path()).unwrap()).collect();
        let logs = open.iter().filter(|path| path.to_string_lossy().contains("/log-"));
        let logs: std::collections::BTreeSet<_> = logs.collect();
        assert_eq!(logs.len(), 1, "{open:?}");
    });
}
