//! `weir backend`: backends of a service.

use std::time::{Duration, Instant};

use clap::{Args, Subcommand};

use super::Global;
use super::failure::Failure;
use super::output::Output;
use super::reach::{Daemon, report};
use super::units::parse_duration;
use crate::config::parse;
use crate::control::types::{BackendPut, Code, ServiceDocument};
use crate::model::{BackendAddr, Vip};

/// Commands on backends.
#[derive(Clone, Debug, Subcommand)]
pub enum BackendCommand {
    /// Add a backend to a service
    Add(AddArgs),
    /// Remove a backend of the API; its flows end
    Del(BackendArgs),
    /// Set a backend's weight; 0 drains it
    Weight(WeightArgs),
    /// Give a backend no new flows; old ones go on
    Drain(DrainArgs),
    /// End a drain
    Undrain(BackendArgs),
}

/// A backend.
#[derive(Clone, Debug, Args)]
pub struct BackendArgs {
    /// The service
    pub service: String,
    /// The backend; without a port it takes the VIP's
    #[arg(value_name = "ADDR:PORT")]
    pub backend: String,
}

/// Arguments of `weir backend add`.
#[derive(Clone, Debug, Args)]
pub struct AddArgs {
    /// Which.
    #[command(flatten)]
    pub which: BackendArgs,
    /// Share of the flows, 0 to 1000 [default: 100]
    #[arg(long, value_name = "N", value_parser = weight_range())]
    pub weight: Option<u16>,
}

/// Arguments of `weir backend weight`.
#[derive(Clone, Debug, Args)]
pub struct WeightArgs {
    /// Which.
    #[command(flatten)]
    pub which: BackendArgs,
    /// Share of the flows, 0 to 1000
    #[arg(value_parser = weight_range())]
    pub weight: u16,
}

/// Arguments of `weir backend drain`.
#[derive(Clone, Debug, Args)]
pub struct DrainArgs {
    /// Which.
    #[command(flatten)]
    pub which: BackendArgs,
    /// Wait until it has no flows left, at most this long (exit 1 if it still has)
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub wait: Option<Duration>,
}

/// Carries out a command.
///
/// # Errors
///
/// What the daemon refuses, and [`Failure::Unreachable`] where there is none.
pub fn backend(command: BackendCommand, global: &Global, output: &Output) -> Result<(), Failure> {
    let daemon = Daemon::reach(global)?;
    let which = match &command {
        BackendCommand::Add(AddArgs { which, .. })
        | BackendCommand::Weight(WeightArgs { which, .. })
        | BackendCommand::Drain(DrainArgs { which, .. })
        | BackendCommand::Del(which)
        | BackendCommand::Undrain(which) => which,
    };
    parse::name(&which.service).map_err(|error| Failure::Usage(error.to_string()))?;
    let service = which.service.as_str();
    let address = address(&daemon, which)?;
    let name = address.to_string();
    let options = daemon.options();
    let client = &daemon.client;
    let (applied, done) = match &command {
        BackendCommand::Add(AddArgs { weight, .. }) => {
            let put = BackendPut { address: None, weight: *weight, state: None };
            (daemon.ask(client.put_backend(service, &name, &put, options))?, "added")
        }
        BackendCommand::Del(_) => {
            match daemon.look(Code::UnknownBackend, client.delete_backend(service, &name, options))? {
                Some(applied) => (applied, "removed"),
                None => {
                    output.say(&format!("{service} has no backend {name}; nothing to change"));
                    return output.json_only(&serde_json::json!({"changed": false}));
                }
            }
        }
        BackendCommand::Weight(WeightArgs { weight, .. }) => {
            (daemon.ask(client.set_weight(service, &name, *weight, options))?, "set the weight of")
        }
        BackendCommand::Drain(_) => (daemon.ask(client.drain(service, &name, options))?, "draining"),
        BackendCommand::Undrain(_) => {
            (daemon.ask(client.undrain(service, &name, options))?, "no longer draining")
        }
    };
    report(&applied, &format!("{done} {name}"), output)?;
    match command {
        BackendCommand::Drain(DrainArgs { wait: Some(wait), .. }) => {
            wait_empty(&daemon, service, &name, wait, output)
        }
        _ => Ok(()),
    }
}

/// The backend's address. A bare one takes the VIP's port, for which the daemon is asked.
fn address(daemon: &Daemon, which: &BackendArgs) -> Result<BackendAddr, Failure> {
    let usage = |error: parse::ParseError| Failure::Usage(error.to_string());
    if let Ok(address) = which.backend.parse::<BackendAddr>() {
        return Ok(address);
    }
    parse::backend(&which.backend, 0).map_err(usage)?;
    let service: ServiceDocument = daemon.ask(daemon.client.service(&which.service))?.value;
    let vip: Vip = service.vip.parse().map_err(usage)?;
    parse::backend(&which.backend, vip.port).map_err(usage)
}

fn wait_empty(
    daemon: &Daemon,
    service: &str,
    backend: &str,
    wait: Duration,
    output: &Output,
) -> Result<(), Failure> {
    let end = Instant::now() + wait;
    loop {
        let stats = daemon.reading_after(BETWEEN_LOOKS)?;
        let found = stats
            .services
            .iter()
            .find(|found| found.service == service)
            .and_then(|found| found.backends.iter().find(|found| found.address == backend));
        match found.map(|found| found.flows) {
            None | Some(Some(0)) => {
                output.say(&format!("{backend} has no flows left"));
                return Ok(());
            }
            Some(None) => {
                return Err(Failure::Failed(format!(
                    "{service} forwards without exact flows, so that nobody can tell when {backend} has none left; \
                     watch its packets with `weir service show {service}`"
                )));
            }
            Some(Some(flows)) if Instant::now() >= end => {
                return Err(Failure::Failed(format!(
                    "{backend} still has {flows} flows; it goes on draining"
                )));
            }
            Some(Some(flows)) => output.say(&format!("{backend}: {flows} flows left")),
        }
    }
}

fn weight_range() -> clap::builder::RangedI64ValueParser<u16> {
    clap::value_parser!(u16).range(0..=i64::from(parse::MAX_WEIGHT))
}

const BETWEEN_LOOKS: Duration = Duration::from_millis(1_050);
