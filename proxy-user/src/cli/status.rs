//! `weir status`: what the daemon does now, on one screen.

use clap::CommandFactory;

use super::failure::Failure;
use super::output::{Colour, Format, Output};
use super::rates::Readings;
use super::reach::Daemon;
use super::table::{Align, Table, printable};
use super::units::{count, duration, rate_text, since};
use super::{Cli, Global, origin_word};
use crate::control::types::{InterfaceStats, InterfaceStatus, Status, XdpMode};

/// Shows the status.
///
/// # Errors
///
/// [`Failure::Unreachable`] where there is no daemon.
pub fn status(global: &Global, output: &Output) -> Result<(), Failure> {
    let daemon = Daemon::reach(global)?;
    show(&daemon, output)
}

/// The status where a daemon runs, else the help: `weir` without a command.
///
/// # Errors
///
/// What goes wrong other than that there is no daemon.
pub fn or_help(global: &Global, output: &Output) -> Result<(), Failure> {
    match status(global, output) {
        Err(Failure::Unreachable { .. }) => output.text(&Cli::command().render_help().to_string()),
        other => other,
    }
}

fn show(daemon: &Daemon, output: &Output) -> Result<(), Failure> {
    let first = daemon.ask(daemon.client.status())?.value;
    if output.format == Format::Json {
        return output.json_only(&first);
    }
    // Rates are an extra: without counters the status stands alone.
    match daemon.two_readings() {
        Ok((before, now)) => {
            let status = daemon.ask(daemon.client.status())?.value;
            output.text(&text(&status, Some(&Readings::new(Some(&before), &now)), output))
        }
        Err(Failure::Refused { .. }) => output.text(&text(&first, None, output)),
        Err(failure) => Err(failure),
    }
}

fn text(status: &Status, readings: Option<&Readings<'_>>, output: &Output) -> String {
    let ready = if status.ready {
        output.paint(Colour::Green, "ready")
    } else {
        output.paint(Colour::Red, "NOT READY")
    };
    let mut text = format!(
        "weir {}  {ready}  up {}  generation {}  pid {}\n",
        status.version,
        duration(status.uptime_seconds),
        status.generation,
        status.pid
    );
    for condition in status.conditions.iter().filter(|condition| !condition.ok) {
        let detail = condition.detail.as_deref().unwrap_or("no detail");
        text.push_str(&format!("  not {}: {}\n", condition.name, printable(detail)));
    }
    text.push_str(&change_lines(status));
    let counts = status.counts;
    text.push_str(&format!(
        "{} lists with {} entries, {} services, {}/{} backends up\n\n",
        counts.lists,
        count(counts.acl_entries, false),
        counts.services,
        counts.backends_up,
        counts.backends
    ));
    text.push_str(&interfaces(status, readings).render());
    for interface in status.interfaces.iter().filter(|interface| interface.detail.is_some()) {
        let detail = interface.detail.as_deref().unwrap_or_default();
        text.push_str(&format!("  {}: {}\n", interface.name, printable(detail)));
    }
    text.push_str(&registries(status));
    text.push_str(&notes(status, output));
    text
}

/// One line for all registries.
fn registries(status: &Status) -> String {
    if status.registries.is_empty() {
        return String::new();
    }
    let words = status.registries.iter().map(|registry| {
        let mut text = format!("{} ({}) {}", registry.name, registry.kind, registry.session.label());
        match registry.last_success_age_seconds {
            Some(age) => text.push_str(&format!(", answered {} ago", duration(age))),
            None if registry.queries > 0 => text.push_str(", never answered"),
            None => {}
        }
        if registry.unknown > 0 {
            text.push_str(&format!(", {} of {} names unknown", registry.unknown, registry.queries));
        }
        if let Some(error) = &registry.error {
            text.push_str(&format!(": {}", printable(error)));
        }
        text
    });
    format!("\nregistries: {}\n", words.collect::<Vec<_>>().join("; "))
}

fn change_lines(status: &Status) -> String {
    // The daemon's own clock, so that ages are right whatever ours says.
    let now = jiff::Timestamp::from_second(
        status.started_at.as_second().saturating_add_unsigned(status.uptime_seconds),
    )
    .unwrap_or(status.started_at);
    let mut text = String::new();
    if let Some(change) = &status.last_change {
        let who = change.by.map(|peer| format!(" by uid {}", peer.uid)).unwrap_or_default();
        text.push_str(&format!(
            "last change {} ago, {}{who}: {}\n",
            since(now, change.at),
            origin_word(change.origin),
            printable(&change.what)
        ));
    }
    if let Some(reload) = &status.last_reload
        && let Some(error) = &reload.error
    {
        let ago = since(now, reload.at);
        let error: Vec<_> = error.lines().map(printable).collect();
        text.push_str(&format!(
            "last reload FAILED {ago} ago, the state before it is in force: {}\n",
            error.join("\n  ")
        ));
    }
    text
}

fn interfaces(status: &Status, readings: Option<&Readings<'_>>) -> Table {
    let mut table = Table::new(&[
        ("INTERFACE", Align::Left),
        ("MODE", Align::Left),
        ("DRIVER", Align::Left),
        ("PROG", Align::Right),
        ("", Align::Left),
        ("SEEN", Align::Right),
        ("DROPPED", Align::Right),
        ("STEERED", Align::Right),
        ("PASSED", Align::Right),
    ]);
    for interface in &status.interfaces {
        let packets = interface.packets;
        let totals = [packets.seen, packets.dropped, packets.steered, packets.passed];
        table.row(
            [
                interface.name.clone(),
                mode_word(interface).to_owned(),
                interface.driver.clone().unwrap_or_else(|| "-".to_owned()),
                interface.program_id.map_or_else(|| "-".to_owned(), |id| id.to_string()),
                "packets".to_owned(),
            ]
            .into_iter()
            .chain(totals.map(|total| count(total, false))),
        );
        if let Some(readings) = readings {
            let rates = ["", "drop", "steer", "pass"].map(|verdict| {
                rate_text(readings.interface(&interface.name, |stats| of_verdict(stats, verdict)).0, false)
            });
            let blank = [const { String::new() }; 4];
            table.row(blank.into_iter().chain(["per s".to_owned()]).chain(rates));
        }
    }
    table
}

/// Packets and bytes of a verdict; of all for "".
fn of_verdict(stats: &InterfaceStats, verdict: &str) -> (u64, u64) {
    stats.reasons.iter().filter(|found| verdict.is_empty() || found.verdict == verdict).fold(
        (0, 0),
        |(packets, bytes): (u64, u64), found| {
            (packets.saturating_add(found.packets), bytes.saturating_add(found.bytes))
        },
    )
}

fn mode_word(interface: &InterfaceStatus) -> &'static str {
    match (interface.attached, interface.mode) {
        (true, mode) => mode.map_or("attached", XdpMode::label),
        (false, _) if interface.ifindex.is_none() => "ABSENT",
        (false, _) => "DETACHED",
    }
}

fn notes(status: &Status, output: &Output) -> String {
    let mut text = String::new();
    for warning in &status.warnings {
        let code = output.paint(Colour::Yellow, &warning.code);
        text.push_str(&format!("warning {code}: {}\n", printable(&warning.detail)));
    }
    for list in &status.orphaned {
        let held = list.entries_api;
        text.push_str(&format!(
            "not in force: {held} entries of the list {}, which the file no longer has\n",
            list.name
        ));
    }
    if !status.overrides.is_empty() {
        text.push_str(&format!("set by the API over the file: {}\n", status.overrides.join(", ")));
    }
    if text.is_empty() { text } else { format!("\n{text}") }
}

#[cfg(test)]
#[path = "status_tests.rs"]
mod tests;
