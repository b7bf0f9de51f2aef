//! `weir backend`: backends of a service.

use std::time::{Duration, Instant};

use clap::{Args, Subcommand};

use super::Global;
use super::failure::Failure;
use super::output::Output;
use super::reach::{Daemon, report};
use super::units::parse_duration;
use crate::config::parse;
use crate::control::types::{
    BackendDocument, BackendPut, BackendStats, Code, L7Worker, L7WorkerState, ServiceDocument,
};
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
    /// Wait until it has no flows left (with `l7`: requests and tunnels), at most this long, but 3 s with `l7`, whose workers
    /// tell once a second (exit 1 if it still has)
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
        BackendCommand::Undrain(_) => {
            // The drain is over, whether or not this can be told.
            if let Ok(Some(why)) = still_nothing(&daemon, service, &name) {
                output.say(&why);
            }
            Ok(())
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
    let begun = Instant::now();
    let end = begun + wait;
    loop {
        let stats = daemon.reading_after(BETWEEN_LOOKS)?;
        let found = stats
            .services
            .iter()
            .find(|found| found.service == service)
            .and_then(|found| found.backends.iter().find(|found| found.address == backend));
        let left = match found.map(left) {
            None => return done(backend, "flows", output),
            Some(Some(left)) => left,
            Some(None) => {
                return Err(Failure::Failed(format!(
                    "{service} forwards without exact flows, so that nobody can tell when {backend} has none left; \
                     watch its packets with `weir service show {service}`"
                )));
            }
        };
        let (count, what) = left;
        // What workers said last may be from before the drain.
        let reported = what == FLOWS || begun.elapsed() >= WORKERS_REPORT;
        let known = what == FLOWS || all_follow(daemon)?;
        if count == 0 && reported && known {
            return done(backend, what, output);
        }
        if Instant::now() >= end && reported {
            let why = match known {
                true => format!("{backend} still has {count} {what}"),
                false => "an L7 worker does not serve by the drain yet, see `weir l7 status`".to_owned(),
            };
            return Err(Failure::Failed(format!("{why}; it goes on draining")));
        }
        if count > 0 {
            output.say(&format!("{backend}: {count} {what} left"));
        }
    }
}

/// Whether all workers serve by what is in force.
fn all_follow(daemon: &Daemon) -> Result<bool, Failure> {
    let status = daemon.ask(daemon.client.l7_status())?.value;
    let follows =
        |worker: &L7Worker| matches!(worker.state, L7WorkerState::Serving | L7WorkerState::Draining);
    Ok(status.workers.iter().all(follows))
}

/// What a backend has left, and what that is; `None`: nobody counts it.
fn left(backend: &BackendStats) -> Option<(u64, &'static str)> {
    match (&backend.l7_traffic, backend.flows) {
        (Some(l7), _) => Some((l7.requests_active.saturating_add(l7.requests_pending), REQUESTS)),
        (None, Some(flows)) => Some((flows, FLOWS)),
        (None, None) => None,
    }
}

fn done(backend: &str, what: &str, output: &Output) -> Result<(), Failure> {
    output.say(&format!("{backend} has no {what} left"));
    Ok(())
}

/// Why a backend gets nothing new although it no longer drains.
fn still_nothing(daemon: &Daemon, service: &str, backend: &str) -> Result<Option<String>, Failure> {
    let document = daemon.ask(daemon.client.service(service))?.value;
    let found = document.backends.iter().find(|found| found.address == backend);
    Ok(found.and_then(|found| silent(service, found)))
}

fn silent(service: &str, backend: &BackendDocument) -> Option<String> {
    let BackendDocument { address, weight, health, .. } = backend;
    match (weight, health.up) {
        (0, _) => Some(format!(
            "{address} has weight 0 and still gets nothing new; \
             `weir backend weight {service} {address} 100` gives it a share"
        )),
        (_, false) => {
            let why = health.detail.as_deref().unwrap_or("`weir service show` has more");
            Some(format!("{address} is down and gets nothing new until it is up: {why}"))
        }
        (_, true) => None,
    }
}

fn weight_range() -> clap::builder::RangedI64ValueParser<u16> {
    clap::value_parser!(u16).range(0..=i64::from(parse::MAX_WEIGHT))
}

const BETWEEN_LOOKS: Duration = Duration::from_millis(1_050);
const FLOWS: &str = "flows";
const REQUESTS: &str = "requests or connections under way";
/// After this long all workers have reported what is from behind a change: each second, and a moment for the daemon's own.
const WORKERS_REPORT: Duration = Duration::from_millis(3_000);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::types::{L7Traffic, Traffic};
    use crate::model::AdminState;

    fn stats(flows: Option<u64>, l7_traffic: Option<L7Traffic>) -> BackendStats {
        BackendStats {
            address: "10.0.0.11:80".into(),
            traffic: Traffic::default(),
            flows,
            l7_traffic,
            weight: 100,
            state: AdminState::Drain,
            up: true,
        }
    }

    #[test]
    fn flows_or_requests_are_waited_for_and_else_nothing() {
        assert_eq!(left(&stats(Some(3), None)), Some((3, FLOWS)));
        assert_eq!(left(&stats(None, None)), None);
        let l7 = L7Traffic { requests_active: 2, requests_pending: 1, ..L7Traffic::default() };
        assert_eq!(left(&stats(None, Some(l7))), Some((3, REQUESTS)));
    }

    #[test]
    fn the_end_of_a_drain_says_where_nothing_comes_of_it() {
        let backend = |weight: u16, up: bool| -> BackendDocument {
            serde_json::from_value(serde_json::json!({
                "address": "10.0.0.11:80", "weight": weight, "state": "active", "origin": "file",
                "overridden": false, "health": {"up": up, "detail": "refused"},
            }))
            .unwrap()
        };
        assert_eq!(silent("web", &backend(100, true)), None);
        let told = silent("web", &backend(0, true)).unwrap();
        assert!(
            told.contains("weight 0") && told.contains("weir backend weight web 10.0.0.11:80 100"),
            "{told}"
        );
        assert!(silent("web", &backend(7, false)).unwrap().contains("refused"));
    }
}
