//! `weir acl import` and `weir acl export`.

use std::io::Read;
use std::path::Path;

use serde::Serialize;

use super::ImportArgs;
use super::change::{missing, patch_of, send};
use super::lines::{self, Lines, Rejected};
use crate::cli::Global;
use crate::cli::failure::Failure;
use crate::cli::output::{Format, Output};
use crate::cli::reach::Daemon;
use crate::cli::table::printable;
use crate::control::client::ChangeOptions;
use crate::control::types::{Applied, Code, Counts, ListDocument, ListPut, Outcome};
use crate::model::Scope;

pub(super) fn import(args: &ImportArgs, global: &Global, output: &Output) -> Result<(), Failure> {
    let text = content(&args.file)?;
    let read =
        lines::read(&text).map_err(|error| Failure::Usage(format!("{}: {error}", args.file.display())))?;
    let mut report = Report::new(&args.list, &read);
    if !read.rejected.is_empty() && !args.skip_bad {
        show(&report, output)?;
        return Err(Failure::Failed(format!(
            "{} lines of {} were not understood, so nothing was changed; mend them, or leave them out with \
             --skip-bad",
            read.rejected.len(),
            args.file.display()
        )));
    }
    if args.replace && read.entries.is_empty() && text.trim().is_empty() {
        // What a failed download leaves behind must not take a list's protection away.
        return Err(Failure::Failed(format!(
            "{} is empty, so list {} was not replaced; to empty the list on purpose, give a file with a comment line (#)",
            args.file.display(),
            args.list
        )));
    }
    let daemon = Daemon::reach(global)?;
    let applied = if args.replace {
        replace(args, read, &daemon, output)?
    } else {
        let mut patch = patch_of(&args.list, &args.create, &daemon, output)?;
        patch.add = read.entries;
        send(&args.list, &patch, !args.skip_bad, &daemon)?
    };
    report.take(&applied);
    for warning in &applied.warnings {
        output.say(&format!("warning {}: {}", warning.code, warning.detail));
    }
    show(&report, output)?;
    match report.rejected.len() {
        0 => Ok(()),
        left_out => Err(Failure::Partly(format!("{left_out} lines were left out"))),
    }
}

pub(super) fn export(list: &str, daemon: &Daemon, output: &Output) -> Result<(), Failure> {
    let document = daemon.ask(daemon.client.whole_list(list))?.value;
    output.data(&document, export_text)
}

/// What the API has set in the list is replaced whole, against the generation that was read.
fn replace(args: &ImportArgs, read: Lines, daemon: &Daemon, output: &Output) -> Result<Applied, Failure> {
    let options = daemon.options();
    let found = daemon.look(Code::UnknownList, daemon.client.list(&args.list, Some(1), None))?;
    let mut put = ListPut { entries: read.entries, ..ListPut::default() };
    let if_match = match found {
        Some(found) => {
            patch_of(&args.list, &args.create, daemon, output)?;
            options.if_match.or(found.generation)
        }
        None => {
            let patch = patch_of(&args.list, &args.create, daemon, output)?;
            if patch.action.is_none() {
                return Err(missing(&args.list));
            }
            put.action = patch.action;
            put.order = patch.order;
            put.scope = args.create.scope.map(Scope::from);
            options.if_match
        }
    };
    daemon.ask(daemon.client.put_list(&args.list, &put, ChangeOptions { if_match, ..options }))
}

/// What came of an import.
#[derive(Serialize)]
struct Report {
    list: String,
    /// Whether anything was sent to the daemon.
    applied: bool,
    generation: Option<u64>,
    /// Entries that were understood.
    accepted: usize,
    /// Lines whose prefix another line had, too.
    merged: u64,
    /// Lines whose host bits were cleared.
    masked: u64,
    /// Lines that were left out.
    rejected: Vec<Rejected>,
    counts: Counts,
}

impl Report {
    fn new(list: &str, read: &Lines) -> Self {
        Self {
            list: list.to_owned(),
            applied: false,
            generation: None,
            accepted: read.entries.len(),
            merged: read.merged,
            masked: read.masked,
            rejected: read.rejected.clone(),
            counts: Counts::default(),
        }
    }

    fn take(&mut self, applied: &Applied) {
        self.applied = true;
        self.generation = Some(applied.generation);
        self.counts = applied.counts;
        let refused = applied.items.iter().filter(|item| item.outcome == Outcome::Refused);
        self.rejected.extend(refused.map(|item| Rejected {
            line: 0,
            text: item.item.clone(),
            reason: item.note.clone().unwrap_or_else(|| "refused by the daemon".to_owned()),
        }));
    }
}

fn show(report: &Report, output: &Output) -> Result<(), Failure> {
    if output.format == Format::Table {
        for line in rejected_lines(&report.rejected) {
            output.say(&line);
        }
    }
    output.data(report, report_text)
}

fn report_text(report: &Report) -> String {
    let outcome = match (report.applied, report.generation) {
        (true, Some(generation)) => {
            let Counts { added, updated, unchanged, removed, .. } = report.counts;
            format!(
                "{added} added, {updated} changed, {unchanged} as they were, {removed} removed (generation {generation})"
            )
        }
        _ => "nothing changed".to_owned(),
    };
    format!(
        "{}: {} accepted, {} merged, {} masked, {} rejected; {outcome}\n",
        report.list,
        report.accepted,
        report.merged,
        report.masked,
        report.rejected.len()
    )
}

fn rejected_lines(rejected: &[Rejected]) -> Vec<String> {
    let more = rejected.len().saturating_sub(SHOWN);
    let mut lines: Vec<String> = rejected
        .iter()
        .take(SHOWN)
        .map(|bad| {
            let text: String = printable(&bad.text).chars().take(80).collect();
            match bad.line {
                0 => format!("`{text}`: {}", bad.reason),
                line => format!("line {line}: `{text}`: {}", bad.reason),
            }
        })
        .collect();
    if more > 0 {
        lines.push(format!("... and {more} more; all of them with -o json"));
    }
    lines
}

fn export_text(document: &ListDocument) -> String {
    let lines = document.entries.iter();
    lines.map(|entry| lines::write(&entry.prefix, entry.expires_at, entry.reason.as_deref()) + "\n").collect()
}

fn content(file: &Path) -> Result<String, Failure> {
    let (name, read) = if file == Path::new("-") {
        let mut text = String::new();
        ("standard input".to_owned(), std::io::stdin().read_to_string(&mut text).map(|_length| text))
    } else {
        (file.display().to_string(), std::fs::read_to_string(file))
    };
    read.map_err(|error| Failure::Failed(format!("cannot read {name}: {error}")))
}

/// Rejected lines that are told one by one.
const SHOWN: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_counts_and_names_what_was_rejected() {
        let read = lines::read("10.0.0.0/8\n10.1.1.1/8\nx\n").unwrap();
        let mut report = Report::new("deny", &read);
        assert_eq!(
            report_text(&report),
            "deny: 1 accepted, 1 merged, 1 masked, 1 rejected; nothing changed\n"
        );
        assert!(rejected_lines(&report.rejected)[0].starts_with("line 3: `x`: "));
        let counts = Counts { added: 1, ..Counts::default() };
        report.take(&Applied { generation: 7, changed: true, counts, ..Applied::default() });
        assert_eq!(
            report_text(&report),
            "deny: 1 accepted, 1 merged, 1 masked, 1 rejected; 1 added, 0 changed, 0 as they were, 0 removed \
             (generation 7)\n"
        );
    }

    #[test]
    fn long_reports_are_cut() {
        let text = "x\n".repeat(25);
        let lines = rejected_lines(&lines::read(&text).unwrap().rejected);
        assert_eq!(lines.len(), 21);
        assert!(lines[20].contains("5 more"));
    }
}
