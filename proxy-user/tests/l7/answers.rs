//! Hostile answers: what an endpoint sends is one whole answer to its own request, or 502, or it ends before its end;
//! never an answer to another request.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::bed::Worker;

/// What the client is to see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sees {
    /// Status, and the body as it is read by the letter.
    Whole(u16, &'static str),
    /// 502 by weir.
    Refused,
    /// An answer that begins and visibly has no end.
    Cut,
}
use Sees::{Cut, Refused, Whole};

/// Would be another request's answer.
const EVIL: &str = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil";

/// Request's method, answer (`{evil}` stands for [`EVIL`]), what the client sees.
const ROWS: &[(&str, &str, Sees)] = &[
    ("GET", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", Whole(200, "hi")),
    ("GET", "HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nhi", Whole(200, "hi")),
    ("GET", "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nhi", Whole(200, "hi")),
    ("GET", "HTTP/1.1 200 OK\r\ncontent-length:2\r\n\r\nhi", Whole(200, "hi")),
    ("GET", "HTTP/1.1 599 Odd\r\nContent-Length: 0\r\n\r\n", Whole(599, "")),
    // More than was asked for.
    ("GET", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi{evil}", Whole(200, "hi")),
    ("GET", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n{evil}", Whole(200, "")),
    ("GET", "HTTP/1.1 204 No\r\n\r\n{evil}", Whole(204, "")),
    ("GET", "HTTP/1.1 304 No\r\nContent-Length: 9\r\n\r\n{evil}", Whole(304, "")),
    ("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 40\r\n\r\n{evil}", Whole(200, "")),
    ("HEAD", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{evil}", Whole(200, "")),
    ("HEAD", "HTTP/1.1 404 No\r\n\r\n", Whole(404, "")),
    (
        "GET",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n{evil}",
        Whole(200, "hi"),
    ),
    (
        "GET",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n02;a=\"b\"\r\nhi\r\n0\r\nA: b\r\n\r\n",
        Whole(200, "hi"),
    ),
    ("GET", "HTTP/1.1 200 OK\r\n\r\nall{evil}", Whole(200, "all{evil}")),
    ("GET", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", Whole(200, "hi")),
    (
        "GET",
        "HTTP/1.1 103 Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi",
        Whole(200, "hi"),
    ),
    // Two lengths, two framings.
    ("GET", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nhi", Refused),
    ("GET", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 40\r\n\r\nhi{evil}", Refused),
    ("GET", "HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nhi", Refused),
    ("GET", "HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nhi", Refused),
    ("GET", "HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\nhi", Refused),
    ("GET", "HTTP/1.1 200 OK\r\nContent-Length: 0x2\r\n\r\nhi", Refused),
    ("GET", "HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\nhi", Refused),
    ("GET", "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\nhi", Refused),
    ("GET", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", Refused),
    (
        "GET",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        Refused,
    ),
    ("GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", Refused),
    ("GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\nhi", Refused),
    ("GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n", Refused),
    ("GET", "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", Refused),
    ("GET", "HTTP/1.1 200 OK\r\nContent_Length: 2\r\n\r\nhi", Refused),
    ("GET", "HTTP/1.1 200 OK\r\nTransfer_Encoding: chunked\r\n\r\n0\r\n\r\n", Refused),
    // Lines.
    ("GET", "HTTP/1.1 200 OK\nContent-Length: 2\n\nhi", Refused),
    ("GET", "HTTP/1.1 200 OK\r\nContent-Length: 2\nX: 1\r\n\r\nhi", Refused),
    ("GET", "HTTP/1.1 200 OK\r\nContent-Length : 2\r\n\r\nhi", Refused),
    ("GET", "HTTP/1.1 200 OK\r\n Content-Length: 2\r\n\r\nhi", Refused),
    ("GET", "HTTP/1.1 200 OK\r\nX: 1\r\n 2\r\nContent-Length: 2\r\n\r\nhi", Refused),
    ("GET", "HTTP/1.1 200 OK\r\nX: a\rb\r\nContent-Length: 2\r\n\r\nhi", Refused),
    ("GET", "HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 2\r\n\r\nhi", Refused),
    ("GET", "HTTP/1.1 200 OK\r\n: b\r\nContent-Length: 2\r\n\r\nhi", Refused),
    ("GET", "HTTP/1.1 200 OK\r\nno field\r\nContent-Length: 2\r\n\r\nhi", Refused),
    ("GET", "\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", Refused),
    // Start lines.
    ("GET", "HTTP/1.1 099 Odd\r\nContent-Length: 2\r\n\r\nhi", Refused),
    ("GET", "HTTP/1.1 600 Odd\r\nContent-Length: 2\r\n\r\nhi", Refused),
    ("GET", "HTTP/1.1 20 OK\r\nContent-Length: 2\r\n\r\nhi", Refused),
    ("GET", "HTTP/1.1 2000 OK\r\nContent-Length: 2\r\n\r\nhi", Refused),
    ("GET", "HTTP/2.0 200 OK\r\nContent-Length: 2\r\n\r\nhi", Refused),
    ("GET", "HTTP/1.2 200 OK\r\nContent-Length: 2\r\n\r\nhi", Refused),
    ("GET", "hello\r\n", Refused),
    ("GET", "SSH-2.0-OpenSSH_9.2\r\n", Refused),
    ("GET", "\x16\x03\x01\x02\0\x01\0\x01\u{7f}", Refused),
    // Statuses that carry none, with a body; a switch that nobody asked for.
    ("GET", "HTTP/1.1 204 No\r\nContent-Length: 40\r\n\r\n{evil}", Refused),
    ("GET", "HTTP/1.1 100 Continue\r\nContent-Length: 40\r\n\r\n{evil}", Refused),
    ("GET", "HTTP/1.1 101 Up\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n{evil}", Refused),
    ("GET", "HTTP/1.1 103 Hints\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{evil}", Refused),
    // What ends before its end.
    ("GET", "", Refused),
    ("GET", "HTTP/1.1 200 OK\r\nContent-Length: 2", Refused),
    ("GET", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhi", Cut),
    ("GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n", Cut),
    ("GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi{evil}", Cut),
    ("GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\nhi\r\n0\r\n\r\n", Cut),
    ("GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-2\r\nhi\r\n0\r\n\r\n", Cut),
    ("GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\nhi", Cut),
    ("GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nno field\r\n\r\n", Cut),
    (
        "GET",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nContent-Length: 9\r\n\r\n",
        Cut,
    ),
];

/// Answers `/last` as it should, and everything else with `answer`, behind which it ends the connection if told to.
struct Liar {
    at: SocketAddr,
    answer: Arc<Mutex<(String, bool)>>,
    stop: Arc<AtomicBool>,
}

impl Liar {
    fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap();
        let (answer, stop): (Arc<Mutex<(String, bool)>>, Arc<AtomicBool>) = Default::default();
        let (said, over) = (Arc::clone(&answer), Arc::clone(&stop));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (Ok(stream), said) = (stream, Arc::clone(&said)) else { return };
                if over.load(Ordering::SeqCst) {
                    return;
                }
                std::thread::spawn(move || serve(stream, &said));
            }
        });
        Self { at, answer, stop }
    }
}

impl Drop for Liar {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.at);
    }
}

fn serve(mut stream: TcpStream, said: &Mutex<(String, bool)>) {
    let mut seen = Vec::new();
    while read_to(&mut stream, &mut seen, |seen| seen.ends_with(b"\r\n\r\n")) {
        let (answer, close) = if seen.windows(5).any(|part| part == b"/last") {
            ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok".to_owned(), false)
        } else {
            said.lock().unwrap().clone()
        };
        seen.clear();
        if stream.write_all(answer.as_bytes()).is_err() || close {
            return;
        }
    }
}

/// Reads until it is enough; false: the end came first.
fn read_to(stream: &mut TcpStream, seen: &mut Vec<u8>, enough: impl Fn(&[u8]) -> bool) -> bool {
    let mut room = [0; 4096];
    while !enough(seen) {
        match stream.read(&mut room) {
            Ok(count @ 1..) => seen.extend_from_slice(&room[..count]),
            _ => return false,
        }
    }
    true
}

/// A client's reading of one answer behind interim ones, by the letter. `None`: it has no end.
fn answer(stream: &mut TcpStream, method: &str) -> Option<(u16, String)> {
    let mut seen = Vec::new();
    loop {
        if !read_to(stream, &mut seen, |seen| seen.windows(4).any(|part| part == b"\r\n\r\n")) {
            return None;
        }
        let end = seen.windows(4).position(|part| part == b"\r\n\r\n").unwrap() + 4;
        let head = String::from_utf8_lossy(&seen[..end]).to_ascii_lowercase();
        seen.drain(..end);
        let status: u16 = head[9..12].parse().unwrap();
        if status < 200 {
            continue;
        }
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
        if method == "HEAD" || matches!(status, 204 | 304) {
            return Some((status, text(&seen)));
        }
        if head.contains("\r\ntransfer-encoding: chunked\r\n") {
            assert_eq!(length, None, "{head}");
            return read_to(stream, &mut seen, |seen| {
                seen.windows(3)
                    .position(|part| part == b"0\r\n")
                    .is_some_and(|at| seen[at + 1..].ends_with(b"\r\n\r\n"))
            })
            .then(|| (status, text(&seen).split("\r\n").nth(1).unwrap_or_default().to_owned()));
        }
        return match length {
            Some(length) => {
                let whole = read_to(stream, &mut seen, |seen: &[u8]| seen.len() >= length);
                whole.then(|| (status, text(&seen)))
            }
            None => {
                let mut room = [0; 4096];
                loop {
                    match stream.read(&mut room) {
                        Ok(0) => return Some((status, text(&seen))),
                        Ok(count) => seen.extend_from_slice(&room[..count]),
                        Err(_) => return None,
                    }
                }
            }
        };
    }
}

#[test]
fn an_answer_is_its_own_requests_or_none() {
    let liar = Liar::new();
    let worker = Worker::new("http1", liar.at, |_| {});
    let mut faults = Vec::new();
    for (method, text, sees) in ROWS {
        for close in [true, false] {
            // Who waits for more of it waits for the timeout: that is another test's.
            let unfinished = matches!(sees, Cut) || text.is_empty() || text.ends_with("Length: 2");
            let endless = matches!(sees, Whole(..)) && text.starts_with("HTTP/1.1 200 OK\r\n\r\n");
            if !close && (unfinished || endless) {
                continue;
            }
            let raw = text.replace("{evil}", EVIL);
            *liar.answer.lock().unwrap() = (raw.clone(), close);
            let mut client = worker.connect();
            client.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
            write!(client, "{method} /row HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
            let found = answer(&mut client, method);
            let right = match sees {
                Whole(status, body) => found
                    .as_ref()
                    .is_some_and(|(s, b)| (s, b.as_str()) == (status, &body.replace("{evil}", EVIL))),
                Refused => found.as_ref().is_some_and(|(status, _)| *status == 502),
                Cut => found.is_none(),
            };
            if !right {
                faults.push(format!("{method} {raw:?}, close: {close}: wanted {sees:?}, saw {found:?}"));
            }
            // The next request, here or on another connection, has its own answer.
            let last = |client: &mut TcpStream| {
                client.write_all(b"GET /last HTTP/1.1\r\nHost: a\r\n\r\n").ok()?;
                answer(client, "GET")
            };
            let here = last(&mut client);
            let there = last(&mut worker.connect());
            let ok = Some((200, "ok".to_owned()));
            if (here.is_some() && here != ok) || there != ok {
                faults.push(format!("{method} {raw:?}, close: {close}: then {here:?} and {there:?}"));
            }
        }
    }
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}
