//! The view as the API shows it.

use std::sync::Arc;

use axum::Json;
use axum::response::{IntoResponse, Response};
use hyper::header::ETAG;
use ipnet::IpNet;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::catalog::{ApiList, SteppedBack, backend_text, vip_text};
use crate::control::door::View;
use crate::control::registry;
use crate::control::types::{BackendDocument, Entry, L7SetAside, L7Settings, ListSummary, ServiceDocument};
use crate::model::{AclEntry, AclList, BackendAddr, Forward, L7, Origin, Service};

/// A JSON answer with the generation as its ETag.
pub(super) fn tagged<T: Serialize>(generation: u64, value: &T) -> Response {
    ([(ETAG, format!("\"{generation}\""))], Json(value)).into_response()
}

pub(super) fn summary(name: &str, list: &AclList) -> ListSummary {
    let count = |keep: &dyn Fn(&IpNet, &AclEntry) -> bool| {
        number(list.entries.iter().filter(|(prefix, entry)| keep(prefix, entry)).count())
    };
    ListSummary {
        name: name.to_owned(),
        order: Some(list.order),
        action: Some(list.action),
        scope: Some(list.scope),
        origin: list.origin,
        entries_v4: count(&|prefix, _| matches!(prefix, IpNet::V4(_))),
        entries_v6: count(&|prefix, _| matches!(prefix, IpNet::V6(_))),
        entries_api: count(&|_, entry| entry.origin == Origin::Api),
        expiring: count(&|_, entry| entry.expires_at.is_some()),
        orphaned: false,
    }
}

pub(super) fn orphans(view: &View) -> Vec<ListSummary> {
    let part = |name: &String| Some(orphan(name, view.api.lists.get(name)?));
    view.orphaned_lists.iter().filter_map(part).collect()
}

pub(super) fn orphan(name: &str, part: &ApiList) -> ListSummary {
    let v4 = part.entries.keys().filter(|prefix| matches!(prefix, IpNet::V4(_))).count();
    ListSummary {
        name: name.to_owned(),
        order: part.definition.map(|own| own.order),
        action: part.definition.map(|own| own.action),
        scope: part.definition.map(|own| own.scope),
        origin: Origin::Api,
        entries_v4: number(v4),
        entries_v6: number(part.entries.len().saturating_sub(v4)),
        entries_api: number(part.entries.len()),
        expiring: number(part.entries.values().filter(|entry| entry.expires_at.is_some()).count()),
        orphaned: true,
    }
}

pub(super) fn entry(prefix: &IpNet, entry: &AclEntry) -> Entry {
    Entry {
        prefix: prefix.to_string(),
        origin: entry.origin,
        expires_at: entry.expires_at,
        reason: entry.reason.clone(),
    }
}

pub(super) fn service(view: &View, name: &str, service: &Service) -> ServiceDocument {
    let pooled = view.pool.services.get(name);
    let now = Timestamp::now();
    let settings = (service.forward == Forward::L7).then(|| l7_settings(service));
    let written = |key: &str| settings.as_ref()?.get(key).cloned();
    let publications = view.registries.values().flat_map(|session| &session.publications);
    ServiceDocument {
        name: name.to_owned(),
        vip: vip_text(&service.vip),
        forward: service.forward,
        announce: service.announce,
        unknown_port: service.unknown_port,
        syn_budget: service.syn_budget,
        origin: service.origin,
        backends: service.backends.keys().filter_map(|addr| backend(view, name, service, *addr)).collect(),
        sources: pooled
            .map(|pooled| pooled.sources.iter().map(|source| registry::query(name, source, now)).collect())
            .unwrap_or_default(),
        hold: pooled.and_then(|pooled| pooled.hold.as_ref()).map(registry::hold),
        publications: publications.filter(|one| one.service == name).cloned().collect(),
        withdrawn: view.api.services.get(name).is_some_and(|part| part.withdrawn),
        codec: written("codec"),
        l7: written("l7"),
        host: written("host"),
        route: written("route"),
        l7_overridden: l7_overridden(view, name, service),
    }
}

/// How the L7 path serves a service, as it was written.
pub(super) fn l7_settings(service: &Service) -> Arc<Map<String, Value>> {
    service.l7.as_ref().map_or_else(|| L7::default().written, |l7| l7.written.clone())
}

/// Whether that is the API's word on a service of somebody else.
pub(super) fn l7_overridden(view: &View, name: &str, service: &Service) -> bool {
    let laid = view.api.services.get(name).and_then(|part| part.l7.as_ref());
    service.origin != Origin::Api && laid.is_some() && laid == service.l7.as_ref()
}

/// L7 settings of the API for a service that are not in force.
pub(super) fn l7_set_aside(view: &View, name: &str) -> Option<L7SetAside> {
    let l7 = view.api.services.get(name)?.l7.as_ref()?;
    let SteppedBack { why, holds } = view.stepped_back.get(name)?.clone();
    Some(L7SetAside { why, holds, settings: L7Settings((*l7.written).clone()) })
}

pub(super) fn backend(
    view: &View,
    name: &str,
    service: &Service,
    addr: BackendAddr,
) -> Option<BackendDocument> {
    let backend = service.backends.get(&addr)?;
    let over = view.api.services.get(name).is_some_and(|part| part.overrides.contains_key(&addr));
    let candidate = view.pool.services.get(name).and_then(|pooled| pooled.candidates.get(&addr));
    let found = candidate.map(|candidate| registry::endpoint(&addr, candidate));
    Some(BackendDocument {
        address: backend_text(&addr),
        weight: backend.weight,
        state: backend.state,
        origin: backend.origin,
        overridden: over && backend.origin != Origin::Api,
        health: view.backends.get(&(name.to_owned(), addr)).cloned().unwrap_or_default(),
        sources: found.as_ref().map(|found| found.sources.clone()).unwrap_or_default(),
        standing: found.as_ref().map(|found| found.standing),
        standing_detail: found.as_ref().and_then(|found| found.detail.clone()),
        since: found.as_ref().map(|found| found.since),
        zone: found.as_ref().and_then(|found| found.zone.clone()),
        labels: found.as_ref().map(|found| found.labels.clone()).unwrap_or_default(),
        checked: found.and_then(|found| found.checked),
    })
}

pub(super) fn number(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}
