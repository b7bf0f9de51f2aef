//! What `weir check` asks of this machine: interfaces, addresses, ports. Reads only.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::check::Finding;
use super::reach::Daemon;
use crate::config::{Loaded, Severity};
use crate::model::{BackendAddr, Forward};
use crate::net::netlink::{Netlink, NetlinkError};
use crate::net::nexthop::{self, Unreachable};
use crate::net::{link, ports};

/// Everything that would keep weir from starting here, or that its operator should know.
pub(super) fn check(loaded: &Loaded, daemon: &Daemon) -> Vec<Finding> {
    // A running daemon's own programs are no strangers.
    let ours: BTreeSet<u32> = daemon.ask(daemon.client.status()).map_or_else(
        |_none| BTreeSet::new(),
        |status| status.value.interfaces.iter().filter_map(|interface| interface.program_id).collect(),
    );
    let mut findings = privilege();
    findings.extend(nat_ports(loaded));
    match daemon.run(network(loaded, &ours)) {
        Ok(network) => findings.extend(network),
        Err(failure) => findings.push(warning(
            "env.netlink",
            format!("interfaces and addresses could not be checked: {failure}"),
            "run it where netlink is allowed, or leave this out with --no-env",
        )),
    }
    findings
}

fn privilege() -> Vec<Finding> {
    if rustix::process::geteuid().is_root() {
        return Vec::new();
    }
    vec![warning(
        "env.privilege",
        "this user is not root".to_owned(),
        "`weir run` needs root, or CAP_BPF, CAP_NET_ADMIN and, to mount its bpffs, CAP_SYS_ADMIN",
    )]
}

/// Ports of NAT beside the host's own.
fn nat_ports(loaded: &Loaded) -> Option<Finding> {
    let nat = loaded.desired.services.values().any(|service| service.forward == Forward::Nat);
    let checked = ports::ephemeral().and_then(|ephemeral| match loaded.desired.snat_ports {
        Some(asked) => ports::check(asked, ephemeral),
        None => ports::default_range(ephemeral).map(drop),
    });
    match checked {
        Err(wrong) if nat => Some(error(
            "env.snat_ports",
            wrong.to_string(),
            "set `ports` under [snat], or the sysctl net.ipv4.ip_local_port_range",
        )),
        _ => None,
    }
}

async fn network(loaded: &Loaded, ours: &BTreeSet<u32>) -> Result<Vec<Finding>, NetlinkError> {
    let netlink = Netlink::open()?;
    let mut findings = interfaces(loaded, ours, &link::list(&netlink).await?);
    for (name, service) in &loaded.desired.services {
        for backend in service.backends.keys() {
            if let Err(cause) = nexthop::way(&netlink, backend.addr).await? {
                findings.extend(if service.is_forwarded() {
                    Some(no_way(name, backend, &cause))
                } else {
                    no_connection(name, backend, &cause)
                });
            }
        }
    }
    let forwarded = loaded.desired.services.values().filter(|service| service.is_forwarded());
    let vips: BTreeSet<IpAddr> = forwarded.map(|service| service.vip.addr).collect();
    if !vips.is_empty() {
        findings.push(warning(
            "env.local_clients",
            "XDP does not see what this host sends itself: clients on this host do not reach the services through \
             weir"
                .to_owned(),
            "let them connect to a backend directly, or run them on another host",
        ));
    }
    Ok(findings)
}

fn interfaces(loaded: &Loaded, ours: &BTreeSet<u32>, links: &[link::Link]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for name in loaded.settings.interfaces.keys() {
        let Some(found) = links.iter().find(|link| link.name == *name) else {
            let known: Vec<&str> = links.iter().map(|link| link.name.as_str()).collect();
            findings.push(error(
                "env.interface",
                format!("there is no interface `{name}` here; there are {}", known.join(", ")),
                "correct the name, or create the interface first",
            ));
            continue;
        };
        if !found.up {
            findings.push(warning(
                "env.interface_down",
                format!("the interface `{name}` is down: no packet comes in"),
                &format!("ip link set {name} up"),
            ));
        }
        for program in found.xdp.iter().filter(|program| !ours.contains(&program.id)) {
            findings.push(warning(
                "env.foreign_program",
                format!("`{name}` has an XDP program already (id {}), which weir will not evict", program.id),
                "if it is weir's own, left by a daemon that has stopped, the next `weir run` takes it over; else detach it first, with \
                 the tool that attached it",
            ));
        }
    }
    findings
}

fn no_way(service: &str, backend: &BackendAddr, cause: &Unreachable) -> Finding {
    let what = format!("no packet can get to the backend {backend} of the service `{service}`: {cause}");
    match cause {
        Unreachable::Local => {
            error("env.backend_is_host", what, "a server on this host needs no load balancer in front")
        }
        _ => warning("env.no_way", what, "weir starts without it, and uses it as soon as there is a way"),
    }
}

/// Workers connect by the host's own routes, to this host, too.
fn no_connection(service: &str, backend: &BackendAddr, cause: &Unreachable) -> Option<Finding> {
    let what = format!("workers of the service `{service}` cannot connect to its backend {backend}: {cause}");
    let hint =
        "weir starts all the same; requests go to its other backends, and without any are answered 503";
    (*cause != Unreachable::Local).then(|| warning("env.no_way", what, hint))
}

fn error(code: &'static str, message: String, hint: &str) -> Finding {
    Finding { code, severity: Severity::Error, message, hint: hint.to_owned() }
}

fn warning(code: &'static str, message: String, hint: &str) -> Finding {
    Finding { code, severity: Severity::Warning, message, hint: hint.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Flags, load};

    fn link(name: &str, up: bool, program: Option<u32>) -> link::Link {
        let programs = program.map(|id| link::XdpProgram { mode: link::XdpMode::Native, id });
        link::Link {
            index: 2,
            name: name.into(),
            mac: None,
            mtu: 1500,
            up,
            running: up,
            kind: None,
            controller: None,
            xdp: programs.into_iter().collect(),
        }
    }

    fn findings(links: &[link::Link]) -> Vec<&'static str> {
        let flags = Flags { interfaces: vec!["eth0".into()], ..Flags::default() };
        let loaded = load(None, &flags).unwrap();
        interfaces(&loaded, &[7].into(), links).iter().map(|found| found.code).collect()
    }

    #[test]
    fn interfaces_are_looked_at() {
        assert_eq!(findings(&[link("eth0", true, Some(7))]), Vec::<&str>::new());
        assert_eq!(findings(&[link("eth1", true, None)]), ["env.interface"]);
        assert_eq!(findings(&[link("eth0", false, Some(8))]), ["env.interface_down", "env.foreign_program"]);
    }

    #[test]
    fn a_backend_of_l7_may_be_this_host_but_must_have_a_route() {
        let backend = "10.0.0.11:80".parse().unwrap();
        assert_eq!(no_connection("web", &backend, &Unreachable::Local), None);
        let found = no_connection("web", &backend, &Unreachable::NoRoute).unwrap();
        assert_eq!((found.code, found.severity), ("env.no_way", Severity::Warning));
        assert!(found.message.contains("cannot connect") && found.message.contains("no route"), "{found:?}");
    }
}
