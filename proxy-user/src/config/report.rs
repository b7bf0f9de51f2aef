//! Collects findings while a configuration is checked, and keeps one bad list from filling the screen.

use std::collections::BTreeMap;

use super::diagnostic::{Diagnostic, Diagnostics, Place};
use super::parse::ParseError;
use super::problem::{Code, Severity};

/// Findings of one code in one file that are shown one by one.
const SHOWN: usize = 10;

/// What was found so far.
#[derive(Default)]
pub(super) struct Report {
    found: Diagnostics,
    seen: BTreeMap<(Severity, Code, String), usize>,
}

impl Report {
    pub(super) fn error(
        &mut self,
        code: Code,
        message: impl Into<String>,
        hint: impl Into<String>,
        place: Place<'_>,
    ) {
        self.add(code, Severity::Error, message, hint, &[place]);
    }

    pub(super) fn warning(
        &mut self,
        code: Code,
        message: impl Into<String>,
        hint: impl Into<String>,
        place: Place<'_>,
    ) {
        self.add(code, Severity::Warning, message, hint, &[place]);
    }

    /// A text that was not understood.
    pub(super) fn unparsed(&mut self, error: &ParseError, place: Place<'_>) {
        let (what, how) = error.what_and_how();
        self.error(Code::BadValue, what, how, place);
    }

    /// A finding about places, or about a flag when there is none.
    pub(super) fn add(
        &mut self,
        code: Code,
        severity: Severity,
        message: impl Into<String>,
        hint: impl Into<String>,
        places: &[Place<'_>],
    ) {
        let file = places.first().map_or(String::new(), |p| p.source.name().to_owned());
        let count = self.seen.entry((severity, code, file)).or_default();
        *count += 1;
        if *count <= SHOWN {
            self.found.push(Diagnostic::new(code, severity, message.into(), hint.into(), places));
        }
    }

    pub(super) fn push(&mut self, diagnostic: Diagnostic) {
        self.found.push(diagnostic);
    }

    /// How many errors were found, shown or not.
    pub(super) fn errors(&self) -> usize {
        let errors = self.seen.iter().filter(|((severity, ..), _)| *severity == Severity::Error);
        errors.map(|(_, count)| count).sum()
    }

    pub(super) fn has_errors(&self) -> bool {
        self.found.has_errors()
    }

    /// The warnings, or everything when there is an error.
    pub(super) fn finish(mut self) -> Result<Vec<Diagnostic>, Diagnostics> {
        for ((severity, code, file), count) in self.seen {
            if let Some(more @ 1..) = count.checked_sub(SHOWN) {
                let (message, file) = (format!("{more} more of `{code}` in this file"), Some(file));
                let file = file.filter(|f| !f.is_empty());
                let hint = "mend the ones shown, then check again".to_owned();
                self.found.push(Diagnostic::without_place(code, severity, message, hint, file.as_deref()));
            }
        }
        self.found.sort();
        if self.found.has_errors() { Err(self.found) } else { Ok(self.found.into_vec()) }
    }
}
