//! Which capabilities this process has: the kernel says only "not permitted", and the verifier not even that.

use std::fmt;

/// Capabilities that this process lacks and the kernel part needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing(Vec<&'static str>);

impl Missing {
    /// Looks at the effective capabilities of this thread.
    #[must_use]
    pub fn now() -> Self {
        let status = std::fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
        Self(effective(&status).map_or_else(Vec::new, missing))
    }

    /// Looks for these alone, by number and name.
    #[must_use]
    pub fn among(needed: &[(u32, &'static str)]) -> Self {
        let status = std::fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
        let set = effective(&status).unwrap_or(u64::MAX);
        Self(needed.iter().filter(|(bit, _)| set & (1 << bit) == 0).map(|(_, name)| *name).collect())
    }

    /// The names.
    #[must_use]
    pub fn names(&self) -> &[&'static str] {
        &self.0
    }

    /// Whether nothing is missing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str(
                "no capability is missing, so a security module, a seccomp filter or the container's runtime refuses \
                 it: allow bpf(2) there",
            );
        }
        write!(
            f,
            "missing {}: run as root, or give the process these capabilities (AmbientCapabilities= in a systemd unit)",
            self.0.join(", ")
        )
    }
}

/// The effective set from the text of a status file.
fn effective(status: &str) -> Option<u64> {
    let hex = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(hex.trim(), 16).ok()
}

/// What is not in a set. CAP_SYS_ADMIN stands for CAP_BPF and CAP_PERFMON, as in the kernel.
fn missing(set: u64) -> Vec<&'static str> {
    let has = |bit: u32| set & (1 << bit) != 0;
    NEEDED
        .iter()
        .filter(|(bit, _)| !has(*bit) && (*bit == NET_ADMIN || !has(SYS_ADMIN)))
        .map(|(_, name)| *name)
        .collect()
}

const NET_ADMIN: u32 = 12;
const SYS_ADMIN: u32 = 21;
const NEEDED: [(u32, &str); 3] = [(39, "CAP_BPF"), (NET_ADMIN, "CAP_NET_ADMIN"), (38, "CAP_PERFMON")];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_what_is_missing() {
        assert_eq!(effective("Name:\tx\nCapEff:\t000000c000001000\n"), Some(0xc0_0000_1000));
        assert!(missing(0xc0_0000_1000).is_empty());
        assert_eq!(missing(1 << 39 | 1 << 12), ["CAP_PERFMON"]);
        assert_eq!(missing(1 << 21), ["CAP_NET_ADMIN"]);
        assert_eq!(missing(0), ["CAP_BPF", "CAP_NET_ADMIN", "CAP_PERFMON"]);
        assert!(Missing(missing(0)).to_string().contains("AmbientCapabilities"));
    }
}
