//! Small commands: `weir reload`, `weir metrics`, `weir version`.

use serde::Serialize;

use super::Global;
use super::failure::Failure;
use super::output::Output;
use super::reach::Daemon;

/// Has the daemon read its configuration again.
///
/// # Errors
///
/// The error in the configuration; the old state is in force then.
pub fn reload(global: &Global, output: &Output) -> Result<(), Failure> {
    let daemon = Daemon::reach(global)?;
    let answer = daemon.ask(daemon.client.reload())?;
    for warning in &answer.warnings {
        output.say(&format!("warning {}: {}", warning.code, warning.detail));
    }
    output.data(&answer, |answer| {
        let changed = if answer.changed { "" } else { ", nothing changed" };
        let registries = match answer.registries.as_slice() {
            [] => String::new(),
            some => format!("; registries: {}", some.join(", ")),
        };
        format!("generation {} in force{changed}{registries}\n", answer.generation)
    })
}

/// Prints the counters as Prometheus text, whatever `-o` says.
///
/// # Errors
///
/// [`Failure::Unreachable`] where there is no daemon.
pub fn metrics(global: &Global, output: &Output) -> Result<(), Failure> {
    let daemon = Daemon::reach(global)?;
    output.text(&daemon.ask(daemon.client.metrics())?)
}

/// Prints the version of this binary.
///
/// # Errors
///
/// [`Failure::Failed`] when stdout cannot be written.
pub fn version(output: &Output) -> Result<(), Failure> {
    #[derive(Serialize)]
    struct Version {
        version: &'static str,
        /// Version of the pinned maps' layout.
        schema: u64,
    }
    let version = Version { version: env!("CARGO_PKG_VERSION"), schema: proxy_common::SCHEMA_VERSION };
    output.data(&version, |version| format!("weir {} (map schema {})\n", version.version, version.schema))
}
