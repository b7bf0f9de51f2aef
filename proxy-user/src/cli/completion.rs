//! `weir completion SHELL`.

use clap::{Args, Command};
use clap_complete::Shell;

use super::failure::Failure;
use super::output::Output;

/// Arguments of `weir completion`.
#[derive(Clone, Debug, Args)]
pub struct CompletionArgs {
    /// The shell
    #[arg(value_enum)]
    pub shell: Shell,
}

/// Prints the script.
///
/// # Errors
///
/// [`Failure::Failed`] when stdout cannot be written.
pub fn completion(args: &CompletionArgs, command: &mut Command, output: &Output) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, command, "weir", &mut script);
    output.text(&String::from_utf8_lossy(&script))
}
