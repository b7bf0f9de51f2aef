//! Starting a worker: this very binary again, with a socket as its standard input. What it needs comes over that.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::Stdio;

use tokio::process::{Child, Command};

use super::channel::Channel;
use super::listeners::Pair;
use super::message::{Start, ToWorker};

/// The subcommand that makes a process a worker.
pub(crate) const SUBCOMMAND: &str = "l7-worker";
/// This process's binary, also after its file was replaced.
pub(super) const OWN_BINARY: &str = "/proc/self/exe";

/// Tells builds apart: the version, and which file on which disk, written when, this process runs.
pub(super) fn build() -> String {
    let version = env!("CARGO_PKG_VERSION");
    match std::fs::metadata(OWN_BINARY) {
        Ok(file) => {
            format!("{version}-{:x}-{:x}-{}-{}", file.dev(), file.ino(), file.size(), file.mtime_nsec())
        }
        Err(_) => version.to_owned(),
    }
}

/// Starts a worker with its control socket and duplicates of its listeners.
pub(super) fn spawn(start: Start, control: &OwnedFd, pair: &Pair) -> io::Result<(Child, Channel)> {
    let (ours, theirs) = Channel::pair()?;
    let child = Command::new(OWN_BINARY)
        .arg0("weir")
        .arg(SUBCOMMAND)
        .stdin(Stdio::from(theirs))
        .stdout(Stdio::null())
        .stderr(own_stderr().map_or_else(Stdio::inherit, Stdio::from))
        // Not reached by signals of the daemon's terminal.
        .process_group(0)
        .current_dir("/")
        .kill_on_drop(false)
        .spawn()?;
    let descriptors: Vec<BorrowedFd<'_>> =
        std::iter::once(control.as_fd()).chain(pair.descriptors()).collect();
    ours.send(&ToWorker::Start(start), &descriptors)?;
    Ok((child, ours))
}

/// The standard error for a worker, which must not wait for whoever reads the access log.
pub(super) fn own_stderr() -> Option<File> {
    reopened(io::stderr())
}

/// A pipe or a terminal, opened anew, since to set it not to block would set it so for all who have it. `None`: it is neither,
/// or may not be opened.
pub(crate) fn reopened(out: impl AsFd) -> Option<File> {
    use rustix::fs::{FileType, Mode, OFlags};
    let out = out.as_fd();
    let kind = FileType::from_raw_mode(rustix::fs::fstat(out).ok()?.st_mode);
    if !matches!(kind, FileType::Fifo | FileType::CharacterDevice) {
        return None;
    }
    let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    rustix::fs::open(format!("/proc/self/fd/{}", out.as_raw_fd()), flags, Mode::empty()).ok().map(File::from)
}

/// Whom a worker shall become: nobody, if this process may choose.
pub(super) fn identity() -> io::Result<Option<(u32, u32)>> {
    if !rustix::process::geteuid().is_root() {
        return Ok(None);
    }
    let nobody = nix::unistd::User::from_name("nobody").map_err(io::Error::from)?;
    Ok(Some(nobody.map_or((NOBODY, NOBODY), |user| (user.uid.as_raw(), user.gid.as_raw()))))
}

/// A handle of a process that stays its own, whatever becomes of its number.
pub(super) fn handle(pid: rustix::process::Pid) -> io::Result<OwnedFd> {
    Ok(rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty())?)
}

/// Whether a process is a worker of some weir's.
pub(super) fn is_worker(pid: rustix::process::Pid) -> bool {
    let line = std::fs::read(format!("/proc/{}/cmdline", pid.as_raw_nonzero())).unwrap_or_default();
    line.split(|byte| *byte == 0).nth(1) == Some(SUBCOMMAND.as_bytes())
}

/// Whether a debugger, or another tracer, has a process.
pub(super) fn is_traced(pid: rustix::process::Pid) -> bool {
    let status =
        std::fs::read_to_string(format!("/proc/{}/status", pid.as_raw_nonzero())).unwrap_or_default();
    status.lines().find_map(|line| line.strip_prefix("TracerPid:")).is_some_and(|tracer| tracer.trim() != "0")
}

/// Ends a process at once; one that has ended is fine.
pub(super) fn kill(process: &OwnedFd) {
    let _ = rustix::process::pidfd_send_signal(process, rustix::process::Signal::KILL);
}

/// Raises the limit of descriptors of this process, and so of its children, as far as the kernel lets it.
pub(super) fn raise_descriptors() {
    let most = File::open("/proc/sys/fs/nr_open")
        .and_then(io::read_to_string)
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or(MOST_DESCRIPTORS);
    raise_to(most.min(MOST_DESCRIPTORS));
}

fn raise_to(wanted: u64) {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let now = getrlimit(Resource::Nofile);
    let most = now.maximum.unwrap_or(wanted).max(wanted);
    let all = Rlimit { current: Some(wanted), maximum: Some(most) };
    if setrlimit(Resource::Nofile, all).is_err() {
        // Without the right to raise the hard limit: up to it.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: now.maximum, maximum: now.maximum });
    }
}

/// Removes a file; one that is gone is fine.
pub(super) fn remove(path: &Path) {
    if let Err(error) = std::fs::remove_file(path)
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!(path = %path.display(), %error, "a control socket stays");
    }
}

const NOBODY: u32 = 65_534;
/// Connections of one worker, twice: towards clients and towards endpoints.
const MOST_DESCRIPTORS: u64 = 1_048_576;
