//! Tunnels beside requests, and requests that wait: nobody takes the connections of another for ever.

use std::io::{Read as _, Write as _};
use std::net::Shutdown;

use super::http1::{GET, answer, ask, serve};
use super::*;
use crate::l7::snapshot::{Matches, Route, TextMatch, VirtualHost};

pub(super) const UPGRADE: &str =
    "GET /upgrade HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
const SLOW: &[u8] = b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n";

#[test]
fn tunnels_leave_the_pool_to_requests() {
    let backend = Backend::new(serve);
    let mut rig = Rig::new("http1", &[backend.at], |snapshot| {
        web(snapshot).rules.pool.connections = 1;
        web(snapshot).limits.connections = Some(4);
    });
    let mut tunnels: Vec<_> = (0..3).map(|_| rig.connect()).collect();
    for tunnel in &mut tunnels {
        tunnel.write_all(UPGRADE.as_bytes()).unwrap();
        read_until(tunnel, b"\r\n\r\nfirst");
    }
    let mut client = rig.connect();
    assert_eq!(ask(&mut client, GET).0, 200);
    assert_eq!(rig.connect().read(&mut [0; 8]).unwrap_or(0), 0, "tunnels count as connections of clients");
    let stats = rig.fresh_stats().services["web"].clone();
    assert_eq!((stats.tunnels, stats.endpoints[&backend.at].connections), (3, 4));
    drop(tunnels);
    rig.until(|rig| rig.stats.services.get("web").is_some_and(|web| web.tunnels == 0 && web.active == 1));
    // The bound holds as before.
    let mut waits = rig.connect();
    client.write_all(SLOW).unwrap();
    std::thread::sleep(Duration::from_millis(200));
    waits.write_all(GET.as_bytes()).unwrap();
    rig.until(|rig| rig.stats.services["web"].pending == 1);
    assert_eq!((answer(&mut client).0, answer(&mut waits).0), (200, 200));
}

#[test]
fn whoever_waits_goes_on_when_a_connection_becomes_a_tunnel() {
    let backend = Backend::new(|mut stream| {
        let head = read_until(&mut stream, b"\r\n\r\n");
        if head.starts_with(b"GET /upgrade") {
            std::thread::sleep(Duration::from_millis(400));
            let _ = stream.write_all(b"HTTP/1.1 101 S\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n");
            echo(stream);
        } else {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
            let _ = stream.read(&mut [0; 8]);
        }
    });
    let rig = Rig::new("http1", &[backend.at], |snapshot| web(snapshot).rules.pool.connections = 1);
    let (mut tunnel, mut waits) = (rig.connect(), rig.connect());
    tunnel.write_all(UPGRADE.as_bytes()).unwrap();
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(ask(&mut waits, GET).0, 200);
    read_until(&mut tunnel, b"\r\n\r\n");
    tunnel.write_all(b"frame").unwrap();
    assert_eq!(read_exactly(&mut tunnel, 5), b"frame");
}

#[test]
fn a_request_waits_for_a_connection_as_long_as_one_may_take() {
    let backend = Backend::new(serve);
    let mut rig = Rig::new("http1", &[backend.at], |snapshot| {
        web(snapshot).rules.pool.connections = 1;
        web(snapshot).timeouts.connect = Duration::from_millis(400);
    });
    let (mut slow, mut waits, mut sends) = (rig.connect(), rig.connect(), rig.connect());
    slow.write_all(SLOW).unwrap();
    std::thread::sleep(Duration::from_millis(100));
    let begun = Instant::now();
    waits.write_all(GET.as_bytes()).unwrap();
    sends.write_all(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nab").unwrap();
    assert_eq!((answer(&mut waits).0, answer(&mut sends).0), (503, 503));
    let took = begun.elapsed();
    assert!(took > Duration::from_millis(300) && took < Duration::from_millis(1200), "{took:?}");
    assert_eq!(answer(&mut slow).0, 200);
    assert_eq!(ask(&mut waits, GET).0, 200, "its connection goes on");
    let stats = rig.fresh_stats().services["web"].clone();
    assert_eq!((stats.reasons.get("queue_timeout"), stats.pending), (Some(&2), 0));
    assert_eq!(stats.endpoints[&backend.at].failures, 0, "it is not to blame");
}

#[test]
fn a_deadline_of_its_own_comes_first() {
    let backend = Backend::new(serve);
    let mut rig = Rig::new("http1", &[backend.at], |snapshot| {
        web(snapshot).rules.pool.connections = 1;
        let slow = Matches { path: Some(TextMatch::Exact("/slow".into())), ..Matches::default() };
        let routes = vec![
            Route { name: "slow".into(), matches: slow, ..Route::default() },
            Route { name: "all".into(), timeout: Some(Duration::from_millis(300)), ..Route::default() },
        ];
        let host = VirtualHost { name: "h".into(), hosts: vec!["*".into()], routes };
        snapshot.routes.services.insert("web".into(), vec![host]);
    });
    let (mut slow, mut waits) = (rig.connect(), rig.connect());
    slow.write_all(SLOW).unwrap();
    std::thread::sleep(Duration::from_millis(100));
    waits.write_all(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nab").unwrap();
    assert_eq!((answer(&mut waits).0, answer(&mut slow).0), (504, 200));
    let reasons = rig.fresh_stats().services["web"].reasons.clone();
    assert_eq!((reasons.get("timeout"), reasons.len()), (Some(&1), 1));
}

#[test]
fn bytes_of_a_tunnel_are_counted_from_the_first() {
    let backend = Backend::new(serve);
    let mut rig = Rig::new("http1", &[backend.at], |_| {});
    let mut client = rig.connect();
    client.write_all(format!("{UPGRADE}early").as_bytes()).unwrap();
    read_until(&mut client, b"\r\n\r\nfirst");
    assert_eq!(read_exactly(&mut client, 5), b"early");
    client.write_all(&[7; 100_000]).unwrap();
    read_exactly(&mut client, 100_000);
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(client.read(&mut [0; 8]).unwrap(), 0);
    let stats = rig.fresh_stats().services["web"].clone();
    let head = "HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n".len() as u64;
    assert_eq!((stats.bytes_up, stats.bytes_down), (UPGRADE.len() as u64 + 100_005, head + 100_010));
}
