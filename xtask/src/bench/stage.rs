//! Where the benchmark runs: one CPU, and a mount namespace of its own for the pins, which ends with the process
//! however that ends.

use anyhow::{Context as _, Result};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, CpuSet, sched_getaffinity, sched_setaffinity, unshare};
use nix::unistd::Pid;
use proxy_user::kernel::bpffs::PinDir;
use std::path::Path;

/// The calling thread's, and that of the threads which it starts.
pub(super) struct Stage {
    cpu: usize,
    pins: PinDir,
}

impl Stage {
    /// Pins the thread to the last CPU that it may use, and mounts a bpf file system that only it sees.
    pub(super) fn new() -> Result<Self> {
        let this = Pid::from_raw(0);
        let allowed = sched_getaffinity(this).context("reading the CPUs that may be used")?;
        let cpu = (0..CpuSet::count()).rev().find(|cpu| allowed.is_set(*cpu).unwrap_or(false));
        let cpu = cpu.context("no CPU may be used")?;
        let mut one = CpuSet::new();
        one.set(cpu)?;
        sched_setaffinity(this, &one).context("staying on one CPU")?;
        unshare(CloneFlags::CLONE_NEWNS).context("making a mount namespace")?;
        let nothing = None::<&str>;
        mount(nothing, "/", nothing, MsFlags::MS_REC | MsFlags::MS_PRIVATE, nothing)
            .context("keeping mounts in their namespace")?;
        mount(Some("tmpfs"), PLACE, Some("tmpfs"), MsFlags::empty(), Some("mode=0700"))
            .with_context(|| format!("mounting a file system over {PLACE}"))?;
        Ok(Self { cpu, pins: PinDir::prepare(&Path::new(PLACE).join("pins"))? })
    }

    /// The CPU's number.
    pub(super) fn cpu(&self) -> usize {
        self.cpu
    }

    /// Where pins may be made.
    pub(super) fn pins(&self) -> &PinDir {
        &self.pins
    }
}

/// Hidden under the private mount while the benchmark runs.
const PLACE: &str = "/mnt";
