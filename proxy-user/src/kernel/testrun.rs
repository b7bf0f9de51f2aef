//! Running a loaded program on a packet that was never received (`BPF_PROG_TEST_RUN`).

use std::time::Duration;

use aya::programs::{ProgramError, Xdp};
use aya::{TestRun as _, TestRunAttrs, TestRunOptions};
use thiserror::Error;

use super::capability::Missing;
use super::errno::{errno_of, words};
use super::load::{LoadError, Loaded};

/// Why a test run failed.
#[derive(Debug, Error)]
pub enum TestRunError {
    /// Not permitted.
    #[error("the kernel does not let weir run the program on a test packet: {0}")]
    NotPermitted(Missing),
    /// The interface is unknown here.
    #[error(
        "there is no interface {0} with a receive queue in this network namespace; a test run can only claim to come from one that exists"
    )]
    NoInterface(u32),
    /// The packet is too short or too long.
    #[error("a test packet must be 14 to about 3,500 bytes long, this one has {0}")]
    Length(usize),
    /// Any other refusal.
    #[error("the kernel refuses the test run: {0}")]
    Refused(String),
    /// The program is not there.
    #[error(transparent)]
    Load(#[from] LoadError),
}

/// What a program did with a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The return value: an XDP action.
    pub action: u32,
    /// The packet afterwards.
    pub packet: Vec<u8>,
    /// Mean time of a run, as the kernel measured it.
    pub duration: Duration,
}

/// Runs the program of an interface `repeat` times on a packet that claims to come from `ifindex` (0: from none). Each
/// run sees the packet as the run before left it.
///
/// # Errors
/// See [`TestRunError`].
pub fn run(loaded: &Loaded, packet: &[u8], ifindex: u32, repeat: u32) -> Result<Outcome, TestRunError> {
    run_program(loaded.xdp()?, packet, ifindex, repeat)
}

/// Sends `repeat` copies of a packet through the program for good: what it transmits or redirects is on the wire, what it
/// passes reaches the stack. The copies are made afresh.
///
/// # Errors
/// See [`TestRunError`]; kernels before 5.18 do not have this.
pub fn run_live(
    loaded: &Loaded,
    packet: &[u8],
    ifindex: u32,
    repeat: u32,
    batch: u32,
) -> Result<(), TestRunError> {
    let context = context(packet, ifindex)?;
    let options = TestRunOptions {
        data_in: Some(packet),
        ctx_in: Some(&context),
        repeat,
        attrs: TestRunAttrs::new().xdp_live_frames(batch),
        ..TestRunOptions::new()
    };
    loaded.xdp()?.test_run(options).map(|_| ()).map_err(|error| explain(&error, packet, ifindex))
}

pub(super) fn run_program(
    program: &Xdp,
    packet: &[u8],
    ifindex: u32,
    repeat: u32,
) -> Result<Outcome, TestRunError> {
    let context = context(packet, ifindex)?;
    let mut output = vec![0; packet.len() + GROWTH];
    let options = TestRunOptions {
        data_in: Some(packet),
        data_out: Some(&mut output),
        ctx_in: Some(&context),
        repeat,
        ..TestRunOptions::new()
    };
    let result = program.test_run(options).map_err(|error| explain(&error, packet, ifindex))?;
    output.truncate(result.data_size_out as usize);
    Ok(Outcome { action: result.return_value, packet: output, duration: result.duration })
}

/// `struct xdp_md`: data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex.
fn context(packet: &[u8], ifindex: u32) -> Result<[u8; 24], TestRunError> {
    let length = u32::try_from(packet.len()).map_err(|_| TestRunError::Length(packet.len()))?;
    let mut context = [0; 24];
    for (place, field) in context.chunks_exact_mut(4).zip([0, length, 0, ifindex, 0, 0]) {
        place.copy_from_slice(&field.to_ne_bytes());
    }
    Ok(context)
}

fn explain(error: &ProgramError, packet: &[u8], ifindex: u32) -> TestRunError {
    match errno_of(error) {
        Some(libc::EPERM | libc::EACCES) => TestRunError::NotPermitted(Missing::now()),
        Some(libc::ENODEV) => TestRunError::NoInterface(ifindex),
        Some(libc::EINVAL) if !LENGTHS.contains(&packet.len()) => TestRunError::Length(packet.len()),
        Some(libc::EINVAL) if ifindex != 0 => TestRunError::NoInterface(ifindex),
        code => TestRunError::Refused(words(code)),
    }
}

/// How much a program may grow a packet: the headroom that the kernel gives.
const GROWTH: usize = 256;
/// An Ethernet header, to a page without the kernel's head and tail room.
const LENGTHS: std::ops::RangeInclusive<usize> = 14..=3_520;
