//! Raw form in, checked form out: every text parsed, every object in its place, each finding with its span.

mod access;
mod acl;
mod guard;
mod header;
mod l7;
mod l7_speaks;
mod matches;
mod registry;
mod route;
mod service;
mod settings;
mod target;

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use super::problem::Locus;
use super::raw::{Raw, RawService};
use super::report::Report;
use super::settings::{Part, Settings};
use super::source::Source;
use crate::model::{Forward, L7};

pub(super) use acl::add_file;
pub(super) use l7::{json_bytes, too_large_hint};
pub(super) use settings::interface_name;

/// What file and flags say, and where the file says it.
#[derive(Debug, Default)]
pub(super) struct Checked {
    pub(super) settings: Settings,
    pub(super) part: Part,
    /// Where objects stand in the configuration file.
    pub(super) spans: BTreeMap<Locus, Range<usize>>,
}

/// Checks the raw form. List files are relative to `dir`.
pub(super) fn check(raw: Raw, source: &Source, dir: &Path, report: &mut Report) -> Checked {
    let mut checked = Checked::default();
    let mut checker = Checker { source, report, out: &mut checked };
    checker.settings(&raw);
    checker.timeouts(&raw.timeouts);
    checker.snat(&raw.snat);
    checker.acl(&raw.acl, dir);
    checker.registries(&raw.registry, raw.zone.as_ref(), dir);
    for service in &raw.service {
        checker.service(service, &raw.registry);
    }
    checked
}

/// Checks what a service of mode `l7` says of the L7 path, and nothing else.
pub(super) fn l7(raw: &RawService, source: &Source, report: &mut Report) -> L7 {
    let mut checked = Checked::default();
    let said = Checker { source, report, out: &mut checked }.l7(raw, Forward::L7);
    said.unwrap_or_default()
}

struct Checker<'a> {
    source: &'a Source,
    report: &'a mut Report,
    out: &'a mut Checked,
}
