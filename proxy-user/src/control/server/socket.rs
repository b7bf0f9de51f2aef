//! The Unix socket: made with its mode and group before anyone can reach it, and never taken from a daemon that answers.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use tokio::net::UnixListener;

use crate::control::types::Peer;

/// Why the socket cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// A daemon answers on it.
    #[error("a daemon already answers on {} (stop it, or choose another --run-dir or --socket)", path.display())]
    InUse {
        /// The path.
        path: PathBuf,
    },
    /// Something else is there.
    #[error("{} exists and is not a socket (move it away, or choose another --socket)", path.display())]
    NotASocket {
        /// The path.
        path: PathBuf,
    },
    /// The kernel refuses.
    #[error("cannot make the socket {}: {source} (the directory must exist and be writable, the path under 100 bytes)", path.display())]
    Io {
        /// The path.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// The listening socket; its file goes when this is dropped.
#[derive(Debug)]
pub struct Socket {
    pub(super) listener: UnixListener,
    path: PathBuf,
    inode: (u64, u64),
    /// Group of the file: its members may write.
    group: u32,
}

impl Socket {
    /// Listens at `path` with mode 0660, owned by `group` if one is given. A file that a dead daemon left is replaced.
    ///
    /// # Errors
    /// When a daemon answers there, something else is there, or the kernel refuses.
    pub fn bind(path: &Path, group: Option<u32>) -> Result<Self, SocketError> {
        let failed = |source| SocketError::Io { path: path.to_owned(), source };
        match fs::symlink_metadata(path) {
            Ok(meta) if !meta.file_type().is_socket() => {
                return Err(SocketError::NotASocket { path: path.to_owned() });
            }
            Ok(_) if UnixStream::connect(path).is_ok() => {
                return Err(SocketError::InUse { path: path.to_owned() });
            }
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(error)),
        }
        // Under another name until mode and group are right, then at its place in one step.
        let draft = path.with_extension(format!("{}", std::process::id()));
        let _ = fs::remove_file(&draft);
        let listener = UnixListener::bind(&draft).map_err(failed)?;
        let placed = fs::set_permissions(&draft, fs::Permissions::from_mode(0o660))
            .and_then(|()| std::os::unix::fs::chown(&draft, None, group))
            .and_then(|()| fs::rename(&draft, path))
            .and_then(|()| fs::symlink_metadata(path));
        match placed {
            Ok(meta) => Ok(Self {
                listener,
                path: path.to_owned(),
                inode: (meta.dev(), meta.ino()),
                group: meta.gid(),
            }),
            Err(error) => {
                let _ = fs::remove_file(&draft);
                Err(failed(error))
            }
        }
    }

    /// Who may change things: root, the daemon's own user, and members of the socket's group.
    pub(super) fn writers(&self) -> Writers {
        Writers { user: rustix::process::geteuid().as_raw(), group: self.group }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let ours = fs::symlink_metadata(&self.path).is_ok_and(|meta| (meta.dev(), meta.ino()) == self.inode);
        if ours {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Who may change things.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Writers {
    pub(super) user: u32,
    pub(super) group: u32,
}

impl Writers {
    pub(super) fn allow(self, peer: Peer) -> bool {
        peer.uid == 0 || peer.uid == self.user || peer.gid == self.group || self.supplementary(peer)
    }

    /// Whether the peer has the group as a supplementary one. The kernel's peer credentials name only the first; the
    /// file's mode has already let the peer in by all of them, so a process that took over the number gains nothing.
    fn supplementary(self, peer: Peer) -> bool {
        let Some(pid) = peer.pid else { return false };
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let groups = status.lines().find_map(|line| line.strip_prefix("Groups:")).unwrap_or_default();
        groups.split_whitespace().any(|group| group.parse() == Ok(self.group))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_the_daemon_and_the_group_may_write() {
        let writers = Writers { user: 700, group: 800 };
        let peer = |uid, gid| Peer { uid, gid, pid: None };
        assert!(writers.allow(peer(0, 5)) && writers.allow(peer(700, 5)) && writers.allow(peer(5, 800)));
        assert!(!writers.allow(peer(5, 5)));
        let other = Peer { uid: 5, gid: 5, pid: i32::try_from(std::process::id()).ok() };
        assert!(!Writers { user: 700, group: 4_000_000 }.allow(other), "not in that group");
    }

    #[tokio::test]
    async fn a_stale_file_is_replaced_and_a_live_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("weir.sock");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let socket = Socket::bind(&path, None).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
        assert!(matches!(Socket::bind(&path, None), Err(SocketError::InUse { .. })));
        drop(socket);
        assert!(!path.exists());
        fs::write(&path, "x").unwrap();
        assert!(matches!(Socket::bind(&path, None), Err(SocketError::NotASocket { .. })));
        let missing = dir.path().join("no/weir.sock");
        assert!(matches!(Socket::bind(&missing, None), Err(SocketError::Io { .. })));
    }
}
