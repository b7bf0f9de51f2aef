//! Whether a worker still works. It reports about once a second, whatever its load, and between two services of a new state;
//! one that has not for ten seconds of this daemon's own work hangs.
//!
//! Seconds are counted one by one, and only those in which this task was run: neither a machine that sleeps, nor a daemon that
//! was stopped itself, makes workers look dead that had no time to report either.

use std::time::Duration;

use rustix::process::Pid;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

use super::spawn;

/// Watches one process.
pub(super) struct Pulse {
    pid: Pid,
    seconds: Interval,
    silent: u32,
    told: bool,
}

impl Pulse {
    pub(super) fn of(pid: Pid) -> Self {
        Self::every(SECOND, pid)
    }

    fn every(second: Duration, pid: Pid) -> Self {
        let mut seconds = interval_at(Instant::now() + second, second);
        seconds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { pid, seconds, silent: 0, told: false }
    }

    /// It has said something.
    pub(super) fn heard(&mut self) {
        self.silent = 0;
    }

    /// Returns when it hangs. May be given up and asked again at any time. A process under a debugger is waited for: somebody
    /// looks at it.
    pub(super) async fn stops(&mut self) {
        loop {
            self.seconds.tick().await;
            self.silent += 1;
            if self.silent < PATIENCE {
                continue;
            }
            if !spawn::is_traced(self.pid) {
                return;
            }
            self.silent = 0;
            if !std::mem::replace(&mut self.told, true) {
                let pid = self.pid.as_raw_nonzero().get();
                tracing::warn!(pid, "an L7 worker gives no sign of life, but is traced: it is left alone");
            }
        }
    }
}

const SECOND: Duration = Duration::from_secs(1);
/// Seconds without a sign of life.
const PATIENCE: u32 = 10;
/// What is said of a worker that hung.
pub(super) const HUNG: &str = "gave no sign of life for 10 s: killed";

#[cfg(test)]
mod tests {
    use super::*;

    /// Nobody reports here: what counts is how often this task came to look, not how late it was.
    #[tokio::test]
    async fn only_seconds_of_own_work_count() {
        let second = Duration::from_millis(20);
        let mut pulse = Pulse::every(second, rustix::process::getpid());
        let more = tokio::time::timeout(second * 5, pulse.stops()).await;
        assert!(more.is_err());
        // Stopped, or asleep with the machine, for longer than any worker may be silent.
        std::thread::sleep(second * 50);
        assert!(tokio::time::timeout(second, pulse.stops()).await.is_err());
        pulse.heard();
        let begun = Instant::now();
        pulse.stops().await;
        assert!(begun.elapsed() >= second * (PATIENCE - 1), "{:?}", begun.elapsed());
    }

    #[tokio::test]
    async fn who_is_traced_is_waited_for() {
        use std::os::unix::process::CommandExt as _;
        let mut command = std::process::Command::new("sleep");
        // SAFETY: ptrace is a system call and allocates nothing, which is what may run between fork and exec.
        let traced = unsafe {
            command.pre_exec(|| Ok(nix::errno::Errno::result(libc::ptrace(libc::PTRACE_TRACEME)).map(drop)?))
        };
        let mut traced = traced.arg("60").spawn().unwrap();
        let silent = |pid: u32| async move {
            let pid = Pid::from_raw(pid.try_into().unwrap()).unwrap();
            let mut pulse = Pulse::every(Duration::from_millis(5), pid);
            tokio::time::timeout(Duration::from_millis(500), pulse.stops()).await.is_ok()
        };
        assert!(!silent(traced.id()).await, "a debugger has it");
        assert!(silent(std::process::id()).await);
        traced.kill().unwrap();
        traced.wait().unwrap();
    }
}
