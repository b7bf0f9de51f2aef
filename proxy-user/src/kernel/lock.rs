//! One daemon for each runtime directory. The kernel does not arbitrate between two writers of a link or a map, so this
//! lock must. It dies with the process.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use thiserror::Error;

/// Why the lock was not taken.
#[derive(Debug, Error)]
pub enum LockError {
    /// Another daemon has it.
    #[error(
        "weir already runs as process {pid} and holds {path}: use `weir status` and `weir reload` to talk to it, take \
         over from it with `weir run --replace` (once it has started), stop it with `kill {pid}` (the data path stays in \
         force), or give this one another --run-dir, --state-dir and \
         --bpffs"
    )]
    Taken {
        /// Its process id, or `unknown`.
        pid: String,
        /// The lock file.
        path: PathBuf,
    },
    /// The file or its directory cannot be used.
    #[error("cannot {action} {path}: {source}; the runtime directory must be writable (see --run-dir)")]
    File {
        /// What failed.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// The lock; dropping it frees it. The file stays, so that two starters never lock two files of one name.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

/// Takes the lock `weir.lock` in `run_dir`, which is made if it is missing.
///
/// # Errors
/// Another process holds it, or the file cannot be written.
pub fn acquire(run_dir: &Path) -> Result<Lock, LockError> {
    let failed = |action, path: &Path| {
        let path = path.to_owned();
        move |source| LockError::File { action, path, source }
    };
    DirBuilder::new().recursive(true).mode(0o755).create(run_dir).map_err(failed("make", run_dir))?;
    let path = run_dir.join("weir.lock");
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o644)
        .custom_flags(libc::O_NOFOLLOW)
        .open(&path)
        .map_err(failed("open", &path))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(LockError::Taken { pid: owner(&mut file), path }),
        Err(TryLockError::Error(source)) => return Err(failed("lock", &path)(source)),
    }
    write_pid(&mut file).map_err(failed("write", &path))?;
    Ok(Lock { _file: file })
}

/// The pid that the holder wrote.
fn owner(file: &mut File) -> String {
    let mut text = String::new();
    match file.read_to_string(&mut text) {
        Ok(_) if !text.trim().is_empty() && text.trim().bytes().all(|b| b.is_ascii_digit()) => {
            text.trim().to_owned()
        }
        _ => "unknown".to_owned(),
    }
}

fn write_pid(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{}", std::process::id())?;
    file.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_is_told_who_was_first() {
        let dir = tempfile::tempdir().unwrap();
        let run = dir.path().join("run");
        let first = acquire(&run).unwrap();
        let Err(LockError::Taken { pid, path }) = acquire(&run) else { panic!("taken twice") };
        assert_eq!(pid, std::process::id().to_string());
        assert_eq!(path, run.join("weir.lock"));
        drop(first);
        acquire(&run).unwrap();
    }

    #[test]
    fn a_symlink_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("victim"), "precious").unwrap();
        std::os::unix::fs::symlink(dir.path().join("victim"), dir.path().join("weir.lock")).unwrap();
        assert!(matches!(acquire(dir.path()), Err(LockError::File { action: "open", .. })));
        assert_eq!(std::fs::read_to_string(dir.path().join("victim")).unwrap(), "precious");
    }
}
