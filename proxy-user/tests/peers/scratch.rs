//! Folders of peers in memory: a tmpfs in a mount namespace of the thread, gone with the processes that are in it,
//! however they end.

use std::path::{Path, PathBuf};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

/// Gives the calling thread (and the threads and processes that it starts from now on) mounts of its own with an empty
/// folder among them.
pub(crate) fn scratch() -> PathBuf {
    let folder = cache().join("home");
    std::fs::create_dir_all(&folder).unwrap();
    unshare(CloneFlags::CLONE_NEWNS).unwrap();
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>).unwrap();
    mount(Some("weir-peers"), &folder, Some("tmpfs"), MsFlags::empty(), Some("size=1g")).unwrap();
    folder
}

/// What the peers keep from one run to the next, as in `tests/peers/java/fetch`.
fn cache() -> PathBuf {
    let of = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let cache = of("XDG_CACHE_HOME").or_else(|| of("HOME").map(|home| home.join(".cache")));
    cache.as_deref().unwrap_or(Path::new("/var/cache")).join("weir-peers")
}
