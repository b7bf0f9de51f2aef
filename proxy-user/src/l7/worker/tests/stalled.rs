//! One side takes nothing: the other waits, it costs no work, and whoever is not to blame is not blamed.

use std::io::{Read as _, Write as _};
use std::net::Shutdown;

use super::bolt::{frame, read_request, response};
use super::http1::answer;
use super::tunnels::UPGRADE;
use super::*;

/// Says so much that nobody has room for it.
fn flood(mut stream: TcpStream) {
    while stream.write_all(&[7; 65536]).is_ok() {}
}

/// Once all stands still, the worker has nothing to look at.
fn stands_still(rig: &Rig, what: &str) {
    let turns = || rig.turns.load(Ordering::Relaxed);
    wait_until(what, || {
        let before = turns();
        std::thread::sleep(Duration::from_millis(300));
        turns() == before
    });
}

#[test]
fn a_tunnel_whose_client_does_not_read_is_left_alone() {
    let backend = Backend::new(flood);
    let rig = Rig::new("tcp", &[backend.at], |_| {});
    let mut client = rig.connect();
    client.peek(&mut [0]).unwrap();
    stands_still(&rig, "a download");
    client.shutdown(Shutdown::Write).unwrap();
    stands_still(&rig, "a download of a client that has said all");
    assert!(read_exactly(&mut client, 32 << 20).iter().all(|byte| *byte == 7), "it goes on");
}

#[test]
fn so_is_one_whose_endpoint_does_not_read() {
    let backend = Backend::new(|mut stream| {
        let _ = stream.write_all(b"x");
        let _ = stream.shutdown(Shutdown::Write);
        std::thread::sleep(Duration::from_secs(2));
        let _ = std::io::copy(&mut stream, &mut std::io::sink());
    });
    let mut rig = Rig::new("tcp", &[backend.at], |_| {});
    let client = rig.connect();
    let mut writer = client.try_clone().unwrap();
    let thread = std::thread::spawn(move || {
        writer.write_all(&vec![1; 32 << 20]).unwrap();
        writer.shutdown(Shutdown::Write).unwrap();
    });
    std::thread::sleep(Duration::from_millis(500));
    stands_still(&rig, "an upload to an endpoint that has said all");
    thread.join().unwrap();
    rig.until(|rig| rig.stats.services.get("web").is_some_and(|web| web.bytes_up == 32 << 20));
    rig.until(|rig| rig.stats.services.get("web").is_some_and(|web| web.tunnels == 0));
}

#[test]
fn so_is_a_websocket() {
    let backend = Backend::new(|mut stream| {
        read_until(&mut stream, b"\r\n\r\n");
        let _ = stream.write_all(b"HTTP/1.1 101 S\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n");
        flood(stream);
    });
    let rig = Rig::new("http1", &[backend.at], |_| {});
    let mut client = rig.connect();
    client.write_all(UPGRADE.as_bytes()).unwrap();
    read_until(&mut client, b"\r\n\r\n");
    stands_still(&rig, "a WebSocket");
    assert!(read_exactly(&mut client, 32 << 20).iter().all(|byte| *byte == 7), "it goes on");
}

#[test]
fn an_endpoint_that_does_not_take_a_request_is_to_blame() {
    let backend = Backend::new(|mut stream| {
        read_until(&mut stream, b"\r\n\r\n");
        std::thread::sleep(Duration::from_secs(15));
    });
    let mut rig = Rig::new("http1", &[backend.at], |snapshot| {
        web(snapshot).timeouts.idle = Duration::from_secs(1);
    });
    let mut client = rig.connect();
    client.set_write_timeout(Some(Duration::from_secs(1))).unwrap();
    client.write_all(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000000\r\n\r\n").unwrap();
    while client.write_all(&[1; 100_000]).is_ok() {}
    assert_eq!(answer(&mut client).0, 504);
    let stats = rig.fresh_stats().services["web"].clone();
    assert_eq!((stats.reasons.get("timeout"), stats.reasons.get("bad_request")), (Some(&1), None));
    assert_eq!(stats.endpoints[&backend.at].failures, 1);
}

/// Answers `big` with much.
fn serve_much() -> Backend {
    Backend::new(|mut stream| {
        while let Some((id, content)) = read_request(&mut stream) {
            let len = if content == b"big" { 100_000 } else { 1 };
            if stream.write_all(&response(id, 0, &vec![7; len])).is_err() {
                return;
            }
        }
    })
}

/// So many requests with much of an answer: more than the sockets take.
fn much() -> Vec<u8> {
    (0..MUCH).flat_map(|id| frame(id, "a", b"big")).collect()
}
const MUCH: u32 = 70;
const ANSWERS: usize = MUCH as usize * 100_020;

#[test]
fn a_drain_leaves_no_request_unread() {
    let backend = serve_much();
    // The second half of a drain, too, waits for what weir has not read.
    for patience in [20, 6] {
        let rig = Rig::new("bolt", &[backend.at], |_| {});
        let mut client = rig.connect();
        client.write_all(&much()).unwrap();
        std::thread::sleep(Duration::from_millis(500));
        client.write_all(&(100..110).flat_map(|id| frame(id, "a", b"x")).collect::<Vec<u8>>()).unwrap();
        std::thread::sleep(Duration::from_millis(300));
        rig.drain(Duration::from_secs(patience));
        std::thread::sleep(Duration::from_millis(3500));
        let mut got = Vec::new();
        let _ = client.read_to_end(&mut got);
        assert_eq!(got.len(), ANSWERS + 10 * 21, "{patience} s");
    }
}

#[test]
fn the_time_of_a_message_does_not_run_while_it_is_not_read() {
    let backend = serve_much();
    let rig = Rig::new("bolt", &[backend.at], |snapshot| web(snapshot).rules.head = Duration::from_secs(1));
    let mut client = rig.connect();
    let last = frame(99, "a", b"x");
    let (begin, end) = last.split_at(10);
    client.write_all(&[&much(), begin].concat()).unwrap();
    std::thread::sleep(Duration::from_millis(500));
    client.write_all(end).unwrap();
    std::thread::sleep(Duration::from_millis(2500));
    assert_eq!(read_exactly(&mut client, ANSWERS + 21).len(), ANSWERS + 21);
    // Then it does again.
    client.write_all(begin).unwrap();
    assert_eq!(client.read(&mut [0; 8]).unwrap_or(0), 0);
}
