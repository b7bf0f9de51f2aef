//! The source ACL: lists, their entries and files, defaults and the way back in.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use ipnet::IpNet;

use super::Checker;
use crate::config::list_file;
use crate::config::parse::{self, Prefix};
use crate::config::problem::{Code, Locus};
use crate::config::raw::{RawAcl, RawList};
use crate::config::report::Report;
use crate::config::source::{MAX_LIST_BYTES, Source};
use crate::model::{AclEntry, AclList, Action, Origin};

impl Checker<'_> {
    pub(super) fn acl(&mut self, raw: &RawAcl, dir: &Path) {
        let mut management = BTreeMap::new();
        for text in &raw.management {
            self.entry(&text.value, &text.span, &mut management);
        }
        self.out.part.acl.management = management.into_keys().collect();
        self.out.part.acl.default = raw.default.unwrap_or(Action::Pass);
        if let Some(default) = &raw.interface_default {
            self.out.part.acl.interface_default = default.value;
            let safe = !raw.management.is_empty() || raw.accept_risk.is_some();
            if default.value == Action::Drop && !safe {
                let message = "dropping everything by default would cut off whoever manages this host";
                let hint = "add `management = [\"PREFIX\"]` with where you log in from, or `accept_risk = \"lockout\"`";
                self.report.error(Code::Lockout, message, hint, self.source.place(default.span.clone(), ""));
            }
        }
        for list in &raw.list {
            self.list(list, dir);
        }
    }

    fn list(&mut self, raw: &RawList, dir: &Path) {
        let name = &raw.name.value;
        if let Err(error) = parse::name(name) {
            self.report.unparsed(&error, self.source.place(raw.name.span.clone(), ""));
        }
        let first = self.out.spans.get(&Locus::List(name.clone())).cloned();
        if let Some(first) = first {
            let message = format!("two lists are named `{name}`");
            return self.twice(Code::DuplicateName, message, &raw.name.span, first);
        }
        self.out.spans.insert(Locus::List(name.clone()), raw.name.span.clone());
        self.out.spans.insert(Locus::ListOrder(name.clone()), raw.order.span.clone());
        let mut entries = BTreeMap::new();
        for text in &raw.entries {
            self.entry(&text.value, &text.span, &mut entries);
        }
        for file in &raw.files {
            add_file(&dir.join(&file.value), Origin::File, self.report, &mut entries);
        }
        let list = AclList {
            order: u32::try_from(raw.order.value).unwrap_or(u32::MAX),
            action: raw.action,
            scope: raw.scope.unwrap_or_default(),
            origin: Origin::File,
            entries,
        };
        self.out.part.acl.lists.insert(name.clone(), list);
    }

    pub(super) fn entry(&mut self, text: &str, span: &Range<usize>, entries: &mut BTreeMap<IpNet, AclEntry>) {
        match parse::prefix(text) {
            Ok(prefix) => {
                let mut adder = Adder { source: self.source, origin: Origin::File, entries };
                adder.add(self.report, text, prefix, span.clone());
            }
            Err(error) => self.report.unparsed(&error, self.source.place(span.clone(), "")),
        }
    }
}

/// Adds the entries of a list file.
pub(in crate::config) fn add_file(
    path: &Path,
    origin: Origin,
    report: &mut Report,
    entries: &mut BTreeMap<IpNet, AclEntry>,
) {
    match Source::read(path, MAX_LIST_BYTES) {
        Ok(source) => {
            let mut adder = Adder { source: &source, origin, entries };
            list_file::parse(&source, report, |report, prefix, span| {
                let text = source.text().get(span.clone()).unwrap_or_default();
                adder.add(report, text, prefix, span);
            });
        }
        Err(error) => report.push(*error),
    }
}

/// Adds entries to a list and reports what had to be changed about them.
struct Adder<'a> {
    source: &'a Source,
    origin: Origin,
    entries: &'a mut BTreeMap<IpNet, AclEntry>,
}

impl Adder<'_> {
    fn add(&mut self, report: &mut Report, text: &str, prefix: Prefix, span: Range<usize>) {
        let net = prefix.net;
        if prefix.unmapped {
            let message = format!("`{text}` is an IPv4-mapped prefix; it is taken as {net}");
            let hint = format!("write {net}");
            report.warning(Code::Mapped, message, hint, self.source.place(span.clone(), ""));
        } else if prefix.masked {
            let message = format!("`{text}` has host bits set; it is taken as {net}");
            let hint = format!("write {net}, or the address alone if only that host is meant");
            report.warning(Code::HostBits, message, hint, self.source.place(span.clone(), ""));
        }
        let entry = AclEntry { origin: self.origin, expires_at: None, reason: None };
        if self.entries.insert(net, entry).is_some() {
            let message = format!("{net} is on this list already");
            report.warning(Code::Duplicate, message, "leave it out here", self.source.place(span, ""));
        }
    }
}
