//! Loading the kernel object: once for each interface, all of them on the same pinned maps.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use aya::programs::{ProgramError, Xdp};
use aya::{Ebpf, EbpfError, EbpfLoader};
use aya_log::EbpfLogger;
use thiserror::Error;

use super::bpffs::{BpffsError, PinDir};
use super::capability::Missing;
use super::errno::{errno_of, words};
use super::schema::{self, Capacity, Pinned, SchemaError};
use super::testrun::{self, TestRunError};

/// The kernel object of this build.
pub static OBJECT: &[u8] = aya::include_bytes_aligned!("../../bpf/weir.bpf.o");

/// Why the object is not loaded. Whatever was attached before stays in force.
#[derive(Debug, Error)]
pub enum LoadError {
    /// The pinned maps do not fit.
    #[error(transparent)]
    Schema(#[from] SchemaError),
    /// The directory of pins cannot be used.
    #[error(transparent)]
    Directory(#[from] BpffsError),
    /// Not permitted.
    #[error("the kernel does not let weir load {what}: {missing}")]
    NotPermitted {
        /// Map or program.
        what: String,
        /// What is missing.
        missing: Missing,
    },
    /// No memory for a map.
    #[error(
        "the kernel has no memory for {what}: lower [limits] in the configuration, raise the memory limit of the \
         service's cgroup (MemoryMax=), or free memory"
    )]
    NoMemory {
        /// Map or program.
        what: String,
    },
    /// The verifier refused.
    #[error(
        "the kernel's verifier refuses the program `{program}` ({reason}): this kernel is too old or has a fault; \
         weir is tested from Linux 5.10 on. Its last words: {log}"
    )]
    Verifier {
        /// The program.
        program: &'static str,
        /// The errno in words.
        reason: String,
        /// End of the verifier's log.
        log: String,
    },
    /// Any other refusal.
    #[error("the kernel refuses {what}: {reason}")]
    Refused {
        /// Map or program.
        what: String,
        /// Its reason.
        reason: String,
    },
    /// The object is not one of weir's.
    #[error("the kernel object has no program `{0}`: it belongs to another build of weir")]
    NoProgram(&'static str),
    /// The object cannot be read.
    #[error("the kernel object cannot be read: {0}")]
    Object(String),
}

/// The loaded object of one interface. The maps and, once attached, the program outlive it by their pins.
#[derive(Debug)]
pub struct Loaded {
    ebpf: Ebpf,
    program: &'static str,
    slot: u32,
}

/// Loads an object for the interface with this slot of the counters; maps that are pinned are checked and used again,
/// the others are made and pinned.
///
/// # Errors
/// See [`LoadError`].
pub fn load(object: &[u8], pins: &PinDir, capacity: &Capacity, slot: u32) -> Result<Loaded, LoadError> {
    let pinned = schema::check(pins, capacity)?;
    if pinned == Pinned::Nothing {
        schema::clear(pins)?;
    }
    let ebpf = open(object, pins, capacity, slot)?;
    if pinned == Pinned::Nothing {
        schema::stamp(pins)
            .map_err(|error| refused("map weir_schema", errno_of(&error), &error.to_string()))?;
        // A map of another shape would be used by the data path and refused at the next start: refuse it now.
        schema::check(pins, capacity)?;
    }
    let mut loaded = Loaded { ebpf, program: PROGRAM, slot };
    loaded.load_programs()?;
    Ok(loaded)
}

/// The object over the pinned maps; those that are missing are made and pinned. No program is loaded yet.
pub(super) fn open(object: &[u8], pins: &PinDir, capacity: &Capacity, slot: u32) -> Result<Ebpf, LoadError> {
    let mut loader = EbpfLoader::new();
    loader.override_global("INTERFACE_SLOT", &slot, true);
    for spec in schema::specs(capacity) {
        loader.map_pin_path(spec.name, pins.pin(spec.name));
        loader.map_max_entries(spec.name, spec.entries);
    }
    loader.load(object).map_err(explain)
}

impl Loaded {
    /// Slot of the counters by interface that was built in.
    #[must_use]
    pub fn slot(&self) -> u32 {
        self.slot
    }

    /// Whether the program takes packets of several buffers (jumbo frames).
    #[must_use]
    pub fn frags(&self) -> bool {
        self.program == PROGRAM
    }

    /// Id of the program.
    ///
    /// # Errors
    /// The kernel does not tell.
    pub fn program_id(&self) -> Result<u32, LoadError> {
        let info = self.xdp()?.info().map_err(|error| explain_program(self.program, error))?;
        Ok(info.id())
    }

    /// The object's own log records, if it has any. Once for each loaded object.
    pub fn log(&mut self) -> Option<ObjectLog> {
        let mut logger = EbpfLogger::init(&mut self.ebpf).ok()?;
        let fd = logger.as_fd().try_clone_to_owned().ok()?;
        Some(ObjectLog { fd, flush: Box::new(move || logger.flush()) })
    }

    pub(super) fn variant(&self) -> &'static str {
        if self.frags() {
            "this driver even with XDP multi-buffer"
        } else {
            "a program without XDP multi-buffer"
        }
    }

    /// The program, to run or attach it otherwise than by pins (benchmarks).
    ///
    /// # Errors
    /// The object has none.
    pub fn xdp(&self) -> Result<&Xdp, LoadError> {
        self.named(self.program)
    }

    pub(super) fn clock(&self) -> Result<&Xdp, LoadError> {
        self.named(CLOCK)
    }

    /// The same, to change its links.
    ///
    /// # Errors
    /// The object has none.
    pub fn xdp_mut(&mut self) -> Result<&mut Xdp, LoadError> {
        self.named_mut(self.program)
    }

    fn load_programs(&mut self) -> Result<(), LoadError> {
        if let Err(error) = self.load_one(PROGRAM) {
            // Kernels before 5.18 refuse the frags flag. If that was not it, the first refusal is the one to tell.
            self.load_one(PROGRAM_NO_FRAGS).map_err(|_| error)?;
            self.program = PROGRAM_NO_FRAGS;
        }
        self.load_one(CLOCK)?;
        self.load_one(HELLO)
    }

    /// Has the object log that it is loaded.
    ///
    /// # Errors
    /// See [`TestRunError`].
    pub fn hello(&self) -> Result<(), TestRunError> {
        testrun::run_program(self.named(HELLO)?, &[0; 64], 0, 1).map(|_| ())
    }

    /// Mean time of an empty program's test run, which is part of every test run's time.
    ///
    /// # Errors
    /// See [`TestRunError`].
    pub fn floor(&mut self, packet: &[u8], repeat: u32) -> Result<std::time::Duration, TestRunError> {
        if self.named(FLOOR)?.fd().is_err() {
            self.load_one(FLOOR)?;
        }
        testrun::run_program(self.named(FLOOR)?, packet, 0, repeat).map(|outcome| outcome.duration)
    }

    fn load_one(&mut self, name: &'static str) -> Result<(), LoadError> {
        self.named_mut(name)?.load().map_err(|error| explain_program(name, error))
    }

    fn named(&self, name: &'static str) -> Result<&Xdp, LoadError> {
        let program = self.ebpf.program(name).ok_or(LoadError::NoProgram(name))?;
        program.try_into().map_err(|_| LoadError::NoProgram(name))
    }

    fn named_mut(&mut self, name: &'static str) -> Result<&mut Xdp, LoadError> {
        let program = self.ebpf.program_mut(name).ok_or(LoadError::NoProgram(name))?;
        program.try_into().map_err(|_| LoadError::NoProgram(name))
    }
}

/// Log records that the object writes at start-up and on rare errors, never per packet. The file descriptor becomes
/// readable when there are any.
pub struct ObjectLog {
    fd: OwnedFd,
    flush: Box<dyn FnMut() + Send>,
}

impl ObjectLog {
    /// Hands the waiting records to the logger of the `log` crate.
    pub fn flush(&mut self) {
        (self.flush)();
    }
}

impl AsFd for ObjectLog {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl AsRawFd for ObjectLog {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

fn explain(error: EbpfError) -> LoadError {
    match errno_of(&error) {
        Some(code) => {
            let what = match &error {
                EbpfError::MapError(
                    aya::maps::MapError::CreateError { name, .. }
                    | aya::maps::MapError::PinError { name: Some(name), .. },
                ) => format!("map {name}"),
                _ => "the object".to_owned(),
            };
            refused(&what, Some(code), &error.to_string())
        }
        None => LoadError::Object(error.to_string()),
    }
}

pub(super) fn explain_program(name: &'static str, error: ProgramError) -> LoadError {
    let code = errno_of(&error);
    let ProgramError::LoadError { verifier_log, .. } = &error else {
        return refused(&format!("program `{name}`"), code, &error.to_string());
    };
    let missing = Missing::now();
    // Without CAP_PERFMON the verifier refuses pointer arithmetic that it allows otherwise, with EACCES and a log.
    if matches!(code, Some(libc::EPERM | libc::EACCES)) && !missing.is_empty() {
        return LoadError::NotPermitted { what: format!("program `{name}`"), missing };
    }
    let log = verifier_log.to_string();
    if log.trim().is_empty() {
        return refused(&format!("program `{name}`"), code, &error.to_string());
    }
    LoadError::Verifier { program: name, reason: words(code), log: tail(&log) }
}

fn refused(what: &str, code: Option<i32>, error: &str) -> LoadError {
    let what = what.to_owned();
    match code {
        Some(libc::EPERM | libc::EACCES) => LoadError::NotPermitted { what, missing: Missing::now() },
        Some(libc::ENOMEM) => LoadError::NoMemory { what },
        Some(libc::E2BIG) => LoadError::Refused {
            what,
            reason: "too big (E2BIG): lower [limits] in the configuration".to_owned(),
        },
        Some(code) => LoadError::Refused { what, reason: format!("{} ({error})", words(Some(code))) },
        None => LoadError::Refused { what, reason: error.to_owned() },
    }
}

/// Name of a program, as far as this process may know it.
pub(super) fn name_of(program_id: u32) -> Option<String> {
    let mut all = aya::programs::loaded_programs().filter_map(Result::ok);
    all.find(|info| info.id() == program_id)?.name_as_str().map(str::to_owned)
}

/// Whether a program is called as weir's on an interface is.
#[must_use]
pub fn is_weir(program_id: u32) -> bool {
    name_of(program_id).is_some_and(|name| name == PROGRAM || name == PROGRAM_NO_FRAGS)
}

/// The last lines that say something; the verifier's statistics come after them.
fn tail(log: &str) -> String {
    let lines: Vec<&str> = log.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    lines.iter().skip(lines.len().saturating_sub(8)).copied().collect::<Vec<_>>().join(" | ")
}

const PROGRAM: &str = "weir";
const PROGRAM_NO_FRAGS: &str = "weir_nofrags";
const CLOCK: &str = "weir_clock";
const HELLO: &str = "weir_hello";
const FLOOR: &str = "weir_floor";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn may_move_to_a_thread_that_blocks() {
        fn assert_send<T: Send>() {}
        assert_send::<Loaded>();
        assert_send::<ObjectLog>();
        assert_send::<crate::kernel::maps::Maps>();
    }

    #[test]
    fn refusals_are_told_in_words() {
        assert!(matches!(refused("map m", Some(libc::EPERM), ""), LoadError::NotPermitted { .. }));
        assert!(refused("map m", Some(libc::ENOMEM), "").to_string().contains("[limits]"));
        assert!(refused("map m", Some(libc::E2BIG), "").to_string().contains("[limits]"));
        assert!(refused("map m", Some(libc::EINVAL), "x").to_string().contains("map m"));
        let log: String = (0..20).map(|i| format!("{i}\n\n")).collect();
        assert_eq!(tail(&log), "12 | 13 | 14 | 15 | 16 | 17 | 18 | 19");
    }
}
