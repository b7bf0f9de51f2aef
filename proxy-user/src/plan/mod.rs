//! Desired state and installed state in, ordered steps out. Pure: no kernel, no clock, no randomness.

mod installed;
mod step;

pub use installed::Installed;
pub use step::Step;
