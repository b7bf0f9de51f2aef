//! What must hold in every merged state, whoever set its parts.

use std::collections::BTreeMap;

use ipnet::IpNet;
use proxy_common::limits;

use super::{Refusal, vip_text};
use crate::control::types::{Code, FieldError, Warning};
use crate::model::{Desired, Forward, Service};

/// Orders and VIPs are not shared, backends can be reached in their service's mode, and nothing is over a limit.
///
/// # Errors
/// Names every fault.
pub fn check(desired: &Desired) -> Result<Vec<Warning>, Refusal> {
    refuse(Code::Conflict, "two objects claim the same place", taken_twice(desired))?;
    refuse(Code::InvalidState, "the services are not in order", service_faults(desired))?;
    refuse(Code::LimitExceeded, "more than weir can hold", over_limits(desired))?;
    Ok(Vec::new())
}

fn refuse(code: Code, what: &str, errors: Vec<FieldError>) -> Result<(), Refusal> {
    let Some(first) = errors.first() else { return Ok(()) };
    Err(Refusal::new(code, format!("{what}: {}: {}", first.pointer, first.message)).errors(errors))
}

fn fault(errors: &mut Vec<FieldError>, pointer: String, message: String) {
    errors.push(FieldError { pointer, message });
}

fn taken_twice(desired: &Desired) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let mut orders = BTreeMap::new();
    for (name, list) in &desired.acl.lists {
        if let Some(other) = orders.insert(list.order, name) {
            let message = format!("list {other} has order {}, too; give one of them another", list.order);
            fault(&mut errors, format!("list {name}"), message);
        }
    }
    let mut vips = BTreeMap::new();
    let mut other_ports = BTreeMap::new();
    for (name, service) in &desired.services {
        if let Some(other) = vips.insert(service.vip, name) {
            let message = format!("service {other} has VIP {}, too", vip_text(&service.vip));
            fault(&mut errors, format!("service {name}"), message);
        }
        let (first, unknown_port) =
            *other_ports.entry(service.vip.addr).or_insert((name, service.unknown_port));
        if unknown_port != service.unknown_port {
            let message =
                format!("service {first} of the same address has another unknown_port; make them agree");
            fault(&mut errors, format!("service {name}"), message);
        }
    }
    errors
}

fn service_faults(desired: &Desired) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for (name, service) in &desired.services {
        let vip = service.vip.addr;
        if vip.is_unspecified() || vip.is_loopback() || vip.is_multicast() {
            fault(&mut errors, format!("service {name}"), format!("{vip} cannot be a VIP"));
        }
        for (backend, wanted) in &service.backends {
            let message = if backend.addr.is_ipv4() != vip.is_ipv4() {
                "is not of the VIP's address family".into()
            } else if desired.services.values().any(|other| other.vip.addr == backend.addr) {
                "is a VIP itself".into()
            } else if backend.addr.is_unspecified()
                || backend.addr.is_loopback()
                || backend.addr.is_multicast()
            {
                "cannot be a backend's address".into()
            } else if let Some(message) = port_fault(service, backend.port) {
                message
            } else if wanted.weight > MAX_WEIGHT {
                format!("has weight {}; the largest is {MAX_WEIGHT}", wanted.weight)
            } else {
                continue;
            };
            let pointer = format!("service {name}, backend {}", super::backend_text(backend));
            fault(&mut errors, pointer, message);
        }
    }
    errors
}

fn port_fault(service: &Service, port: u16) -> Option<String> {
    match (service.forward, service.vip.port, port) {
        (_, 0, 0) => None,
        (_, 0, _) => Some("has a port although the VIP has any: write port 0, the packet's stays".into()),
        (_, _, 0) => Some("has port 0; name the port that the backend listens on".into()),
        (Forward::DsrL2, vip, port) if vip != port => {
            Some(format!("must have the VIP's port {vip}: dsr-l2 cannot change it"))
        }
        _ => None,
    }
}

fn over_limits(desired: &Desired) -> Vec<FieldError> {
    let entries = || desired.acl.lists.values().flat_map(|list| list.entries.keys());
    let v4 = entries().filter(|prefix| matches!(prefix, IpNet::V4(_))).count();
    let v6 = entries().filter(|prefix| matches!(prefix, IpNet::V6(_))).count();
    let backends = desired.services.values().map(|service| service.backends.len()).sum();
    let mut errors = Vec::new();
    for (what, count, limit) in [
        ("lists", desired.acl.lists.len(), limits::LISTS.saturating_sub(2)),
        ("IPv4 entries", v4, limits::ACL_V4_PREFIXES),
        ("IPv6 entries", v6, limits::ACL_V6_PREFIXES),
        ("services", desired.services.len(), limits::SERVICES),
        ("backends", backends, limits::BACKENDS.saturating_sub(1)),
    ] {
        if usize::try_from(limit).is_ok_and(|limit| count > limit) {
            fault(&mut errors, what.into(), format!("{count}, at most {limit}"));
        }
    }
    errors
}

/// Largest weight of a backend.
pub(super) const MAX_WEIGHT: u16 = 1_000;
