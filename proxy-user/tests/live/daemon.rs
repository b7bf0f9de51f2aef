//! The binary: as a daemon that ends with the test, and as a command that speaks to it.

use std::fs::{self, File};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use nix::sys::prctl;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::bed::Bed;

/// Where a daemon keeps its things.
#[derive(Clone, Debug)]
pub(crate) struct Places {
    dir: PathBuf,
}

/// A running daemon. Dropping it kills it.
pub(crate) struct Daemon {
    child: Child,
    places: Places,
    log: PathBuf,
}

/// What a command came to.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) exit: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Bed {
    pub(crate) fn places(&self) -> Places {
        Places { dir: self.dir.clone() }
    }

    /// Writes the configuration: the bed's interfaces, then `rest`.
    pub(crate) fn configure(&self, rest: &str) {
        fs::write(self.places().config(), self.config_head() + rest).unwrap();
    }

    /// Writes the configuration and starts a daemon with it.
    pub(crate) fn start(&self, rest: &str) -> Daemon {
        self.configure(rest);
        self.places().start()
    }
}

impl Places {
    pub(crate) fn new(dir: PathBuf) -> Self {
        Self { dir }
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.dir.join("weir.toml")
    }

    pub(crate) fn run_dir(&self) -> PathBuf {
        self.dir.join("run")
    }

    /// The command line of a daemon at these places.
    pub(crate) fn run(&self, args: &[&str]) -> Command {
        self.run_of(Path::new(env!("CARGO_BIN_EXE_weir")), args)
    }

    fn run_of(&self, binary: &Path, args: &[&str]) -> Command {
        let mut command = of(binary);
        command.arg("run").args(args);
        command.arg("--run-dir").arg(self.run_dir()).arg("--state-dir").arg(self.dir.join("state"));
        command
    }

    /// Starts a daemon with the configuration file and waits until it is ready.
    pub(crate) fn start(&self) -> Daemon {
        self.start_with(&[])
    }

    /// Starts a daemon with the configuration file and more arguments, and waits until it is ready.
    pub(crate) fn start_with(&self, args: &[&str]) -> Daemon {
        let config = self.config();
        let mut all = vec!["--config", config.to_str().unwrap()];
        all.extend(args);
        let daemon = self.spawn(&all);
        daemon.wait_ready()
    }

    /// Starts a daemon with these arguments.
    pub(crate) fn spawn(&self, args: &[&str]) -> Daemon {
        self.spawn_of(Path::new(env!("CARGO_BIN_EXE_weir")), args)
    }

    /// Starts a daemon that logs elsewhere.
    pub(crate) fn spawn_to(&self, args: &[&str], stderr: Stdio) -> Daemon {
        let mut command = self.run(args);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr);
        let log = self.dir.join("log-elsewhere");
        fs::write(&log, "").unwrap();
        Daemon { child: command.spawn().unwrap(), places: self.clone(), log }
    }

    fn spawn_of(&self, binary: &Path, args: &[&str]) -> Daemon {
        let log = self.dir.join(format!("log-{}", fs::read_dir(&self.dir).unwrap().count()));
        let mut command = self.run_of(binary, args);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(&log).unwrap());
        Daemon { child: command.spawn().unwrap(), places: self.clone(), log }
    }

    /// Starts a daemon from a copy of the binary, which counts as another build.
    pub(crate) fn start_copy(&self) -> Daemon {
        let copy = self.dir.join("weir-copy");
        fs::copy(env!("CARGO_BIN_EXE_weir"), &copy).unwrap();
        let config = self.config();
        self.spawn_of(&copy, &["--config", config.to_str().unwrap()]).wait_ready()
    }

    /// Runs a daemon that is expected to end by itself.
    pub(crate) fn fails(&self, args: &[&str]) -> Answer {
        let mut daemon = self.spawn(args);
        let status = daemon.wait_end();
        Answer { exit: status.code().unwrap(), out: String::new(), err: daemon.log() }
    }

    /// Runs a command against the daemon.
    pub(crate) fn weir(&self, args: &[&str]) -> Answer {
        self.command()
            .arg("--socket")
            .arg(self.run_dir().join("weir.sock"))
            .args(args)
            .output()
            .unwrap()
            .into()
    }

    /// Runs a command that is to succeed, and returns its JSON.
    pub(crate) fn json(&self, args: &[&str]) -> Value {
        let answer = self.weir(&[args, &["-o", "json"]].concat());
        assert_eq!(answer.exit, 0, "{args:?}: {answer:?}");
        serde_json::from_str(&answer.out).unwrap()
    }

    /// Runs `weir detach` without a daemon.
    pub(crate) fn detach(&self) -> Answer {
        let mut command = self.command();
        command.arg("detach").arg("--run-dir").arg(self.run_dir());
        command.arg("--state-dir").arg(self.dir.join("state")).output().unwrap().into()
    }

    pub(crate) fn command(&self) -> Command {
        of(Path::new(env!("CARGO_BIN_EXE_weir")))
    }
}

fn of(binary: &Path) -> Command {
    let mut command = Command::new(binary);
    command.env_remove("WEIR_LOG");
    // SAFETY: prctl is a system call and allocates nothing, which is what may run between fork and exec.
    unsafe { command.pre_exec(|| Ok(prctl::set_pdeathsig(Signal::SIGKILL)?)) };
    command
}

impl Daemon {
    /// Waits until it answers at its socket.
    pub(crate) fn wait_ready(mut self) -> Self {
        let end = Instant::now() + Duration::from_secs(20);
        while !self.log().contains("\"ready\"") {
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("the daemon ended ({status}): {}", self.log());
            }
            assert!(Instant::now() < end, "the daemon is not ready: {}", self.log());
            thread::sleep(Duration::from_millis(20));
        }
        self
    }

    pub(crate) fn weir(&self, args: &[&str]) -> Answer {
        self.places.weir(args)
    }

    pub(crate) fn json(&self, args: &[&str]) -> Value {
        self.places.json(args)
    }

    /// Runs a command that is to succeed.
    pub(crate) fn done(&self, args: &[&str]) -> Answer {
        let answer = self.weir(args);
        assert_eq!(answer.exit, 0, "{args:?}: {answer:?}\n{}", self.log());
        answer
    }

    /// What it has logged.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().try_into().unwrap()), signal).unwrap();
    }

    /// Ends it as a crash does.
    pub(crate) fn crash(mut self) {
        self.signal(Signal::SIGKILL);
        self.child.wait().unwrap();
    }

    /// Ends it as a service manager does; returns its log.
    pub(crate) fn terminate(mut self) -> String {
        self.signal(Signal::SIGTERM);
        let status = self.wait_end();
        assert!(status.success(), "{status}: {}", self.log());
        self.log()
    }

    /// Waits until it ends by itself.
    pub(crate) fn wait_end(&mut self) -> ExitStatus {
        let end = Instant::now() + Duration::from_secs(20);
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < end, "the daemon does not end: {}", self.log());
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until `weir status` says so.
    pub(crate) fn wait_status(&self, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
        let end = Instant::now() + Duration::from_secs(10);
        loop {
            let status = self.json(&["status"]);
            if holds(&status) {
                return status;
            }
            assert!(Instant::now() < end, "not in time: {what}: {status:#}\n{}", self.log());
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// The counters, read after this call; the daemon shares a reading for a second.
    pub(crate) fn stats(&self) -> Value {
        let asked = Timestamp::now();
        loop {
            let stats = self.json(&["stats", "--no-rates", "--all"]);
            if stats["at"].as_str().unwrap().parse::<Timestamp>().unwrap() >= asked {
                return stats;
            }
            thread::sleep(Duration::from_millis(100));
        }
    }

    /// The counter of a reason, over all interfaces.
    pub(crate) fn reason(&self, reason: &str) -> u64 {
        let stats = self.stats();
        let interfaces = stats["interfaces"].as_array().unwrap().iter();
        let reasons = interfaces.flat_map(|interface| interface["reasons"].as_array().unwrap());
        reasons
            .filter(|found| found["reason"] == reason)
            .map(|found| found["packets"].as_u64().unwrap())
            .sum()
    }

    /// The counters of a service.
    pub(crate) fn service(&self, name: &str) -> Value {
        let stats = self.stats();
        stats["services"].as_array().unwrap().iter().find(|found| found["service"] == name).unwrap().clone()
    }

    /// Packets that a list has decided.
    pub(crate) fn hits(&self, list: &str) -> u64 {
        let stats = self.stats();
        let lists = stats["lists"].as_array().unwrap();
        lists.iter().find(|found| found["list"] == list).unwrap()["hits"].as_u64().unwrap()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("log of the daemon:\n{}", fs::read_to_string(&self.log).unwrap_or_default());
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl From<Output> for Answer {
    fn from(output: Output) -> Self {
        Self {
            exit: output.status.code().unwrap_or(-1),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}
