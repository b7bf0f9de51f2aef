//! What workers need to know of a state.

use std::net::SocketAddr;

use ipnet::IpNet;

use super::l7_services;
use crate::l7::snapshot::{
    Access, AccessRule, Endpoint, EndpointState, Routes, Rules, Service, Snapshot, VERSION,
};
use crate::model::{self, AclPolicy, Action, AdminState, BackendAddr, Desired, L7};

/// What workers need to know of a state.
pub(in crate::app) fn snapshot(desired: &Desired, generation: u64) -> Snapshot {
    let mut snapshot = Snapshot { version: VERSION, generation, ..Snapshot::default() };
    let default = L7::default();
    for (name, service) in l7_services(desired) {
        let l7 = service.l7.as_deref().unwrap_or(&default);
        snapshot.services.insert(name.clone(), of_service(service, l7, &desired.acl));
        if !l7.hosts.is_empty() {
            let Routes { services } = &mut snapshot.routes;
            services.insert(name.clone(), l7.hosts.clone());
        }
    }
    snapshot
}

fn of_service(service: &model::Service, l7: &L7, acl: &AclPolicy) -> Service {
    let mut rules: Rules = l7.rules.clone();
    if let Some(access) = &mut rules.access {
        add_lists(access, l7, acl);
    }
    Service {
        vip: SocketAddr::new(service.vip.addr, service.vip.port),
        codec: l7.codec.clone(),
        endpoints: service.backends.iter().map(endpoint).collect(),
        limits: l7.limits,
        timeouts: l7.timeouts,
        client_address: l7.client_address.clone(),
        rules,
    }
}

/// Lists of the source ACL become rules, by the ACL's order.
fn add_lists(access: &mut Access, l7: &L7, acl: &AclPolicy) {
    let mut lists: Vec<_> =
        l7.access_lists.iter().filter_map(|name| Some((name, acl.lists.get(name)?))).collect();
    lists.sort_by_key(|(_, list)| list.order);
    access.lists = lists.iter().map(|(name, _)| (*name).clone()).collect();
    let rules = lists.into_iter().map(|(_, list)| AccessRule {
        deny: list.action == Action::Drop,
        sources: IpNet::aggregate(&list.entries.keys().copied().collect()),
    });
    access.rules.extend(rules);
}

fn endpoint((addr, backend): (&BackendAddr, &model::Backend)) -> Endpoint {
    Endpoint {
        addr: SocketAddr::new(addr.addr, addr.port),
        weight: backend.weight,
        zone: None,
        labels: Default::default(),
        state: match backend.state {
            AdminState::Active => EndpointState::Active,
            AdminState::Drain => EndpointState::Draining,
        },
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use super::*;
    use crate::config::{Flags, load, load_text};
    use crate::l7::snapshot::{ClientAddress, PathChange, TextMatch};

    fn desired(text: &str) -> Desired {
        let text = format!("version = 1\n[interface.eth0]\n{text}");
        let loaded = load_text("weir.toml", &text, Path::new(""), &Flags::default());
        loaded.unwrap_or_else(|found| panic!("{found}")).desired.into_desired((1024, 2047), 1)
    }

    #[test]
    fn lists_of_the_acl_follow_own_rules_by_their_order() {
        let desired = desired(
            r#"
[[acl.list]]
name = "late"
order = 20
action = "drop"
entries = ["10.0.0.0/25", "10.0.0.128/25"]
[[acl.list]]
name = "early"
order = 10
action = "pass"
entries = ["10.0.0.1"]
[[service]]
name = "web"
vip = "tcp/198.51.100.10:80"
forward = "l7"
backends = ["10.9.0.1"]
[service.l7.access]
rules = [{ action = "deny", sources = ["10.0.0.1"] }]
lists = ["late", "early"]
"#,
        );
        let snapshot = snapshot(&desired, 7);
        let access = snapshot.services["web"].rules.access.clone().unwrap();
        let rules: Vec<_> = access
            .rules
            .iter()
            .map(|rule| (rule.deny, rule.sources.iter().map(ToString::to_string).collect::<Vec<_>>()))
            .collect();
        let one = |deny, net: &str| (deny, vec![net.to_owned()]);
        assert_eq!(rules, [one(true, "10.0.0.1/32"), one(false, "10.0.0.1/32"), one(true, "10.0.0.0/24")]);
        assert_eq!(access.lists, ["early", "late"]);
        assert_eq!(snapshot.generation, 7);
    }

    #[test]
    fn only_l7_services_are_told_and_the_least_is_enough() {
        let desired = desired(
            r#"
[[service]]
name = "web"
vip = "tcp/198.51.100.10:80"
forward = "l7"
codec = "http1"
backends = ["10.9.0.1", { address = "10.9.0.2", weight = 7, state = "drain" }]
[[service]]
name = "nat"
vip = "tcp/198.51.100.10:81"
backends = ["10.9.0.1"]
"#,
        );
        let snapshot = snapshot(&desired, 1);
        assert_eq!(snapshot.services.keys().collect::<Vec<_>>(), ["web"]);
        let web = &snapshot.services["web"];
        assert_eq!((web.codec.as_str(), &web.rules), ("http1", &Rules::default()));
        let ends: Vec<_> = web.endpoints.iter().map(|e| (e.weight, e.state)).collect();
        assert_eq!(ends, [(100, EndpointState::Active), (7, EndpointState::Draining)]);
        assert!(snapshot.routes.services.is_empty());
    }

    #[test]
    fn the_example_means_what_it_says_and_workers_serve_by_it() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/l7.toml");
        let loaded = load(Some(&path), &Flags::default()).unwrap();
        let snapshot = snapshot(&loaded.desired.into_desired((1024, 2047), 1), 1);
        assert_eq!(snapshot.check(), Ok(()));
        let shop = &snapshot.services["shop"];
        assert_eq!((shop.limits.connections, shop.limits.body_bytes), (Some(100_000), Some(10_485_760)));
        assert_eq!((shop.timeouts.connect, shop.timeouts.request), (SECOND, Some(30 * SECOND)));
        assert_eq!(shop.client_address, ClientAddress::XForwardedFor);
        assert_eq!((shop.rules.slow_start, shop.rules.access_log), (30 * SECOND, 100));
        assert_eq!(shop.rules.outlier.as_ref().map(|outlier| outlier.failures), Some(5));
        assert_eq!(shop.rules.access.as_ref().map(|access| access.rules.len()), Some(1));
        let hosts = &snapshot.routes.services["shop"];
        assert_eq!(
            hosts.iter().map(|host| host.name.as_str()).collect::<Vec<_>>(),
            ["status.example.com", "*"]
        );
        let names: Vec<_> = hosts[1].routes.iter().map(|route| route.name.as_str()).collect();
        assert_eq!(names, ["testers", "old-pages", "api", "canary", "rest"]);
        let api = &hosts[1].routes[2].rewrite;
        assert_eq!(
            (&api.path, api.host.as_deref()),
            (&Some(PathChange::Prefix("/v2".into())), Some("api.internal"))
        );
        let canary = &hosts[1].routes[3];
        assert_eq!(canary.matches.path, Some(TextMatch::Prefix("/cart".into())));
        assert_eq!((canary.retry.tries, canary.retry.statuses.as_slice()), (1, &[502, 503][..]));
        let mirror =
            hosts[1].routes[4].mirror.as_ref().map(|mirror| (mirror.service.as_str(), mirror.percent));
        assert_eq!(mirror, Some(("shop-next", 1)));
        let orders = &snapshot.services["orders"];
        assert_eq!(orders.client_address, ClientAddress::Header("x-client-address".into()));
        assert_eq!(snapshot.routes.services["orders"][0].routes[0].timeout, Some(60 * SECOND));
    }

    const SECOND: Duration = Duration::from_secs(1);
}
