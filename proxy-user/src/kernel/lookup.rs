//! Socket look-up for the L7 path: the program on the network namespace, kept by a pinned link, and the listeners that
//! it gives the connections of `l7` services to.
//!
//! The program acts on what `weir_services` says. Without a listener it drops what asks for an `l7` service, so that no
//! client is refused while workers or the daemon are away.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd, BorrowedFd};
use std::os::unix::fs::MetadataExt as _;

use aya::Ebpf;
use aya::maps::{MapData, MapError, SockMap};
use aya::programs::links::FdLink;
use aya::programs::{ProgramError, SkLookup};
use proxy_common::limits;
use thiserror::Error;

use super::adopt::How;
use super::bpffs::PinDir;
use super::capability::Missing;
use super::errno::{errno_of, words};
use super::links::{self, LinksError};
use super::load::{self, LoadError};
use super::maps::{self, MapsError};
use super::schema::{self, Capacity};
use super::sys;

/// Why socket look-up does not work. Whatever was attached before stays in force.
#[derive(Debug, Error)]
pub enum LookupError {
    /// The program is not loaded.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The pins cannot be used.
    #[error(transparent)]
    Links(#[from] LinksError),
    /// Not permitted.
    #[error("the kernel does not let weir attach socket look-up to the network namespace: {0}")]
    NotPermitted(Missing),
    /// The kernel does not know it, or refuses.
    #[error(
        "the kernel refuses to {what}: {reason}; services with forward = \"l7\" need socket look-up (Linux 5.9 with \
         CONFIG_BPF_SYSCALL)"
    )]
    Refused {
        /// What was asked.
        what: &'static str,
        /// Its reason.
        reason: String,
    },
    /// After the change the kernel tells of another program.
    #[error(
        "socket look-up runs program {found} after weir attached program {wanted}: another process changes the same \
         link; stop it"
    )]
    ReadBack {
        /// Program that should run.
        wanted: u32,
        /// Program that runs.
        found: u32,
    },
    /// The map of listeners cannot be used.
    #[error(transparent)]
    Maps(#[from] MapsError),
}

/// Brings the current network namespace under the object's program: the link of an earlier run is updated in one step,
/// or a new one is made and pinned. The maps must be there. Answers how, and the program's id.
///
/// # Errors
/// See [`LookupError`].
pub fn bring_up(object: &[u8], pins: &PinDir, capacity: &Capacity) -> Result<(How, u32), LookupError> {
    let mut ebpf = load::open(object, pins, capacity, 0)?;
    let program = program(&mut ebpf)?;
    program.load().map_err(|error| load::explain_program(PROGRAM, error))?;
    let wanted = program.info().map_err(|error| load::explain_program(PROGRAM, error))?.id();
    let namespace = File::open(NAMESPACE).map_err(|error| refused("name its network namespace", &error))?;
    let inode = namespace.metadata().map_err(|error| refused("name its network namespace", &error))?.ino();
    let path = pins.pin(links::LOOKUP);
    let how = match sys::namespace_link_info(&path) {
        Ok(info) if u64::from(info.namespace) == inode => {
            let program = program.fd().map_err(|error| load::explain_program(PROGRAM, error))?;
            sys::link_update(&path, program.as_fd())
                .map_err(|error| refused("update socket look-up", &error))?;
            How::Adopted
        }
        // Its namespace is gone, or weir has moved to another.
        Ok(_) => {
            links::detach_pin(pins, links::LOOKUP)?;
            attach(program, namespace, pins)?;
            How::Reattached
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            attach(program, namespace, pins)?;
            How::Attached
        }
        Err(error) => return Err(refused("read its pinned link", &error)),
    };
    let found = sys::namespace_link_info(&path).map_err(|error| refused("read its pinned link", &error))?;
    if found.program_id == wanted {
        Ok((how, wanted))
    } else {
        Err(LookupError::ReadBack { wanted, found: found.program_id })
    }
}

/// Id of the program that the current namespace's link runs; `None` if there is none.
#[must_use]
pub fn program_in_force(pins: &PinDir) -> Option<u32> {
    let inode = std::fs::metadata(NAMESPACE).ok()?.ino();
    let info = sys::namespace_link_info(&pins.pin(links::LOOKUP)).ok()?;
    (u64::from(info.namespace) == inode).then_some(info.program_id)
}

/// Takes the program off the namespace. Says whether there was one.
///
/// # Errors
/// The kernel refuses; the pin then stays.
pub fn take_down(pins: &PinDir) -> Result<bool, LinksError> {
    let there = pins.pin(links::LOOKUP).exists();
    if there {
        links::detach_pin(pins, links::LOOKUP)?;
    }
    Ok(there)
}

fn attach(program: &mut SkLookup, namespace: File, pins: &PinDir) -> Result<(), LookupError> {
    let explain = |error: ProgramError| match errno_of(&error) {
        Some(libc::EPERM | libc::EACCES) => LookupError::NotPermitted(Missing::now()),
        code => LookupError::Refused { what: "attach socket look-up", reason: words(code) },
    };
    let id = program.attach(namespace).map_err(explain)?;
    let link = FdLink::from(program.take_link(id).map_err(explain)?);
    link.pin(pins.pin(links::LOOKUP)).map(drop).map_err(|error| LookupError::Refused {
        what: "pin the link of socket look-up",
        reason: words(errno_of(&error)),
    })
}

fn program(ebpf: &mut Ebpf) -> Result<&mut SkLookup, LoadError> {
    let program = ebpf.program_mut(PROGRAM).ok_or(LoadError::NoProgram(PROGRAM))?;
    program.try_into().map_err(|_| LoadError::NoProgram(PROGRAM))
}

fn refused(what: &'static str, error: &io::Error) -> LookupError {
    LookupError::Refused { what, reason: error.to_string() }
}

/// Families of listeners.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// The map of listeners. A socket leaves it by itself when its last descriptor is closed.
pub struct Listeners {
    map: SockMap<MapData>,
}

impl Listeners {
    /// Opens the pinned map.
    ///
    /// # Errors
    /// It is missing or no map of listeners.
    pub fn open(pins: &PinDir) -> Result<Self, LookupError> {
        Ok(Self { map: maps::open(pins, schema::LISTENERS)? })
    }

    /// Sets the listening socket of a worker (below [`limits::LISTENERS`]) for a family. From here on connections may
    /// come to it; where it has a `SO_REUSEPORT` group, the kernel spreads them over the group.
    ///
    /// # Errors
    /// The kernel refuses the socket: it does not listen, or is not TCP.
    pub fn set(&mut self, family: Family, worker: u32, socket: BorrowedFd<'_>) -> Result<(), LookupError> {
        let written = self.map.set(index(family, worker), &socket.as_raw_fd(), 0);
        written.map_err(|error| failed("write", family, worker, &error))
    }

    /// Takes a worker's listening socket out. Connections in its backlog stay there.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn clear(&mut self, family: Family, worker: u32) -> Result<(), LookupError> {
        match self.map.clear_index(&index(family, worker)) {
            Err(error) if !matches!(errno_of(&error), Some(libc::ENOENT | libc::EINVAL)) => {
                Err(failed("delete", family, worker, &error))
            }
            _ => Ok(()),
        }
    }
}

fn index(family: Family, worker: u32) -> u32 {
    match family {
        Family::V4 => worker,
        Family::V6 => worker.saturating_add(limits::LISTENERS),
    }
}

fn failed(operation: &'static str, family: Family, worker: u32, error: &MapError) -> LookupError {
    let what = || format!("the {family:?} listener of worker {worker}");
    MapsError::new(schema::LISTENERS, operation, what, error).into()
}

const PROGRAM: &str = "weir_lookup";
const NAMESPACE: &str = "/proc/thread-self/ns/net";
