//! Findings with their place in a file: collected, rendered for people, structured for `-o json` and the API.

use std::fmt;
use std::ops::Range;

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};
use serde::Serialize;

use super::problem::{Code, Severity};
use super::source::Source;

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// Stable code.
    pub code: Code,
    /// Whether it refuses the configuration.
    pub severity: Severity,
    /// What is wrong and why.
    pub message: String,
    /// File, as the operator named it; `None` for a flag.
    pub file: Option<String>,
    /// Line, from 1.
    pub line: Option<usize>,
    /// Column in characters, from 1.
    pub column: Option<usize>,
    /// How to mend it.
    pub hint: String,
    #[serde(skip)]
    span: Option<Range<usize>>,
    #[serde(skip)]
    rendered: String,
}

/// A place in a source, with a word on what stands there.
#[derive(Clone, Debug)]
pub(super) struct Place<'a> {
    pub(super) source: &'a Source,
    pub(super) span: Range<usize>,
    pub(super) label: String,
}

impl Diagnostic {
    /// Renders and keeps a finding. The first place is the culprit, others are context.
    pub(super) fn new(
        code: Code,
        severity: Severity,
        message: String,
        hint: String,
        places: &[Place<'_>],
    ) -> Self {
        let first = places.first();
        let position = first.map(|p| p.source.position(p.span.start));
        let rendered = render(code, severity, &message, &hint, places);
        Self {
            code,
            severity,
            message,
            file: first.map(|p| p.source.name().to_owned()),
            line: position.map(|(line, _)| line),
            column: position.map(|(_, column)| column),
            hint,
            span: first.map(|p| p.span.clone()),
            rendered,
        }
    }

    /// The bytes of its file that it is about.
    pub(super) fn span(&self) -> Option<&Range<usize>> {
        self.span.as_ref()
    }

    /// A finding about a whole file, or about a flag when there is none.
    pub(super) fn without_place(
        code: Code,
        severity: Severity,
        message: String,
        hint: String,
        file: Option<&str>,
    ) -> Self {
        let mut made = Self::new(code, severity, message, hint, &[]);
        made.file = file.map(str::to_owned);
        made
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.rendered)
    }
}

/// Everything found in one load that was refused: at least one error, and the warnings beside it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Diagnostics {
    all: Vec<Diagnostic>,
}

impl Diagnostics {
    /// The findings, file by file, by place.
    #[must_use]
    pub fn all(&self) -> &[Diagnostic] {
        &self.all
    }

    /// Only what refuses the configuration.
    pub fn errors(&self) -> impl Iterator<Item = &Diagnostic> {
        self.all.iter().filter(|d| d.severity == Severity::Error)
    }

    pub(super) fn push(&mut self, diagnostic: Diagnostic) {
        self.all.push(diagnostic);
    }

    /// By place, file by file; what has no place goes last.
    pub(super) fn sort(&mut self) {
        self.all.sort_by_key(|d| (d.file.is_none(), d.file.clone(), d.line.is_none(), d.line, d.column));
    }

    pub(super) fn has_errors(&self) -> bool {
        self.errors().next().is_some()
    }

    pub(super) fn into_vec(self) -> Vec<Diagnostic> {
        self.all
    }
}

impl From<Box<Diagnostic>> for Diagnostics {
    fn from(one: Box<Diagnostic>) -> Self {
        Self { all: vec![*one] }
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for diagnostic in &self.all {
            writeln!(f, "{diagnostic}\n")?;
        }
        match self.errors().count() {
            1 => f.write_str("1 error; nothing was applied"),
            n => write!(f, "{n} errors; nothing was applied"),
        }
    }
}

impl std::error::Error for Diagnostics {}

fn render(code: Code, severity: Severity, message: &str, hint: &str, places: &[Place<'_>]) -> String {
    let level = match severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let title = level.primary_title(message).id(code.as_str());
    let mut group = Group::with_title(title);
    for (index, place) in places.iter().enumerate() {
        let (line, text, span) = place.source.excerpt(&place.span);
        let kind = if index == 0 { AnnotationKind::Primary } else { AnnotationKind::Context };
        let label = Some(place.label.as_str()).filter(|label| !label.is_empty());
        let snippet = Snippet::source(text).path(place.source.name()).line_start(line);
        group = group.element(snippet.annotation(kind.span(span).label(label)));
    }
    if !hint.is_empty() {
        group = group.element(Level::HELP.message(hint));
    }
    Renderer::plain().render(&[group])
}
