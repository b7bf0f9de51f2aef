//! What the operator sees of a worker: connections and counters.

use super::http1::{ask, serve};
use super::*;
use crate::l7::snapshot::{Action, Route, VirtualHost};

#[test]
fn connections_are_told_with_what_they_do() {
    let backend = Backend::new(serve);
    let mut rig = Rig::new("http1", &[backend.at], |_| {});
    let mut one = rig.connect();
    for _ in 0..3 {
        assert_eq!(ask(&mut one, "GET / HTTP/1.1\r\nHost: x\r\n\r\n").0, 200);
    }
    let (_two, _three) = (rig.connect(), rig.connect());
    rig.until_active(3);
    let listed = rig.list(None, 100);
    assert_eq!((listed.connections.len(), listed.more), (3, false));
    let peer = one.local_addr().unwrap().to_string();
    let found = listed.connections.iter().find(|found| found.client == peer).unwrap();
    assert_eq!((found.service.as_str(), found.codec.as_deref()), ("web", Some("http1")));
    assert_eq!((found.state.as_str(), found.requests, found.requests_active), ("idle", 3, 0));
    assert_eq!(found.local, rig.at.to_string());
    assert_eq!(found.bytes_up, 3 * "GET / HTTP/1.1\r\nHost: x\r\n\r\n".len() as u64);
    assert!(found.bytes_down > 100 && found.upstream.is_none());
    let few = rig.list(Some("web"), 2);
    assert_eq!((few.connections.len(), few.more), (2, true));
    assert_eq!(rig.list(Some("other"), 5).connections, []);
}

#[test]
fn a_request_under_way_and_a_tunnel_name_their_upstream() {
    let quiet = Backend::new(|stream| {
        let _ended = read_until(&mut &stream, b"end");
    });
    let mut rig = Rig::new("http1", &[quiet.at], |_| {});
    let mut client = rig.connect();
    client.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    rig.until_listed(|listed| listed.connections.iter().any(|found| found.state == "busy"));
    let found = &rig.list(None, 9).connections[0];
    assert_eq!(found.upstream, Some(quiet.at.to_string()));
    assert_eq!((found.requests, found.requests_active), (1, 1));

    let echoes = Backend::new(echo);
    let mut rig = Rig::new("tcp", &[echoes.at], |_| {});
    let mut client = rig.connect();
    client.write_all(b"12345").unwrap();
    assert_eq!(read_exactly(&mut client, 5), b"12345");
    let found = &rig.list(None, 9).connections[0];
    assert_eq!((found.state.as_str(), found.upstream.clone()), ("tunnel", Some(echoes.at.to_string())));
    assert_eq!((found.bytes_up, found.bytes_down), (5, 5));
}

#[test]
fn routes_and_endpoints_are_counted_and_go_on_after_a_change() {
    let backend = Backend::new(serve);
    let hosts = |location: &str| {
        let direct = Action::Redirect { status: 302, location: location.into() };
        let matches = crate::l7::snapshot::Matches { methods: vec!["HEAD".into()], ..Default::default() };
        let route =
            |name: &str, matches, action| Route { name: name.into(), matches, action, ..Route::default() };
        let routes =
            vec![route("moved", matches, direct), route("all", Default::default(), Action::default())];
        VirtualHost { name: "any".into(), hosts: vec!["*".into()], routes }
    };
    let mut saved = None;
    let mut rig = Rig::new("http1", &[backend.at], |snapshot| {
        snapshot.routes.services.insert("web".into(), vec![hosts("/a")]);
        saved = Some(snapshot.clone());
    });
    let mut client = rig.connect();
    let get = |client: &mut TcpStream| ask(client, "GET / HTTP/1.1\r\nHost: x\r\n\r\n").0;
    assert_eq!((get(&mut client), get(&mut client)), (200, 200));
    client.write_all(b"HEAD / HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    assert!(read_until(&mut client, b"\r\n\r\n").starts_with(b"HTTP/1.1 302"));
    let mut changed = saved.unwrap();
    changed.routes.services.insert("web".into(), vec![hosts("/b")]);
    rig.publish(changed);
    assert_eq!(get(&mut client), 200);
    let web = rig.fresh_stats().services["web"].clone();
    let all = &web.routes["any/all"];
    assert_eq!((all.requests, all.answers.classes), (3, [0, 3, 0, 0, 0]), "a change takes nothing back");
    assert_eq!(all.answers.durations.iter().sum::<u64>(), 3);
    let moved = &web.routes["any/moved"];
    assert_eq!((moved.requests, moved.answers.classes), (1, [0, 0, 1, 0, 0]));
    let endpoint = &web.endpoints[&backend.at];
    assert_eq!((endpoint.requests, endpoint.answers.classes), (3, [0, 3, 0, 0, 0]));
    assert_eq!((endpoint.reused, endpoint.connects), (2, 1));
    assert!(endpoint.answers.duration_sum_us > 0);
}

impl Rig {
    fn until_active(&mut self, count: u64) {
        self.until(|rig| rig.stats.active == count);
    }

    fn until_listed(&mut self, holds: impl Fn(&Listed) -> bool) {
        let end = Instant::now() + Duration::from_secs(20);
        while !holds(&self.list(None, 99)) {
            assert!(Instant::now() < end, "no such connection came");
        }
    }
}
