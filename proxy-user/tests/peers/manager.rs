//! systemd itself: a user's manager, in a control group and mounts of its own, that runs the packaged unit.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use proxy_user::lab::left_out;

use crate::bed::Bed;
use crate::process::Process;
use crate::wait::wait_until;

/// Who starts and stops weir.
pub(crate) trait Manager {
    /// Starts it and waits until it is ready.
    fn begin(&mut self);

    /// Stops it and starts it again, with what it has left in the store.
    fn restart(&mut self);

    /// Stops it for good, and forgets what it has left.
    fn stop(&mut self);

    /// Its process.
    fn pid(&self) -> u32;

    /// What it has logged.
    fn log(&self) -> String;

    /// How many descriptors are in the store.
    fn kept(&self) -> usize;
}

/// A running manager. Dropping it ends it and all that it runs.
pub(crate) struct Systemd {
    dir: PathBuf,
    process: Process,
    group: Group,
}

impl Systemd {
    /// Starts one that has the packaged unit, but with this build of weir and the bed's places. None, and it is said why,
    /// if none can run here.
    pub(crate) fn start(bed: &Bed, unit: &Path) -> Option<Self> {
        if !Path::new(SYSTEMD).exists() {
            left_out("systemd is not installed (Debian: systemd)");
            return None;
        }
        let Some(group) = Group::new() else {
            left_out("no control group of version 2 can be made here (mount cgroup2)");
            return None;
        };
        let dir = bed.dir.join("systemd");
        let units = dir.join(".config/systemd/user");
        fs::create_dir_all(&units).unwrap();
        fs::create_dir_all(dir.join("run")).unwrap();
        let text = adapted(&fs::read_to_string(unit).unwrap(), bed, &dir.join("weir.log"));
        fs::write(units.join("weir.service"), text).unwrap();
        let script = format!(
            "echo $$ > {}/cgroup.procs && exec unshare --cgroup --mount sh -c '\
             umount -R /sys/fs/cgroup; mount -t cgroup2 none /sys/fs/cgroup && mkdir -p /run/systemd && \
             mount -t tmpfs none /run/systemd && mkdir /run/systemd/system && \
             exec {SYSTEMD} --user --unit=basic.target'",
            group.path.display()
        );
        let mut command = Command::new("sh");
        command.args(["-c", &script]).env("HOME", &dir).env("XDG_RUNTIME_DIR", dir.join("run"));
        command.env("SYSTEMD_LOG_TARGET", "console");
        let process = Process::start("systemd", &bed.weir, &dir, &mut command);
        let mut systemd = Self { dir, process, group };
        let socket = systemd.dir.join("run/systemd/private");
        wait_until("systemd", Duration::from_secs(30), || {
            systemd.process.assert_alive();
            socket.exists()
        });
        Some(systemd)
    }

    fn ctl(&self, args: &[&str]) -> String {
        let mut command = Command::new("systemctl");
        command.arg("--user").args(args).env("XDG_RUNTIME_DIR", self.dir.join("run"));
        let output = command.env("HOME", &self.dir).stdin(Stdio::null()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "systemctl {args:?}: {said}{error}\n{}", self.log());
        said.trim().to_owned()
    }

    fn property(&self, name: &str) -> String {
        self.ctl(&["show", "weir", "--value", "--property", name])
    }
}

impl Manager for Systemd {
    fn begin(&mut self) {
        self.ctl(&["start", "weir"]);
    }

    fn restart(&mut self) {
        self.ctl(&["restart", "weir"]);
    }

    fn stop(&mut self) {
        self.ctl(&["stop", "weir"]);
    }

    fn pid(&self) -> u32 {
        self.property("MainPID").parse().unwrap()
    }

    fn log(&self) -> String {
        fs::read_to_string(self.dir.join("weir.log")).unwrap_or_default() + &self.process.log()
    }

    fn kept(&self) -> usize {
        self.property("NFileDescriptorStore").parse().unwrap()
    }
}

impl Drop for Systemd {
    fn drop(&mut self) {
        // Before its group, which ends what it runs.
        self.process.kill();
        self.group.end();
    }
}

/// The packaged unit with another program and log. A user's manager has no folders of the system, and does not look
/// after devices; all the rest is as it is packaged.
fn adapted(unit: &str, bed: &Bed, log: &Path) -> String {
    let run = bed.places().run(&["--config", bed.places().config().to_str().unwrap()]);
    let args: Vec<_> = run.get_args().map(|arg| arg.to_str().unwrap()).collect();
    let program = run.get_program().to_str().unwrap();
    let start = format!("ExecStart=/usr/bin/setpriv --pdeathsig KILL {program} {}", args.join(" "));
    let own = ["RuntimeDirectory", "StateDirectory", "ConfigurationDirectory", "DevicePolicy"];
    let kept = unit.lines().filter(|line| !own.iter().any(|key| line.starts_with(key)));
    let lines = kept.map(|line| match line.starts_with("ExecStart=") {
        true => format!("{start}\nStandardError=append:{}\n", log.display()),
        false => format!("{line}\n"),
    });
    lines.collect()
}

/// A control group of its own. Dropping it ends what is in it.
struct Group {
    path: PathBuf,
}

impl Group {
    fn new() -> Option<Self> {
        let mounts = fs::read_to_string("/proc/thread-self/mountinfo").ok()?;
        let mount = mounts.lines().find(|line| line.contains(" - cgroup2 "))?.split(' ').nth(4)?.to_owned();
        let own = fs::read_to_string("/proc/thread-self/cgroup").ok()?;
        let own = own.lines().find_map(|line| line.strip_prefix("0::/"))?.to_owned();
        let path = Path::new(&mount).join(own).join(format!("weir-test-{}", std::process::id()));
        fs::create_dir(&path).ok()?;
        Some(Self { path })
    }

    fn end(&self) {
        for _ in 0..100 {
            let _ = fs::write(self.path.join("cgroup.kill"), "1");
            remove(&self.path);
            if !self.path.exists() {
                break;
            }
            thread::sleep(Duration::from_millis(50));
        }
    }
}

fn remove(group: &Path) {
    for inner in fs::read_dir(group).into_iter().flatten().flatten() {
        if inner.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove(&inner.path());
        }
    }
    let _ = fs::remove_dir(group);
}

const SYSTEMD: &str = "/lib/systemd/systemd";
