//! The private directory of pins.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};

use proxy_user::kernel::bpffs::{BpffsError, PinDir, shares_mounts_with_init};

use crate::support::{is_mounted, sandbox};

#[test]
fn is_mounted_once_and_goes_when_empty() {
    sandbox(|sandbox| {
        let path = sandbox.dir.join("run/weir/bpf");
        let pins = PinDir::prepare(&path).unwrap();
        assert!(is_mounted(&path));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(PinDir::prepare(&path).unwrap(), pins, "again");
        assert_eq!(PinDir::open(&path).unwrap(), pins);

        fs::create_dir(path.join("other")).unwrap();
        pins.clone().dismantle().unwrap();
        assert!(is_mounted(&path), "somebody uses it");
        fs::remove_dir(path.join("other")).unwrap();
        pins.dismantle().unwrap();
        assert!(!is_mounted(&path) && !path.exists());
    });
}

#[test]
fn a_directory_on_a_mounted_bpffs_is_used_without_a_mount() {
    sandbox(|sandbox| {
        let outer = sandbox.pins();
        let inner = PinDir::prepare(&outer.path().join("weir")).unwrap();
        assert!(!is_mounted(inner.path()));
        inner.dismantle().unwrap();
        assert!(outer.names().unwrap().is_empty() && is_mounted(outer.path()));
    });
}

#[test]
fn what_others_may_write_is_refused() {
    sandbox(|sandbox| {
        let path = sandbox.dir.join("bpf");
        fs::create_dir(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        let error = PinDir::prepare(&path).unwrap_err();
        assert!(matches!(error, BpffsError::NotPrivate { mode: 0o755, .. }), "{error}");
        assert!(error.to_string().contains("chmod 0700"));

        fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
        chown(&path, Some(65_534), None).unwrap();
        assert!(matches!(PinDir::prepare(&path), Err(BpffsError::NotPrivate { uid: 65_534, .. })));
        assert!(!is_mounted(&path));
    });
}

#[test]
fn what_is_in_the_way_is_refused() {
    sandbox(|sandbox| {
        let path = sandbox.dir.join("bpf");
        symlink("/sys/fs/bpf", &path).unwrap();
        assert!(matches!(PinDir::prepare(&path), Err(BpffsError::InTheWay { .. })));
        fs::remove_file(&path).unwrap();

        fs::create_dir(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
        assert!(matches!(PinDir::open(&path), Err(BpffsError::NotMounted(_))));
        fs::write(path.join("precious"), "").unwrap();
        assert!(matches!(PinDir::prepare(&path), Err(BpffsError::InTheWay { .. })));
        assert!(path.join("precious").exists());
        assert!(matches!(PinDir::open(&sandbox.dir.join("none")), Err(BpffsError::File { .. })));
    });
}

#[test]
fn a_mount_namespace_of_its_own_is_noticed() {
    sandbox(|_| assert_ne!(shares_mounts_with_init(), Some(true)));
}
