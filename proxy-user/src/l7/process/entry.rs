//! A worker's beginning: `weir l7-worker`, started by the daemon and by nobody else.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::SocketType;

use super::channel::{Channel, TO_WORKER};
use super::confine;
use super::control::{self, Control};
use super::listeners::Pair;
use super::message::{Start, ToWorker};
use crate::l7::worker::{self, Listeners};

/// Runs a worker until it is drained.
///
/// # Errors
/// It was not started by a daemon, could not give up its privileges, or its body failed.
pub fn run() -> io::Result<()> {
    // Anything else may be somebody's terminal, which must not be set not to block.
    if rustix::net::sockopt::socket_type(io::stdin()).ok() != Some(SocketType::SEQPACKET) {
        return Err(invalid("standard input is no daemon's socket"));
    }
    confine::close_inherited()?;
    super::outlive_full_files();
    let socket = io::stdin().as_fd().try_clone_to_owned()?;
    // Only one descriptor of it: it ends when it is closed.
    nix::unistd::dup2_stdin(std::fs::File::open("/dev/null")?)?;
    let daemon = Channel::new(socket, TO_WORKER)?;
    let (start, control, pair) = started(&daemon)?;
    confine::confine(start.identity)?;
    // The name that tools show; without it they show that of the link that was run.
    let _ = rustix::thread::set_name(&CString::new(format!("weir-l7-{}", start.worker))?);
    control::termination().thread_block()?;
    let (v4, v6) = pair.duplicate()?.into_listeners();
    let (number, workers) = (start.worker, start.workers);
    let control = Control::new(&start, control, pair, daemon)?;
    let log = io::stderr().as_fd().try_clone_to_owned()?;
    IS_WORKER.store(true, Ordering::Relaxed);
    worker::run(Listeners { number, workers, v4, v6 }, control, log)
}

/// Makes this the standard error of this process, if it is a worker's own, so that what it was before is let go.
pub(in crate::l7) fn turn_stderr(log: &OwnedFd) {
    if IS_WORKER.load(Ordering::Relaxed) {
        let _ = nix::unistd::dup2_stderr(log);
    }
}

/// Tests run workers in a process that is not theirs.
static IS_WORKER: AtomicBool = AtomicBool::new(false);

fn started(daemon: &Channel) -> io::Result<(Start, OwnedFd, Pair)> {
    if poll(&mut [PollFd::new(daemon, PollFlags::IN)], Some(&PATIENCE))? == 0 {
        return Err(invalid("nothing came"));
    }
    let received = daemon.receive::<ToWorker>().map_err(|error| invalid(&error.to_string()))?;
    let ToWorker::Start(start) = received.message else {
        return Err(invalid("the first message is another"));
    };
    let mut descriptors = received.descriptors.into_iter();
    let control = descriptors.next().ok_or_else(|| invalid("no control socket came along"))?;
    let pair = Pair::handed_back(start.families, descriptors.collect())?;
    Ok((start, control, pair))
}

fn invalid(what: &str) -> io::Error {
    let text = format!("{what}: `weir l7-worker` is started by `weir run`, not by hand");
    io::Error::new(io::ErrorKind::InvalidInput, text)
}

/// The daemon sends at once.
const PATIENCE: Timespec = Timespec { tv_sec: 10, tv_nsec: 0 };
