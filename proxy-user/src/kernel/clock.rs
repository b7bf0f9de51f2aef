//! The data path's clock: jiffies, which userspace cannot read, so a program of the object is asked.

use std::thread;
use std::time::Duration;

use thiserror::Error;

use super::load::Loaded;
use super::testrun::{self, TestRunError};

/// Why the clock cannot be read.
#[derive(Debug, Error)]
pub enum ClockError {
    /// The program cannot be run.
    #[error("cannot read the kernel's tick: {0}")]
    Run(#[from] TestRunError),
    /// The program gave no answer.
    #[error("the kernel object's clock gives no answer: it belongs to another build of weir")]
    Short,
    /// The measured rate is none that Linux has.
    #[error(
        "the kernel seems to tick {0} times a second, which no Linux does: is the machine suspended or stopped for long?"
    )]
    Rate(u64),
}

/// What the clock showed at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// Ticks since boot, with the kernel's offset.
    pub jiffies: u64,
    /// Nanoseconds since boot, without suspended time.
    pub nanoseconds: u64,
}

/// Reads the clock.
///
/// # Errors
/// See [`ClockError`].
pub fn read(loaded: &Loaded) -> Result<Reading, ClockError> {
    let program = loaded.clock().map_err(TestRunError::from)?;
    let outcome = testrun::run_program(program, &[0; 64], 0, 1)?;
    match outcome.packet.as_chunks::<8>().0 {
        [jiffies, nanoseconds, ..] => Ok(Reading {
            jiffies: u64::from_le_bytes(*jiffies),
            nanoseconds: u64::from_le_bytes(*nanoseconds),
        }),
        _ => Err(ClockError::Short),
    }
}

/// The tick now, as flows store it: the lower half of the jiffies.
///
/// # Errors
/// See [`ClockError`].
pub fn now(loaded: &Loaded) -> Result<u32, ClockError> {
    let jiffies = read(loaded)?.jiffies & u64::from(u32::MAX);
    Ok(u32::try_from(jiffies).unwrap_or_default())
}

/// Ticks in a second, measured for 100 ms, and longer if that leaves a doubt. Blocks.
///
/// # Errors
/// See [`ClockError`].
pub fn ticks_per_second(loaded: &Loaded) -> Result<u32, ClockError> {
    let start = read(loaded)?;
    let mut rate = 0;
    for pause in PAUSES {
        thread::sleep(pause);
        rate = measured(start, read(loaded)?);
        if let Some(hz) = snap(rate) {
            return Ok(hz);
        }
    }
    Err(ClockError::Rate(rate))
}

fn measured(start: Reading, end: Reading) -> u64 {
    let ticks = end.jiffies.wrapping_sub(start.jiffies);
    let nanoseconds = end.nanoseconds.saturating_sub(start.nanoseconds).max(1);
    let rate = u128::from(ticks) * 1_000_000_000 / u128::from(nanoseconds);
    u64::try_from(rate).unwrap_or(u64::MAX)
}

/// The rate that Linux can be built with, if one is within 8 %: 250 and 300 are 20 % apart.
fn snap(rate: u64) -> Option<u32> {
    RATES.into_iter().find(|known| rate.abs_diff(u64::from(*known)) * 100 <= u64::from(*known) * 8)
}

/// `CONFIG_HZ` of x86 and arm64.
const RATES: [u32; 4] = [100, 250, 300, 1_000];
const PAUSES: [Duration; 3] =
    [Duration::from_millis(100), Duration::from_millis(400), Duration::from_secs(2)];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_snap() {
        assert_eq!([99, 107, 240, 262, 290, 310, 985, 1_010].map(snap), {
            let some = Some;
            [some(100), some(100), some(250), some(250), some(300), some(300), some(1_000), some(1_000)]
        });
        assert_eq!([0, 150, 272, 500, 5_000].map(snap), [None; 5]);
    }

    #[test]
    fn a_jump_of_the_lower_half_does_not_matter() {
        let reading = |jiffies, nanoseconds| Reading { jiffies, nanoseconds };
        assert_eq!(measured(reading(u64::MAX - 4, 0), reading(20, 100_000_000)), 250);
        assert_eq!(measured(reading(0, 5), reading(3, 5)), 3_000_000_000);
    }
}
