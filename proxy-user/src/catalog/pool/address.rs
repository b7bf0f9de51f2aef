//! Addresses that are never backends, whatever a registry says.

use std::net::IpAddr;

use ipnet::IpNet;

use super::setup::{Setup, Spec};
use crate::model::{BackendAddr, Forward, Guard};

/// Why an address cannot be a backend of a service, if it cannot. `guard.allow` lifts what is said of the address itself,
/// never what makes it impossible: weir's VIPs (their packets would come back), another family, a port that does not fit.
pub(super) fn refused(addr: BackendAddr, spec: &Spec, guard: &Guard, setup: &Setup) -> Option<String> {
    let vip = spec.vip;
    if setup.vips.contains(&addr.addr) || addr.addr == vip.addr {
        return Some(format!("{} is a VIP of weir: its packets would come back", addr.addr));
    }
    if addr.addr.is_ipv4() != vip.addr.is_ipv4() {
        return Some(format!("it is not of the family of the VIP {}, and weir does not translate", vip.addr));
    }
    if addr.port == 0 && vip.port != 0 {
        return Some("it has port 0, which nobody can listen on".into());
    }
    if spec.forward == Forward::DsrL2 && addr.port != vip.port {
        return Some(format!("dsr-l2 cannot change ports, and the VIP's is {}", vip.port));
    }
    if guard.allow.iter().any(|allowed: &IpNet| allowed.contains(&addr.addr)) {
        return None;
    }
    if setup.own.contains(&addr.addr) {
        return Some(format!("{} is an address of this host, to which XDP cannot forward", addr.addr));
    }
    martian(addr.addr).map(|why| format!("{} {why}", addr.addr))
}

/// Addresses that mean no single host elsewhere. Private and documentation ranges are no martians: labs use both.
fn martian(addr: IpAddr) -> Option<&'static str> {
    match addr {
        _ if addr.is_unspecified() => Some("is the unspecified address"),
        _ if addr.is_loopback() => Some("is a loopback address, which never leaves its host"),
        _ if addr.is_multicast() => Some("is a multicast address"),
        IpAddr::V4(v4) if v4.is_broadcast() => Some("is the broadcast address"),
        IpAddr::V4(v4) if v4.octets().starts_with(&[0]) => Some("is in 0.0.0.0/8, which means \"this host\""),
        IpAddr::V4(v4) if v4.is_link_local() => Some("is link-local (169.254.0.0/16)"),
        IpAddr::V4(v4) if matches!(v4.octets(), [240..=255, ..]) => {
            Some("is in 240.0.0.0/4, which is reserved")
        }
        IpAddr::V6(v6) if v6.is_unicast_link_local() => Some("is link-local (fe80::/10)"),
        IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some() => Some("is an IPv4 address in IPv6 form"),
        IpAddr::V6(v6) if matches!(v6.octets(), [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, ..]) => {
            Some("is in ::/96, which is reserved")
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn martians() {
        for text in [
            "0.0.0.0",
            "0.1.2.3",
            "127.0.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "169.254.1.1",
            "240.0.0.1",
            "::",
            "::1",
            "ff02::1",
            "fe80::1",
            "::ffff:10.0.0.1",
            "::7",
        ] {
            assert!(martian(text.parse().unwrap()).is_some(), "{text}");
        }
        for text in ["10.0.0.1", "192.0.2.1", "100.64.0.1", "2001:db8::1", "fd00::1", "64:ff9b::a00:1"] {
            assert!(martian(text.parse().unwrap()).is_none(), "{text}");
        }
    }
}
