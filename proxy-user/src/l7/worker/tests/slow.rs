//! Clients and endpoints that are slow, on purpose or not: each costs bounded time and memory.

use std::io::{ErrorKind, Write as _};

use super::bolt::{frame, read_response};
use super::http1::{GET, answer, ask, serve};
use super::*;
use crate::l7::snapshot::{Action, Route, VirtualHost};

/// Sends bytes one by one, until the other side has closed; how long that took.
fn drip(client: &mut TcpStream, bytes: &[u8]) -> Duration {
    let begun = Instant::now();
    client.set_read_timeout(Some(Duration::from_millis(40))).unwrap();
    for byte in bytes.iter().cycle() {
        if client.write_all(&[*byte]).is_err() {
            break;
        }
        match client.peek(&mut [0; 1]) {
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            _ => break,
        }
        assert!(begun.elapsed() < Duration::from_secs(10), "it goes on for ever");
    }
    client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    begun.elapsed()
}

#[test]
fn a_head_that_comes_byte_by_byte_has_its_time() {
    let backend = Backend::new(serve);
    let mut rig = Rig::new("http1", &[backend.at], |snapshot| {
        web(snapshot).rules.head = Duration::from_millis(400);
    });
    let mut client = rig.connect();
    assert_eq!(ask(&mut client, GET).0, 200);
    std::thread::sleep(Duration::from_millis(600));
    assert_eq!(ask(&mut client, GET).0, 200, "between requests no head has begun");
    client.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n").unwrap();
    let took = drip(&mut client, b"X: y\r\n");
    assert!(took >= Duration::from_millis(300), "{took:?}");
    assert_eq!(answer(&mut client).0, 408);
    assert_eq!(client.read(&mut [0; 8]).unwrap_or(0), 0);
    let stats = rig.fresh_stats().services["web"].clone();
    assert_eq!((stats.answers.classes[3], stats.reasons.get("bad_request")), (1, Some(&1)));
}

#[test]
fn so_has_a_message_on_a_shared_connection() {
    let backend = Backend::new(bolt::serve);
    let rig = Rig::new("bolt", &[backend.at], |snapshot| {
        web(snapshot).rules.head = Duration::from_millis(400);
    });
    let mut client = rig.connect();
    client.write_all(&frame(1, "a", b"x")).unwrap();
    assert_eq!(read_response(&mut client), (1, 0, b"x".to_vec()));
    std::thread::sleep(Duration::from_millis(600));
    client.write_all(&frame(2, "a", &[0; 5000])[..1000]).unwrap();
    drip(&mut client, &[0]);
    assert_eq!(client.read(&mut [0; 8]).unwrap_or(0), 0);
}

#[test]
fn a_request_on_which_nothing_moves_is_given_up() {
    let backend = Backend::new(serve);
    let mut rig = Rig::new("http1", &[backend.at], |snapshot| {
        web(snapshot).timeouts.idle = Duration::from_millis(500);
    });
    let mut half = rig.connect();
    half.write_all(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nhalf").unwrap();
    assert_eq!(answer(&mut half).0, 408, "its body does not come");
    let mut waiting = rig.connect();
    waiting.write_all(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    assert_eq!(answer(&mut waiting).0, 504, "its answer does not");
    // A body that does come takes as long as it takes.
    let mut slow = rig.connect();
    slow.write_all(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n").unwrap();
    for _ in 0..10 {
        std::thread::sleep(Duration::from_millis(120));
        slow.write_all(b"x").unwrap();
    }
    assert_eq!(answer(&mut slow).0, 200);
    assert_eq!(rig.fresh_stats().services["web"].requests_active, 0);
}

/// Bytes that a client can send before the worker reads no more.
fn pushed(client: &mut TcpStream, part: &[u8], most: usize) -> usize {
    client.set_write_timeout(Some(Duration::from_secs(1))).unwrap();
    let mut sent = 0;
    while sent < most {
        match client.write(part) {
            // What is cut would shift what follows.
            Ok(count) if count == part.len() => sent += count,
            Ok(count) => {
                sent += count;
                break;
            }
            Err(_) => break,
        }
    }
    sent
}

const MOST: usize = 64 << 20;

#[test]
fn a_client_that_asks_and_never_reads_is_not_asked_for_more() {
    let backend = Backend::new(serve);
    let direct = |snapshot: &mut Snapshot| {
        let action = Action::Direct { status: 200, body: "x".repeat(2000) };
        let route = Route { name: "r".into(), action, ..Route::default() };
        let host = VirtualHost { name: "h".into(), hosts: vec!["*".into()], routes: vec![route] };
        snapshot.routes.services.insert("web".into(), vec![host]);
    };
    for local in [true, false] {
        let mut rig = Rig::new("http1", &[backend.at], |snapshot| {
            if local {
                direct(snapshot);
            }
        });
        let mut client = rig.connect();
        let sent = pushed(&mut client, &GET.repeat(1000).into_bytes(), MOST);
        assert!(sent < MOST, "it takes whatever comes (local: {local}): {:?}", rig.fresh_stats());
        assert_eq!(ask(&mut rig.connect(), GET).0, 200, "others are served");
        // All that was asked for whole is answered, once it is read.
        for _ in 0..sent / GET.len() {
            assert_eq!(answer(&mut client).0, 200);
        }
        assert_eq!(rig.fresh_stats().services["web"].requests_active, 0);
    }
}

#[test]
fn so_for_heartbeats_and_errors_on_a_shared_connection() {
    let rig = Rig::new("bolt", &[], |_| {});
    let heartbeat = b"\x01\x01\0\0\x01\0\0\0\x07\x01\xff\xff\xff\xff\0\0\0\0\0\0\0\0";
    for part in [heartbeat.to_vec(), frame(1, "a", b"x")] {
        let mut client = rig.connect();
        let sent = pushed(&mut client, &part.repeat(1000), MOST);
        assert!(sent < MOST, "it takes whatever comes, and keeps the answers");
        for _ in 0..sent / part.len() {
            read_exactly(&mut client, 20);
        }
    }
}

#[test]
fn an_endpoint_that_does_not_read_holds_up_its_client() {
    let backend = Backend::new(|stream| {
        std::thread::sleep(Duration::from_secs(5));
        drop(stream);
    });
    let rig = Rig::new("http1", &[backend.at], |_| {});
    let mut client = rig.connect();
    client.write_all(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\n").unwrap();
    let sent = pushed(&mut client, &[7; 64 << 10], MOST);
    assert!(sent < MOST, "{sent} bytes went into buffers");
}

#[test]
fn a_long_answer_to_a_slow_reader_is_read_as_it_is_taken() {
    let written = Arc::new(AtomicU64::new(0));
    let counter = written.clone();
    let backend = Backend::new(move |mut stream| {
        let _ = read_until(&mut stream, b"\r\n\r\n");
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 104857600\r\n\r\n");
        let part = vec![7; 64 << 10];
        for _ in 0..1600 {
            if stream.write_all(&part).is_err() {
                return;
            }
            counter.fetch_add(part.len() as u64, Ordering::SeqCst);
        }
    });
    let rig = Rig::new("http1", &[backend.at], |_| {});
    let mut client = rig.connect();
    client.write_all(GET.as_bytes()).unwrap();
    std::thread::sleep(Duration::from_secs(1));
    let before = written.load(Ordering::SeqCst);
    assert!(before < 64 << 20, "{before} bytes went into buffers");
    read_until(&mut client, b"\r\n\r\n");
    assert!(read_exactly(&mut client, 100 << 20).iter().all(|byte| *byte == 7));
}

#[test]
fn interim_answers_that_nobody_reads_hold_up_their_endpoint() {
    const PARTS: usize = 2000;
    let part = b"HTTP/1.1 102 Processing\r\n\r\n".repeat(1000);
    let (written, len) = (Arc::new(AtomicU64::new(0)), part.len());
    let counter = written.clone();
    let backend = Backend::new(move |mut stream| {
        let _ = read_until(&mut stream, b"\r\n\r\n");
        for _ in 0..PARTS {
            if stream.write_all(&part).is_err() {
                return;
            }
            counter.fetch_add(len as u64, Ordering::SeqCst);
        }
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        let _ = stream.read(&mut [0; 1]);
    });
    let rig = Rig::new("http1", &[backend.at], |_| {});
    let mut client = rig.connect();
    client.write_all(GET.as_bytes()).unwrap();
    wait_until("it stands still", || {
        let before = written.load(Ordering::SeqCst);
        std::thread::sleep(Duration::from_millis(700));
        before > 0 && written.load(Ordering::SeqCst) == before
    });
    let before = written.load(Ordering::SeqCst);
    assert!(before < 40 << 20, "{before} bytes went into buffers");
    let all = read_exactly(&mut client, PARTS * len);
    assert!(all.chunks(27).all(|one| one == b"HTTP/1.1 102 Processing\r\n\r\n"));
    assert_eq!(answer(&mut client).0, 200);
}

/// A backend that answers with so many bytes, and ends.
fn long_answer(len: usize) -> Backend {
    Backend::new(move |mut stream| {
        let _ = read_until(&mut stream, b"\r\n\r\n");
        let head = format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {len}\r\n\r\n");
        let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&vec![7; len]));
    })
}

#[test]
fn the_last_answer_goes_to_a_client_that_reads_slowly() {
    const LEN: usize = 5_000_000;
    let backend = long_answer(LEN);
    let rig = Rig::new("http1", &[backend.at], |snapshot| {
        web(snapshot).timeouts.idle = Duration::from_secs(1);
    });
    let mut client = rig.connect();
    rustix::net::sockopt::set_socket_recv_buffer_size(&client, 64 << 10).unwrap();
    client.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    read_until(&mut client, b"\r\n\r\n");
    for _ in 0..LEN / 100_000 {
        std::thread::sleep(Duration::from_millis(100));
        assert!(read_exactly(&mut client, 100_000).iter().all(|byte| *byte == 7));
    }
    assert_eq!(client.read(&mut [0; 8]).unwrap(), 0);
}

#[test]
fn a_client_that_does_not_take_the_last_answer_is_given_up() {
    let backend = long_answer(20_000_000);
    let mut rig = Rig::new("http1", &[backend.at], |snapshot| {
        web(snapshot).timeouts.idle = Duration::from_millis(500);
    });
    let mut client = rig.connect();
    client.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    rig.until(|rig| rig.stats.active == 1);
    let begun = Instant::now();
    rig.until(|rig| rig.stats.active == 0);
    assert!(begun.elapsed() < Duration::from_secs(10));
}
