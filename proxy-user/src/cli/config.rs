//! `weir config`: the file's schema, and the configuration in force.

use clap::Subcommand;

use super::Global;
use super::failure::Failure;
use super::output::{Format, Output};
use super::reach::Daemon;

/// Commands on the configuration.
#[derive(Clone, Copy, Debug, Subcommand)]
pub enum ConfigCommand {
    /// JSON Schema of the configuration file, for editors
    Schema,
    /// The configuration in force, whoever set it, as TOML (or JSON with -o json)
    Show,
}

/// Carries out a command.
///
/// # Errors
///
/// [`Failure::Unreachable`] when `show` finds no daemon.
pub fn config(command: ConfigCommand, global: &Global, output: &Output) -> Result<(), Failure> {
    match command {
        ConfigCommand::Schema => {
            let schema = serde_json::to_string_pretty(&crate::config::schema())
                .map_err(|error| Failure::Failed(format!("cannot write the schema: {error}")))?;
            output.text(&(schema + "\n"))
        }
        ConfigCommand::Show => {
            let daemon = Daemon::reach(global)?;
            match output.format {
                Format::Table => output.text(&daemon.ask(daemon.client.config_toml())?),
                Format::Json => output.json_only(&daemon.ask(daemon.client.config())?.value),
            }
        }
    }
}
