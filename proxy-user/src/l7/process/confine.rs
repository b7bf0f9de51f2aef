//! Giving up what a worker does not need, before it looks at anything that comes from a network: capabilities, its user,
//! the means to get privileges back, and core dumps.

use std::io;

use nix::unistd::{Gid, Uid, setgid, setgroups, setuid};
use rustix::process::{Resource, Rlimit, setrlimit};
use rustix::thread::{
    CapabilitySet, CapabilitySets, clear_ambient_capability_set, remove_capability_from_bounding_set,
    set_capabilities, set_no_new_privs,
};

/// Closes every descriptor beyond the standard ones: whoever started the daemon may have left some open, and they came along.
/// To be called before this process opens any itself.
///
/// # Errors
/// The kernel's: it is older than 5.9.
pub(super) fn close_inherited() -> io::Result<()> {
    // SAFETY: nothing in this process owns one of them yet, so that none is closed under its owner.
    if unsafe { libc::close_range(3, libc::c_uint::MAX, 0) } == 0 {
        return Ok(());
    }
    Err(io::Error::last_os_error())
}

/// Confines this process, which must have one thread. Afterwards it can neither read files of others, nor signal or trace
/// processes of others, nor run anything with more rights.
///
/// # Errors
/// Something could not be given up: the process must end.
pub(super) fn confine(identity: Option<(u32, u32)>) -> io::Result<()> {
    super::spawn::raise_descriptors();
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    set_no_new_privs(true)?;
    drop_bounding_set();
    if let Some((user, group)) = identity {
        setgroups(&[])?;
        setgid(Gid::from_raw(group))?;
        setuid(Uid::from_raw(user))?;
    }
    // Old kernels may lack the ambient set: then there is nothing in it.
    let _ = clear_ambient_capability_set();
    let none = CapabilitySet::empty();
    set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none })?;
    // No other process of the same user may look into this one.
    nix::sys::prctl::set_dumpable(false)?;
    Ok(())
}

/// Takes every capability out of the bounding set. Without the right to do so, none can be gained either:
/// `no_new_privs` is set.
fn drop_bounding_set() {
    for bit in 0..u64::BITS {
        let _ = remove_capability_from_bounding_set(CapabilitySet::from_bits_retain(1 << bit));
    }
}
