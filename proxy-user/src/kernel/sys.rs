//! The bpf system calls that aya 0.14 does not offer: whom a pinned link belongs to, another program for a link that is
//! not XDP's, and reading maps in batches; and the descriptors that a service manager passes. The only unsafe code of
//! this crate.

use std::ffi::{CString, c_long};
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};

use aya::Pod;
use aya::maps::{MapData, MapError, MapType};

/// What the kernel says about an XDP link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LinkInfo {
    /// Id of the program that it runs.
    pub(super) program_id: u32,
    /// Interface; 0 when the interface is gone and the link with it.
    pub(super) ifindex: u32,
}

/// The descriptors that the service manager passed to this process (sd_listen_fds(3)), by name; all of them the first
/// time, none later.
pub(crate) fn inherited() -> Vec<(String, OwnedFd)> {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    if TAKEN.swap(true, Ordering::SeqCst) {
        return Vec::new();
    }
    let Ok(passed) = sd_notify::listen_fds_with_names() else { return Vec::new() };
    // SAFETY: the service manager opened these descriptors for this process (LISTEN_PID names it, which the library has
    // checked), nothing else in it knows them, and the flag above lets each be taken once only.
    passed.map(|(number, name)| (name, unsafe { OwnedFd::from_raw_fd(number) })).collect()
}

/// Bytes sent on a TCP socket that the other side has not acknowledged yet (tcp(7), `SIOCOUTQ`); 0 where the kernel does not
/// tell.
pub(crate) fn unacknowledged(socket: &OwnedFd) -> usize {
    // SAFETY: with this code `ioctl` writes one `int`, for which the getter has room, and changes nothing.
    let left = unsafe {
        let asked = rustix::ioctl::Getter::<{ OUTQ }, std::ffi::c_int>::new();
        rustix::ioctl::ioctl(socket, asked)
    };
    left.ok().and_then(|left| usize::try_from(left).ok()).unwrap_or(0)
}

/// The driver of a network device of this thread's network namespace (`SIOCETHTOOL`); `/sys/class/net` may show another
/// namespace's. `None`: there is no such device, or it does not tell.
pub(crate) fn driver(device: &str) -> Option<String> {
    /// As `struct ethtool_drvinfo` of linux/ethtool.h.
    #[repr(C)]
    struct DriverInfo {
        command: u32,
        driver: [u8; 32],
        rest: [u8; 160],
    }
    const GET_DRIVER_INFO: u32 = 3;
    let socket =
        rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::DGRAM, None).ok()?;
    let mut info = DriverInfo { command: GET_DRIVER_INFO, driver: [0; 32], rest: [0; 160] };
    // SAFETY: all bytes of this structure of numbers and a union of such may be zero.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    // Its last byte stays zero.
    if device.len() >= request.ifr_name.len() {
        return None;
    }
    for (to, from) in request.ifr_name.iter_mut().zip(device.bytes()) {
        *to = from.cast_signed();
    }
    request.ifr_ifru.ifru_data = ptr::from_mut(&mut info).cast();
    // SAFETY: `SIOCETHTOOL` takes an `ifreq` whose data is a structure that begins with a command; this command writes
    // `struct ethtool_drvinfo`, for which `info` has room. Both live on, and the socket is open.
    let done = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCETHTOOL, ptr::from_mut(&mut request)) };
    let name = std::ffi::CStr::from_bytes_until_nul(&info.driver).ok()?.to_str().ok()?;
    let _ = info.rest;
    (done == 0 && !name.is_empty()).then(|| name.to_owned())
}

/// `SIOCOUTQ`.
const OUTQ: rustix::ioctl::Opcode = 0x5411;

/// What the kernel says about a link to a network namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NamespaceLinkInfo {
    /// Id of the program that it runs.
    pub(super) program_id: u32,
    /// Inode of the namespace; 0 when it is gone and the link with it.
    pub(super) namespace: u32,
}

/// Reads a pinned XDP link.
///
/// # Errors
/// The system call's; `InvalidData` if the pin is not an XDP link.
pub(super) fn link_info(pin: &Path) -> io::Result<LinkInfo> {
    let info = raw_link_info(pin, LINK_TYPE_XDP)?;
    Ok(LinkInfo { program_id: info.program_id, ifindex: info.place })
}

/// Reads a pinned link to a network namespace.
///
/// # Errors
/// The system call's; `InvalidData` if the pin is another kind of link.
pub(super) fn namespace_link_info(pin: &Path) -> io::Result<NamespaceLinkInfo> {
    let info = raw_link_info(pin, LINK_TYPE_NAMESPACE)?;
    Ok(NamespaceLinkInfo { program_id: info.program_id, namespace: info.place })
}

/// Swaps the program of a pinned link, which aya offers for XDP only.
///
/// # Errors
/// The system call's.
pub(super) fn link_update(pin: &Path, program: BorrowedFd<'_>) -> io::Result<()> {
    let link = object_get(pin)?;
    let mut attr = UpdateAttr {
        link: link.as_raw_fd().cast_unsigned(),
        program: program.as_raw_fd().cast_unsigned(),
        flags: 0,
        expected: 0,
    };
    // SAFETY: `UpdateAttr` is the layout of this command, and has no pointer.
    unsafe { bpf(LINK_UPDATE, &mut attr) }.map(|_| ())
}

fn raw_link_info(pin: &Path, kind: u32) -> io::Result<RawLinkInfo> {
    let link = object_get(pin)?;
    let mut info = RawLinkInfo::default();
    let mut attr = InfoAttr {
        fd: link.as_raw_fd().cast_unsigned(),
        info_len: LINK_INFO_SIZE,
        info: ptr::from_mut(&mut info) as u64,
    };
    // SAFETY: `InfoAttr` is the layout of this command; `info` points at `info_len` writable bytes that live on.
    unsafe { bpf(OBJ_GET_INFO_BY_FD, &mut attr) }?;
    if info.kind != kind {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "another kind of link"));
    }
    Ok(info)
}

/// Detaches a pinned link at once. Removing its pin alone does that too, but some milliseconds later, and only if no
/// other process holds the link.
///
/// # Errors
/// The system call's.
pub(super) fn link_detach(pin: &Path) -> io::Result<()> {
    let link = object_get(pin)?;
    let mut attr = DetachAttr { fd: link.as_raw_fd().cast_unsigned() };
    // SAFETY: `DetachAttr` is the layout of this command, and has no pointer.
    unsafe { bpf(LINK_DETACH, &mut attr) }.map(|_| ())
}

/// Opens a pinned object.
fn object_get(pin: &Path) -> io::Result<OwnedFd> {
    let path = CString::new(pin.as_os_str().as_bytes())?;
    let mut attr = ObjectAttr { path: path.as_ptr() as u64, fd: 0, flags: 0 };
    // SAFETY: `ObjectAttr` is the layout of this command; `path` is a C string that outlives the call.
    let fd = unsafe { bpf(OBJ_GET, &mut attr) }?;
    let fd = i32::try_from(fd).map_err(io::Error::other)?;
    // SAFETY: the kernel has just made this descriptor for us, and nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// How a batch ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fetched {
    /// There may be more.
    More,
    /// That was the last batch.
    Last,
}

/// A walk through a map, many entries a call.
pub(super) struct Batch<'map, K, V> {
    map: BorrowedFd<'map>,
    started: bool,
    cursor: Vec<u8>,
    next: Vec<u8>,
    keys: Vec<K>,
    values: Vec<V>,
}

impl<'map, K: Pod, V: Pod> Batch<'map, K, V> {
    /// Starts at the beginning, with room for `entries` entries a call.
    ///
    /// # Errors
    /// The map's key or value is not of the size of `K` or `V`, or its values are per CPU.
    pub(super) fn new(map: &'map MapData, entries: u32) -> Result<Self, MapError> {
        let info = map.info()?;
        if matches!(info.map_type()?, MapType::PerCpuArray | MapType::PerCpuHash | MapType::LruPerCpuHash) {
            return Err(MapError::InvalidMapType { map_type: info.map_type()? as u32 });
        }
        let (key, value) = (info.key_size() as usize, info.value_size() as usize);
        if key != size_of::<K>() {
            return Err(MapError::InvalidKeySize { size: size_of::<K>(), expected: key });
        }
        if value != size_of::<V>() {
            return Err(MapError::InvalidValueSize { size: size_of::<V>(), expected: value });
        }
        let cursor = vec![0; key.max(MIN_CURSOR)];
        Ok(Self {
            map: map.fd().as_fd(),
            started: false,
            next: cursor.clone(),
            cursor,
            keys: Vec::with_capacity(entries as usize),
            values: Vec::with_capacity(entries as usize),
        })
    }

    /// Doubles the room, after the kernel said ENOSPC: a hash bucket must fit whole.
    pub(super) fn grow(&mut self) {
        self.keys.clear();
        self.values.clear();
        let double = self.keys.capacity().max(1) * 2;
        self.keys.reserve(double);
        self.values.reserve(double);
    }

    /// Fetches the next entries; [`Self::entries`] has them.
    ///
    /// # Errors
    /// The system call's; the walk stays where it was.
    pub(super) fn fetch(&mut self) -> io::Result<Fetched> {
        self.keys.clear();
        self.values.clear();
        let room = self.keys.capacity().min(self.values.capacity());
        let mut attr = BatchAttr {
            in_batch: if self.started { self.cursor.as_ptr() as u64 } else { 0 },
            out_batch: self.next.as_mut_ptr() as u64,
            keys: self.keys.as_mut_ptr() as u64,
            values: self.values.as_mut_ptr() as u64,
            count: u32::try_from(room).unwrap_or(u32::MAX),
            map: self.map.as_raw_fd().cast_unsigned(),
            elem_flags: 0,
            flags: 0,
        };
        // SAFETY: `BatchAttr` is the layout of this command. `in_batch` and `out_batch` point at buffers of at least a
        // key and a u32, which is all that the kernel moves there. `keys` and `values` have room for `count` entries,
        // and `new` has compared the sizes of an entry with the kernel's.
        let fetched = match unsafe { bpf(MAP_LOOKUP_BATCH, &mut attr) } {
            Ok(_) => Fetched::More,
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Fetched::Last,
            Err(error) => return Err(error),
        };
        let count = room.min(attr.count as usize);
        // SAFETY: in both of these ends the kernel has written `count` whole entries, `count` is within the capacity,
        // and `Pod` says that any bytes are a value.
        unsafe {
            self.keys.set_len(count);
            self.values.set_len(count);
        }
        std::mem::swap(&mut self.cursor, &mut self.next);
        self.started = true;
        Ok(fetched)
    }

    /// The entries of the last fetch.
    pub(super) fn entries(&self) -> impl Iterator<Item = (&K, &V)> {
        self.keys.iter().zip(&self.values)
    }
}

/// Writes entries in one system call: `per_key` values for each key, which is 1, or for a per-CPU map the number of
/// possible CPUs.
///
/// # Errors
/// `InvalidInput` if the sizes are not the map's; the system call's, after which the first of the entries may be written.
pub(super) fn update<K: Pod, V: Pod>(
    map: &MapData,
    keys: &[K],
    values: &[V],
    per_key: usize,
) -> io::Result<()> {
    let info = map.info().map_err(io::Error::other)?;
    let sizes = (info.key_size() as usize, info.value_size() as usize);
    // Per-CPU values lie at multiples of eight bytes.
    let packed = per_key == 1 || size_of::<V>().is_multiple_of(8);
    if sizes != (size_of::<K>(), size_of::<V>()) || !packed || values.len() != keys.len() * per_key {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut attr = BatchAttr {
        in_batch: 0,
        out_batch: 0,
        keys: keys.as_ptr() as u64,
        values: values.as_ptr() as u64,
        count: u32::try_from(keys.len()).map_err(io::Error::other)?,
        map: map.fd().as_fd().as_raw_fd().cast_unsigned(),
        elem_flags: 0,
        flags: 0,
    };
    // SAFETY: `BatchAttr` is the layout of this command, which reads `count` keys and, as was compared with the kernel's
    // sizes, as many values as there are.
    unsafe { bpf(MAP_UPDATE_BATCH, &mut attr) }.map(|_| ())
}

/// # Safety
/// `attr` must have the layout that the kernel's `union bpf_attr` has for this command, and every pointer in it must be
/// valid for what the command does with it.
unsafe fn bpf<A>(command: c_long, attr: &mut A) -> io::Result<c_long> {
    // SAFETY: the kernel reads and writes at most `size_of::<A>()` bytes of `attr`; the rest is the caller's promise.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, ptr::from_mut(attr), size_of::<A>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// `BPF_OBJ_GET`.
#[repr(C)]
struct ObjectAttr {
    path: u64,
    fd: u32,
    flags: u32,
}

/// `BPF_LINK_DETACH`.
#[repr(C)]
struct DetachAttr {
    fd: u32,
}

/// `BPF_LINK_UPDATE`.
#[repr(C)]
struct UpdateAttr {
    link: u32,
    program: u32,
    flags: u32,
    expected: u32,
}

/// `BPF_OBJ_GET_INFO_BY_FD`.
#[repr(C)]
struct InfoAttr {
    fd: u32,
    info_len: u32,
    info: u64,
}

/// `BPF_MAP_LOOKUP_BATCH`.
#[repr(C)]
struct BatchAttr {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    count: u32,
    map: u32,
    elem_flags: u64,
    flags: u64,
}

/// `struct bpf_link_info` with the first word of its union, which begins at a multiple of 8: an XDP link's interface, a
/// namespace link's inode.
#[repr(C)]
#[derive(Default)]
struct RawLinkInfo {
    kind: u32,
    id: u32,
    program_id: u32,
    padding: u32,
    place: u32,
    tail: u32,
}

const OBJ_GET: c_long = 7;
const OBJ_GET_INFO_BY_FD: c_long = 15;
const MAP_LOOKUP_BATCH: c_long = 24;
const MAP_UPDATE_BATCH: c_long = 26;
const LINK_UPDATE: c_long = 29;
const LINK_DETACH: c_long = 34;
const LINK_TYPE_NAMESPACE: u32 = 5;
const LINK_TYPE_XDP: u32 = 6;
const LINK_INFO_SIZE: u32 = 24;
/// Hash maps keep a u32 in the cursor, however short the key.
const MIN_CURSOR: usize = 8;

const _: () = assert!(size_of::<RawLinkInfo>() == LINK_INFO_SIZE as usize);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_that_is_not_there_has_no_driver() {
        assert_eq!(driver("no-such-dev"), None);
        assert_eq!(driver("a-name-that-no-device-can-have"), None);
        assert_eq!(size_of::<libc::ifreq>(), 40);
    }
}
