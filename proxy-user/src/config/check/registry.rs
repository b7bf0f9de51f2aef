//! Registries, the names that services ask them for, and the VIPs that are registered there.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::Checker;
use crate::config::at::At;
use crate::config::bounds;
use crate::config::parse;
use crate::config::problem::{Code, Locus};
use crate::config::raw::RawService;
use crate::config::raw_registry::{Open, RawRegistry};
use crate::config::shape::suggestion;
use crate::model::{BackendAddr, Combine, Discovery, Forward, Publish, Service, SourceRef};
use crate::registry::fault::Fault;
use crate::registry::list::{self, Kind};
use crate::registry::source::{Publication, Query};

/// Registries as the file has them, also those that are wrong: a service that names one of these is not wrong for it.
pub(super) type Registries = BTreeMap<At<String>, RawRegistry>;

/// What a `discover` or `publish` table names.
struct Reference {
    registry: String,
    kind: &'static Kind,
    name: At<String>,
    options: BTreeMap<String, String>,
}

/// Longest `service` or option, bytes.
const MAX_TEXT: usize = 1_024;

impl Checker<'_> {
    pub(super) fn registries(&mut self, all: &Registries, zone: Option<&At<String>>, dir: &Path) {
        for (name, raw) in all {
            if let Err(error) = parse::name(&name.value) {
                self.report.unparsed(&error, self.source.place(name.span.clone(), ""));
            }
            if name.value == "sync" {
                let message =
                    "a registry cannot be named `sync`: the API's call to sync them all has that path";
                let place = self.source.place(name.span.clone(), "");
                self.report.error(Code::BadValue, message, "give it another name", place);
            }
            let Some(word) = raw.open.text("kind") else { continue };
            let Some(kind) = list::kind(&word.value) else {
                let message = format!("this weir is built without registries of kind `{}`", word.value);
                let hint = format!("build it with the cargo feature `{}`", word.value);
                self.report.error(Code::NotBuiltIn, message, hint, self.source.place(word.span, ""));
                continue;
            };
            let keys = raw.open.keys.iter().filter(|(key, _)| key.value != "kind");
            let table = keys.map(|(key, value)| (key.value.clone(), value.value.clone())).collect();
            match (kind.check)(table, dir) {
                Ok(settings) => drop(self.out.settings.registries.insert(name.value.clone(), settings)),
                Err(fault) => self.fault(fault, &raw.open, &name.span),
            }
        }
        if let Some(zone) = zone.and_then(|zone| self.text(zone)) {
            self.out.settings.zone = Some(zone.into());
        }
    }

    pub(super) fn discovery(
        &mut self,
        raw: &RawService,
        service: &Service,
        registries: &Registries,
    ) -> Option<Discovery> {
        let mut sources: Vec<SourceRef> = Vec::new();
        for table in &raw.discover.0 {
            let Some(Reference { registry, kind, name, options }) =
                self.reference(&table.open, registries, |kind| Some(kind.options), &["zone"])
            else {
                continue;
            };
            let zone = table.open.text("zone").and_then(|zone| self.text(&zone)).map(Arc::from);
            let query = Query { service: name.value.clone(), options };
            if let Err(fault) = (kind.check_query)(&query) {
                self.fault(fault, &table.open, &name.span);
                continue;
            }
            let query = Arc::new(query);
            if sources.iter().any(|known| known.registry == registry && known.query == query) {
                let message = format!("`{}` of registry `{registry}` is asked for twice", name.value);
                let hint = "leave one of the two tables out";
                self.report.error(Code::Duplicate, message, hint, self.source.place(name.span, ""));
                continue;
            }
            sources.push(SourceRef { registry, query, zone });
        }
        let first = raw.discover.0.first();
        if first.is_some() && service.vip.port == 0 && service.forward == Forward::DsrL2 {
            let message =
                "endpoints have ports, and dsr-l2 on every port of the VIP cannot change a packet's";
            let hint = "give the VIP a port, or use forward = \"nat\"";
            self.report.error(Code::AnyPort, message, hint, self.source.place(raw.vip.span.clone(), ""));
        }
        let combine = self.combine(raw);
        let mut drain = Duration::ZERO;
        self.duration_or_default(&mut drain, raw.drain.as_ref(), bounds::DRAIN);
        let guard = raw.guard.as_ref().map(|guard| self.guard(&guard.value)).unwrap_or_default();
        if first.is_none() {
            self.without_discovery(raw);
        }
        (!sources.is_empty()).then_some(Discovery { sources, combine, guard, drain })
    }

    pub(super) fn publish(
        &mut self,
        raw: &RawService,
        service: &Service,
        registries: &Registries,
    ) -> Vec<Arc<Publish>> {
        let mut all: Vec<Arc<Publish>> = Vec::new();
        for table in &raw.publish.0 {
            let able = |kind: &Kind| Some(kind.publish.as_ref()?.options);
            let Some(Reference { registry, kind, name, options }) =
                self.reference(&table.open, registries, able, &[])
            else {
                continue;
            };
            if service.vip.port == 0 {
                let message = "a VIP on every port cannot be registered: clients would not know the port";
                let hint = "give the VIP a port, or leave `publish` out";
                self.report.error(Code::AnyPort, message, hint, self.source.place(name.span, ""));
                continue;
            }
            let address = BackendAddr { addr: service.vip.addr, port: service.vip.port };
            let publication = Publication { service: name.value.clone(), options, address };
            let checked = kind.publish.as_ref().map_or(Ok(()), |publish| (publish.check)(&publication));
            if let Err(fault) = checked {
                self.fault(fault, &table.open, &name.span);
                continue;
            }
            let locus = Locus::Publish(raw.name.value.clone(), name.value.clone());
            self.out.spans.insert(locus, name.span.clone());
            let publish = Arc::new(Publish { registry, publication: Arc::new(publication) });
            if all.contains(&publish) {
                let message = format!("the VIP is registered as `{}` twice", name.value);
                let hint = "leave one of the two tables out";
                self.report.error(Code::Duplicate, message, hint, self.source.place(name.span, ""));
                continue;
            }
            all.push(publish);
        }
        all
    }

    /// What a `discover` or `publish` table names: the registry, the name in it, and the options that the kind
    /// understands. Keys beside these are `own`. None when something was reported.
    fn reference(
        &mut self,
        table: &Open,
        registries: &Registries,
        options: impl Fn(&'static Kind) -> Option<&'static [&'static str]>,
        own: &[&str],
    ) -> Option<Reference> {
        let (registry, service) = (table.text("registry")?, table.text("service")?);
        let Some((_, found)) = registries.iter().find(|(name, _)| name.value == registry.value) else {
            let names: Vec<_> = registries.keys().map(|name| name.value.as_str()).collect();
            let hint = match names.is_empty() {
                true => format!("add `[registry.{}]` with its `kind`", registry.value),
                false => suggestion(&registry.value, &names),
            };
            let message = format!("there is no registry `{}`", registry.value);
            self.report.error(Code::UnknownRegistry, message, hint, self.source.place(registry.span, ""));
            return None;
        };
        // A kind that weir does not know or have was reported where it stands.
        let kind = list::kind(&found.open.text("kind")?.value)?;
        let Some(understood) = options(kind) else {
            let message = format!(
                "VIPs cannot be registered with `{}`, which is of kind `{}`",
                registry.value, kind.name
            );
            let able = list::KINDS.iter().filter(|kind| kind.publish.is_some()).map(|kind| kind.name);
            let able = able.collect::<Vec<_>>().join(", ");
            let hint = format!("name a registry of another kind; possible: {able}");
            self.report.error(Code::CannotPublish, message, hint, self.source.place(registry.span, ""));
            return None;
        };
        self.text(&service)?;
        let mut texts = BTreeMap::new();
        let mut whole = true;
        for (key, value) in &table.keys {
            let word = key.value.as_str();
            if matches!(word, "registry" | "service") || own.contains(&word) {
                continue;
            }
            if !understood.contains(&word) {
                let message =
                    format!("`{}` is of kind `{}`, which has no use for `{word}`", registry.value, kind.name);
                let hint = match understood.is_empty() {
                    true => "leave it out".to_owned(),
                    false => suggestion(word, understood),
                };
                let place = self.source.place(key.span.clone(), "");
                self.report.error(Code::NotUnderstood, message, hint, place);
                whole = false;
            } else if let Some(text) = plain(&value.value) {
                let text = At { value: text, span: value.span.clone() };
                whole &= self.text(&text).is_some();
                texts.insert(word.to_owned(), text.value);
            }
        }
        whole.then_some(Reference { registry: registry.value, kind, name: service, options: texts })
    }

    /// A name for others to read: not empty, not too long, without control characters.
    fn text(&mut self, at: &At<String>) -> Option<String> {
        let text = &at.value;
        if (1..=MAX_TEXT).contains(&text.len()) && !text.chars().any(char::is_control) {
            return Some(text.clone());
        }
        let message = "this name is empty, too long, or has control characters";
        let hint = format!("give 1 to {MAX_TEXT} bytes of text in one line");
        self.report.error(Code::BadValue, message, hint, self.source.place(at.span.clone(), ""));
        None
    }

    fn combine(&mut self, raw: &RawService) -> Combine {
        let Some(combine) = &raw.combine else { return Combine::default() };
        if combine.value == Combine::Zone && self.out.settings.zone.is_none() {
            let message = "`combine = \"zone\"` asks for this host's own zone, which the file does not say";
            let hint = "add `zone = \"...\"` at the top of the file, above the first table";
            self.report.error(Code::WrongType, message, hint, self.source.place(combine.span.clone(), ""));
        }
        combine.value
    }

    /// Keys that say something about discovery where there is none.
    fn without_discovery(&mut self, raw: &RawService) {
        let combine = raw.combine.as_ref().map(|at| ("combine", at.span.clone()));
        let drain = raw.drain.as_ref().map(|at| ("drain", at.span.clone()));
        let guard = raw.guard.as_ref().map(|at| ("guard", at.span.clone()));
        for (key, span) in [combine, drain, guard].into_iter().flatten() {
            let message = format!("`{key}` has no effect on a service without `discover`");
            let hint = "leave it out, or add `discover`";
            self.report.warning(Code::NoEffect, message, hint, self.source.place(span, ""));
        }
    }

    /// A finding of a kind's own checks, at its key, else at its table.
    fn fault(&mut self, fault: Fault, table: &Open, otherwise: &Range<usize>) {
        let span = table.entry(fault.key).map_or(otherwise, |(_, value)| &value.span);
        self.report.error(Code::BadValue, fault.message, fault.hint, self.source.place(span.clone(), ""));
    }
}

/// A text, number or truth value as an option.
fn plain(value: &toml::Value) -> Option<String> {
    match value {
        toml::Value::String(text) => Some(text.clone()),
        toml::Value::Integer(number) => Some(number.to_string()),
        toml::Value::Boolean(truth) => Some(truth.to_string()),
        _ => None,
    }
}
