//! Services and backends, one by one; what they must be to each other is in `semantic`.

use std::ops::Range;
use std::sync::Arc;

use super::Checker;
use super::registry::Registries;
use crate::config::at::{At, BackendForm};
use crate::config::bounds;
use crate::config::parse::{self, DEFAULT_WEIGHT};
use crate::config::problem::{Code, Locus};
use crate::config::raw::RawService;
use crate::model::{AdminState, Backend, BackendAddr, Origin, Service, Vip};

impl Checker<'_> {
    pub(super) fn service(&mut self, raw: &RawService, registries: &Registries) {
        let name = &raw.name.value;
        if let Err(error) = parse::name(name) {
            self.report.unparsed(&error, self.source.place(raw.name.span.clone(), ""));
        }
        let first = self.out.spans.get(&Locus::Service(name.clone())).cloned();
        if let Some(first) = first {
            let message = format!("two services are named `{name}`");
            return self.twice(Code::DuplicateName, message, &raw.name.span, first);
        }
        self.out.spans.insert(Locus::Service(name.clone()), raw.name.span.clone());
        let vip = match raw.vip.value.parse::<Vip>() {
            Ok(vip) => vip,
            Err(error) => {
                return self.report.unparsed(&error, self.source.place(raw.vip.span.clone(), ""));
            }
        };
        self.out.spans.insert(Locus::Vip(name.clone()), raw.vip.span.clone());
        let syn_budget = raw.syn_budget.as_ref().map(|at| {
            self.out.spans.insert(Locus::SynBudget(name.clone()), at.span.clone());
            at.value
        });
        let unknown_port = raw.unknown_port.as_ref().map(|at| {
            self.out.spans.insert(Locus::UnknownPort(name.clone()), at.span.clone());
            at.value
        });
        let mut service = Service {
            vip,
            forward: raw.forward.unwrap_or_default(),
            announce: raw.announce.unwrap_or_default(),
            unknown_port: unknown_port.unwrap_or_default(),
            syn_budget: syn_budget.and_then(|n| u32::try_from(n).ok()).unwrap_or(bounds::SYN_BUDGET),
            origin: Origin::File,
            backends: Default::default(),
            discovery: None,
            health: None,
            publish: Vec::new(),
            l7: None,
        };
        for form in &raw.backends {
            let Some((addr, backend, span)) = self.backend(form, vip.port) else { continue };
            let locus = Locus::Backend(name.clone(), addr);
            if let Some(first) = self.out.spans.insert(locus, span.clone()) {
                let message = format!("service `{name}` has backend {addr} twice");
                self.twice(Code::Duplicate, message, &span, first);
            }
            service.backends.insert(addr, backend);
        }
        service.discovery = self.discovery(raw, &service, registries).map(Arc::new);
        service.health = raw.health.as_ref().and_then(|health| self.health(health, &service)).map(Arc::new);
        service.publish = self.publish(raw, &service, registries);
        service.l7 = self.l7(raw, service.forward).map(Arc::new);
        self.out.part.services.insert(name.clone(), service);
    }

    fn backend(&mut self, form: &At<BackendForm>, port: u16) -> Option<(BackendAddr, Backend, Range<usize>)> {
        let (text, span, weight, state) = match &form.value {
            BackendForm::Text(text) => (text, &form.span, DEFAULT_WEIGHT, AdminState::default()),
            BackendForm::Table(table) => {
                let weight = table.weight.as_ref().and_then(|at| u16::try_from(at.value).ok());
                let state = table.state.unwrap_or_default();
                (&table.address.value, &table.address.span, weight.unwrap_or(DEFAULT_WEIGHT), state)
            }
        };
        match parse::backend(text, port) {
            Ok(addr) => Some((addr, Backend { weight, state, origin: Origin::File }, span.clone())),
            Err(error) => {
                self.report.unparsed(&error, self.source.place(span.clone(), ""));
                None
            }
        }
    }
}
