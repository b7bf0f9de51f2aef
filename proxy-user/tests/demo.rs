//! `weir demo`: its counts, its two forms of output, and that nothing is left behind, also when it is interrupted.
//! Without root the tests say so and return.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::fs;
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

#[test]
fn every_count_is_right_and_nothing_stays() {
    if !root() {
        return;
    }
    let temporary = tempfile::tempdir().unwrap();
    let output = demo(temporary.path()).args(["-o", "json"]).output().unwrap();
    let report = json(&output);
    let count = |name: &str| report[name].as_u64().unwrap_or_else(|| panic!("{name} in {report}"));
    assert_eq!((count("connections"), count("failed")), (200, 0));
    let backends = report["per_backend"].as_object().unwrap();
    assert_eq!(backends.keys().collect::<Vec<_>>(), ["backend-a", "backend-b"]);
    assert_eq!(backends.values().filter_map(Value::as_u64).sum::<u64>(), 200);
    assert_eq!(report["counted_per_backend"], report["per_backend"]);
    assert_eq!(count("denied_sent"), count("denied_dropped_in_xdp"));
    assert!(count("denied_sent") >= 1_000);
    assert_eq!(count("denied_reached_backend"), 0);
    assert_eq!(report["xdp_mode"], "native");
    assert!(count("ns_per_packet") > count("floor_ns"), "{report}");
    assert!(count("elapsed_ms") < 10_000);
    assert_eq!(fs::read_dir(temporary.path()).unwrap().count(), 0, "files stayed");
}

#[test]
fn every_count_of_the_l7_path_is_right_and_nothing_stays() {
    if !root() {
        return;
    }
    let temporary = tempfile::tempdir().unwrap();
    let output = demo(temporary.path()).args(["--l7", "-o", "json"]).output().unwrap();
    let report = json(&output);
    let half = serde_json::json!({ "rest: backend-a": 100, "testers: backend-b": 100 });
    assert_eq!(report["http"]["answers"], half);
    assert_eq!((&report["http"]["failed"], &report["rpc"]["failed"]), (&0.into(), &0.into()));
    assert_eq!(report["rpc_served"], report["rpc"]["answers"]);
    assert_eq!(report["hop"]["denied"], report["hop"]["asked_for_denied"]);
    assert_eq!(report["denied_sent"], report["denied_dropped_in_xdp"]);
    assert_eq!((&report["denied_reached_backend"], &report["xdp_mode"]), (&0.into(), &"native".into()));
    assert_eq!(fs::read_dir(temporary.path()).unwrap().count(), 0, "files stayed");
}

#[test]
fn people_see_the_five_steps_of_the_l7_path() {
    if !root() {
        return;
    }
    let temporary = tempfile::tempdir().unwrap();
    let output = demo(temporary.path()).arg("--l7").output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    for step in ["1/5 topology", "2/5 attach", "3/5 http", "4/5 bolt", "5/5 deny", "every count is right"] {
        assert!(text.contains(step), "{step} in {text}");
    }
}

#[test]
fn an_interrupted_demo_of_the_l7_path_takes_its_workers_along() {
    if !root() {
        return;
    }
    for signal in [Signal::SIGINT, Signal::SIGKILL] {
        let temporary = tempfile::tempdir().unwrap();
        let mut command = demo(temporary.path());
        let mut child = Ended(command.arg("--l7").stdout(Stdio::null()).spawn().unwrap());
        wait_until(|| !workers_of(child.0.id()).is_empty(), "the workers have not begun");
        let workers = workers_of(child.0.id());
        kill(pid(&child.0), signal).unwrap();
        assert!(!child.0.wait().unwrap().success());
        wait_until(|| !workers.iter().any(|pid| is_worker(*pid)), "workers live on");
        assert_eq!(fs::read_dir(temporary.path()).unwrap().count(), 0, "files stayed");
    }
}

/// Processes of workers that a demo's daemon has started.
fn workers_of(demo: u32) -> Vec<u32> {
    let children = |parent: u32| {
        let tasks = fs::read_dir(format!("/proc/{parent}/task")).into_iter().flatten().flatten();
        let lists = tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
        let pids = lists.map(|list| list.split_whitespace().flat_map(str::parse).collect::<Vec<u32>>());
        pids.flatten().collect::<Vec<_>>()
    };
    let all = children(demo).into_iter().flat_map(children);
    all.filter(|pid| is_worker(*pid)).collect()
}

fn is_worker(pid: u32) -> bool {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    line.split(|byte| *byte == 0).nth(1) == Some(b"l7-worker")
}

#[test]
fn people_see_the_five_steps() {
    if !root() {
        return;
    }
    let temporary = tempfile::tempdir().unwrap();
    let output = demo(temporary.path()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}{errors}");
    for step in ["1/5 topology", "2/5 attach", "3/5 steer", "4/5 drop", "5/5 explain"] {
        assert!(text.contains(step), "{step} in {text}");
    }
    assert!(text.contains("203.0.113.2 -> 198.51.100.10:80 : DROP  block 203.0.113.0/24 ttl "), "{text}");
}

#[test]
fn an_interrupted_demo_takes_everything_along() {
    if !root() {
        return;
    }
    // Before it watches for signals SIGINT may be ignored: so a shell starts what it leaves in the background.
    for (signal, pause) in
        [(Signal::SIGTERM, 40), (Signal::SIGINT, 700), (Signal::SIGTERM, 1_200), (Signal::SIGKILL, 900)]
    {
        let temporary = tempfile::tempdir().unwrap();
        let mut child = Ended(demo(temporary.path()).stdout(Stdio::null()).spawn().unwrap());
        thread::sleep(Duration::from_millis(pause));
        kill(pid(&child.0), signal).unwrap();
        let status = child.0.wait().unwrap();
        assert!(!status.success(), "{signal} after {pause} ms: {status}");
        // A killed process has no time to wait for the daemon, so the kernel may take a moment for it.
        let daemon = temporary.path().to_string_lossy().into_owned();
        wait_until(|| !commands().iter().any(|command| command.contains(&daemon)), "the daemon lives on");
        assert_eq!(fs::read_dir(temporary.path()).unwrap().count(), 0, "files stayed");
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
        assert!(!mounts.contains(&daemon), "mounts stayed: {mounts}");
    }
}

#[test]
fn without_privilege_it_names_the_capabilities() {
    use std::os::unix::process::CommandExt as _;
    if !root() {
        return;
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
    command.arg("demo");
    // SAFETY: between fork and exec only system calls are made.
    unsafe { command.pre_exec(drop_capabilities) };
    let output = command.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(5), "{errors}");
    assert!(errors.contains("CAP_SYS_ADMIN") && errors.contains("run it as root"), "{errors}");
}

/// Takes CAP_SYS_ADMIN out of the bounding set, so that not even root has it after the exec.
fn drop_capabilities() -> std::io::Result<()> {
    const CAP_SYS_ADMIN: libc::c_ulong = 21;
    // SAFETY: the call takes numbers only.
    match unsafe { libc::prctl(libc::PR_CAPBSET_DROP, CAP_SYS_ADMIN, 0, 0, 0) } {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error()),
    }
}

fn demo(temporary: &std::path::Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
    command.arg("demo").env("TMPDIR", temporary);
    command
}

fn json(output: &Output) -> Value {
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}{errors}");
    assert_eq!(text.lines().count(), 1, "one object: {text}");
    serde_json::from_str(&text).unwrap()
}

/// Command lines of all processes.
fn commands() -> Vec<String> {
    let processes = fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    processes
        .filter_map(|process| fs::read(process.path().join("cmdline")).ok())
        .map(|line| String::from_utf8_lossy(&line).replace('\0', " "))
        .collect()
}

fn wait_until(done: impl Fn() -> bool, what: &str) {
    let end = Instant::now() + Duration::from_secs(5);
    while !done() {
        assert!(Instant::now() < end, "{what}");
        thread::sleep(Duration::from_millis(20));
    }
}

fn pid(child: &Child) -> Pid {
    Pid::from_raw(i32::try_from(child.id()).unwrap())
}

/// Does not outlive a test that fails.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn root() -> bool {
    let root = nix::unistd::geteuid().is_root();
    if !root {
        eprintln!("left out: needs root for namespaces, bpf and XDP");
    }
    root
}
