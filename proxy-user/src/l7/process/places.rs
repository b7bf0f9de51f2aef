//! Where workers' control sockets lie: `l7/worker-N-M.sock` in the runtime directory, in a directory of the daemon's
//! user alone. `N` is the worker's number; `M` tells it from the one that it replaces.

use std::fs::DirBuilder;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

/// The directory of control sockets.
#[derive(Clone, Debug)]
pub(super) struct Places {
    dir: PathBuf,
}

impl Places {
    /// In a runtime directory.
    pub(super) fn of(run_dir: &Path) -> Self {
        Self { dir: run_dir.join("l7") }
    }

    /// Makes the directory.
    pub(super) fn prepare(&self) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.dir)
    }

    /// The control sockets that are there, with their workers' numbers, newest first.
    pub(super) fn list(&self) -> io::Result<Vec<(u32, PathBuf)>> {
        let entries = match std::fs::read_dir(&self.dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut found = Vec::new();
        for entry in entries {
            let path = entry?.path();
            found.extend(numbers(&path).map(|(worker, serial)| (serial, worker, path)));
        }
        found.sort_unstable_by(|a, b| b.cmp(a));
        Ok(found.into_iter().map(|(_, worker, path)| (worker, path)).collect())
    }

    /// Makes a control socket for a worker.
    pub(super) fn bind(&self, worker: u32) -> io::Result<(PathBuf, OwnedFd)> {
        let socket = rustix::net::socket_with(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
            None,
        )?;
        let last =
            self.list()?.into_iter().filter_map(|(_, path)| numbers(&path)).map(|(_, serial)| serial).max();
        let path =
            self.dir.join(format!("worker-{worker}-{}.sock", last.map_or(0, |last| last.wrapping_add(1))));
        rustix::net::bind(&socket, &SocketAddrUnix::new(&path)?)?;
        rustix::net::listen(&socket, WAITING_DAEMONS)?;
        Ok((path, socket))
    }

    /// Takes the directory away if nothing is in it.
    pub(super) fn clear(&self) {
        let _ = std::fs::remove_dir(&self.dir);
    }
}

fn numbers(path: &Path) -> Option<(u32, u64)> {
    let name = path.file_name()?.to_str()?;
    let (worker, serial) = name.strip_prefix("worker-")?.strip_suffix(".sock")?.split_once('-')?;
    Some((worker.parse().ok()?, serial.parse().ok()?))
}

/// Daemons that may wait for a worker to hear them.
pub(super) const WAITING_DAEMONS: i32 = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_are_listed_newest_first() {
        let dir = tempfile::tempdir().unwrap();
        let places = Places::of(dir.path());
        assert!(places.list().unwrap().is_empty());
        places.prepare().unwrap();
        std::fs::write(dir.path().join("l7/other"), "").unwrap();
        let made: Vec<_> = [0, 1, 0].into_iter().map(|worker| places.bind(worker).unwrap()).collect();
        let listed = places.list().unwrap();
        assert_eq!(listed.iter().map(|(worker, _)| *worker).collect::<Vec<_>>(), [0, 1, 0]);
        assert_eq!(listed[0].1, made[2].0);
    }
}
