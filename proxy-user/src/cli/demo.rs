//! `weir demo`: its flags. The demo itself is the module `demo`.

use clap::Args;

use super::failure::Failure;
use super::output::Output;

/// Arguments of `weir demo`.
#[derive(Clone, Debug, Args)]
pub struct DemoArgs {}

/// Runs the demo.
///
/// # Errors
///
/// What the demo ends with; any count that is not as expected is one.
pub fn demo(_args: &DemoArgs, output: &Output) -> Result<(), Failure> {
    crate::demo::run(output).map_err(super::run::failure)
}
