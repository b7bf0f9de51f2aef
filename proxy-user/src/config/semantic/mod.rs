//! What objects of a desired state must be to each other, whoever set them: the file check runs this with spans, the
//! catalog runs it again after merging what the API set.

mod acl;
mod l7;
mod services;
mod snat;

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::problem::{Code, Locus, Problem, Severity};
use super::settings::{Limits, Part};
use crate::model::{AclPolicy, Desired, Service};

/// Checks a whole desired state. Errors come before warnings; none of either means that it can be planned.
#[must_use]
pub fn semantic_check(desired: &Desired) -> Vec<Problem> {
    semantic_check_within(desired, Limits::default())
}

/// As [`semantic_check`], for maps of other sizes than the default.
#[must_use]
pub fn semantic_check_within(desired: &Desired, limits: Limits) -> Vec<Problem> {
    check(&View {
        acl: &desired.acl,
        services: &desired.services,
        snat_addresses: &desired.snat.addresses,
        snat_ports: Some(desired.snat.ports),
        limits,
    })
}

/// Checks what file and flags say, before the daemon's own choices are known.
pub(super) fn check_part(part: &Part, limits: Limits) -> Vec<Problem> {
    check(&View {
        acl: &part.acl,
        services: &part.services,
        snat_addresses: &part.snat_addresses,
        snat_ports: part.snat_ports,
        limits,
    })
}

fn check(view: &View<'_>) -> Vec<Problem> {
    let mut found = Found(Vec::new());
    acl::check(view, &mut found);
    services::check(view, &mut found);
    l7::check(view, &mut found);
    snat::check(view, &mut found);
    found.0.sort_by_key(|problem| problem.severity);
    found.0
}

struct View<'a> {
    acl: &'a AclPolicy,
    services: &'a BTreeMap<String, Service>,
    snat_addresses: &'a [IpAddr],
    snat_ports: Option<(u16, u16)>,
    limits: Limits,
}

struct Found(Vec<Problem>);

impl Found {
    fn error(&mut self, code: Code, at: Locus, message: String, hint: impl Into<String>) {
        let problem =
            Problem { code, severity: Severity::Error, at, other: None, message, hint: hint.into() };
        self.0.push(problem);
    }

    fn conflict(&mut self, code: Code, at: Locus, other: Locus, message: String, hint: impl Into<String>) {
        let (other, hint) = (Some(other), hint.into());
        self.0.push(Problem { code, severity: Severity::Error, at, other, message, hint });
    }

    fn warning(&mut self, code: Code, at: Locus, message: String, hint: impl Into<String>) {
        let problem =
            Problem { code, severity: Severity::Warning, at, other: None, message, hint: hint.into() };
        self.0.push(problem);
    }
}

/// Why no packet could ever be sent to or from this address over a network; `None` for a usable one.
fn unusable(addr: IpAddr) -> Option<&'static str> {
    match addr {
        IpAddr::V4(v4) if v4.octets().starts_with(&[0]) => Some("is in 0.0.0.0/8, which means \"this host\""),
        IpAddr::V4(v4) if v4.is_broadcast() => Some("is the broadcast address"),
        IpAddr::V6(v6) if v6.is_unicast_link_local() => {
            Some("is link-local, so it means another host on every interface")
        }
        _ if addr.is_unspecified() => Some("is the unspecified address"),
        _ if addr.is_loopback() => Some("is a loopback address, which never leaves its host"),
        _ if addr.is_multicast() => Some("is a multicast address"),
        _ => None,
    }
}
