//! Waiting until no packet that read the maps before is still under way.

use std::thread;
use std::time::Duration;

use rustix::thread::{MembarrierCommand, membarrier};

/// Blocks for an RCU grace period: 5 to 60 ms on a busy machine.
///
/// An XDP program runs inside an RCU read-side section with softirqs off. `MEMBARRIER_CMD_GLOBAL` is `synchronize_rcu`
/// for all CPUs, and needs no privilege. With one CPU online the kernel returns at once, rightly: the caller runs, so no
/// packet does. Kernels with `nohz_full` CPUs refuse the command; there weir sleeps for far longer than any packet takes.
pub fn wait() {
    if membarrier(MembarrierCommand::Global).is_err() {
        thread::sleep(WITHOUT_BARRIER);
    }
}

/// A softirq handles at most 300 packets and 2 ms (`net.core.netdev_budget`, `netdev_budget_usecs`) before it starts
/// anew, and one packet takes below 100 µs; this leaves room for a host that is itself a guest and is not scheduled.
const WITHOUT_BARRIER: Duration = Duration::from_millis(200);

#[cfg(test)]
mod tests {
    #[test]
    fn ends() {
        super::wait();
    }
}
