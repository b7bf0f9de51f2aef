//! What the daemon keeps of its memory. The start and each plan need for a moment several times what is kept, and the C
//! library's allocator keeps what was freed. No crate has these two calls.

use jiff::Timestamp;

use super::daemon::Daemon;

/// Which plan was the last: another one has left something.
pub(super) type Planned = (u64, Timestamp);

impl Daemon {
    /// Gives back what was needed for plans since the last time.
    pub(super) fn spare_memory(&self, last: &mut Planned) {
        let now = (self.state.generation, self.state.last_reload.at);
        if *last != now {
            *last = now;
            give_back();
        }
    }
}

/// One heap for all threads: what one has freed, another may use. To be called before there are any.
pub(super) fn share_heap() {
    #[cfg(target_env = "gnu")]
    // SAFETY: sets a number inside the allocator, under its own lock.
    let _ = unsafe { libc::mallopt(libc::M_ARENA_MAX, 1) };
}

/// Gives what is free back to the system. Takes about a millisecond where little is in use.
fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: takes the allocator's own locks, and touches nothing that is in use.
    let _ = unsafe { libc::malloc_trim(0) };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resident() -> usize {
        let text = std::fs::read_to_string("/proc/self/statm").unwrap();
        text.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
    }

    #[test]
    fn what_was_freed_is_given_back() {
        if cfg!(not(target_env = "gnu")) {
            return;
        }
        // Other tests of this process take memory at the same time.
        assert!((0..50).any(|_| gives_back()), "of 32 MiB");
    }

    fn gives_back() -> bool {
        // Too small each for a mapping of its own; the last one holds the heap's end.
        let mut pieces: Vec<Vec<u8>> = (0..8192).map(|_| vec![1; 4096]).collect();
        let _last = pieces.pop();
        let full = resident();
        drop(pieces);
        give_back();
        resident() + (16 << 20) < full
    }
}
