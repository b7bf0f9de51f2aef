//! Where the demo's daemon keeps its files: a file system in memory that only this thread and its children see, and
//! that ends with them, also after a kill -9.

use std::path::{Path, PathBuf};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

use super::error::DemoError;

/// The directories, all inside the private file system.
#[derive(Clone, Debug)]
pub(super) struct Place {
    root: PathBuf,
}

impl Place {
    /// Moves the calling thread into a mount namespace of its own and covers the temporary directory there. There is no
    /// way back for the thread.
    pub(super) fn enter() -> Result<Self, DemoError> {
        let root = std::env::temp_dir();
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
        unshare(CloneFlags::CLONE_NEWNS).map_err(failed("make a mount namespace"))?;
        // Or the mounts below would be seen outside.
        mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)
            .map_err(failed("make the mounts private"))?;
        mount(Some("weir-demo"), &root, Some("tmpfs"), flags, Some("mode=0700,size=64m"))
            .map_err(failed(&format!("mount a tmpfs over {}", root.display())))?;
        Ok(Self { root })
    }

    /// `--run-dir` of the daemon.
    pub(super) fn run_dir(&self) -> PathBuf {
        self.root.join("run")
    }

    /// `--state-dir` of the daemon.
    pub(super) fn state_dir(&self) -> PathBuf {
        self.root.join("state")
    }

    /// Where the daemon pins, on a bpffs that it mounts there itself.
    pub(super) fn pins(&self) -> PathBuf {
        self.run_dir().join("bpf")
    }

    /// A configuration file for the daemon.
    pub(super) fn config(&self) -> PathBuf {
        self.root.join("weir.toml")
    }

    /// Where the daemon's words go.
    pub(super) fn log(&self) -> PathBuf {
        self.root.join("weir.log")
    }

    /// The control socket.
    pub(super) fn socket(&self) -> PathBuf {
        self.run_dir().join("weir.sock")
    }
}

/// The last lines of a log.
pub(super) fn tail(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines.iter().skip(lines.len().saturating_sub(LINES)).map(|line| format!("  {line}\n")).collect()
}

fn failed(what: &str) -> impl FnOnce(nix::Error) -> DemoError {
    let at = DemoError::at(what);
    move |errno| at(errno.into())
}

const LINES: usize = 20;
