//! `weir demo`: its flags. The demo itself is the module `demo`.

use clap::Args;

use super::failure::Failure;
use super::output::Output;

/// Arguments of `weir demo`.
#[derive(Clone, Debug, Args)]
pub struct DemoArgs {
    /// Show the L7 path: HTTP and Bolt through workers, a route by header, a denied source.
    #[arg(long)]
    l7: bool,
}

/// Runs the demo.
///
/// # Errors
///
/// What the demo ends with; any count that is not as expected is one.
pub fn demo(args: &DemoArgs, output: &Output) -> Result<(), Failure> {
    let run = if args.l7 { crate::demo::run_l7 } else { crate::demo::run };
    run(output).map_err(super::run::failure)
}
