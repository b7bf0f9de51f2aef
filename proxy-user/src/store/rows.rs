//! Rows of the store: JSON values, so that fields can be added, and prefixes as keys of a fixed length that sort well.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use ipnet::IpNet;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::catalog::{
    ApiBackend, ApiService, Override, ServiceDefinition, backend_text, parse_backend, parse_vip, vip_text,
};
use crate::config::read_l7_json;
use crate::model::{Announce, Forward, L7, UnknownPort};

/// A row that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("a row is damaged: {0}")]
pub(super) struct BadRow(String);

/// Family, address, length.
pub(super) const PREFIX_BYTES: usize = 18;

pub(super) fn prefix_key(prefix: &IpNet) -> [u8; PREFIX_BYTES] {
    let mut key = [0; PREFIX_BYTES];
    let (family, octets) = match prefix.addr() {
        IpAddr::V4(addr) => (4, addr.octets().to_vec()),
        IpAddr::V6(addr) => (6, addr.octets().to_vec()),
    };
    for (place, byte) in key.iter_mut().zip(std::iter::once(family).chain(octets)) {
        *place = byte;
    }
    if let Some(last) = key.last_mut() {
        *last = prefix.prefix_len();
    }
    key
}

pub(super) fn prefix(key: &[u8; PREFIX_BYTES]) -> Result<IpNet, BadRow> {
    let bad = || BadRow("not a prefix".into());
    let [family, octets @ .., length] = key;
    let addr: IpAddr = match family {
        4 => {
            let octets: [u8; 4] = octets.first_chunk().copied().ok_or_else(bad)?;
            Ipv4Addr::from(octets).into()
        }
        6 => Ipv6Addr::from(*octets).into(),
        _ => return Err(bad()),
    };
    IpNet::new(addr, *length).map_err(|_| bad())
}

pub(super) fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, BadRow> {
    serde_json::to_vec(value).map_err(|error| BadRow(error.to_string()))
}

pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, BadRow> {
    serde_json::from_slice(bytes).map_err(|error| BadRow(error.to_string()))
}

#[derive(Serialize, Deserialize)]
struct ServiceRow {
    definition: Option<DefinitionRow>,
    backends: Vec<(String, ApiBackend)>,
    overrides: Vec<(String, Override)>,
    #[serde(default, skip_serializing_if = "is_false")]
    withdrawn: bool,
    /// L7 settings as they were written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    l7: Option<Map<String, Value>>,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "the form that serde calls")]
fn is_false(truth: &bool) -> bool {
    !truth
}

#[derive(Serialize, Deserialize)]
struct DefinitionRow {
    vip: String,
    forward: Forward,
    announce: Announce,
    unknown_port: UnknownPort,
    syn_budget: u32,
}

pub(super) fn service_row(service: &ApiService) -> Result<Vec<u8>, BadRow> {
    encode(&ServiceRow {
        definition: service.definition.map(|own| DefinitionRow {
            vip: vip_text(&own.vip),
            forward: own.forward,
            announce: own.announce,
            unknown_port: own.unknown_port,
            syn_budget: own.syn_budget,
        }),
        backends: service.backends.iter().map(|(addr, own)| (backend_text(addr), *own)).collect(),
        overrides: service.overrides.iter().map(|(addr, over)| (backend_text(addr), *over)).collect(),
        withdrawn: service.withdrawn,
        l7: service.l7.as_ref().map(|l7| (*l7.written).clone()),
    })
}

pub(super) fn service(name: &str, bytes: &[u8]) -> Result<ApiService, BadRow> {
    let row: ServiceRow = decode(bytes)?;
    let bad = |error: crate::catalog::Refusal| BadRow(error.detail);
    let definition = match row.definition {
        Some(own) => Some(ServiceDefinition {
            vip: parse_vip(&own.vip).map_err(bad)?,
            forward: own.forward,
            announce: own.announce,
            unknown_port: own.unknown_port,
            syn_budget: own.syn_budget,
        }),
        None => None,
    };
    let mut service = ApiService { definition, withdrawn: row.withdrawn, ..ApiService::default() };
    if let Some(written) = row.l7 {
        // Another version may have other keys: that must not keep weir, and all that it holds, from starting.
        let l7 = read_l7_json(name, &Value::Object(written.clone())).map(|read| read.l7);
        service.l7_fault =
            l7.as_ref().err().map(|refused| format!("this version of weir does not take them: {refused}"));
        let written = Arc::new(written);
        service.l7 = Some(Arc::new(l7.unwrap_or_else(|_| L7 { written, ..L7::default() })));
    }
    for (addr, own) in row.backends {
        service.backends.insert(parse_backend(&addr).map_err(bad)?, own);
    }
    for (addr, over) in row.overrides {
        service.overrides.insert(parse_backend(&addr).map_err(bad)?, over);
    }
    Ok(service)
}
