//! `weir l7`: workers of the L7 path, their connections, and the routes that they serve by.

use std::collections::BTreeMap;

use clap::{Args, Subcommand};

use super::Global;
use super::failure::Failure;
use super::l7_settings::{self, SetArgs, ShowArgs, UnsetArgs};
use super::output::{Colour, Output};
use super::reach::Daemon;
use super::table::{Align, Table, printable};
use super::units::{count, duration};
use crate::control::types::{
    L7Action, L7Connection, L7Connections, L7Routes, L7Service, L7Status, L7WorkerState,
};

/// Commands on the L7 path.
#[derive(Clone, Debug, Subcommand)]
pub enum L7Command {
    /// Workers: process, state, generation, connections, restarts, what is wrong; and what each service has had
    Status,
    /// Live connections of clients: service, protocol, backend, age, requests, bytes
    Connections(ConnectionsArgs),
    /// Services with their hosts and routes in order, as workers have them
    Routes(RoutesArgs),
    /// How a service is served, whoever set it: codec, settings, hosts and routes, as text that `set` reads
    Show(ShowArgs),
    /// Set how a service is served, all of it at once; connections stay
    Set(SetArgs),
    /// Drop what `set` has set: the file's settings hold, or plain TCP where a service is not the file's
    Unset(UnsetArgs),
}

/// Which connections.
#[derive(Clone, Debug, Args)]
pub struct ConnectionsArgs {
    /// Those of this service only
    #[arg(long, value_name = "NAME")]
    pub service: Option<String>,
    /// So many of each worker at most
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub limit: u32,
}

/// Which routes.
#[derive(Clone, Debug, Args)]
pub struct RoutesArgs {
    /// Those of this service only
    #[arg(long, value_name = "NAME")]
    pub service: Option<String>,
}

/// Carries out a command.
///
/// # Errors
///
/// What the daemon refuses, and [`Failure::Unreachable`] where there is none.
pub fn l7(command: L7Command, global: &Global, output: &Output) -> Result<(), Failure> {
    if let L7Command::Set(args) = &command {
        return l7_settings::set(args, global, output);
    }
    let daemon = Daemon::reach(global)?;
    match command {
        L7Command::Set(_) => Ok(()),
        L7Command::Show(args) => l7_settings::show(&args, &daemon, output),
        L7Command::Unset(args) => l7_settings::unset(&args, &daemon, output),
        L7Command::Status => {
            output.data(&daemon.ask(daemon.client.l7_status())?.value, |found| status(found, output))
        }
        L7Command::Connections(args) => {
            let asked = daemon.client.l7_connections(args.service.as_deref(), args.limit);
            let found = daemon.ask(asked)?.value;
            if !found.silent.is_empty() {
                let silent: Vec<_> = found.silent.iter().map(ToString::to_string).collect();
                output.say(&format!("no answer in time from worker {}", silent.join(", ")));
            }
            if found.more {
                output.say("there are more; --limit N shows up to 1000 of each worker, --service NAME fewer");
            }
            output.data(&found, connections)
        }
        L7Command::Routes(args) => {
            let asked = daemon.client.l7_routes(args.service.as_deref());
            output.data(&daemon.ask(asked)?.value, routes)
        }
    }
}

const NONE: &str = "no L7 workers; a service with `forward = \"l7\"` starts them\n";

fn status(found: &L7Status, output: &Output) -> String {
    if found.workers.is_empty() {
        return NONE.to_owned();
    }
    let mut table = Table::new(&[
        ("WORKER", Align::Left),
        ("PID", Align::Right),
        ("STATE", Align::Left),
        ("GEN", Align::Right),
        ("CONNS", Align::Right),
        ("ACTIVE", Align::Right),
        ("RESTARTS", Align::Right),
        ("LAST END", Align::Left),
        ("TROUBLE", Align::Left),
    ]);
    let or_dash = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
    for one in &found.workers {
        table.row([
            or_dash(one.worker.map(|number| number.to_string())),
            or_dash(one.pid.map(|pid| pid.to_string())),
            one.state.label().to_owned(),
            or_dash(one.generation.map(|generation| generation.to_string())),
            count(one.connections, false),
            count(one.requests_active, false),
            one.restarts.to_string(),
            or_dash(one.last_end.clone()),
            one.trouble.clone().unwrap_or_default(),
        ]);
    }
    let serving = found.workers.iter().filter(|one| one.state == L7WorkerState::Serving).count();
    let all = found.workers.iter().filter(|one| one.worker.is_some()).count();
    let colour = if serving == all { Colour::Green } else { Colour::Red };
    let state = output.paint(colour, &format!("{serving}/{all}"));
    let generation = found.generation.map_or_else(|| "none".to_owned(), |number| number.to_string());
    let connections = count(found.connections, false);
    let mut text = format!("{state} workers serve  generation {generation}  connections {connections}\n");
    text.push_str(&table.render());
    let mut table = Table::new(&[
        ("SERVICE", Align::Left),
        ("CONNS", Align::Right),
        ("REQUESTS", Align::Right),
        ("ACTIVE", Align::Right),
        ("PENDING", Align::Right),
        ("2XX", Align::Right),
        ("3XX", Align::Right),
        ("4XX", Align::Right),
        ("5XX", Align::Right),
        ("RETRIES", Align::Right),
        ("RESETS", Align::Right),
    ]);
    for one in &found.services {
        let numbers = [one.connections, one.requests, one.requests_active, one.pending];
        // No request has an interim answer for its last.
        let classes = one.classes.iter().skip(1).take(4).copied();
        let numbers = numbers.into_iter().chain(classes).chain([one.retries, one.resets]);
        table.row(std::iter::once(one.service.clone()).chain(numbers.map(|number| count(number, false))));
    }
    if !table.is_empty() {
        text.push('\n');
        text.push_str(&table.render());
    }
    for one in found.services.iter().filter(|one| !one.reasons.is_empty()) {
        let list = |counts: &BTreeMap<String, u64>| {
            let counts: Vec<_> =
                counts.iter().map(|(what, times)| format!("{what} {}", count(*times, false))).collect();
            counts.join(", ")
        };
        let refused = match list(&one.refused) {
            none if none.is_empty() => none,
            kinds => format!("; refused for {kinds}"),
        };
        text.push_str(&printable(&format!(
            "{} answered by weir: {}{refused}",
            one.service,
            list(&one.reasons)
        )));
        text.push('\n');
    }
    text
}

fn connections(found: &L7Connections) -> String {
    let mut table = Table::new(&[
        ("WORKER", Align::Left),
        ("CLIENT", Align::Left),
        ("SERVICE", Align::Left),
        ("CODEC", Align::Left),
        ("STATE", Align::Left),
        ("BACKEND", Align::Left),
        ("AGE", Align::Right),
        ("REQUESTS", Align::Right),
        ("ACTIVE", Align::Right),
        ("IN", Align::Right),
        ("OUT", Align::Right),
    ]);
    let mut sorted: Vec<&L7Connection> = found.connections.iter().collect();
    sorted.sort_by_key(|one| (one.service.as_str(), std::cmp::Reverse(one.age_ms)));
    for one in sorted {
        table.row([
            one.worker.to_string(),
            one.client.clone(),
            one.service.clone(),
            one.codec.clone().unwrap_or_else(|| "-".to_owned()),
            one.state.clone(),
            one.upstream.clone().unwrap_or_else(|| "-".to_owned()),
            duration(one.age_ms / 1_000),
            count(one.requests, false),
            one.requests_active.to_string(),
            count(one.bytes_up, false),
            count(one.bytes_down, false),
        ]);
    }
    if table.is_empty() { "no connections\n".to_owned() } else { table.render() }
}

fn routes(found: &L7Routes) -> String {
    let Some(generation) = found.generation else { return NONE.to_owned() };
    let mut text =
        format!("generation {generation}, in force in {} of {} workers\n", found.acknowledged, found.workers);
    for service in &found.services {
        text.push_str(&service_text(service));
    }
    text
}

fn service_text(service: &L7Service) -> String {
    let mut text = format!(
        "\n{} {}  {}  {}  {}/{} backends take requests\n",
        printable(&service.name),
        service.vip,
        printable(&service.codec),
        printable(&service.balance),
        service.endpoints_active,
        service.endpoints
    );
    if service.virtual_hosts.is_empty() {
        let timeout = service.timeout_ms.map(|ms| format!(", timeout {ms} ms")).unwrap_or_default();
        text.push_str(&format!("  every request: forward to the service itself{timeout}\n"));
    }
    for host in &service.virtual_hosts {
        text.push_str(&format!("  {}: {}\n", printable(&host.name), printable(&host.hosts.join(", "))));
        for (number, route) in host.routes.iter().enumerate() {
            let whom = match route.matches.as_slice() {
                [] => "every request".to_owned(),
                all => all.join(", "),
            };
            let (number, name) = (number + 1, printable(&route.name));
            text.push_str(&format!("    {number}. {name}: {}\n", printable(&whom)));
            text.push_str(&format!("       {}\n", printable(&action(&route.does))));
            for change in &route.does.request_headers {
                text.push_str(&format!("       request: {}\n", printable(change)));
            }
            for change in &route.does.response_headers {
                text.push_str(&format!("       answer: {}\n", printable(change)));
            }
        }
    }
    text
}

fn action(does: &L7Action) -> String {
    if !does.action.starts_with("forward") {
        return does.action.clone();
    }
    let timeout = does.timeout_ms.map(|ms| format!(", timeout {ms} ms")).unwrap_or_default();
    let budget = does.retry_budget_percent;
    format!("{}{timeout}, up to {} retries (budget {budget}%)", does.action, does.retries)
}

#[cfg(test)]
#[path = "l7_tests.rs"]
mod tests;
