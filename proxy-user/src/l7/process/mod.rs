//! One process for each worker, and how they and the daemon stay in touch.
//!
//! The daemon makes the listening sockets ([`listeners`]), keeps them, and gives each worker duplicates of its own two
//! (IPv4 and IPv6): a worker that crashes takes its connections along, but not what waits in its backlog. It starts a
//! worker by running its own binary again (`spawn`); the worker gives up every privilege (`confine`) before it looks at
//! anything that comes from a network ([`entry`]).
//!
//! They talk over a Unix socket of sequenced packets ([`channel`], [`message`]): the first is the worker's standard input.
//! Each worker also holds a listening control socket with a path in the runtime directory. A daemon that has been
//! restarted connects there; the worker says hello again and hands its listeners back. So workers outlive the daemon, and
//! a worker of another build is drained and replaced without a gap, on the same listeners.
//!
//! [`workers`] is the daemon's side of all this, [`control`] the worker's.

pub mod channel;
mod confine;
pub mod control;
pub mod entry;
mod keeper;
mod life;
pub mod listeners;
pub mod message;
pub mod observer;
mod places;
mod pulse;
mod spawn;
pub mod workers;

pub(crate) use spawn::SUBCOMMAND;

/// A log that has reached the size that files may have (`RLIMIT_FSIZE`) is an error to whoever writes it, and not the end of
/// its process.
pub(crate) fn outlive_full_files() {
    use nix::sys::signal::{SigHandler, Signal, signal};
    // SAFETY: no code runs at the signal: it is ignored.
    let _ = unsafe { signal(Signal::SIGXFSZ, SigHandler::SigIgn) };
}

#[cfg(test)]
pub(crate) use spawn::reopened;

#[cfg(test)]
mod tests {
    use std::process::Command;

    #[test]
    fn a_file_at_its_greatest_length_ends_no_process() {
        super::outlive_full_files();
        let dir = tempfile::tempdir().unwrap();
        let fill = "ulimit -f 1; head -c 1000000 /dev/zero > full; echo $?";
        // It goes on to those that a process starts.
        let shell = Command::new("sh").args(["-c", fill]).current_dir(dir.path()).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&shell.stdout), "1\n", "an error, and no signal");
    }
}
