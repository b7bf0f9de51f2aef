use std::io::{BufRead as _, BufReader, Read as _, Write as _};

use super::*;
use crate::l7::snapshot::{Access, AccessRule};

/// Reads one request's head and body (by length), as a server would.
pub(super) fn request(reader: &mut BufReader<TcpStream>) -> Option<(String, Vec<u8>)> {
    let mut head = String::new();
    loop {
        let start = head.len();
        if reader.read_line(&mut head).ok()? == 0 {
            return None;
        }
        if &head[start..] == "\r\n" {
            break;
        }
    }
    let lower = head.to_ascii_lowercase();
    let mut body = Vec::new();
    if let Some(at) = lower.find("content-length: ") {
        let length = lower[at + 16..].lines().next().unwrap().trim().parse().unwrap();
        body = vec![0; length];
        reader.read_exact(&mut body).ok()?;
    } else if lower.contains("transfer-encoding: chunked") {
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).ok()?;
            let size = usize::from_str_radix(line.trim(), 16).unwrap();
            let mut part = vec![0; size + 2];
            reader.read_exact(&mut part).ok()?;
            body.extend_from_slice(&part[..size]);
            if size == 0 {
                break;
            }
        }
    }
    Some((head, body))
}

/// Answers every request with its own start line and body; some paths are answered otherwise.
pub(super) fn serve(stream: TcpStream) {
    let mut writer = stream.try_clone().unwrap();
    let mut reader = BufReader::new(stream);
    while let Some((head, body)) = request(&mut reader) {
        let path = head.split(' ').nth(1).unwrap();
        let sent = match path {
            "/chunked" => writer.write_all(
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\nT: x\r\n\r\n",
            ),
            "/close" => {
                let _ = writer.write_all(b"HTTP/1.1 200 OK\r\n\r\nuntil the end");
                return;
            }
            "/500" => writer.write_all(b"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n"),
            "/slow" => {
                std::thread::sleep(Duration::from_millis(1500));
                writer.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            }
            "/half" => {
                let _ = writer.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf");
                return;
            }
            "/upgrade" => {
                let _ = writer.write_all(
                    b"HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\nfirst",
                );
                echo(reader.into_inner());
                return;
            }
            _ => {
                let mut text = format!("{head}|").into_bytes();
                text.extend_from_slice(&body);
                let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", text.len());
                writer.write_all(answer.as_bytes()).and_then(|()| writer.write_all(&text))
            }
        };
        if sent.is_err() {
            return;
        }
    }
}

/// Sends a request's bytes, and reads an answer with a length.
pub(super) fn ask(client: &mut TcpStream, request: &str) -> (u16, String, Vec<u8>) {
    client.write_all(request.as_bytes()).unwrap();
    answer(client)
}

pub(super) fn answer(client: &mut TcpStream) -> (u16, String, Vec<u8>) {
    let head = String::from_utf8(read_until(client, b"\r\n\r\n")).unwrap();
    let status = head.get(9..12).and_then(|status| status.parse().ok()).unwrap_or(0);
    let length = head
        .lines()
        .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok())
        .unwrap_or(0);
    let body = read_exactly(client, length);
    (status, head, body)
}

pub(super) const GET: &str = "GET /a HTTP/1.1\r\nHost: x\r\n\r\n";

#[test]
fn requests_share_a_connection_to_the_endpoint() {
    let backend = Backend::new(serve);
    let mut rig = Rig::new("http1", &[backend.at], |_| {});
    let mut clients: Vec<_> = (0..5).map(|_| rig.connect()).collect();
    for _ in 0..4 {
        for client in &mut clients {
            let (status, _, body) = ask(client, GET);
            assert_eq!(status, 200);
            assert!(body.starts_with(b"GET /a HTTP/1.1\r\n"), "{}", String::from_utf8_lossy(&body));
        }
    }
    assert_eq!(backend.connections(), 1);
    let stats = rig.fresh_stats().services["web"].clone();
    assert_eq!(
        (stats.requests, stats.answers.classes[1], stats.pool_hits, stats.requests_active),
        (20, 20, 19, 0)
    );
    assert_eq!(stats.answers.durations.iter().sum::<u64>(), 20);
}

#[test]
fn bodies_of_every_framing_pass() {
    let backend = Backend::new(serve);
    let rig = Rig::new("http1", &[backend.at], |_| {});
    let mut client = rig.connect();
    let long = "x".repeat(3_000_000);
    for body in ["", "abc", &long] {
        let request = format!("POST /p HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        let (status, _, answer) = ask(&mut client, &request);
        assert_eq!(status, 200);
        assert!(answer.ends_with(format!("|{body}").as_bytes()));
    }
    let chunked = "POST /p HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
    assert!(ask(&mut client, chunked).2.ends_with(b"|abc"));
    client.write_all(b"GET /chunked HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let answer = read_until(&mut client, b"T: x\r\n\r\n");
    assert!(answer.ends_with(b"3\r\nabc\r\n2\r\nde\r\n0\r\nT: x\r\n\r\n"));
    client.write_all(b"GET /close HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let mut rest = Vec::new();
    client.read_to_end(&mut rest).unwrap();
    assert!(rest.ends_with(b"\r\n\r\nuntil the end"), "{}", String::from_utf8_lossy(&rest));
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let backend = Backend::new(serve);
    let rig = Rig::new("http1", &[backend.at], |_| {});
    let mut client = rig.connect();
    let all: String = (0..50).map(|n| format!("GET /{n} HTTP/1.1\r\nHost: x\r\n\r\n")).collect();
    client.write_all(all.as_bytes()).unwrap();
    for n in 0..50 {
        let (status, _, body) = answer(&mut client);
        assert_eq!(status, 200);
        assert!(body.starts_with(format!("GET /{n} ").as_bytes()));
    }
}

#[test]
fn an_upgrade_becomes_a_tunnel() {
    let backend = Backend::new(serve);
    let rig = Rig::new("http1", &[backend.at], |_| {});
    let mut client = rig.connect();
    let request = "GET /upgrade HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
    client.write_all(request.as_bytes()).unwrap();
    let head = read_until(&mut client, b"\r\n\r\n");
    assert!(head.starts_with(b"HTTP/1.1 101"));
    assert_eq!(read_exactly(&mut client, 5), b"first");
    for _ in 0..3 {
        client.write_all(b"frame").unwrap();
        assert_eq!(read_exactly(&mut client, 5), b"frame");
    }
}

#[test]
fn an_endpoint_serves_a_tunnel_until_it_ends() {
    let backend = Backend::new(serve);
    let mut rig = Rig::new("http1", &[backend.at], |_| {});
    let request = "GET /upgrade HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
    let mut clients: Vec<_> = (0..2).map(|_| rig.connect()).collect();
    for client in &mut clients {
        client.write_all(request.as_bytes()).unwrap();
        read_until(client, b"\r\n\r\nfirst");
    }
    let active = |rig: &mut Rig| rig.fresh_stats().services["web"].endpoints[&backend.at].active;
    assert_eq!(active(&mut rig), 2);
    clients.pop();
    rig.until(|rig| rig.stats.services.get("web").is_some_and(|web| web.endpoints[&backend.at].active == 1));
}

#[test]
fn a_bound_on_requests_is_none_on_answers() {
    let backend = Backend::new(serve);
    let rig = Rig::new("http1", &[backend.at], |snapshot| web(snapshot).limits.body_bytes = Some(10));
    let mut client = rig.connect();
    let (status, _, body) = ask(&mut client, GET);
    assert!(status == 200 && body.len() > 10);
    let (status, ..) = ask(&mut client, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 11\r\n\r\n");
    assert_eq!(status, 413);
}

#[test]
fn a_bad_request_is_refused_and_the_connection_ends() {
    let backend = Backend::new(serve);
    let rig = Rig::new("http1", &[backend.at], |_| {});
    let mut client = rig.connect();
    let smuggled = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n";
    let (status, head, _) = ask(&mut client, smuggled);
    assert_eq!(status, 400);
    assert!(head.contains("Connection: close"));
    assert_eq!(client.read(&mut [0; 8]).unwrap(), 0);
}

#[test]
fn the_client_is_known_behind_trusted_hops_only() {
    let backend = Backend::new(serve);
    for (trusted, header, status) in [
        ("127.0.0.0/8", "X-Forwarded-For: 10.0.0.1, 192.0.2.7\r\n", 403),
        ("127.0.0.0/8", "X-Forwarded-For: 192.0.2.7, 10.0.0.1\r\n", 200),
        ("127.0.0.0/8", "X-Forwarded-For: nonsense\r\n", 403),
        ("127.0.0.0/8", "", 403),
        ("10.0.0.0/8", "X-Forwarded-For: 192.0.2.7\r\n", 200),
    ] {
        let rig = Rig::new("http1", &[backend.at], |snapshot| {
            let rules = &mut web(snapshot).rules;
            rules.trusted = vec![trusted.parse().unwrap()];
            rules.access = Some(Access {
                header: Some("x-forwarded-for".into()),
                rules: vec![AccessRule { deny: true, sources: vec!["192.0.2.0/24".parse().unwrap()] }],
                ..Access::default()
            });
        });
        let mut client = rig.connect();
        let got = ask(&mut client, &format!("GET / HTTP/1.1\r\nHost: x\r\n{header}\r\n")).0;
        assert_eq!(got, status, "{trusted} {header}");
    }
}

#[test]
fn the_endpoint_is_told_the_clients_address() {
    let backend = Backend::new(serve);
    let rig = Rig::new("http1", &[backend.at], |snapshot| {
        web(snapshot).client_address = ClientAddress::XForwardedFor;
    });
    let mut client = rig.connect();
    let (_, _, body) = ask(&mut client, "GET / HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 6.6.6.6\r\n\r\n");
    let body = String::from_utf8(body).unwrap();
    assert!(body.contains("X-Forwarded-For: 127.0.0.1\r\n") && !body.contains("6.6.6.6"), "{body}");
}
