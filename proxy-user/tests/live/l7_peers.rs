//! Peers of the L7 path's tests: a server that tells what it was sent, and a client that sees whole answers.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use proxy_user::lab::talk::{Answer, Talk};
use proxy_user::lab::{Namespace, run_in, spawn_in};
use socket2::SockRef;

use crate::bed::Bed;
use crate::traffic::PATIENCE;

/// An HTTP server whose answers have for their body the head that it was sent; of a PROXY header in front of it, the
/// addresses. Stops when dropped.
pub(crate) struct Echo {
    listener: TcpListener,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<std::io::Result<()>>>,
}

impl Echo {
    pub(crate) fn start(space: &Namespace, addr: SocketAddr) -> Self {
        let listener = run_in(space, || TcpListener::bind(addr)).unwrap().unwrap();
        let (own, stop) = (listener.try_clone().unwrap(), Arc::new(AtomicBool::new(false)));
        let flag = Arc::clone(&stop);
        let serve = move || {
            for stream in own.incoming() {
                if flag.load(Ordering::Relaxed) {
                    break;
                }
                echo(stream.unwrap());
            }
        };
        Self { listener, stop, thread: Some(spawn_in(space, serve).unwrap()) }
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // Makes a blocked accept return, on Linux.
        let _ = SockRef::from(&self.listener).shutdown(Shutdown::Both);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// One request of a connection.
fn echo(mut stream: TcpStream) {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut seen = Vec::new();
    let mut buffer = [0; 1024];
    while !seen.ends_with(b"\r\n\r\n") {
        match stream.read(&mut buffer) {
            Ok(length @ 1..) => seen.extend_from_slice(&buffer[..length]),
            _ => return,
        }
    }
    let body = match proxied(&seen) {
        Some((from, to, rest)) => format!("PROXY {from} {to}\r\n{}", String::from_utf8_lossy(rest)),
        None => String::from_utf8_lossy(&seen).into_owned(),
    };
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    let _ = stream.write_all((head + &body).as_bytes());
}

/// The addresses of a PROXY header of version 2, and what follows it.
fn proxied(seen: &[u8]) -> Option<(SocketAddr, SocketAddr, &[u8])> {
    let rest = seen.strip_prefix(b"\r\n\r\n\0\r\nQUIT\n\x21")?;
    let port = |at: usize| u16::from_be_bytes([rest[at], rest[at + 1]]);
    let end = 3 + usize::from(port(1));
    let pair: [IpAddr; 2] = match rest[0] {
        0x11 => [3, 7].map(|at| Ipv4Addr::from(<[u8; 4]>::try_from(&rest[at..at + 4]).unwrap()).into()),
        0x21 => [3, 19].map(|at| Ipv6Addr::from(<[u8; 16]>::try_from(&rest[at..at + 16]).unwrap()).into()),
        other => panic!("family {other:#x}"),
    };
    let ports = if rest[0] == 0x11 { 11 } else { 35 };
    let [from, to] = pair;
    Some((SocketAddr::new(from, port(ports)), SocketAddr::new(to, port(ports + 2)), &rest[end..]))
}

/// A client's connection.
pub(crate) struct Asker(Talk);

impl Bed {
    /// Connects from an address of the client's.
    pub(crate) fn asker(&self, from: IpAddr, to: SocketAddr) -> Asker {
        Asker(run_in(&self.client, || Talk::connect(to, Some(from), PATIENCE)).unwrap().unwrap())
    }
}

impl Asker {
    /// Sends a GET with these lines of head besides the first and `Host`, each with its end.
    pub(crate) fn ask(&mut self, path: &str, host: &str, lines: &str) -> Answer {
        self.0.get(path, host, lines).unwrap()
    }

    /// As [`Self::ask`], for a number in the body.
    pub(crate) fn number(&mut self, path: &str, lines: &str) -> usize {
        let answer = self.ask(path, "vip", lines);
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.body.parse().unwrap()
    }
}
