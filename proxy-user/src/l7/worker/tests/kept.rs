//! What is kept for clients on shared connections: bounded for each, and for all of them.

use std::io::Write as _;

use super::bolt::{frame, frame_with, read_request, read_response, response, serve};
use super::*;
use crate::l7::snapshot::{Access, Action, Destination, Matches, Route, TextMatch, VirtualHost};
use crate::wire::bolt::{Kind, Version, command, encode, status};

/// A request with a checksum.
fn sealed(id: u32, content: &[u8]) -> Vec<u8> {
    let head = crate::wire::bolt::Head {
        version: Version::V2_CRC,
        kind: Kind::Request { timeout: 3000 },
        command: command::REQUEST,
        ver2: 1,
        id,
        codec: 1,
        class_len: 0,
        header_len: 0,
        content_len: 0,
    };
    let mut out = Vec::new();
    encode(&head, b"C", b"", content, &mut out).unwrap();
    out
}

/// What is asked of the RPC service `b` goes to another backend than the rest.
fn b_goes_to(live: SocketAddr, snapshot: &mut Snapshot) {
    let at = "127.9.9.9:1".parse().unwrap();
    snapshot.services.insert("other".into(), service(at, "bolt", &[live]));
    let matches = Matches { service: Some(TextMatch::Exact("b".into())), ..Matches::default() };
    let action = Action::Forward(vec![Destination { service: "other".into(), weight: 1 }]);
    let to_other = Route { name: "b".into(), matches, action, ..Route::default() };
    let routes = vec![to_other, Route { name: "all".into(), ..Route::default() }];
    let host = VirtualHost { name: "h".into(), hosts: vec!["*".into()], routes };
    snapshot.routes.services.insert("web".into(), vec![host]);
}

#[test]
fn who_may_not_ask_is_told_before_the_message_is_there() {
    let backend = Backend::new(serve);
    let headers = [None, Some("x-client".to_owned())];
    for header in headers {
        let mut rig = Rig::new("bolt", &[backend.at], |snapshot| {
            let rules = &mut web(snapshot).rules;
            rules.access = Some(Access { default_deny: true, header: header.clone(), ..Access::default() });
            rules.trusted = vec!["127.0.0.0/8".parse().unwrap()];
        });
        let mut client = rig.connect();
        let long = frame_with(7, &[("x-client", "192.0.2.1")], &vec![1; 900_000]);
        client.write_all(&long[..100]).unwrap();
        let (id, said, _) = read_response(&mut client);
        assert_eq!((id, said), (7, status::SERVER_EXCEPTION), "the rest has not come");
        client.write_all(&long[100..]).unwrap();
        client.write_all(&frame(8, "a", b"x")).unwrap();
        assert_eq!(read_response(&mut client).0, 8, "the connection goes on behind it");
        let mut client = rig.connect();
        client.write_all(&sealed(9, &[1; 5000])[..100]).unwrap();
        assert_eq!(&read_exactly(&mut client, 22)[6..10], &[0, 0, 0, 9], "nor has its checksum");
        let stats = rig.fresh_stats().services["web"].clone();
        assert_eq!((stats.requests, stats.reasons.get("denied")), (3, Some(&3)));
        assert_eq!(stats.answers.classes[3], 3);
    }
}

#[test]
fn a_message_that_is_too_long_is_refused_by_its_head() {
    let backend = Backend::new(serve);
    for (bound, fits, not) in [(Some(1000), 1000, 1001), (None, 1 << 20, 2 << 20)] {
        let rig = Rig::new("bolt", &[backend.at], |snapshot| {
            web(snapshot).limits.body_bytes = bound;
        });
        let mut client = rig.connect();
        let long = frame(1, "a", &vec![1; not]);
        client.write_all(&long[..22]).unwrap();
        let (id, said, _) = read_response(&mut client);
        assert_eq!((id, said), (1, status::CODEC));
        client.write_all(&long[22..]).unwrap();
        client.write_all(&frame(2, "a", &vec![2; fits])).unwrap();
        let (id, said, content) = read_response(&mut client);
        assert_eq!((id, said, content.len()), (2, 0, fits));
    }
}

/// Answers each request with so many bytes.
fn generous(bytes: usize) -> Backend {
    Backend::new(move |mut stream| {
        while let Some((id, _)) = read_request(&mut stream) {
            if stream.write_all(&response(id, 0, &vec![7; bytes])).is_err() {
                return;
            }
        }
    })
}

#[test]
fn a_client_that_does_not_read_is_given_up_and_others_are_served() {
    let backend = generous(100_000);
    let mut rig = Rig::new("bolt", &[backend.at], |_| {});
    let (mut idle, mut reads) = (rig.connect(), rig.connect());
    let many: Vec<u8> = (0..800).flat_map(|id| frame(id, "a", b"x")).collect();
    idle.write_all(&many).unwrap();
    rig.until(|rig| {
        let web = rig.stats.services.get("web");
        web.is_some_and(|web| web.reasons.get("memory") == Some(&1) && web.requests_active == 0)
    });
    for id in 0..5 {
        reads.write_all(&frame(id, "a", b"x")).unwrap();
        assert_eq!(read_response(&mut reads).2.len(), 100_000);
    }
    let stats = rig.fresh_stats().services["web"].clone();
    assert_eq!((stats.active, stats.requests, stats.answers.classes.iter().sum::<u64>()), (1, 805, 805));
    assert!(stats.answers.classes[3] > 0, "those that it did not get: {stats:?}");
    assert_eq!(backend.connections(), 1);
}

#[test]
fn a_client_that_is_slow_for_a_while_gets_its_answers() {
    // 6 MB in a burst, for a client that does not read at first.
    let backend = generous(100_000);
    let mut rig = Rig::new("bolt", &[backend.at], |_| {});
    let mut client = rig.connect();
    let many: Vec<u8> = (0..60).flat_map(|id| frame(id, "a", b"x")).collect();
    client.write_all(&many).unwrap();
    std::thread::sleep(Duration::from_millis(500));
    assert!((0..60).all(|_| read_response(&mut client).2.len() == 100_000));
    assert_eq!(rig.fresh_stats().services["web"].reasons.get("memory"), None);
}

#[test]
fn many_clients_share_one_bound() {
    let backend = Backend::new(serve);
    let mut rig = Rig::new("bolt", &[backend.at], |_| {});
    let mut small = rig.connect();
    small.write_all(&frame(1, "a", &[1; 5000])[..3000]).unwrap();
    let long = frame(1, "a", &vec![1; 1_000_000]);
    let mut clients: Vec<_> = (0..80).map(|_| rig.connect()).collect();
    for client in &mut clients {
        // Those that are closed meanwhile may not take it.
        let _ = client.write_all(&long[..900_000]);
    }
    rig.until(|rig| {
        rig.stats.services.get("web").is_some_and(|web| {
            let closed = web.reasons.get("memory").copied().unwrap_or(0);
            closed >= 4 && web.active == 81 - closed
        })
    });
    small.write_all(&frame(1, "a", &[1; 5000])[3000..]).unwrap();
    assert_eq!(read_response(&mut small).2.len(), 5000, "who keeps little goes on");
    // There is room for those that are left, and for new ones.
    drop(clients);
    let mut client = rig.connect();
    client.write_all(&long).unwrap();
    assert_eq!(read_response(&mut client).2.len(), 1_000_000);
}

#[test]
fn answers_of_another_endpoint_do_not_let_a_client_go_on_that_waits_for_one() {
    let stalled = Backend::new(|_stream| std::thread::sleep(Duration::from_secs(30)));
    // Its answers come one by one all the while.
    let live = Backend::new(|mut stream| {
        while let Some((id, _)) = read_request(&mut stream) {
            std::thread::sleep(Duration::from_millis(5));
            let _ = stream.write_all(&response(id, 0, b"x"));
        }
    });
    let mut rig = Rig::new("bolt", &[stalled.at], |snapshot| {
        b_goes_to(live.at, snapshot);
    });
    let mut client = rig.connect();
    client.set_write_timeout(Some(Duration::from_millis(1000))).unwrap();
    let mut reader = client.try_clone().unwrap();
    std::thread::spawn(move || while matches!(reader.read(&mut [0; 65536]), Ok(1..)) {});
    let big = frame(1, "a", &[1; 100_000]);
    let mut sent = 0;
    for _ in 0..1000 {
        client.write_all(&frame(2, "b", b"x")).unwrap();
    }
    while sent < 600 && client.write_all(&big).is_ok() {
        sent += 1;
    }
    let stats = rig.fresh_stats().services["web"].clone();
    assert!(sent < 300, "{sent} of 100 kB were taken");
    assert_eq!(stats.reasons.get("overloaded"), None);
}

#[test]
fn what_waits_for_endpoints_that_do_not_read_has_one_bound() {
    const CLIENTS: usize = 60;
    let reads = Arc::new(AtomicU64::new(0));
    let stalled = || {
        let reads = reads.clone();
        Backend::new(move |mut stream| {
            while reads.load(Ordering::SeqCst) == 0 {
                std::thread::sleep(Duration::from_millis(10));
            }
            while let Some((id, _)) = read_request(&mut stream) {
                let _ = stream.write_all(&response(id, 0, b"x"));
            }
        })
    };
    // Without a bound of all, each would hold 32 MiB.
    let (one, two, live) = (stalled(), stalled(), Backend::new(serve));
    let mut rig = Rig::holding(Some(3 << 20), "bolt", &[one.at, two.at], |snapshot| {
        b_goes_to(live.at, snapshot);
    });
    let mut clients: Vec<_> = (0..CLIENTS).map(|_| rig.connect()).collect();
    let refused = |rig: &Rig| {
        rig.stats.services.get("web").and_then(|web| web.reasons.get("overloaded")).copied().unwrap_or(0)
    };
    for (asked, client) in (1..).zip(&mut clients) {
        client.write_all(&frame(1, "a", &vec![1; 500_000])).unwrap();
        // One by one, since what is not there whole has a bound, too.
        let whole =
            |rig: &mut Rig| rig.list(None, 100).connections.iter().map(|one| one.requests).sum::<u64>();
        while whole(&mut rig) < asked {
            std::thread::sleep(Duration::from_millis(2));
        }
    }
    let rig_stats = rig.fresh_stats();
    let over = refused(&rig);
    assert!(over > 5, "{rig_stats:?}");
    // Endpoints that read are asked as ever.
    let mut other = rig.connect();
    other.write_all(&frame(1, "b", b"x")).unwrap();
    assert_eq!(read_response(&mut other), (1, 0, b"x".to_vec()));
    assert_eq!(refused(&rig), over);

    reads.store(1, Ordering::SeqCst);
    let mut answered = [0; 2];
    for client in &mut clients {
        answered[usize::from(read_response(client).1 != 0)] += 1;
    }
    assert_eq!(answered, [CLIENTS as u64 - over, over], "what was taken is answered");
    // There is room again.
    for (id, client) in (100..).zip(&mut clients) {
        client.write_all(&frame(id, "a", b"x")).unwrap();
        assert_eq!(read_response(client), (id, 0, b"x".to_vec()));
    }
}
