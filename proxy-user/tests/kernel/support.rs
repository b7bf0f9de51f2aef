//! A sandbox for one test.

use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use proxy_user::kernel::attach::Interface;
use proxy_user::kernel::bpffs::PinDir;
use proxy_user::kernel::load::{self, Loaded};
use proxy_user::kernel::maps::Maps;
use proxy_user::kernel::schema::Capacity;

/// What a test gets.
pub(crate) struct Sandbox {
    /// A directory that is removed afterwards.
    pub(crate) dir: PathBuf,
}

/// Small tables, so that tests are quick.
pub(crate) const SMALL: Capacity = Capacity { acl_v4: 1_024, acl_v6: 1_024, flows: 4_096 };

/// Runs a test in a thread with its own network and mount namespaces, which the kernel takes away with the thread.
pub(crate) fn sandbox(test: impl FnOnce(&Sandbox) + Send + 'static) {
    if !nix::unistd::geteuid().is_root() {
        proxy_user::lab::left_out("needs root for namespaces, bpf and XDP");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_owned();
    let result = thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS).unwrap();
        mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>).unwrap();
        test(&Sandbox { dir: path });
    })
    .join();
    if let Err(panic) = result {
        resume_unwind(panic);
    }
}

impl Sandbox {
    /// A fresh directory of pins.
    pub(crate) fn pins(&self) -> PinDir {
        PinDir::prepare(&self.dir.join("bpf")).unwrap()
    }

    /// The object on fresh maps.
    pub(crate) fn loaded(&self) -> (PinDir, Loaded, Maps) {
        let pins = self.pins();
        let loaded = load(&pins, 0);
        let maps = Maps::open(&pins).unwrap();
        (pins, loaded, maps)
    }

    /// A veth pair, up, of which the first end is returned.
    pub(crate) fn veth(&self, name: &str) -> Interface {
        ip(&format!("link add {name} type veth peer name {name}-peer"));
        ip(&format!("link set {name} up"));
        ip(&format!("link set {name}-peer up"));
        interface(name)
    }
}

/// Loads the object for an interface slot.
pub(crate) fn load(pins: &PinDir, slot: u32) -> Loaded {
    load::load(load::OBJECT, pins, &SMALL, slot).unwrap_or_else(|error| panic!("{error}"))
}

/// An interface by its name.
pub(crate) fn interface(name: &str) -> Interface {
    Interface { ifindex: nix::net::if_::if_nametoindex(name).unwrap(), name: name.to_owned() }
}

/// Runs the `ip` tool in this thread's namespaces.
pub(crate) fn ip(arguments: &str) {
    let status = Command::new("ip").args(arguments.split(' ')).status().unwrap();
    assert!(status.success(), "ip {arguments}");
}

/// Whether something is mounted at a path, in this mount namespace.
pub(crate) fn is_mounted(path: &Path) -> bool {
    let mounts = std::fs::read_to_string("/proc/thread-self/mounts").unwrap();
    mounts.lines().any(|line| line.split(' ').nth(1) == path.to_str())
}
