//! Reading a file, with its directories watched before. All of this may hang on a network file system, so it runs on a
//! thread of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use notify::event::{AccessKind, AccessMode};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::Notify;

use super::follow::Read;
use super::parse::{Format, parse};
use crate::config::{Outcome, read_bytes};

/// Largest file, bytes.
pub(super) const MAX_BYTES: u64 = 16 << 20;

/// Reads `path` whole.
pub(super) fn read(path: &Path, format: Format) -> Read {
    let bytes = match read_bytes(path, MAX_BYTES) {
        Ok(Outcome::Whole(bytes)) => bytes,
        Ok(Outcome::Changed) => return Read::Changing,
        Ok(Outcome::TooLarge) => {
            return Read::Bad(format!("{} is larger than {} MiB", path.display(), MAX_BYTES >> 20));
        }
        Ok(Outcome::NotRegular) => return Read::Bad(format!("{} is not a regular file", path.display())),
        Err(error) => return Read::Bad(format!("cannot read {}: {error}", path.display())),
    };
    match parse(&bytes, format, Instant::now()) {
        Ok(set) => Read::Set(set),
        Err(why) => Read::Bad(format!("{}: {why}", path.display())),
    }
}

/// The directories that are watched, and what happened in them.
#[derive(Debug)]
pub(super) struct Watches {
    watcher: Mutex<Option<RecommendedWatcher>>,
    /// By path, which directory that was when it began to be watched.
    places: Mutex<BTreeMap<PathBuf, (u64, u64)>>,
    happened: Arc<Happened>,
}

/// What happened since it was last asked.
#[derive(Debug, Default)]
struct Happened {
    paths: Mutex<BTreeSet<PathBuf>>,
    wake: Notify,
}

impl Watches {
    /// Watches nothing yet. Without inotify nothing ever happens, and files are read by the clock.
    pub(super) fn new() -> Self {
        let happened = Arc::new(Happened::default());
        let tell = Arc::clone(&happened);
        let watcher = notify::recommended_watcher(move |event| tell.note(event));
        if let Err(error) = &watcher {
            tracing::warn!(%error, "no inotify: endpoint files are read only every `poll`");
        }
        Self { watcher: Mutex::new(watcher.ok()), places: Mutex::default(), happened }
    }

    /// Watches a directory, also if another has taken its place since.
    pub(super) fn ensure(&self, dir: &Path) {
        let place = std::fs::metadata(dir).ok().filter(|data| data.is_dir()).map(|d| (d.dev(), d.ino()));
        let mut places = lock(&self.places);
        if places.get(dir).copied() == place {
            return;
        }
        let mut watcher = lock(&self.watcher);
        let Some(watcher) = watcher.as_mut() else { return };
        if places.remove(dir).is_some() {
            // The kernel has often ended it already.
            let _ = watcher.unwatch(dir);
        }
        if let Some(place) = place {
            match watcher.watch(dir, RecursiveMode::NonRecursive) {
                Ok(()) => drop(places.insert(dir.to_owned(), place)),
                Err(error) => {
                    tracing::warn!(dir = %dir.display(), %error, "not watched: its files are read only every `poll`");
                }
            }
        }
    }

    /// Ends the watches of all other directories.
    pub(super) fn keep(&self, dirs: &BTreeSet<&Path>) {
        // A thread that hangs in `ensure` has them; one watch too many does no harm.
        let Ok(mut places) = self.places.try_lock() else { return };
        let gone: Vec<PathBuf> = places.keys().filter(|dir| !dirs.contains(dir.as_path())).cloned().collect();
        for dir in gone {
            places.remove(&dir);
            if let Some(watcher) = lock(&self.watcher).as_mut() {
                let _ = watcher.unwatch(&dir);
            }
        }
    }

    /// Waits for something to happen, and says where. No path at all: anything may have happened.
    pub(super) async fn happened(&self) -> BTreeSet<PathBuf> {
        self.happened.wake.notified().await;
        std::mem::take(&mut *lock(&self.happened.paths))
    }
}

/// Whether what happened at `at` may change what `path` below `dir` holds: the file itself, a directory or link on the way
/// to it, or the links that Kubernetes swaps under a ConfigMap (`..data`).
pub(super) fn concerns(at: &Path, dir: &Path, path: &Path) -> bool {
    let name = at.file_name().unwrap_or_default();
    let part = path.strip_prefix(dir).is_ok_and(|below| below.iter().any(|part| part == name));
    let swapped = name.as_encoded_bytes().starts_with(b"..");
    let itself = at == dir || path.parent() == Some(at);
    (part || swapped || itself || name == OsStr::new("")) && path.starts_with(at.parent().unwrap_or(at))
}

impl Happened {
    fn note(&self, event: notify::Result<Event>) {
        let (paths, rescan) = match event {
            Ok(event) => match event.kind {
                EventKind::Access(AccessKind::Close(AccessMode::Write)) => (event.paths, false),
                // weir's own reading.
                EventKind::Access(_) => return,
                _ => (event.paths.clone(), event.need_rescan() || event.paths.is_empty()),
            },
            Err(error) => (error.paths, true),
        };
        let mut noted = lock(&self.paths);
        noted.extend(paths);
        if rescan || noted.len() > MANY {
            noted.clear();
            noted.insert(PathBuf::new());
        }
        drop(noted);
        self.wake.notify_one();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Paths that are told apart; more are "anything".
const MANY: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_concerns_a_file() {
        let concerns = |at: &str| concerns(Path::new(at), Path::new("/e"), Path::new("/e/s/a.json"));
        for at in ["/e/s/a.json", "/e/s", "/e", "/e/s/..data", "/e/..data"] {
            assert!(concerns(at), "{at}");
        }
        for at in ["/e/s/b.json", "/e/s/.a.json.tmp", "/e/t", "/f/s/..data"] {
            assert!(!concerns(at), "{at}");
        }
    }
}
