//! The source-NAT pool.

use std::net::IpAddr;

use proxy_common::limits;

use super::{Found, View, unusable};
use crate::config::problem::{Code, Locus};
use crate::model::Forward;

pub(super) fn check(view: &View<'_>, found: &mut Found) {
    let Some(last) = view.snat_addresses.last() else { return };
    let max = limits::SNAT_ADDRESSES;
    if u32::try_from(view.snat_addresses.len()).is_ok_and(|count| count > max) {
        let message = format!("{} source-NAT addresses are more than weir holds", view.snat_addresses.len());
        found.error(
            Code::TooMany,
            Locus::SnatAddress(*last),
            message,
            format!("{max} is the most; take some out"),
        );
    }
    for addr in view.snat_addresses {
        if let Some(why) = unusable(*addr) {
            let message = format!("{addr} cannot be used for source NAT: it {why}");
            let hint = "use a unicast address that is routed to this host";
            found.error(Code::SnatAddress, Locus::SnatAddress(*addr), message, hint);
        }
        overlaps(view, *addr, found);
    }
    families(view, found);
}

/// An answer to the pool's address and a client's packet to the VIP must not look alike.
fn overlaps(view: &View<'_>, addr: IpAddr, found: &mut Found) {
    for (name, service) in view.services {
        let vip = service.vip;
        if service.backends.keys().any(|backend| backend.addr == addr) {
            let message = format!("{addr} is a backend of service `{name}`: answers to it would stay there");
            let hint = "use an address that is routed to this host";
            found.error(Code::SnatAddress, Locus::SnatAddress(addr), message, hint);
        }
        if vip.addr != addr {
            continue;
        }
        let taken =
            vip.port == 0 || view.snat_ports.is_some_and(|(first, last)| (first..=last).contains(&vip.port));
        if taken {
            let message = format!("the source-NAT pool takes VIP {vip} of service `{name}`");
            let hint = "keep the VIP's port out of snat.ports, or use another source-NAT address";
            let other = Locus::Vip(name.clone());
            found.conflict(Code::SnatOverlap, Locus::SnatAddress(addr), other, message, hint);
        }
    }
}

fn families(view: &View<'_>, found: &mut Found) {
    for (v4, family) in [(true, "IPv4"), (false, "IPv6")] {
        if view.snat_addresses.iter().any(|addr| addr.is_ipv4() == v4) {
            continue;
        }
        let needs = |addr: IpAddr| addr.is_ipv4() == v4;
        let service = view.services.iter().find(|(_, service)| {
            service.forward == Forward::Nat && service.backends.keys().any(|backend| needs(backend.addr))
        });
        if let (Some((name, _)), Some(first)) = (service, view.snat_addresses.first()) {
            let message =
                format!("the source-NAT pool has no {family} address, and service `{name}` needs one");
            let hint =
                format!("add an {family} address, or leave `addresses` out to use the interface's own");
            let other = Locus::Vip(name.clone());
            found.conflict(Code::SnatFamily, Locus::SnatAddress(*first), other, message, hint);
        }
    }
}
