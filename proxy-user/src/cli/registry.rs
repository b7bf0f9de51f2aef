//! `weir registry`: sessions with registries, what is known by them, and where each backend comes from.

use clap::{Args, Subcommand};
use jiff::Timestamp;

use super::Global;
use super::failure::Failure;
use super::output::Output;
use super::reach::Daemon;
use super::table::{Align, Table, printable};
use super::units::{duration, since, until};
use crate::control::types::{
    EndpointStatus, Endpoints, HoldStatus, KnowledgeState, PublicationState, PublicationStatus, QueryStatus,
    Registries, RegistryStatus,
};

/// Commands on registries.
#[derive(Clone, Debug, Subcommand)]
pub enum RegistryCommand {
    /// All registries, a line each
    List,
    /// Sessions, what is asked and known, entries refused with reasons, what is registered
    Status(MaybeArgs),
    /// Every endpoint known of for a service: where it comes from, and why it is not used
    Dump(ServiceArgs),
    /// Ask a registry, or all, again for everything; nothing is removed that they still have
    Sync(MaybeArgs),
    /// Carry out the removals of a service that the guard holds
    Accept(AcceptArgs),
}

/// The name of a registry, or none for all.
#[derive(Clone, Debug, Args)]
pub struct MaybeArgs {
    /// The registry; all without it
    pub name: Option<String>,
}

/// The name of a service.
#[derive(Clone, Debug, Args)]
pub struct ServiceArgs {
    /// The service
    pub service: String,
}

/// Which removals.
#[derive(Clone, Debug, Args)]
pub struct AcceptArgs {
    /// The service
    pub service: String,
    /// Number of the hold, as it was shown; refused if other removals wait by now. Without it: what waits now
    #[arg(long, value_name = "NUMBER")]
    pub hold: Option<u32>,
}

/// Carries out a command.
///
/// # Errors
///
/// What the daemon refuses, and [`Failure::Unreachable`] where there is none.
pub fn registry(command: RegistryCommand, global: &Global, output: &Output) -> Result<(), Failure> {
    let daemon = Daemon::reach(global)?;
    match command {
        RegistryCommand::List => output.data(&daemon.ask(daemon.client.registries())?.value, list),
        RegistryCommand::Status(MaybeArgs { name: None }) => {
            let found = daemon.ask(daemon.client.registries())?.value;
            output.data(&found, |found| {
                if found.registries.is_empty() {
                    return list(found);
                }
                found
                    .registries
                    .iter()
                    .map(|one| status(one, Timestamp::now()))
                    .collect::<Vec<_>>()
                    .join("\n")
            })
        }
        RegistryCommand::Status(MaybeArgs { name: Some(name) }) => {
            let found = daemon.ask(daemon.client.registry(&name))?.value;
            output.data(&found, |found| status(found, Timestamp::now()))
        }
        RegistryCommand::Dump(args) => {
            let found = daemon.ask(daemon.client.endpoints(&args.service))?.value;
            output.data(&found, |found| dump(found, Timestamp::now()))
        }
        RegistryCommand::Sync(args) => {
            let answer = daemon.ask(daemon.client.sync(args.name.as_deref()))?;
            output.say(&format!("asked again: {}", answer.registries.join(", ")));
            output.json_only(&answer)
        }
        RegistryCommand::Accept(args) => {
            let hold = match args.hold {
                Some(shown) => Some(shown),
                None => {
                    daemon.ask(daemon.client.endpoints(&args.service))?.value.hold.map(|hold| hold.number)
                }
            };
            let answer = daemon.ask(daemon.client.accept(&args.service, hold))?;
            output.say(&format!("removed from {}: {}", answer.service, answer.removed.join(", ")));
            output.json_only(&answer)
        }
    }
}

fn list(found: &Registries) -> String {
    if found.registries.is_empty() {
        return "no registries; `[registry.NAME]` in the configuration adds one\n".to_owned();
    }
    let mut table = Table::new(&[
        ("NAME", Align::Left),
        ("KIND", Align::Left),
        ("SESSION", Align::Left),
        ("PEER", Align::Left),
        ("ANSWERED", Align::Right),
        ("NAMES", Align::Right),
        ("ENDPOINTS", Align::Right),
        ("REFUSED", Align::Right),
        ("VIPS", Align::Right),
    ]);
    for one in &found.registries {
        let known = one.queries.iter().filter(|query| query.state != KnowledgeState::Unknown).count();
        let registered =
            one.publications.iter().filter(|one| one.state == PublicationState::Published).count();
        let sum = |part: fn(&QueryStatus) -> u64| one.queries.iter().map(part).fold(0, u64::saturating_add);
        table.row([
            one.name.clone(),
            one.kind.clone(),
            one.session.label().to_owned(),
            one.peer.clone().unwrap_or_else(|| "-".to_owned()),
            one.last_success_age_seconds
                .map_or_else(|| "never".to_owned(), |age| format!("{} ago", duration(age))),
            format!("{known}/{}", one.queries.len()),
            sum(|query| query.accepted).to_string(),
            sum(|query| query.refused).to_string(),
            format!("{registered}/{}", one.publications.len()),
        ]);
    }
    table.render()
}

fn status(one: &RegistryStatus, now: Timestamp) -> String {
    let peer = one.peer.as_ref().map(|peer| format!(" to {}", printable(peer))).unwrap_or_default();
    let mut text = format!(
        "{} ({})  {}{peer} for {}  sessions {}  failures {}  events {}\n",
        one.name,
        one.kind,
        one.session.label(),
        since(now, one.since),
        one.sessions,
        one.failures,
        one.events
    );
    match one.last_success_age_seconds {
        Some(age) => text.push_str(&format!("  last answer {} ago\n", duration(age))),
        None if !one.queries.is_empty() => text.push_str("  never answered since weir started\n"),
        None => {}
    }
    if let Some(error) = &one.last_error {
        text.push_str(&format!(
            "  last failure {} ago: {}\n",
            since(now, error.at),
            printable(&error.detail)
        ));
    }
    if let Some(next) = one.next_try {
        text.push_str(&format!("  next try in {}\n", until(now, next)));
    }
    for query in &one.queries {
        text.push_str(&format!("  {}: {}\n", query.service, query_line(query)));
        for refused in &query.examples {
            let (entry, reason) = (printable(&refused.entry), printable(&refused.reason));
            text.push_str(&format!("    refused `{entry}`: {reason}\n"));
        }
    }
    for publication in &one.publications {
        text.push_str(&format!("  {}\n", publication_line(publication)));
    }
    text
}

/// What is asked and known, in a line.
pub(super) fn query_line(query: &QueryStatus) -> String {
    let options = query.options.iter().map(|(key, value)| format!(" {key}={}", printable(value)));
    let options = options.collect::<String>();
    let mut text = format!(
        "{}/{}{options}  {}  {} endpoints",
        query.registry,
        printable(&query.name),
        query.state.label(),
        query.accepted
    );
    if query.refused > 0 {
        text.push_str(&format!(", {} refused", query.refused));
    }
    if let Some(version) = &query.version {
        text.push_str(&format!(", version {}", printable(version)));
    }
    if let Some(age) = query.last_success_age_seconds {
        let whence = if query.remembered { "remembered, " } else { "" };
        text.push_str(&format!(", {whence}{} old", duration(age)));
    }
    if let Some(detail) = &query.detail {
        text.push_str(&format!(": {}", printable(detail)));
    }
    text
}

/// Removals that wait, in a line.
pub(super) fn hold_line(service: &str, hold: &HoldStatus) -> String {
    let until = match hold.until {
        Some(until) => format!("until {} UTC or ", until.strftime("%Y-%m-%d %H:%M:%S")),
        None => "until ".to_owned(),
    };
    format!(
        "held: {} removals wait {until}`weir registry accept {service} --hold {}`, because {}: {}",
        hold.addresses.len(),
        hold.number,
        hold.reason.text(),
        hold.addresses.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ")
    )
}

/// A registered VIP, in a line.
pub(super) fn publication_line(publication: &PublicationStatus) -> String {
    let detail = publication.detail.as_ref().map(|why| format!(": {}", printable(why))).unwrap_or_default();
    format!(
        "VIP {} of {} as {} in {}  {}{detail}",
        publication.address,
        publication.service,
        printable(&publication.name),
        publication.registry,
        publication.state.label()
    )
}

fn dump(found: &Endpoints, now: Timestamp) -> String {
    let mut text = String::new();
    for source in &found.sources {
        text.push_str(&format!("from {}\n", query_line(source)));
    }
    if let Some(hold) = &found.hold {
        text.push_str(&hold_line(&found.service, hold));
        text.push('\n');
    }
    if found.panic {
        text.push_str("panic: too few are up, so all are used whatever the health checks say\n");
    }
    if found.candidates.is_empty() {
        text.push_str(&format!("no endpoints are known of for {}\n", found.service));
        return text;
    }
    let mut table = Table::new(&[
        ("ENDPOINT", Align::Left),
        ("WEIGHT", Align::Right),
        ("STANDING", Align::Left),
        ("SINCE", Align::Right),
        ("SOURCES", Align::Left),
        ("ZONE", Align::Left),
        ("CHECK", Align::Left),
        ("LABELS", Align::Left),
        ("WHY NOT", Align::Left),
    ]);
    for one in &found.candidates {
        table.row(endpoint_cells(one, now));
    }
    text + &table.render()
}

fn endpoint_cells(one: &EndpointStatus, now: Timestamp) -> [String; 9] {
    let sources = if one.sources.is_empty() { "file or api".to_owned() } else { one.sources.join(",") };
    let check = one.checked.as_ref().map(|checked| if checked.up { "up" } else { "down" });
    let labels = one.labels.iter().map(|(key, value)| format!("{key}={value}"));
    [
        one.address.clone(),
        one.weight.to_string(),
        one.standing.label().to_owned(),
        since(now, one.since),
        sources,
        one.zone.clone().unwrap_or_else(|| "-".to_owned()),
        check.unwrap_or("-").to_owned(),
        labels.collect::<Vec<_>>().join(" "),
        one.detail.clone().unwrap_or_default(),
    ]
}

/// Addresses that a line names.
const SHOWN: usize = 10;

#[cfg(test)]
#[path = "registry_tests.rs"]
mod tests;
