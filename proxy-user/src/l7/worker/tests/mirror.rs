//! Copies of requests.

use std::io::{BufReader, Write as _};

use super::bolt::{frame, read_request, read_response, response};
use super::http1::{GET, ask, request, serve};
use super::*;
use crate::l7::snapshot::{Mirror, Route, VirtualHost};

pub(super) type Heard = Arc<Mutex<Vec<(String, Vec<u8>)>>>;

/// A server that notes what it hears, and answers as `answers` does.
pub(super) fn listening(
    answers: impl Fn(&mut TcpStream) -> bool + Send + Sync + 'static,
) -> (Backend, Heard) {
    let heard = Heard::default();
    let notes = heard.clone();
    let backend = Backend::new(move |mut stream| {
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        while let Some(whole) = request(&mut reader) {
            notes.lock().unwrap().push(whole);
            if !answers(&mut stream) {
                return;
            }
        }
    });
    (backend, heard)
}

fn mirroring(snapshot: &mut Snapshot, copies: SocketAddr, percent: u8) {
    let codec = web(snapshot).codec.clone();
    snapshot.services.insert("copies".into(), service("127.9.9.9:1".parse().unwrap(), &codec, &[copies]));
    let mirror = Some(Mirror { service: "copies".into(), percent });
    let route = Route { name: "r".into(), mirror, ..Route::default() };
    let host = VirtualHost { name: "h".into(), hosts: vec!["*".into()], routes: vec![route] };
    snapshot.routes.services.insert("web".into(), vec![host]);
}

fn fine(stream: &mut TcpStream) -> bool {
    stream.write_all(b"HTTP/1.1 500 Oh\r\nContent-Length: 6\r\n\r\nignore").is_ok()
}

#[test]
fn a_copy_has_the_same_head_and_body_and_its_answer_goes_nowhere() {
    let backend = Backend::new(serve);
    let (copies, heard) = listening(fine);
    let mut rig = Rig::new("http1", &[backend.at], |snapshot| mirroring(snapshot, copies.at, 100));
    let mut client = rig.connect();
    let body = "x".repeat(20_000);
    let post =
        format!("POST /p?q HTTP/1.1\r\nHost: x\r\nX: y\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let chunked = "PUT /c HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
    for (n, text) in [GET, &post, chunked, GET].into_iter().enumerate() {
        let (status, _, answer) = ask(&mut client, text);
        assert_eq!(status, 200);
        wait_until("a copy has come", || heard.lock().unwrap().len() > n);
        let (head, body) = heard.lock().unwrap()[n].clone();
        assert_eq!(answer, [head.as_bytes(), b"|", &body].concat(), "the copy is what the endpoint got");
    }
    rig.until(|rig| rig.stats.services.get("copies").is_some_and(|s| s.endpoints[&copies.at].active == 0));
    let stats = rig.fresh_stats();
    assert_eq!((stats.services["web"].mirrored, stats.services["web"].mirrors_lost), (4, 0));
    assert_eq!(stats.services["web"].answers.classes, [0, 4, 0, 0, 0], "a copy's answer counts for nothing");
    assert_eq!(copies.connections(), 1, "copies use connections again");
}

#[test]
fn the_percentage_is_exact() {
    let backend = Backend::new(serve);
    let (copies, heard) = listening(fine);
    let mut rig = Rig::new("http1", &[backend.at], |snapshot| mirroring(snapshot, copies.at, 30));
    let mut client = rig.connect();
    for _ in 0..100 {
        assert_eq!(ask(&mut client, GET).0, 200);
    }
    let stats = rig.fresh_stats().services["web"].clone();
    assert_eq!(stats.mirrored + stats.mirrors_lost, 30);
    let sent = stats.mirrored;
    wait_until("the copies have come", || heard.lock().unwrap().len() as u64 == sent);
}

#[test]
fn a_service_of_copies_that_is_dead_slow_or_silent_costs_nothing() {
    let backend = Backend::new(serve);
    let (silent, _) = listening(|_| true);
    let deaf = Backend::new(|stream| {
        std::thread::sleep(Duration::from_secs(20));
        drop(stream);
    });
    let (rude, _) = listening(|stream| {
        let _ = stream.write_all(b"nonsense\r\n\r\n");
        false
    });
    for copies in [nobody(), silent.at, deaf.at, rude.at] {
        let mut rig = Rig::new("http1", &[backend.at], |snapshot| mirroring(snapshot, copies, 100));
        let mut client = rig.connect();
        for _ in 0..50 {
            assert_eq!(ask(&mut client, GET).0, 200);
        }
        // Far more than waits for any copy.
        let body = "x".repeat(8 << 20);
        let long = format!("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        let (status, _, answer) = ask(&mut client, &long);
        assert!(status == 200 && answer.ends_with(body.as_bytes()));
        let stats = rig.fresh_stats().services["web"].clone();
        assert_eq!((stats.answers.classes[1], stats.requests_active), (51, 0));
        assert!(stats.mirrors_lost > 0 || copies == silent.at, "{stats:?}");
    }
}

#[test]
fn copies_of_bolt_requests() {
    let backend = Backend::new(bolt::serve);
    let heard = Arc::new(Mutex::new(Vec::new()));
    let notes = heard.clone();
    let copies = Backend::new(move |mut stream| {
        while let Some((id, content)) = read_request(&mut stream) {
            notes.lock().unwrap().push(content);
            if stream.write_all(&response(id, 2, b"ignore")).is_err() {
                return;
            }
        }
    });
    let mut rig = Rig::new("bolt", &[backend.at], |snapshot| mirroring(snapshot, copies.at, 50));
    let mut client = rig.connect();
    for id in 0..100_u32 {
        client.write_all(&frame(id, "a:1.0", &id.to_be_bytes())).unwrap();
        assert_eq!(read_response(&mut client), (id, 0, id.to_be_bytes().to_vec()));
    }
    wait_until("the copies have come", || heard.lock().unwrap().len() == 50);
    let stats = rig.fresh_stats().services["web"].clone();
    assert_eq!((stats.mirrored, stats.answers.classes[1], stats.answers.classes[4]), (50, 100, 0));
    drop(copies);
    for id in 0..20_u32 {
        client.write_all(&frame(id, "a:1.0", b"x")).unwrap();
        assert_eq!(read_response(&mut client), (id, 0, b"x".to_vec()), "nobody takes copies");
    }
}
