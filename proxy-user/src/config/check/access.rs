//! Who may ask an L7 service, by address.

use std::collections::BTreeMap;

use ipnet::IpNet;

use super::Checker;
use super::guard::set;
use super::l7_speaks::{Need, Speaks};
use crate::config::at::At;
use crate::config::problem::{Code, Locus};
use crate::config::raw_l7::{RawAccess, RawL7, RawVerdict};
use crate::l7::snapshot::{Access, AccessRule};
use crate::model::L7;

impl Checker<'_> {
    pub(super) fn access(
        &mut self,
        raw: &RawAccess,
        all: &RawL7,
        speaks: Speaks,
        service: &str,
        l7: &mut L7,
    ) {
        let mut access = Access { default_deny: raw.default == Some(RawVerdict::Deny), ..Access::default() };
        set(&mut access.hops, raw.hops.as_ref());
        if let Some(at) = raw.hops.as_ref().filter(|_| raw.header.is_none()) {
            self.no_effect("hops", at.span.clone(), "without `header` the peer is the client");
        }
        if let Some(at) = &raw.header {
            if !speaks.requests {
                self.unmet("header", at.span.clone(), speaks, Need::Requests);
            } else if all.trusted.is_empty() {
                let message = "`header` counts only from trusted peers, and there are none";
                let hint = "add `trusted = [\"PREFIX\"]` with the hops that write it";
                let place = self.source.place(at.span.clone(), "");
                self.report.error(Code::NoEffect, message, hint, place);
            }
            access.header = self.header_name(at);
        }
        for rule in &raw.rules {
            let sources = self.prefixes(&rule.sources.value);
            if rule.sources.value.is_empty() {
                let message = "a rule without sources matches nobody";
                let hint = "name prefixes, \"0.0.0.0/0\" and \"::/0\" for everybody";
                let place = self.source.place(rule.sources.span.clone(), "");
                self.report.error(Code::BadValue, message, hint, place);
            }
            access.rules.push(AccessRule { deny: rule.action == RawVerdict::Deny, sources });
        }
        for list in &raw.lists {
            let locus = Locus::AccessList(service.to_owned(), list.value.clone());
            if let Some(first) = self.out.spans.insert(locus, list.span.clone()) {
                let message = format!("list `{}` is looked at twice", list.value);
                self.twice(Code::Duplicate, message, &list.span, first);
            }
            l7.access_lists.insert(list.value.clone());
        }
        l7.rules.access = Some(access);
    }

    pub(super) fn prefixes(&mut self, texts: &[At<String>]) -> Vec<IpNet> {
        let mut found = BTreeMap::new();
        for text in texts {
            self.entry(&text.value, &text.span, &mut found);
        }
        found.into_keys().collect()
    }
}
