//! `weir stats`: the counters, once or every second.

use std::time::Duration;

use clap::Args;

use super::Global;
use super::failure::Failure;
use super::output::{Colour, Format, Output};
use super::rates::Readings;
use super::reach::Daemon;
use super::table::{Align, Table};
use super::units::{count, parse_duration, rate_text};
use crate::control::types::{InterfaceStats, ReasonCount, StatsSnapshot};

/// Arguments of `weir stats`.
#[derive(Clone, Debug, Args)]
pub struct StatsArgs {
    /// Show again every second, or every DURATION, until interrupted
    #[arg(
        long,
        value_name = "DURATION",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "1s",
        value_parser = parse_duration
    )]
    pub watch: Option<Duration>,
    /// All digits instead of 12.4k
    #[arg(long)]
    pub exact: bool,
    /// Reasons and lists without packets, too
    #[arg(long)]
    pub all: bool,
    /// Answer at once, without rates
    #[arg(long, conflicts_with = "watch")]
    pub no_rates: bool,
}

/// Shows the counters.
///
/// # Errors
///
/// [`Failure::Unreachable`] where there is no daemon; under `--watch` also when it goes away.
pub fn stats(args: &StatsArgs, global: &Global, output: &Output) -> Result<(), Failure> {
    let daemon = Daemon::reach(global)?;
    let form = Form { exact: args.exact, all: args.all };
    let Some(pause) = args.watch else {
        // JSON is one reading; whoever wants rates takes two, by their `at`.
        if args.no_rates || output.format == Format::Json {
            let now = daemon.ask(daemon.client.stats())?.value;
            return output.data(&now, |now| form.text(&Readings::new(None, now)));
        }
        let (before, now) = daemon.two_readings()?;
        return output.data(&now, |now| form.text(&Readings::new(Some(&before), now)));
    };
    let mut before = daemon.ask(daemon.client.stats())?.value;
    loop {
        let now = daemon.reading_after(pause.max(SHORTEST_PAUSE))?;
        let redraw = output.terminal && output.format == Format::Table;
        let head = if redraw {
            format!("{CLEAR}{}\n", output.paint(Colour::Green, "weir stats"))
        } else {
            String::new()
        };
        let shown =
            output.form(&now, |now| format!("{head}{}", form.text(&Readings::new(Some(&before), now))))?;
        if !output.still_read(&shown)? {
            return Ok(());
        }
        before = now;
    }
}

#[derive(Clone, Copy)]
struct Form {
    exact: bool,
    all: bool,
}

impl Form {
    fn text(self, readings: &Readings<'_>) -> String {
        let now = readings.now;
        let mut text = format!("{}  generation {}\n", now.at.strftime("%Y-%m-%dT%H:%M:%SZ"), now.generation);
        let sections =
            [self.reasons(readings), self.lists(readings), self.services(readings), self.maps(now)];
        for table in sections.iter().filter(|table| !table.is_empty()) {
            text.push('\n');
            text.push_str(&table.render());
        }
        text
    }

    fn reasons(self, readings: &Readings<'_>) -> Table {
        let mut table = Table::new(&[
            ("INTERFACE", Align::Left),
            ("VERDICT", Align::Left),
            ("REASON", Align::Left),
            ("PACKETS", Align::Right),
            ("BYTES", Align::Right),
            ("PPS", Align::Right),
            ("BPS", Align::Right),
        ]);
        for interface in &readings.now.interfaces {
            for found in interface.reasons.iter().filter(|found| self.all || found.packets > 0) {
                let (packets, bits) =
                    readings.interface(&interface.interface, |stats| of_reason(stats, &found.reason));
                table.row([
                    interface.interface.clone(),
                    found.verdict.clone(),
                    found.reason.clone(),
                    count(found.packets, self.exact),
                    count(found.bytes, self.exact),
                    rate_text(packets, self.exact),
                    rate_text(bits, self.exact),
                ]);
            }
        }
        table
    }

    fn lists(self, readings: &Readings<'_>) -> Table {
        let mut table = Table::new(&[
            ("LIST", Align::Left),
            ("HITS", Align::Right),
            ("HITS/S", Align::Right),
            ("IPV4", Align::Right),
            ("IPV6", Align::Right),
            ("ENFORCED", Align::Right),
            ("EXPIRED", Align::Right),
        ]);
        let held = |list: &crate::control::types::ListStats| list.entries_v4.saturating_add(list.entries_v6);
        for list in readings.now.lists.iter().filter(|list| self.all || list.hits > 0 || held(list) > 0) {
            table.row([
                list.list.clone(),
                count(list.hits, self.exact),
                rate_text(readings.list(&list.list), self.exact),
                count(list.entries_v4, true),
                count(list.entries_v6, true),
                count(list.enforced, true),
                count(list.expired, true),
            ]);
        }
        table
    }

    fn services(self, readings: &Readings<'_>) -> Table {
        let mut table = Table::new(&[
            ("SERVICE", Align::Left),
            ("CONNS", Align::Right),
            ("PACKETS", Align::Right),
            ("REPLIES", Align::Right),
            ("FLOWS", Align::Right),
            ("CPS", Align::Right),
            ("PPS", Align::Right),
            ("BPS", Align::Right),
        ]);
        for service in &readings.now.services {
            let rates = readings.traffic(&service.service, None);
            table.row([
                service.service.clone(),
                count(service.traffic.connections, self.exact),
                count(service.traffic.packets, self.exact),
                count(service.traffic.reply_packets, self.exact),
                service.flows.map_or_else(|| "-".to_owned(), |flows| count(flows, self.exact)),
                rate_text(rates.connections, self.exact),
                rate_text(rates.packets, self.exact),
                rate_text(rates.bits, self.exact),
            ]);
        }
        table
    }

    fn maps(self, now: &StatsSnapshot) -> Table {
        let mut table =
            Table::new(&[("MAP", Align::Left), ("USED", Align::Right), ("CAPACITY", Align::Right)]);
        for map in now.maps.iter().filter(|map| self.all || map.entries > 0) {
            table.row([map.map.clone(), count(map.entries, self.exact), count(map.capacity, self.exact)]);
        }
        for snat in now.snat.iter().filter(|snat| self.all || snat.ports_used > 0) {
            table.row([
                format!("ports of {}", snat.address),
                count(snat.ports_used, self.exact),
                format!("{} a backend", count(snat.ports_capacity, self.exact)),
            ]);
        }
        table
    }
}

fn of_reason(stats: &InterfaceStats, reason: &str) -> (u64, u64) {
    let found = stats.reasons.iter().find(|found: &&ReasonCount| found.reason == reason);
    found.map_or((0, 0), |found| (found.packets, found.bytes))
}

/// Home, and clear to the end of the screen (ECMA-48 CUP, ED).
const CLEAR: &str = "\u{1b}[H\u{1b}[J";
/// The daemon reads its counters at most once a second.
const SHORTEST_PAUSE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::rates::tests::reading;

    #[test]
    fn counters_with_rates() {
        let before = reading("2026-01-01T00:00:00Z", "a", 10, 1_000);
        let now = reading("2026-01-01T00:00:02Z", "a", 30, 3_000);
        let text = Form { exact: false, all: false }.text(&Readings::new(Some(&before), &now));
        assert_eq!(
            text,
            "\
2026-01-01T00:00:02Z  generation 1

INTERFACE  VERDICT  REASON    PACKETS  BYTES  PPS   BPS
eth0       drop     acl_drop       6k   600k   2k  1.6M
eth0       steer    nat            3k   300k   1k  800k

SERVICE  CONNS  PACKETS  REPLIES  FLOWS  CPS  PPS   BPS
web         30       3k        0      3   10   1k  800k
"
        );
    }

    #[test]
    fn all_shows_what_is_zero() {
        let now = reading("2026-01-01T00:00:02Z", "a", 0, 0);
        let readings = Readings::new(None, &now);
        assert!(!Form { exact: false, all: false }.text(&readings).contains("not_ours"));
        assert!(Form { exact: false, all: true }.text(&readings).contains("not_ours"));
    }
}
