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
    /// What is in force of lists, services and backends, of the file, flags, API and registries together, as TOML
    ///
    /// It is not the file, and `weir run` does not read it: what the file does not set stands there with its default, what API
    /// and registries have set stands beside it, and the daemon's own settings (`[api]`, `[interface]`, `[registry]`,
    /// `[limits]` and the like) are not in it. With -o json the same as JSON.
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
