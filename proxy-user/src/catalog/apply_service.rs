//! Changes of services and backends.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::apply::{Changed, check_name};
use super::apply_list::set_by;
use super::check::MAX_WEIGHT;
use super::l7::differences;
use super::orphans::taker_of_vip;
use super::{ApiBackend, ApiService, NewBackend, Override, Refusal, ServiceDefinition, backend_text};
use crate::control::types::{Code, Item, Operation, Outcome};
use crate::model::{AdminState, Backend, BackendAddr, Desired, Forward, L7};

impl Changed {
    pub(super) fn put_service(
        &mut self,
        base: &Desired,
        service: &str,
        definition: ServiceDefinition,
        backends: &BTreeMap<BackendAddr, NewBackend>,
        l7: Option<Arc<L7>>,
    ) -> Result<(), Refusal> {
        check_name("service", service)?;
        if l7.is_some() {
            of_mode_l7(service, definition.forward)?;
        }
        if let Some(of_base) = base.services.get(service) {
            return Err(Refusal::new(
                Code::OriginConflict,
                format!("service {service} was {}", set_by(of_base.origin)),
            )
            .hint(
                "change it in the configuration and reload; the API may add backends, set weights and drain, and set how an \
                 `l7` service is served (`weir l7 set`)",
            ));
        }
        let stood = self.api.services.get(service).is_some_and(|part| part.definition == Some(definition));
        if stood && l7.is_some() {
            self.in_force(base, service)?;
        }
        let old = self.api.services.remove(service);
        let known = old.as_ref().map(|old| old.backends.clone()).unwrap_or_default();
        let kept = old.as_ref().filter(|_| l7.is_none() && definition.forward == Forward::L7);
        let l7_fault = kept.and_then(|old| old.l7_fault.clone());
        let l7 = l7.filter(|l7| !l7.does_as(&L7::default())).or(kept.and_then(|old| old.l7.clone()));
        let mut part = ApiService { definition: Some(definition), l7, l7_fault, ..ApiService::default() };
        for (backend, new) in backends {
            part.backends.insert(*backend, filled(*new, known.get(backend).copied())?);
        }
        let outcome = match &old {
            Some(old) if *old == part => Outcome::Exists,
            Some(_) => Outcome::Updated,
            None => Outcome::Added,
        };
        let default = Arc::new(L7::default());
        let settings = |part: &ApiService| Arc::clone(part.l7.as_ref().unwrap_or(&default));
        let (was, is) = (old.as_ref().map(settings), settings(&part));
        self.api.services.insert(service.to_owned(), part);
        self.note(service, Operation::Add, outcome, None);
        if let Some(was) = was {
            let (items, _) = differences(&was, &is);
            for item in items {
                self.counts.add(item.outcome);
                self.items.push(item);
            }
        }
        Ok(())
    }

    pub(super) fn delete_service(&mut self, base: &Desired, service: &str) -> Result<(), Refusal> {
        let of_base = base.services.get(service);
        if let Some(of_base) = of_base.filter(|_| self.not_in_force(base, service).is_none()) {
            return Err(Refusal::new(
                Code::OriginConflict,
                format!("service {service} was {}", set_by(of_base.origin)),
            )
            .hint("remove it from the configuration and reload, or drain its backends"));
        }
        let note = of_base.map(|_| "what the API had set; that of the configuration stays".to_owned());
        let outcome = match self.api.services.remove(service) {
            Some(_) => Outcome::Removed,
            None => Outcome::Absent,
        };
        self.note(service, Operation::Remove, outcome, note);
        Ok(())
    }

    pub(super) fn put_backend(
        &mut self,
        base: &Desired,
        service: &str,
        backend: BackendAddr,
        new: NewBackend,
    ) -> Result<(), Refusal> {
        self.known_service(base, service)?;
        if let Some((of_base, now)) = self.base_backend(base, service, backend) {
            let same = new.weight.is_none_or(|weight| weight == now.weight)
                && new.state.is_none_or(|state| state == now.state);
            if !same {
                return Err(Refusal::new(
                    Code::OriginConflict,
                    format!("backend {} of {service} was {}", backend_text(&backend), set_by(of_base.origin)),
                )
                .hint("lay a weight or a drain over it: weir backend weight, weir backend drain"));
            }
            let note = Some(set_by(of_base.origin).to_owned());
            self.note(backend_text(&backend), Operation::Add, Outcome::Exists, note);
            return Ok(());
        }
        let part = self.api.services.entry(service.to_owned()).or_default();
        let old = part.backends.get(&backend).copied();
        let filled = filled(new, old)?;
        part.backends.insert(backend, filled);
        let outcome = match old {
            None => Outcome::Added,
            Some(old) if old == filled => Outcome::Exists,
            Some(_) => Outcome::Updated,
        };
        self.note(backend_text(&backend), Operation::Add, outcome, None);
        Ok(())
    }

    pub(super) fn delete_backend(
        &mut self,
        base: &Desired,
        service: &str,
        backend: BackendAddr,
    ) -> Result<(), Refusal> {
        self.known_service(base, service)?;
        if let Some((of_base, _)) = self.base_backend(base, service, backend) {
            return Err(Refusal::new(
                Code::OriginConflict,
                format!("backend {} of {service} was {}", backend_text(&backend), set_by(of_base.origin)),
            )
            .hint("remove it from the configuration and reload, or drain it: weir backend drain"));
        }
        let gone = self.api.services.get_mut(service).and_then(|part| part.backends.remove(&backend));
        let outcome = if gone.is_some() { Outcome::Removed } else { Outcome::Absent };
        self.note(backend_text(&backend), Operation::Remove, outcome, None);
        Ok(())
    }

    pub(super) fn set_backend(
        &mut self,
        base: &Desired,
        service: &str,
        backend: BackendAddr,
        new: NewBackend,
    ) -> Result<(), Refusal> {
        self.known_service(base, service)?;
        let weight = new.weight.map(checked_weight).transpose()?;
        let of_base = self.base_backend(base, service, backend).map(|(of_base, _)| of_base);
        let part = self.api.services.entry(service.to_owned()).or_default();
        let changed = if let Some(of_base) = of_base {
            let over = part.overrides.entry(backend).or_default();
            let old = *over;
            // What the base says, too, needs no override: it must not outlive a change of the base.
            over.weight = weight.map_or(over.weight, |weight| (weight != of_base.weight).then_some(weight));
            over.state = new.state.map_or(over.state, |state| (state != of_base.state).then_some(state));
            *over != old
        } else if let Some(own) = part.backends.get_mut(&backend) {
            let old = *own;
            own.weight = weight.unwrap_or(own.weight);
            own.state = new.state.unwrap_or(own.state);
            *own != old
        } else if base.services.get(service).is_some_and(|of_base| of_base.discovery.is_some()) {
            // An endpoint of a registry, here now or not: the word stays for as long as the operator does not take it back.
            let over = part.overrides.entry(backend).or_default();
            let old = *over;
            over.weight = weight.or(over.weight);
            over.state = new.state.map_or(over.state, |state| (state != AdminState::Active).then_some(state));
            *over != old
        } else {
            return Err(Refusal::new(
                Code::UnknownBackend,
                format!("service {service} has no backend {}", backend_text(&backend)),
            )
            .hint("`weir service show` lists its backends"));
        };
        let outcome = if changed { Outcome::Updated } else { Outcome::Exists };
        self.note(backend_text(&backend), Operation::Add, outcome, None);
        Ok(())
    }

    pub(super) fn set_l7(
        &mut self,
        base: &Desired,
        service: &str,
        l7: Option<Arc<L7>>,
    ) -> Result<(), Refusal> {
        let has = self.api.services.get(service).is_some_and(|part| part.l7.is_some());
        // What the API has set can be dropped, whatever the base has become.
        if l7.is_some() || !has {
            self.known_service(base, service)?;
        }
        if l7.is_some() {
            self.in_force(base, service)?;
        }
        let of_base = base.services.get(service);
        let part = self.api.services.entry(service.to_owned()).or_default();
        let forward = of_base.map(|base| base.forward).or(part.definition.map(|own| own.forward));
        if l7.is_some() {
            of_mode_l7(service, forward.unwrap_or_default())?;
        }
        let default = Arc::new(L7::default());
        let below = of_base.and_then(|base| base.l7.as_ref()).unwrap_or(&default);
        let old = part.l7.as_ref().unwrap_or(below);
        let new = l7.as_ref().unwrap_or(below);
        let (items, same) = differences(old, new);
        // What holds without the API's word needs none: it must not outlive a change of the base.
        let laid = l7.clone().filter(|l7| !l7.does_as(below));
        if items.is_empty() {
            let respelled = laid.is_some() && old.written != new.written;
            let (operation, outcome) = match (l7.is_some(), respelled) {
                (true, true) => (Operation::Add, Outcome::Updated),
                (true, false) => (Operation::Add, Outcome::Exists),
                (false, _) => (Operation::Remove, Outcome::Absent),
            };
            let note = respelled.then(|| "written otherwise, and does the same".to_owned());
            self.items.push(Item { item: service.to_owned(), operation, outcome, code: None, note });
        }
        for item in items {
            self.counts.add(item.outcome);
            self.items.push(item);
        }
        self.counts.unchanged = self.counts.unchanged.saturating_add(same);
        part.l7 = laid;
        part.l7_fault = None;
        Ok(())
    }

    pub(super) fn set_withdrawn(
        &mut self,
        base: &Desired,
        service: &str,
        withdrawn: bool,
    ) -> Result<(), Refusal> {
        self.known_service(base, service)?;
        if base.services.get(service).is_none_or(|of_base| of_base.publish.is_empty()) {
            return Err(Refusal::new(
                Code::InvalidState,
                format!("the VIP of service {service} is not registered anywhere"),
            )
            .hint("`publish` in the configuration says where a VIP is registered"));
        }
        let part = self.api.services.entry(service.to_owned()).or_default();
        let outcome = if part.withdrawn == withdrawn { Outcome::Exists } else { Outcome::Updated };
        part.withdrawn = withdrawn;
        let operation = if withdrawn { Operation::Remove } else { Operation::Add };
        self.note(service, operation, outcome, None);
        Ok(())
    }

    /// Why a service that the API defined is not in force beside those of the base.
    fn not_in_force(&self, base: &Desired, service: &str) -> Option<String> {
        let own = self.api.services.get(service)?.definition?;
        if let Some(by) = taker_of_vip(base, service, &own) {
            return Some(format!("the configuration has service {by} of the same VIP"));
        }
        let of_base = base.services.get(service)?;
        ((own.vip, own.forward) != (of_base.vip, of_base.forward))
            .then(|| "the configuration has a service of this name with another VIP or mode".to_owned())
    }

    /// L7 settings of what is not in force would be taken and do nothing.
    fn in_force(&self, base: &Desired, service: &str) -> Result<(), Refusal> {
        let Some(why) = self.not_in_force(base, service) else { return Ok(()) };
        let message = format!("service {service} of the API is not in force: {why}");
        let hint = format!("drop it with DELETE /v1/services/{service}, or correct the configuration");
        Err(Refusal::new(Code::InvalidState, message).hint(hint))
    }

    fn known_service(&self, base: &Desired, service: &str) -> Result<(), Refusal> {
        let own = self.api.services.get(service).is_some_and(|part| part.definition.is_some());
        if own || base.services.contains_key(service) {
            return Ok(());
        }
        Err(Refusal::new(Code::UnknownService, format!("there is no service {service}"))
            .hint("`weir service list` names them"))
    }

    /// A backend of the base, as the base says and with the operator's word on top.
    fn base_backend(
        &self,
        base: &Desired,
        service: &str,
        backend: BackendAddr,
    ) -> Option<(Backend, Backend)> {
        let of_base = *base.services.get(service)?.backends.get(&backend)?;
        let over = self
            .api
            .services
            .get(service)
            .and_then(|part| part.overrides.get(&backend))
            .copied()
            .unwrap_or(Override::default());
        let now = Backend {
            weight: over.weight.unwrap_or(of_base.weight),
            state: over.state.unwrap_or(of_base.state),
            origin: of_base.origin,
        };
        Some((of_base, now))
    }
}

fn of_mode_l7(service: &str, forward: Forward) -> Result<(), Refusal> {
    if forward == Forward::L7 {
        return Ok(());
    }
    let why =
        format!("service {service} is not served by the L7 path, so it has no codec, routes or L7 settings");
    Err(Refusal::new(Code::InvalidState, why)
        .hint("give it forward = \"l7\" (`weir service add --forward l7`), or leave them out"))
}

fn filled(new: NewBackend, old: Option<ApiBackend>) -> Result<ApiBackend, Refusal> {
    let weight = new.weight.or(old.map(|old| old.weight)).unwrap_or(DEFAULT_WEIGHT);
    let state = new.state.or(old.map(|old| old.state)).unwrap_or(AdminState::Active);
    Ok(ApiBackend { weight: checked_weight(weight)?, state })
}

fn checked_weight(weight: u16) -> Result<u16, Refusal> {
    if weight <= MAX_WEIGHT {
        return Ok(weight);
    }
    Err(Refusal::new(Code::InvalidState, format!("weight {weight} is out of range"))
        .hint("0 to 1000, relative to the service's other backends; 0 drains"))
}

/// Weight of a new backend that names none.
const DEFAULT_WEIGHT: u16 = 100;
