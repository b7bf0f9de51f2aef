//! `weir service`: VIPs.

mod add;
mod l7_view;
mod view;

use clap::{Args, Subcommand};
use serde_json::Value;

use super::failure::Failure;
use super::output::Output;
use super::rates::Readings;
use super::reach::{Daemon, report};
use super::registry::{hold_line, publication_line, query_line};
use super::table::printable;
use super::{Global, origin_word};
use crate::control::types::{Code, ServiceDocument, StatsSnapshot};
use crate::model::{Announce, Forward, UnknownPort};
pub use add::{AddArgs, AnnounceArg, ForwardArg, UnknownPortArg};
use view::{View, mode_word};

/// Commands on services.
#[derive(Clone, Debug, Subcommand)]
pub enum ServiceCommand {
    /// Add a service, or replace one of the API
    Add(AddArgs),
    /// Remove a service of the API, with its backends
    Del(NameArgs),
    /// All services with their backends, states and rates
    List(ListArgs),
    /// One service
    Show(ShowArgs),
    /// Take the VIP out of its registries; new clients no longer find it there, and it stays out until `publish`
    Withdraw(NameArgs),
    /// Put the VIP back into its registries
    Publish(NameArgs),
}

/// The name of a service.
#[derive(Clone, Debug, Args)]
pub struct NameArgs {
    /// The service
    pub name: String,
}

/// Arguments of `weir service list`.
#[derive(Clone, Debug, Args)]
pub struct ListArgs {
    /// All digits instead of 12.4k
    #[arg(long)]
    pub exact: bool,
    /// Answer at once, without rates
    #[arg(long)]
    pub no_rates: bool,
}

/// Arguments of `weir service show`.
#[derive(Clone, Debug, Args)]
pub struct ShowArgs {
    /// The service
    pub name: String,
    /// Form of the numbers.
    #[command(flatten)]
    pub list: ListArgs,
}

/// Carries out a command.
///
/// # Errors
///
/// What the daemon refuses, and [`Failure::Unreachable`] where there is none.
pub fn service(command: ServiceCommand, global: &Global, output: &Output) -> Result<(), Failure> {
    match command {
        ServiceCommand::Add(args) => add::add(&args, global, output),
        ServiceCommand::Del(args) => del(&args.name, &Daemon::reach(global)?, output),
        ServiceCommand::List(args) => list(&args, &Daemon::reach(global)?, output),
        ServiceCommand::Show(args) => show(&args, &Daemon::reach(global)?, output),
        ServiceCommand::Withdraw(args) => withdraw(&args.name, true, &Daemon::reach(global)?, output),
        ServiceCommand::Publish(args) => withdraw(&args.name, false, &Daemon::reach(global)?, output),
    }
}

fn del(name: &str, daemon: &Daemon, output: &Output) -> Result<(), Failure> {
    let options = daemon.options();
    match daemon.look(Code::UnknownService, daemon.client.delete_service(name, options))? {
        Some(applied) => report(&applied, &format!("removed {name}"), output),
        None => {
            output.say(&format!("there is no service {name}; nothing to change"));
            output.json_only(&serde_json::json!({"changed": false}))
        }
    }
}

fn withdraw(name: &str, withdrawn: bool, daemon: &Daemon, output: &Output) -> Result<(), Failure> {
    let applied = daemon.ask(daemon.client.set_withdrawn(name, withdrawn, daemon.options()))?;
    let verb = if withdrawn { "withdrew" } else { "published" };
    report(&applied, &format!("{verb} the VIP of {name}"), output)
}

fn list(args: &ListArgs, daemon: &Daemon, output: &Output) -> Result<(), Failure> {
    let (before, now) = readings(args, daemon)?;
    let services = daemon.ask(daemon.client.services())?.value;
    let view = View::new(services.generation, services.services, &Readings::new(before.as_ref(), &now));
    output.data(&view, |view| view.render(args.exact))
}

fn show(args: &ShowArgs, daemon: &Daemon, output: &Output) -> Result<(), Failure> {
    // The name first: a typo need not wait for two readings.
    daemon.ask(daemon.client.service(&args.name))?;
    let (before, now) = readings(&args.list, daemon)?;
    let found = daemon.ask(daemon.client.service(&args.name))?;
    let details = details(&found.value);
    let generation = found.generation.unwrap_or(now.generation);
    let view = View::new(generation, vec![found.value], &Readings::new(before.as_ref(), &now));
    output.data(&view, |view| format!("{}{details}", view.render(args.list.exact)))
}

fn readings(args: &ListArgs, daemon: &Daemon) -> Result<(Option<StatsSnapshot>, StatsSnapshot), Failure> {
    if args.no_rates {
        return Ok((None, daemon.ask(daemon.client.stats())?.value));
    }
    daemon.two_readings().map(|(before, now)| (Some(before), now))
}

/// What the table has no room for.
fn details(service: &ServiceDocument) -> String {
    let announce = match service.announce {
        Announce::Address => "address",
        Announce::None => "none",
    };
    let unknown_port = match service.unknown_port {
        UnknownPort::Drop => "drop",
        UnknownPort::Pass => "pass",
    };
    let mut text = format!(
        "forward {}, announce {announce}, unknown-port {unknown_port}, syn-budget {}, origin {}\n",
        mode_word(service.forward),
        service.syn_budget,
        origin_word(service.origin)
    );
    if let Some(codec) = &service.codec {
        let over = if service.l7_overridden { ", set by the API over the file" } else { "" };
        let routes = |value: &Option<Value>| value.as_ref().and_then(Value::as_array).map_or(0, Vec::len);
        text.push_str(&printable(&format!(
            "codec {codec}, routes: {}, hosts with their own: {}{over}; `weir l7 show {}` has all",
            routes(&service.route),
            routes(&service.host),
            service.name
        )));
        text.push('\n');
    }
    for backend in &service.backends {
        let way = |field: &Option<String>| field.clone().unwrap_or_else(|| "unknown".to_owned());
        let way = match service.forward {
            // XDP sends it nothing: workers connect to it.
            Forward::L7 => "over this host's own routes".to_owned(),
            Forward::Nat | Forward::DsrL2 => {
                format!("by {} next hop {}", way(&backend.health.interface), way(&backend.health.next_hop))
            }
        };
        text.push_str(&format!("  {} {way}, origin {}\n", backend.address, origin_word(backend.origin)));
    }
    for source in &service.sources {
        text.push_str(&format!("  from {}\n", query_line(source)));
    }
    if let Some(hold) = &service.hold {
        text.push_str(&format!("  {}\n", hold_line(&service.name, hold)));
    }
    for publication in &service.publications {
        text.push_str(&format!("  {}\n", publication_line(publication)));
    }
    text
}
