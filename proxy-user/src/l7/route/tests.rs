use std::net::IpAddr;

use super::access::AccessList;
use super::{Asking, Ranges, VirtualHosts};
use crate::l7::codec::{Codec as _, Decoded, Limits, Session, Side, http1::Http1};
use crate::l7::snapshot::{
    Access, AccessRule, Destination, HeaderMatch, Matches, Route, TextMatch, VirtualHost,
};

fn with<R>(request: &str, peer: &str, then: impl FnOnce(&Asking<'_>) -> R) -> R {
    let mut session = Session::new(Side::Client, Limits::default());
    let Ok(Decoded::Head(head)) = Http1.decode(&mut session, request.as_bytes()) else { panic!("{request}") };
    then(&Asking { codec: &Http1, head: &head, message: request.as_bytes(), peer: peer.parse().unwrap() })
}

fn rule(deny: bool, sources: &[&str]) -> AccessRule {
    AccessRule { deny, sources: sources.iter().map(|source| source.parse().unwrap()).collect() }
}

/// MOSN's table of `ip_access`: ordered lists, the first match decides.
#[test]
fn the_first_match_decides() {
    let allow_one = [rule(false, &["192.168.0.1/32"]), rule(true, &["0.0.0.0/0"])];
    let deny_one = [rule(true, &["192.168.0.1/32"]), rule(false, &["192.168.0.0/24"])];
    let six = [rule(false, &["2001:db8::/32"])];
    for (rules, default_deny, address, allowed) in [
        (&allow_one[..], false, "192.168.0.1", true),
        (&allow_one, false, "192.168.0.2", false),
        (&allow_one, false, "2001:db8::1", true),
        (&deny_one, true, "192.168.0.1", false),
        (&deny_one, true, "192.168.0.2", true),
        (&deny_one, true, "192.168.1.2", false),
        (&deny_one, false, "192.168.1.2", true),
        (&deny_one, true, "::ffff:192.168.0.2", true),
        (&six, true, "2001:db8:0::1", true),
        (&six, true, "2001:db9::1", false),
        (&[], true, "10.0.0.1", false),
        (&[], false, "10.0.0.1", true),
    ] {
        let access = Access { rules: rules.to_vec(), default_deny, ..Access::default() };
        let address: IpAddr = address.parse().unwrap();
        assert_eq!(AccessList::compile(&access).allows_address(address), allowed, "{address} by {access:?}");
    }
}

#[test]
fn what_trusted_hops_say_is_read_from_the_end_and_garbage_is_denied() {
    let trusted = Ranges::of(&["10.0.0.0/8".parse().unwrap()]);
    for (hops, value, allowed) in [
        (1, "1.1.1.1, 192.0.2.1", false),
        (2, "192.0.2.1, 1.1.1.1", false),
        (2, "192.0.2.1", false),
        (1, "192.0.2.1, 1.1.1.1", true),
        (1, "1.1.1.1:8080", true),
        (1, "for=1.1.1.1;proto=http", true),
        (1, "for=\"[2001:db8::1]:80\"", true),
        (1, "unknown", false),
        (1, "[2001:db8::1", false),
        (1, "", false),
    ] {
        let access = Access {
            header: Some("X-Client".into()),
            hops,
            rules: vec![rule(true, &["192.0.2.0/24"])],
            ..Access::default()
        };
        let access = AccessList::compile(&access);
        let request = format!("GET / HTTP/1.1\r\nHost: h\r\nx-client: {value}\r\n\r\n");
        let decided = with(&request, "10.1.2.3", |asking| access.allows(&trusted, asking));
        assert_eq!(decided, allowed, "{hops} {value}");
        assert!(with(&request, "11.1.2.3", |asking| access.allows(&trusted, asking)), "its word is nothing");
    }
}

#[test]
fn the_host_that_fits_best_counts() {
    let host = |name: &str, hosts: &[&str]| VirtualHost {
        name: name.into(),
        hosts: hosts.iter().map(|host| (*host).to_owned()).collect(),
        routes: vec![Route::default()],
    };
    let table = VirtualHosts::compile(&[
        host("any", &["*"]),
        host("wide", &["*.example"]),
        host("long", &["*.b.example"]),
        host("exact", &["A.example"]),
    ]);
    for (asked, wanted) in [
        ("a.example", "exact/"),
        ("A.EXAMPLE:8080", "exact/"),
        ("x.example", "wide/"),
        ("x.b.example", "long/"),
        ("example", "any/"),
        ("[::1]:80", "any/"),
    ] {
        let request = format!("GET / HTTP/1.1\r\nHost: {asked}\r\n\r\n");
        let found = with(&request, "1.1.1.1", |asking| table.route(asking).map(|route| route.name.clone()));
        assert_eq!(found.as_deref(), Some(wanted), "{asked}");
    }
}

#[test]
fn weights_are_exact() {
    let to = |service: &str, weight| Destination { service: service.into(), weight };
    let action = crate::l7::snapshot::Action::Forward(vec![to("a", 90), to("b", 9), to("c", 1), to("d", 0)]);
    let route = Route { action, ..Route::default() };
    let host = VirtualHost { hosts: vec!["*".into()], routes: vec![route], ..VirtualHost::default() };
    let table = VirtualHosts::compile(&[host]);
    let taken = with("GET / HTTP/1.0\r\n\r\n", "1.1.1.1", |asking| table.route(asking).cloned()).unwrap();
    let mut counts = std::collections::BTreeMap::new();
    for _ in 0..300 {
        let target = format!("{:?}", taken.target().unwrap());
        *counts.entry(target).or_insert(0) += 1;
    }
    assert_eq!(counts.values().copied().collect::<Vec<_>>(), [270, 27, 3]);
}

/// One more field, in front or behind, or under the name that a CGI takes for the same, gets nobody around a route.
#[test]
fn headers_match_by_all_fields_of_their_name() {
    let exact = |text: &str| TextMatch::Exact(text.into());
    let prefix = |text: &str| TextMatch::Prefix(text.into());
    for (fields, wanted, holds) in [
        (&["x-role: guest", "x-role: bad"][..], exact("bad"), true),
        (&["x-role: bad", "x-role: guest"], exact("bad"), true),
        (&["x-role: guest", "X_Role: bad"], exact("bad"), true),
        (&["x-role: guest", "x-other: bad"], exact("bad"), false),
        (&["x-role: a", "x-role: b"], exact("a, b"), true),
        (&["x-role: a, b"], exact("a, b"), true),
        (&["x-role: a, b", "x-role: c"], exact("a, b, c"), true),
        (&["x-role: a", "x-role: b"], exact("a,b"), false),
        (&["x-role: a", "x-role: b"], exact("a, "), false),
        (&["x-role: a", "x-role: b", "x-role: c"], exact("a, b"), false),
        (&["x-role: a", "x-role: b"], exact("b, a"), false),
        (&["x-role: guest", "x-role: bad-one"], prefix("bad"), true),
        (&["x-role: a", "x-role: bad-one"], prefix("a, bad"), true),
        (&["x-role: a", "x-role: bad-one"], prefix("a,"), true),
        (&["x-role: a", "x-role: one"], prefix("a, bad"), false),
        (&["x-role: a", "x-role: b", "x-role: c"], prefix("a, b, "), true),
        (&["x-role: a"], prefix("a, b"), false),
        (&["x_role: guest"], TextMatch::Absent, false),
        (&["x_role: guest"], TextMatch::Present, true),
        (&["x-other: guest"], TextMatch::Absent, true),
        (&["x-role:", "x-role:"], exact(""), true),
    ] {
        let wanted = HeaderMatch { name: "X-Role".into(), value: wanted };
        let matches = Matches { headers: vec![wanted], ..Matches::default() };
        let route = Route { matches: matches.clone(), ..Route::default() };
        let host = VirtualHost { hosts: vec!["*".into()], routes: vec![route], ..VirtualHost::default() };
        let table = VirtualHosts::compile(&[host]);
        let request = format!("GET / HTTP/1.1\r\nHost: h\r\n{}\r\n\r\n", fields.join("\r\n"));
        let found = with(&request, "1.1.1.1", |asking| {
            (table.route(asking).is_some(), super::why_not(&matches, asking).is_none())
        });
        assert_eq!(found, (holds, holds), "{fields:?} {matches:?}");
    }
}
