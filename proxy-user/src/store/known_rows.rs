//! Rows of the remembered sets: JSON, so that fields can be added.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::catalog::pool::{RememberedEndpoint, RememberedSet};
use crate::registry::source::{Endpoint, MAX_ENDPOINTS, Query};

#[derive(Serialize, Deserialize)]
struct SetRow {
    registry: String,
    service: String,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    options: BTreeMap<String, String>,
    received: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    version: Option<String>,
    endpoints: Vec<EndpointRow>,
}

#[derive(Serialize, Deserialize)]
struct EndpointRow {
    addr: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    weight: Option<f64>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    disabled: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    zone: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    labels: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    leaving: Option<Timestamp>,
}

type Key = (Arc<str>, Arc<Query>);

/// A set's row: JSON without a line break.
pub(super) fn encode((registry, query): &Key, set: &RememberedSet) -> Result<Vec<u8>, serde_json::Error> {
    let text = |labels: &BTreeMap<Arc<str>, Arc<str>>| {
        labels.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect()
    };
    serde_json::to_vec(&SetRow {
        registry: registry.to_string(),
        service: query.service.clone(),
        options: query.options.clone(),
        received: set.received,
        version: set.version.clone(),
        endpoints: set
            .endpoints
            .iter()
            .take(MAX_ENDPOINTS)
            .map(|RememberedEndpoint { endpoint, leaving }| EndpointRow {
                addr: endpoint.addr.to_string(),
                // JSON has no other numbers.
                weight: endpoint.weight.filter(|weight| weight.is_finite()),
                disabled: !endpoint.enabled,
                zone: endpoint.zone.as_ref().map(ToString::to_string),
                labels: text(&endpoint.labels),
                leaving: *leaving,
            })
            .collect(),
    })
}

/// The set of a row; none where it cannot be read. Endpoints that cannot be read are left out.
pub(super) fn decode(row: &[u8]) -> Option<(Key, RememberedSet)> {
    let row: SetRow = serde_json::from_slice(row).ok()?;
    let shared = |labels: BTreeMap<String, String>| {
        labels.into_iter().map(|(key, value)| (key.into(), value.into())).collect()
    };
    let endpoints = row.endpoints.into_iter().take(MAX_ENDPOINTS).filter_map(|row| {
        let endpoint = Endpoint {
            addr: row.addr.parse().ok()?,
            weight: row.weight,
            enabled: !row.disabled,
            zone: row.zone.map(Into::into),
            labels: shared(row.labels),
        };
        Some(RememberedEndpoint { endpoint, leaving: row.leaving })
    });
    let set = RememberedSet { received: row.received, version: row.version, endpoints: endpoints.collect() };
    let query = Query { service: row.service, options: row.options };
    Some(((row.registry.into(), Arc::new(query)), set))
}
