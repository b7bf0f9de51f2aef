//! `weir acl test`: is this source dropped, by what, for how long?

use std::net::IpAddr;

use serde::Serialize;

use super::{action_word, scope_word};
use crate::cli::failure::Failure;
use crate::cli::origin_word;
use crate::cli::output::Output;
use crate::cli::reach::Daemon;
use crate::cli::table::{Align, Table};
use crate::cli::units::{count, duration};
use crate::control::types::{ListStats, Lookup, LookupOutcome};

pub(super) fn test(address: IpAddr, daemon: &Daemon, output: &Output) -> Result<(), Failure> {
    let lookup = daemon.ask(daemon.client.lookup(address))?.value;
    // Hits are an extra: the answer stands without them.
    let hits = daemon.ask(daemon.client.stats()).map(|stats| stats.value.lists).unwrap_or_default();
    let named = |list: &ListStats| lookup.matches.iter().any(|found| found.list == list.list);
    let hits = hits.into_iter().filter(named).collect();
    let answer = Answer { lookup, hits };
    output.data(&answer, text)
}

/// The answer and the counters of the lists that it names.
#[derive(Serialize)]
struct Answer {
    #[serde(flatten)]
    lookup: Lookup,
    hits: Vec<ListStats>,
}

fn text(answer: &Answer) -> String {
    let Answer { lookup, hits } = answer;
    let services = outcome_text(&lookup.services, lookup);
    let traffic = outcome_text(&lookup.traffic, lookup);
    let mut text = if services == traffic {
        format!("{}: {services}\n", lookup.address)
    } else {
        format!("{}:\n  to a VIP: {services}\n  else:     {traffic}\n", lookup.address)
    };
    if lookup.matches.is_empty() {
        return text;
    }
    let mut table = Table::new(&[
        ("LIST", Align::Left),
        ("ORDER", Align::Right),
        ("ACTION", Align::Left),
        ("SCOPE", Align::Left),
        ("PREFIX", Align::Left),
        ("TTL", Align::Right),
        ("ORIGIN", Align::Left),
        ("LIST HITS", Align::Right),
        ("", Align::Left),
        ("REASON", Align::Left),
    ]);
    for (place, found) in (0..).zip(&lookup.matches) {
        let wins = lookup.services.winner == Some(place) || lookup.traffic.winner == Some(place);
        let list_hits = hits.iter().find(|list| list.list == found.list);
        table.row([
            found.list.clone(),
            found.order.to_string(),
            action_word(found.action).to_owned(),
            scope_word(found.scope).to_owned(),
            found.entry.prefix.clone(),
            found.ttl_seconds.map_or_else(|| "-".to_owned(), duration),
            origin_word(found.entry.origin).to_owned(),
            list_hits.map_or_else(|| "--".to_owned(), |list| count(list.hits, false)),
            if wins { "wins" } else { "shadowed" }.to_owned(),
            found.entry.reason.clone().unwrap_or_default(),
        ]);
    }
    text.push_str(&table.render());
    text
}

fn outcome_text(outcome: &LookupOutcome, lookup: &Lookup) -> String {
    let verdict = action_word(outcome.action).to_uppercase();
    let winner = outcome
        .winner
        .and_then(|place| usize::try_from(place).ok())
        .and_then(|place| lookup.matches.get(place));
    match (&outcome.management, winner) {
        (Some(prefix), _) => format!("{verdict}, a management address ({prefix})"),
        (None, Some(found)) => format!("{verdict} by {} ({})", found.list, found.entry.prefix),
        (None, None) => format!("{verdict} by default, no list has it"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::types::{Entry, LookupMatch};
    use crate::model::{Action, Origin, Scope};

    fn found(list: &str, order: u32, action: Action, prefix: &str) -> LookupMatch {
        LookupMatch {
            list: list.into(),
            order,
            action,
            scope: Scope::All,
            entry: Entry { prefix: prefix.into(), origin: Origin::Api, expires_at: None, reason: None },
            ttl_seconds: Some(192),
        }
    }

    fn outcome(action: Action, winner: Option<u64>) -> LookupOutcome {
        LookupOutcome { action, winner, management: None, by_default: winner.is_none() }
    }

    #[test]
    fn the_winner_and_what_it_shadows() {
        let lookup = Lookup {
            generation: 1,
            address: "203.0.113.7".parse().unwrap(),
            services: outcome(Action::Drop, Some(0)),
            traffic: outcome(Action::Drop, Some(0)),
            matches: vec![
                found("deny", 10, Action::Drop, "203.0.113.0/24"),
                found("partners", 20, Action::Pass, "203.0.0.0/16"),
            ],
        };
        let hits = vec![ListStats {
            list: "deny".into(),
            hits: 12_400,
            hit_bytes: 0,
            entries_v4: 1,
            entries_v6: 0,
            enforced: 1,
            expired: 0,
        }];
        assert_eq!(
            text(&Answer { lookup, hits }),
            "\
203.0.113.7: DROP by deny (203.0.113.0/24)
LIST      ORDER  ACTION  SCOPE  PREFIX            TTL  ORIGIN  LIST HITS            REASON
deny         10  drop    all    203.0.113.0/24  3m12s  api         12.4k  wins
partners     20  pass    all    203.0.0.0/16    3m12s  api            --  shadowed
"
        );
    }

    #[test]
    fn no_list_and_a_default_of_each_kind() {
        let lookup = Lookup {
            generation: 1,
            address: "203.0.113.7".parse().unwrap(),
            services: outcome(Action::Drop, None),
            traffic: outcome(Action::Pass, None),
            matches: Vec::new(),
        };
        assert_eq!(
            text(&Answer { lookup, hits: Vec::new() }),
            "203.0.113.7:\n  to a VIP: DROP by default, no list has it\n  else:     PASS by default, no list has it\n"
        );
    }
}
