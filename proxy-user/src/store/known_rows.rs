//! Rows of the remembered sets: JSON, so that fields can be added.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::catalog::pool::{RememberedEndpoint, RememberedSet};
use crate::registry::source::{Endpoint, MAX_ENDPOINTS, Query};

/// A row as it is written.
pub(super) struct Row {
    pub key: String,
    pub value: Vec<u8>,
}

#[derive(Serialize, Deserialize)]
struct KeyRow {
    registry: String,
    service: String,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    options: BTreeMap<String, String>,
}

#[derive(Serialize, Deserialize)]
struct SetRow {
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

pub(super) fn key((registry, query): &Key) -> Result<String, serde_json::Error> {
    serde_json::to_string(&KeyRow {
        registry: registry.to_string(),
        service: query.service.clone(),
        options: query.options.clone(),
    })
}

pub(super) fn encode(of: &Key, set: &RememberedSet) -> Result<Row, serde_json::Error> {
    let text = |labels: &BTreeMap<Arc<str>, Arc<str>>| {
        labels.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect()
    };
    let row = SetRow {
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
    };
    Ok(Row { key: key(of)?, value: serde_json::to_vec(&row)? })
}

/// The set of a row; none where it cannot be read. Endpoints that cannot be read are left out.
pub(super) fn decode(key: &str, value: &[u8]) -> Option<(Key, RememberedSet)> {
    let key: KeyRow = serde_json::from_str(key).ok()?;
    let row: SetRow = serde_json::from_slice(value).ok()?;
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
    let query = Query { service: key.service, options: key.options };
    Some(((key.registry.into(), Arc::new(query)), set))
}
