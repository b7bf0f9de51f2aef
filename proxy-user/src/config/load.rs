//! File and flags → one checked configuration, or every reason why not.

use std::collections::BTreeSet;
use std::path::Path;

use proxy_common::limits;
use serde::Deserialize;
use toml::de::{DeTable, Deserializer};

use super::check::{self, Checked};
use super::diagnostic::{Diagnostic, Diagnostics};
use super::flags::{self, Flags};
use super::problem::{Code, Locus, Problem, Severity};
use super::raw::Raw;
use super::report::Report;
use super::schema::schema;
use super::semantic;
use super::settings::{Part, Settings};
use super::shape;
use super::source::{MAX_CONFIG_BYTES, Source};
use super::written;

/// A configuration that was accepted.
#[derive(Clone, Debug, PartialEq)]
pub struct Loaded {
    /// What the daemon is started with.
    pub settings: Settings,
    /// The part of desired state that file and flags set.
    pub desired: Part,
    /// What the operator should know.
    pub warnings: Vec<Diagnostic>,
}

/// Reads the file, if there is one, and adds the flags.
///
/// # Errors
/// Everything that is wrong, as far as it can be told at once. Nothing of a refused configuration is returned.
pub fn load(path: Option<&Path>, flags: &Flags) -> Result<Loaded, Diagnostics> {
    match path {
        None => build(None, Path::new(""), flags),
        Some(path) => {
            let source = Source::read(path, MAX_CONFIG_BYTES)?;
            build(Some(&source), path.parent().unwrap_or(Path::new("")), flags)
        }
    }
}

/// As [`load`], from a text that came some other way. `name` stands for the file in messages, list files are relative
/// to `dir`.
///
/// # Errors
/// As [`load`].
pub fn load_text(name: &str, text: &str, dir: &Path, flags: &Flags) -> Result<Loaded, Diagnostics> {
    build(Some(&Source::new(name, text)), dir, flags)
}

fn build(source: Option<&Source>, dir: &Path, flags: &Flags) -> Result<Loaded, Diagnostics> {
    let mut report = Report::default();
    let mut checked = match source {
        None => Checked::default(),
        Some(source) => match parse(source, &mut report) {
            Some(raw) => check::check(raw, source, dir, &mut report),
            None => return Err(refused(report)),
        },
    };
    flags::add(flags, &mut checked, &mut report);
    interfaces(&checked.settings, &mut report);
    let consequences = report.has_errors();
    for problem in semantic::check_part(&checked.part, checked.settings.limits) {
        // After an error, a warning is often only its shadow.
        if !consequences || problem.severity == Severity::Error {
            place(problem, source, &checked, &mut report);
        }
    }
    let Checked { settings, part: desired, .. } = checked;
    Ok(Loaded { settings, desired, warnings: report.finish()? })
}

fn parse(source: &Source, report: &mut Report) -> Option<Raw> {
    let text = source.text();
    if !text.ends_with('\n') {
        let message = match text.is_empty() {
            true => "the file is empty: it may be half-written",
            false => "the file's last line has no end: the file may be half-written",
        };
        let hint = "write it whole, with a newline at its end, under another name, and rename it into place";
        report.error(Code::Truncated, message, hint, source.place(text.len()..text.len(), ""));
    }
    let (document, errors) = DeTable::parse_recoverable(text);
    let mut lines = BTreeSet::new();
    for error in &errors {
        let span = error.span().unwrap_or_default();
        // More errors of one line are mostly echoes of the first.
        if !lines.insert(source.position(span.start).0) || lines.len() > 5 {
            continue;
        }
        let hint = "TOML texts stand in quotes, lists in brackets, one key a line";
        report.error(Code::Syntax, error.message(), hint, source.place(span, ""));
    }
    if !errors.is_empty() {
        return None;
    }
    shape::check(&schema(), &document, "the file", source, report);
    if report.has_errors() {
        return None;
    }
    let written = written::of_all(document.get_ref());
    match Raw::deserialize(Deserializer::from(document)) {
        Ok(mut raw) => {
            for (service, written) in raw.service.iter_mut().zip(written) {
                service.written = written;
            }
            Some(raw)
        }
        Err(error) => {
            let place = source.place(error.span().unwrap_or_default(), "");
            report.error(Code::WrongType, error.message(), "docs/configuration.md says what it takes", place);
            None
        }
    }
}

fn interfaces(settings: &Settings, report: &mut Report) {
    let count = settings.interfaces.len();
    if count == 0 {
        let hint = "add `[interface.NAME]` to the file or `--iface NAME`; `ip link` lists yours";
        report.add(Code::NoInterface, Severity::Error, "there is no interface to attach to", hint, &[]);
    }
    let max = limits::INTERFACES;
    if !u32::try_from(count).is_ok_and(|count| count <= max) {
        let message = format!("{count} interfaces are more than weir attaches to");
        report.add(Code::TooMany, Severity::Error, message, format!("name at most {max}"), &[]);
    }
}

/// Shows a problem where its objects stand in the file; what flags set has no place.
fn place(problem: Problem, source: Option<&Source>, checked: &Checked, report: &mut Report) {
    let span = |locus: &Locus| {
        let instead = match locus {
            Locus::UnknownPort(name) | Locus::SynBudget(name) => Some(Locus::Vip(name.clone())),
            Locus::Codec(name) => Some(Locus::Service(name.clone())),
            _ => None,
        };
        let found = checked.spans.get(locus).or_else(|| checked.spans.get(&instead?));
        found.cloned()
    };
    let mut places = Vec::new();
    if let Some(source) = source {
        let other = problem.other.as_ref().and_then(span);
        places.extend(span(&problem.at).map(|span| source.place(span, "")));
        let label = if places.is_empty() { "" } else { "the other is here" };
        places.extend(other.map(|span| source.place(span, label)));
    }
    report.add(problem.code, problem.severity, problem.message, problem.hint, &places);
}

fn refused(report: Report) -> Diagnostics {
    match report.finish() {
        Err(diagnostics) => diagnostics,
        // Not reached: a parse that yields nothing has reported why.
        Ok(_) => Diagnostics::default(),
    }
}
