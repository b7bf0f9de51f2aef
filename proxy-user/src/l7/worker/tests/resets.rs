//! Connections that end in the middle, and that none of them is used again.

use std::io::{BufReader, Write as _};

use super::bolt::{frame, read_request, read_response};
use super::http1::{GET, ask, request};
use super::*;

/// A server whose answers name their connection; some paths break it in one way each.
fn numbered() -> Backend {
    let counter = AtomicU64::new(0);
    Backend::new(move |mut stream| {
        let number = counter.fetch_add(1, Ordering::SeqCst);
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        while let Some((head, _)) = request(&mut reader) {
            let name = number.to_string();
            let fine = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{name}", name.len());
            let sent = match head.split(' ').nth(1).unwrap() {
                "/late" => {
                    std::thread::sleep(Duration::from_millis(600));
                    stream.write_all(fine.as_bytes())
                }
                // A second answer that nobody asked for, with the first or a moment later.
                "/twice" => stream.write_all(fine.repeat(2).as_bytes()),
                "/more" => stream.write_all(fine.as_bytes()).and_then(|()| {
                    std::thread::sleep(Duration::from_millis(50));
                    stream.write_all(fine.as_bytes())
                }),
                "/early" => stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nearly"),
                "/reset" => {
                    reset(stream);
                    return;
                }
                "/half" | "/half-chunk" => {
                    let framing = if head.contains("chunk") {
                        "Transfer-Encoding: chunked"
                    } else {
                        "Content-Length: 9"
                    };
                    let _ =
                        stream.write_all(format!("HTTP/1.1 200 OK\r\n{framing}\r\n\r\n3\r\nha").as_bytes());
                    // Read before it is reset, or the reset overtakes it.
                    std::thread::sleep(Duration::from_millis(100));
                    reset(stream);
                    return;
                }
                "/half-head" => {
                    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Le");
                    return;
                }
                _ => stream.write_all(fine.as_bytes()),
            };
            if sent.is_err() {
                return;
            }
        }
    })
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n")
}

#[test]
fn a_connection_with_something_left_to_say_is_not_used_again() {
    for path in ["/twice", "/more", "/late", "/half", "/half-chunk", "/half-head", "/reset"] {
        let backend = numbered();
        let rig = Rig::new("http1", &[backend.at], |snapshot| {
            web(snapshot).timeouts.request = Some(Duration::from_millis(300));
        });
        let mut client = rig.connect();
        assert_eq!(ask(&mut client, GET).2, b"0");
        client.write_all(get(path).as_bytes()).unwrap();
        std::thread::sleep(Duration::from_millis(400));
        drop(client);
        for n in 0..3 {
            let (status, _, body) = ask(&mut rig.connect(), GET);
            assert_eq!(status, 200, "{path}, {n}");
            assert_ne!(body, b"0", "{path}: the connection was used again");
        }
        std::thread::sleep(Duration::from_millis(300));
        assert_eq!(ask(&mut rig.connect(), GET).0, 200, "{path}: a late answer goes nowhere");
    }
}

#[test]
fn a_request_that_was_not_read_to_its_end_is_not_followed_by_another() {
    let backend = Backend::new(|mut stream| {
        // Answers at once, and never reads the body.
        while !read_until(&mut stream, b"\r\n\r\n").is_empty() {
            if stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nearly").is_err() {
                return;
            }
        }
    });
    let rig = Rig::new("http1", &[backend.at], |_| {});
    let mut client = rig.connect();
    let smuggled = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 40\r\n\r\n";
    let (status, head, body) = ask(&mut client, smuggled);
    assert_eq!((status, body.as_slice()), (200, &b"early"[..]));
    assert!(head.contains("Connection: close"), "{head}");
    // What is the body's must not begin a request, here or there.
    let _ = client.write_all(get("/evil").as_bytes());
    assert_eq!(client.read(&mut [0; 8]).unwrap_or(0), 0);
    assert_eq!(ask(&mut rig.connect(), GET).0, 200);
    assert_eq!(backend.connections(), 2);
}

#[test]
fn an_answer_that_is_reset_ends_before_its_end() {
    let backend = numbered();
    let mut rig = Rig::new("http1", &[backend.at], |_| {});
    for path in ["/half", "/half-chunk"] {
        let mut client = rig.connect();
        client.write_all(get(path).as_bytes()).unwrap();
        let mut all = Vec::new();
        let _ = client.read_to_end(&mut all);
        let text = String::from_utf8(all).unwrap();
        assert!(text.starts_with("HTTP/1.1 200") && text.ends_with("\r\n\r\n3\r\nha"), "{path}: {text}");
    }
    for path in ["/half-head", "/reset"] {
        let mut client = rig.connect();
        // Nothing of an answer has come, and it may be sent twice: it is, and fails each time.
        assert_eq!(ask(&mut client, &get(path)).0, 502, "{path}");
        assert_eq!(ask(&mut client, GET).0, 200, "the client's connection goes on");
    }
    let stats = rig.fresh_stats().services["web"].clone();
    assert_eq!((stats.requests_active, stats.endpoints[&backend.at].active), (0, 0));
    assert!(stats.resets >= 4, "{stats:?}");
}

#[test]
fn an_upload_that_is_reset_on_either_side() {
    let seen = Arc::new(AtomicU64::new(0));
    let count = seen.clone();
    let backend = Backend::new(move |mut stream| {
        let _ = read_until(&mut stream, b"\r\n\r\n");
        let mut room = [0; 4096];
        let mut all = 0;
        while let Ok(part) = stream.read(&mut room) {
            if part == 0 {
                break;
            }
            all += part;
            if all > 500_000 {
                reset(stream);
                return;
            }
        }
        // The client's end is seen here.
        count.fetch_add(1, Ordering::SeqCst);
    });
    let mut rig = Rig::new("http1", &[backend.at], |_| {});
    let post = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000000\r\n\r\n";
    let mut client = rig.connect();
    client.write_all(post).unwrap();
    client.write_all(&[7; 1000]).unwrap();
    std::thread::sleep(Duration::from_millis(100));
    reset(client);
    wait_until("the endpoint's connection ends too", || seen.load(Ordering::SeqCst) == 1);

    let mut client = rig.connect();
    client.write_all(post).unwrap();
    let part = vec![7; 64 << 10];
    while client.write_all(&part).is_ok() {}
    rig.until(|rig| rig.stats.accepted == 2 && rig.stats.active == 0);
    let stats = rig.fresh_stats().services["web"].clone();
    assert_eq!((stats.requests_active, stats.resets, stats.retries), (0, 1, 0));
}

#[test]
fn a_refusal_reaches_a_client_that_is_still_sending() {
    let rig = Rig::new("http1", &[nobody()], |snapshot| {
        web(snapshot).limits.body_bytes = Some(1000);
    });
    for _ in 0..10 {
        let mut client = rig.connect();
        client.write_all(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3000000\r\n\r\n").unwrap();
        let part = vec![7; 1 << 20];
        for _ in 0..3 {
            client.write_all(&part).unwrap();
        }
        assert_eq!(http1::answer(&mut client).0, 413, "a reset would have taken it away");
    }
}

#[test]
fn shared_connections_that_are_reset_lose_their_own_requests_only() {
    let backend = Backend::new(|mut stream| {
        while let Some((id, content)) = read_request(&mut stream) {
            if content == b"reset" {
                reset(stream);
                return;
            }
            let _ = stream.write_all(&bolt::response(id, 0, &content));
        }
    });
    let mut rig = Rig::new("bolt", &[backend.at], |_| {});
    let (mut one, mut two) = (rig.connect(), rig.connect());
    for turn in 0..10_u32 {
        one.write_all(&frame(turn, "a", b"reset")).unwrap();
        assert_ne!(read_response(&mut one).1, 0);
        two.write_all(&frame(turn, "a", b"fine")).unwrap();
        assert_eq!(read_response(&mut two), (turn, 0, b"fine".to_vec()));
    }
    // A client that is reset with requests under way harms nobody, and its answers go nowhere.
    for id in 0..50 {
        one.write_all(&frame(id, "a", b"gone")).unwrap();
    }
    reset(one);
    for turn in 0..10_u32 {
        two.write_all(&frame(turn, "a", b"fine")).unwrap();
        assert_eq!(read_response(&mut two), (turn, 0, b"fine".to_vec()));
    }
    rig.until(|rig| {
        let web = rig.stats.services.get("web");
        web.is_some_and(|web| web.requests_active == 0 && web.active == 1)
    });
}
