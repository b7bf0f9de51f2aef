//! The daemon: this very binary, as `weir run` in the namespace in the middle.

use std::ffi::OsString;
use std::fs::File;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, Runtime};

use super::error::DemoError;
use super::place::{Place, tail};
use super::process::Process;
use super::signals::Watch;
use super::topology::{INTERFACES, Topology};
use crate::control::client::{Client, ClientError};
use crate::control::types::Status;

/// The running daemon and the way to its API. Ends when dropped.
pub(super) struct Daemon {
    process: Process,
    client: Client,
    runtime: Runtime,
    log: PathBuf,
    _watch: Watch,
}

/// What came up.
pub(super) struct Attached {
    /// The mode that all interfaces are in, or all of them.
    pub(super) mode: String,
    programs: Vec<u32>,
    generation: u64,
}

impl Daemon {
    /// Starts it with these arguments of `weir run`. With `apart` it is the first process of a process namespace.
    pub(super) fn start(
        lab: &Topology,
        place: &Place,
        args: Vec<OsString>,
        apart: bool,
    ) -> Result<Self, DemoError> {
        let starting = || DemoError::at("start the daemon");
        let runtime = Builder::new_current_thread().enable_all().build().map_err(starting())?;
        let log = place.log();
        let file = File::create(&log).map_err(DemoError::at(format!("write {}", log.display())))?;
        let process = Process::default();
        let watch = Watch::start(process.clone())?;
        let mut command = Command::new(OWN_BINARY);
        command.arg0("weir").args(["run", "--mode", "native"]);
        for name in INTERFACES {
            command.args(["--iface", name]);
        }
        command.args(args);
        command.arg("--run-dir").arg(place.run_dir());
        command.arg("--state-dir").arg(place.state_dir());
        command.env_remove("NOTIFY_SOCKET");
        // Its own group: Ctrl-C comes here alone, and this process ends it.
        command.stdin(Stdio::null()).process_group(0);
        command.stdout(file.try_clone().map_err(starting())?).stderr(file);
        process.start(command, lab.weir.clone(), apart).map_err(starting())?;
        let client = Client::new(place.socket()).timeout(CALL_TIME);
        Ok(Self { process, client, runtime, log, _watch: watch })
    }

    /// Waits until it is attached everywhere and knows the way to every backend.
    pub(super) fn wait_ready(&self) -> Result<Attached, DemoError> {
        let end = Instant::now() + READY_TIME;
        loop {
            if let Some(status) = self.process.ended() {
                return Err(self.trouble(format!("the daemon has ended ({status})")));
            }
            let why = match self.ask(self.client.status()) {
                Ok(status) => match unready(&status.value) {
                    None => return Ok(Attached::of(&status.value)),
                    Some(why) => why,
                },
                Err(error) => error.to_string(),
            };
            if Instant::now() > end {
                return Err(self.trouble(format!("the daemon is not ready in time: {why}")));
            }
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Its API.
    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// Makes a call and waits for its answer.
    pub(super) fn ask<T>(&self, call: impl Future<Output = Result<T, ClientError>>) -> Result<T, DemoError> {
        Ok(self.runtime.block_on(call)?)
    }

    /// Has it remove everything that it made, and waits for its end.
    pub(super) fn detach(&self) -> Result<(), DemoError> {
        let answer = self.ask(self.client.detach())?;
        let end = Instant::now() + END_TIME;
        let status = loop {
            if let Some(status) = self.process.ended() {
                break status;
            }
            if Instant::now() > end {
                return Err(self.trouble("the daemon does not end after its detach".into()));
            }
            thread::sleep(Duration::from_millis(5));
        };
        if !status.success() {
            return Err(self.trouble(format!("the daemon has ended with {status} after its detach")));
        }
        if answer.left.is_empty() { Ok(()) } else { Err(DemoError::Left(answer.left.join(", "))) }
    }

    /// The end of what it wrote.
    pub(super) fn words(&self) -> String {
        tail(&self.log)
    }

    fn trouble(&self, what: String) -> DemoError {
        DemoError::Daemon { what, log: self.words() }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.process.end();
    }
}

impl Attached {
    fn of(status: &Status) -> Self {
        let mut modes: Vec<&str> =
            status.interfaces.iter().map(|found| found.mode.map_or("none", |mode| mode.label())).collect();
        modes.dedup();
        Self {
            mode: modes.join(","),
            programs: status.interfaces.iter().filter_map(|found| found.program_id).collect(),
            generation: status.generation,
        }
    }

    /// For people. `what` are the arguments of `weir run` besides its interfaces.
    pub(super) fn describe(&self, what: &str) -> String {
        let programs: Vec<String> = self.programs.iter().map(u32::to_string).collect();
        format!(
            "weir run {} {what}\n{} XDP (programs {}, generation {})",
            INTERFACES.map(|name| format!("--iface {name}")).join(" "),
            self.mode,
            programs.join(" "),
            self.generation
        )
    }
}

fn unready(status: &Status) -> Option<String> {
    if let Some(condition) = status.conditions.iter().find(|condition| !condition.ok) {
        let detail = condition.detail.as_deref().unwrap_or("no");
        return Some(format!("{}: {detail}", condition.name));
    }
    if let Some(found) = status.interfaces.iter().find(|found| !found.attached) {
        return Some(format!("{}: {}", found.name, found.detail.as_deref().unwrap_or("not attached")));
    }
    let counts = &status.counts;
    (!status.ready || counts.backends == 0 || counts.backends_up < counts.backends)
        .then(|| format!("{} of {} backends are up", counts.backends_up, counts.backends))
}

const OWN_BINARY: &str = "/proc/self/exe";
const READY_TIME: Duration = Duration::from_secs(20);
const CALL_TIME: Duration = Duration::from_secs(5);
const END_TIME: Duration = Duration::from_secs(3);
