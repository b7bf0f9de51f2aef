//! `weir acl lists` and `weir acl list`.

use jiff::Timestamp;

use super::{action_word, scope_word};
use crate::cli::failure::Failure;
use crate::cli::origin_word;
use crate::cli::output::Output;
use crate::cli::reach::Daemon;
use crate::cli::table::{Align, Table};
use crate::cli::units::{count, until};
use crate::control::types::{AclLists, Entry, ListDocument};

pub(super) fn lists(daemon: &Daemon, output: &Output) -> Result<(), Failure> {
    let lists = daemon.ask(daemon.client.lists())?.value;
    output.data(&lists, lists_text)
}

pub(super) fn list(name: &str, all: bool, daemon: &Daemon, output: &Output) -> Result<(), Failure> {
    let list = if all {
        daemon.ask(daemon.client.whole_list(name))?.value
    } else {
        daemon.ask(daemon.client.list(name, Some(FIRST_PAGE), None))?.value
    };
    output.data(&list, |list| list_text(list, Timestamp::now()))
}

fn lists_text(lists: &AclLists) -> String {
    let mut table = Table::new(&[
        ("LIST", Align::Left),
        ("ORDER", Align::Right),
        ("ACTION", Align::Left),
        ("SCOPE", Align::Left),
        ("IPV4", Align::Right),
        ("IPV6", Align::Right),
        ("EXPIRING", Align::Right),
        ("ORIGIN", Align::Left),
    ]);
    if !lists.management.is_empty() {
        let prefixes = lists.management.join(" ");
        table.row(["(management)", "", "pass", prefixes.as_str()].map(ToOwned::to_owned));
    }
    for list in &lists.lists {
        let name = if list.orphaned { format!("{} (not in force)", list.name) } else { list.name.clone() };
        table.row([
            name,
            list.order.map(|order| order.to_string()).unwrap_or_default(),
            list.action.map(action_word).unwrap_or_default().to_owned(),
            list.scope.map(scope_word).unwrap_or_default().to_owned(),
            count(list.entries_v4, true),
            count(list.entries_v6, true),
            count(list.expiring, true),
            origin_word(list.origin).to_owned(),
        ]);
    }
    table.row(["(default)", "", action_word(lists.default), "services"].map(ToOwned::to_owned));
    table.row(["(default)", "", action_word(lists.interface_default), "all else"].map(ToOwned::to_owned));
    table.render()
}

fn list_text(document: &ListDocument, now: Timestamp) -> String {
    let list = &document.list;
    let mut text = format!(
        "list {}: {}, scope {}, order {}, origin {}; {} IPv4 and {} IPv6 entries, {} expiring{}\n",
        list.name,
        list.action.map_or("no action", action_word),
        list.scope.map_or("none", scope_word),
        list.order.map_or_else(|| "none".to_owned(), |order| order.to_string()),
        origin_word(list.origin),
        list.entries_v4,
        list.entries_v6,
        list.expiring,
        if list.orphaned { "; NOT IN FORCE: the file has no list of this name" } else { "" },
    );
    if document.entries.is_empty() {
        return text;
    }
    let mut table = Table::new(&[
        ("PREFIX", Align::Left),
        ("TTL", Align::Right),
        ("ORIGIN", Align::Left),
        ("REASON", Align::Left),
    ]);
    for entry in &document.entries {
        table.row(entry_cells(entry, now));
    }
    text.push_str(&table.render());
    if document.next.is_some() {
        let total = list.entries_v4.saturating_add(list.entries_v6);
        let shown = document.entries.len();
        text.push_str(&format!(
            "... the first {shown} of {total}; all of them: weir acl list {} --all\n",
            list.name
        ));
    }
    text
}

fn entry_cells(entry: &Entry, now: Timestamp) -> [String; 4] {
    [
        entry.prefix.clone(),
        entry.expires_at.map_or_else(|| "-".to_owned(), |end| until(now, end)),
        origin_word(entry.origin).to_owned(),
        entry.reason.clone().unwrap_or_default(),
    ]
}

/// Entries shown without `--all`.
const FIRST_PAGE: u64 = 50;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::types::ListSummary;
    use crate::model::{Action, Origin, Scope};

    fn summary() -> ListSummary {
        ListSummary {
            name: "deny".into(),
            order: Some(10),
            action: Some(Action::Drop),
            scope: Some(Scope::All),
            origin: Origin::File,
            entries_v4: 120,
            entries_v6: 1,
            entries_api: 1,
            expiring: 1,
            orphaned: false,
        }
    }

    #[test]
    fn lists_in_the_order_in_which_they_are_asked() {
        let lists = AclLists {
            generation: 3,
            default: Action::Pass,
            interface_default: Action::Pass,
            management: vec!["192.0.2.0/24".into()],
            lists: vec![summary()],
        };
        assert_eq!(
            lists_text(&lists),
            "\
LIST          ORDER  ACTION  SCOPE         IPV4  IPV6  EXPIRING  ORIGIN
(management)         pass    192.0.2.0/24
deny             10  drop    all            120     1         1  file
(default)            pass    services
(default)            pass    all else
"
        );
    }

    #[test]
    fn a_list_shows_its_first_page() {
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let document = ListDocument {
            generation: 3,
            list: summary(),
            entries: vec![Entry {
                prefix: "203.0.113.0/24".into(),
                origin: Origin::Api,
                expires_at: Some("2026-01-01T04:00:00Z".parse().unwrap()),
                reason: Some("ssh scan".into()),
            }],
            next: Some("203.0.113.0/24".into()),
        };
        assert_eq!(
            list_text(&document, now),
            "\
list deny: drop, scope all, order 10, origin file; 120 IPv4 and 1 IPv6 entries, 1 expiring
PREFIX          TTL  ORIGIN  REASON
203.0.113.0/24   4h  api     ssh scan
... the first 1 of 121; all of them: weir acl list deny --all
"
        );
    }
}
