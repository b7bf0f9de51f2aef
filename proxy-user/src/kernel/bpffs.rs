//! The private directory of pins: a bpffs of weir's own, or a directory of one that is there. Whoever can write there
//! decides what the data path runs, so nobody but its owner may.

use std::fs::{DirBuilder, Metadata};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use nix::mount::{MsFlags, mount, umount};
use nix::sys::statfs::{BPF_FS_MAGIC, statfs};
use thiserror::Error;

/// Why the directory cannot be used.
#[derive(Debug, Error)]
pub enum BpffsError {
    /// A file operation failed.
    #[error("cannot {action} {path}: {source}; choose another directory with --bpffs")]
    File {
        /// What failed.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Mounting is not allowed, or the kernel has no bpffs.
    #[error(
        "cannot mount a bpf file system at {path}: {source}; run as root, or mount one before (`mount -t bpf -o \
         mode=0700 bpf {path}`), or name a directory on a mounted one with --bpffs"
    )]
    Mount {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Something else is in the way.
    #[error(
        "{path} is {what}: weir puts its pins only into an empty directory or onto a bpf file system; remove it or use --bpffs"
    )]
    InTheWay {
        /// Where.
        path: PathBuf,
        /// What is there.
        what: &'static str,
    },
    /// Another user may change the pins.
    #[error(
        "{path} has owner {uid} and mode {mode:04o}, but the pins in it decide what happens to every packet: it must \
         belong to user {wanted_uid} with mode 0700 (`chown {wanted_uid} {path}; chmod 0700 {path}`, after a look at \
         who made it), or use --bpffs"
    )]
    NotPrivate {
        /// Where.
        path: PathBuf,
        /// Its owner.
        uid: u32,
        /// Its mode bits.
        mode: u32,
        /// The owner that it must have.
        wanted_uid: u32,
    },
    /// There is no bpf file system there.
    #[error(
        "{0} is not on a bpf file system: nothing is pinned there, or it is mounted in another mount namespace (`ip netns exec` hides it; use `nsenter --net`)"
    )]
    NotMounted(PathBuf),
}

/// The verified directory of pins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PinDir {
    path: PathBuf,
}

impl PinDir {
    /// Makes the directory, mounts a bpffs there unless it is on one, and verifies that it is private.
    ///
    /// # Errors
    /// See [`BpffsError`].
    pub fn prepare(path: &Path) -> Result<Self, BpffsError> {
        make(path)?;
        if !on_bpffs(path)? {
            verify_private(path)?;
            if !is_empty(path)? {
                return Err(BpffsError::InTheWay {
                    path: path.to_owned(),
                    what: "a directory that is not empty",
                });
            }
            mount_private(path)?;
        }
        Self::open(path)
    }

    /// The directory as it is: for reading and detaching.
    ///
    /// # Errors
    /// It is missing, not on a bpffs or not private.
    pub fn open(path: &Path) -> Result<Self, BpffsError> {
        verify_private(path)?;
        if !on_bpffs(path)? {
            return Err(BpffsError::NotMounted(path.to_owned()));
        }
        Ok(Self { path: path.to_owned() })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Path of a pin.
    #[must_use]
    pub fn pin(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Names of the pins, sorted. Files with a dot are the kernel's own (`maps.debug`): nobody else may make such.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn names(&self) -> Result<Vec<String>, BpffsError> {
        let failed = |source| BpffsError::File { action: "list", path: self.path.clone(), source };
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&self.path).map_err(failed)? {
            names.extend(entry.map_err(failed)?.file_name().into_string());
        }
        names.retain(|name: &String| !name.contains('.'));
        names.sort();
        Ok(names)
    }

    /// Removes a pin; one that is gone is fine.
    ///
    /// # Errors
    /// The file cannot be removed.
    pub fn remove(&self, name: &str) -> Result<(), BpffsError> {
        let path = self.pin(name);
        match std::fs::remove_file(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(BpffsError::File { action: "remove", path, source })
            }
            _ => Ok(()),
        }
    }

    /// Takes the directory away: unmounts it if it is a mount of its own, and removes it. A directory with anything
    /// left in it stays as it is.
    ///
    /// # Errors
    /// Unmounting or removing failed.
    pub fn dismantle(self) -> Result<(), BpffsError> {
        if !self.names()?.is_empty() {
            return Ok(());
        }
        if is_mount_point(&self.path)? {
            umount(&self.path).map_err(|errno| BpffsError::File {
                action: "unmount",
                path: self.path.clone(),
                source: errno.into(),
            })?;
        }
        std::fs::remove_dir(&self.path).map_err(|source| BpffsError::File {
            action: "remove",
            path: self.path.clone(),
            source,
        })
    }
}

/// Whether this process shares the mount namespace of process 1. If not, a bpffs that it mounts disappears with its own
/// namespace, and with it the pins: the data path would end with the daemon. `None` where that cannot be told.
#[must_use]
pub fn shares_mounts_with_init() -> Option<bool> {
    let own = std::fs::read_link("/proc/self/ns/mnt").ok()?;
    let init = std::fs::read_link("/proc/1/ns/mnt").ok()?;
    Some(own == init)
}

fn make(path: &Path) -> Result<(), BpffsError> {
    if let Some(parent) = path.parent() {
        DirBuilder::new().recursive(true).mode(0o755).create(parent).map_err(|source| BpffsError::File {
            action: "make",
            path: parent.to_owned(),
            source,
        })?;
    }
    match DirBuilder::new().mode(0o700).create(path) {
        Err(source) if source.kind() != io::ErrorKind::AlreadyExists => {
            Err(BpffsError::File { action: "make", path: path.to_owned(), source })
        }
        _ => Ok(()),
    }
}

fn mount_private(path: &Path) -> Result<(), BpffsError> {
    let failed = |errno: nix::Error| BpffsError::Mount { path: path.to_owned(), source: errno.into() };
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some("bpf"), path, Some("bpf"), flags, Some("mode=0700")).map_err(failed)?;
    mount(None::<&str>, path, None::<&str>, MsFlags::MS_PRIVATE, None::<&str>).map_err(failed)
}

fn verify_private(path: &Path) -> Result<(), BpffsError> {
    let metadata = metadata(path)?;
    if !metadata.is_dir() {
        return Err(BpffsError::InTheWay {
            path: path.to_owned(),
            what: "not a directory (or a symbolic link)",
        });
    }
    let (uid, mode) = (metadata.uid(), metadata.mode() & 0o7777);
    let wanted_uid = nix::unistd::geteuid().as_raw();
    if uid != wanted_uid || mode & 0o077 != 0 {
        return Err(BpffsError::NotPrivate { path: path.to_owned(), uid, mode, wanted_uid });
    }
    Ok(())
}

fn on_bpffs(path: &Path) -> Result<bool, BpffsError> {
    let stat = statfs(path).map_err(|errno| BpffsError::File {
        action: "look at",
        path: path.to_owned(),
        source: errno.into(),
    })?;
    Ok(stat.filesystem_type() == BPF_FS_MAGIC)
}

fn is_mount_point(path: &Path) -> Result<bool, BpffsError> {
    let Some(parent) = path.parent() else { return Ok(true) };
    Ok(metadata(path)?.dev() != metadata(parent)?.dev())
}

fn is_empty(path: &Path) -> Result<bool, BpffsError> {
    std::fs::read_dir(path).map(|mut entries| entries.next().is_none()).map_err(|source| BpffsError::File {
        action: "list",
        path: path.to_owned(),
        source,
    })
}

/// Of the path itself: a symbolic link is not followed.
fn metadata(path: &Path) -> Result<Metadata, BpffsError> {
    std::fs::symlink_metadata(path).map_err(|source| BpffsError::File {
        action: "look at",
        path: path.to_owned(),
        source,
    })
}
