//! VIPs and backends.

use std::collections::BTreeMap;
use std::net::IpAddr;

use proxy_common::limits;

use super::{Found, View, unusable};
use crate::config::bounds;
use crate::config::parse;
use crate::config::problem::{Code, Locus};
use crate::model::{AdminState, BackendAddr, Forward, Protocol, Service, SourceRef};

pub(super) fn check(view: &View<'_>, found: &mut Found) {
    capacity(view, found);
    vips(view, found);
    let owners: BTreeMap<IpAddr, &str> =
        view.services.iter().rev().map(|(name, service)| (service.vip.addr, name.as_str())).collect();
    for (name, service) in view.services {
        if let Err(error) = parse::name(name) {
            let (what, how) = error.what_and_how();
            found.error(Code::BadValue, Locus::Service(name.clone()), what, how);
        }
        if service.syn_budget == 0 || service.syn_budget > bounds::SYN_BUDGET_MAX {
            let message = format!("syn_budget {} is out of its range", service.syn_budget);
            let hint = format!("give 1 to {}", bounds::SYN_BUDGET_MAX);
            found.error(Code::OutOfRange, Locus::SynBudget(name.clone()), message, hint);
        }
        for (backend, value) in &service.backends {
            check_backend(name, service, *backend, &owners, found);
            if value.weight > parse::MAX_WEIGHT {
                let message = format!("weight {} is out of its range", value.weight);
                let hint = format!("give 0 to {}", parse::MAX_WEIGHT);
                found.error(Code::OutOfRange, Locus::Backend(name.clone(), *backend), message, hint);
            }
        }
        takes_flows(name, service, found);
        if service.forward == Forward::L7 && service.vip.protocol == Protocol::Udp {
            let message = format!("the L7 path serves TCP, and VIP {} is UDP", service.vip);
            let hint = "use forward = \"nat\", or a tcp VIP";
            found.error(Code::L7Protocol, Locus::Vip(name.clone()), message, hint);
        }
        finds_itself(view, name, service, found);
    }
}

fn vips(view: &View<'_>, found: &mut Found) {
    let mut by_vip = BTreeMap::new();
    let mut by_addr = BTreeMap::new();
    for (name, service) in view.services {
        let vip = service.vip;
        let at = Locus::Vip(name.clone());
        if let Some(why) = unusable(vip.addr) {
            let message = format!("{} cannot be a VIP: it {why}", vip.addr);
            found.error(
                Code::VipAddress,
                at.clone(),
                message,
                "use a unicast address that is routed to this host",
            );
        }
        if let Some(first) = by_vip.insert(vip, name) {
            let message = format!("services `{first}` and `{name}` both have VIP {vip}");
            let other = Locus::Vip(first.clone());
            found.conflict(Code::VipOverlap, at, other, message, "give one of them another address or port");
        }
        match by_addr.insert(vip.addr, (name, service.unknown_port)) {
            Some((first, unknown_port)) if unknown_port != service.unknown_port => {
                let message =
                    format!("services `{first}` and `{name}` disagree about the other ports of {}", vip.addr);
                let (at, other) = (Locus::UnknownPort(name.clone()), Locus::UnknownPort(first.clone()));
                let hint = "give every service of this address the same unknown_port";
                found.conflict(Code::UnknownPortConflict, at, other, message, hint);
            }
            _ => {}
        }
    }
}

fn check_backend(
    name: &str,
    service: &Service,
    backend: BackendAddr,
    owners: &BTreeMap<IpAddr, &str>,
    found: &mut Found,
) {
    let vip = service.vip;
    let at = || Locus::Backend(name.to_owned(), backend);
    if let Some(why) = unusable(backend.addr) {
        let message = format!("{} cannot be a backend: it {why}", backend.addr);
        found.error(Code::BackendAddress, at(), message, "use the backend's own unicast address");
    }
    if let Some(owner) = owners.get(&backend.addr) {
        let message = match *owner == name || backend.addr == vip.addr {
            true => format!("backend {backend} is the VIP itself: its packets would come back to weir"),
            false => {
                format!(
                    "backend {backend} is the VIP of service `{owner}`: its packets would come back to weir"
                )
            }
        };
        let hint = "name the address of the server behind it";
        found.conflict(Code::BackendIsVip, at(), Locus::Vip((*owner).to_owned()), message, hint);
    }
    if service.is_forwarded() && backend.addr.is_ipv4() != vip.addr.is_ipv4() {
        let (of, vip_family) = (family(backend.addr), family(vip.addr));
        let message =
            format!("backend {backend} is {of} and VIP {vip} is {vip_family}; weir does not translate");
        let hint = format!("give the backend's {vip_family} address, or a VIP of the other family");
        found.conflict(Code::FamilyMismatch, at(), Locus::Vip(name.to_owned()), message, hint);
    }
    if backend.port == 0 && vip.port != 0 {
        let message = format!("backend {backend} has port 0, which nobody can listen on");
        let hint = format!("give its port, or leave it out to use the VIP's ({})", vip.port);
        found.error(Code::BackendPortZero, at(), message, hint);
    } else if service.forward == Forward::DsrL2 && backend.port != vip.port {
        let message =
            format!("dsr-l2 cannot change ports: the packet arrives at {backend} with port {}", vip.port);
        let hint = format!("let the backend listen on {}, or use forward = \"nat\"", vip.port);
        found.conflict(Code::DsrPort, at(), Locus::Vip(name.to_owned()), message, hint);
    }
}

fn takes_flows(name: &str, service: &Service, found: &mut Found) {
    let open = |b: &crate::model::Backend| b.state == AdminState::Active && b.weight > 0;
    if service.discovery.is_some() || service.backends.values().any(open) {
        return;
    }
    let why = match service.backends.is_empty() {
        true => format!("service `{name}` has no backends"),
        false => format!("every backend of service `{name}` is drained"),
    };
    let message = match (service.is_forwarded(), service.backends.is_empty()) {
        (false, _) => format!("{why}: what it does not answer by its routes is refused"),
        (true, true) => format!("{why}: packets to {} are dropped", service.vip),
        (true, false) => format!("{why}: new connections are dropped"),
    };
    let hint = "add a backend, here or with `weir backend add`";
    found.warning(Code::NoBackends, Locus::Service(name.to_owned()), message, hint);
}

/// A VIP is never a backend, so weir would refuse what it registers; and clients would find the VIP beside its backends.
fn finds_itself(view: &View<'_>, name: &str, service: &Service, found: &mut Found) {
    for publish in &service.publish {
        let publication = &publish.publication;
        let same = |source: &&SourceRef| {
            source.registry == publish.registry
                && source.query.service == publication.service
                && IDENTITY.iter().all(|key| source.query.options.get(*key) == publication.options.get(*key))
        };
        let reads = |(_, reader): &(&String, &Service)| {
            reader.discovery.as_ref().is_some_and(|discovery| discovery.sources.iter().any(|one| same(&one)))
        };
        let Some((reader, _)) = view.services.iter().find(reads) else { continue };
        let message = format!(
            "the VIP is registered as `{}`, where service `{reader}` looks for its backends: weir would find its own VIP, \
             and refuse it",
            publication.service
        );
        let hint = "register it under another name, or in another group";
        found.warning(
            Code::OwnVip,
            Locus::Publish(name.to_owned(), publication.service.clone()),
            message,
            hint,
        );
    }
}

fn capacity(view: &View<'_>, found: &mut Found) {
    let Some(last) = view.services.keys().next_back() else { return };
    let mut too_many = |what: &str, count: usize, max: u32| {
        if u32::try_from(count).is_ok_and(|count| count <= max) {
            return;
        }
        let message = format!("{count} {what} are more than weir holds");
        let hint = format!("{max} is the most; take some out");
        found.error(Code::TooMany, Locus::Service(last.clone()), message, hint);
    };
    let forwarded = || view.services.values().filter(|s| s.is_forwarded());
    let backends = forwarded().map(|s| s.backends.len()).sum();
    let mut addresses: Vec<_> = view.services.values().map(|s| s.vip.addr).collect();
    addresses.extend(view.snat_addresses);
    addresses.sort_unstable();
    addresses.dedup();
    let blocks = forwarded().filter(|s| !s.backends.is_empty());
    let blocks =
        blocks.map(|s| ring_length(s.backends.len()).div_ceil(limits::RING_BLOCK_SLOTS) as usize).sum();
    too_many("services", view.services.len(), limits::SERVICES);
    too_many("backends", backends, limits::BACKENDS - 1);
    too_many("VIP and source-NAT addresses", addresses.len(), limits::DESTINATIONS);
    too_many(
        "blocks of Maglev rings (a service needs 1/16 of its ring's length)",
        blocks,
        limits::RING_BLOCKS,
    );
}

/// Options that are part of a name in a registry.
const IDENTITY: [&str; 2] = ["group", "instance"];

fn ring_length(backends: usize) -> u32 {
    let wanted = u32::try_from(backends).unwrap_or(u32::MAX).saturating_mul(100);
    let [.., longest] = limits::RING_LENGTHS;
    limits::RING_LENGTHS.into_iter().find(|length| *length >= wanted).unwrap_or(longest)
}

fn family(addr: IpAddr) -> &'static str {
    if addr.is_ipv4() { "IPv4" } else { "IPv6" }
}
