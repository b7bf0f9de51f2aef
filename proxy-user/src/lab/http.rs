//! A small real HTTP/1.1 server and client over real TCP connections.
//!
//! Enough for the demo and the tests: GET without a body, threads, bounds on everything.

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use socket2::{Domain, Socket, Type};

use super::server::TcpServer;
use super::{LabError, Namespace};

/// A server that answers every GET with its name. Stops when dropped, its connections too.
#[derive(Debug)]
pub struct HttpServer {
    server: TcpServer,
    requests: Arc<AtomicU64>,
}

impl HttpServer {
    /// Starts it inside a namespace. Port 0 is chosen by the kernel. With `keep_alive` a connection stays open for
    /// further requests unless the client says `Connection: close`. At most 256 connections are served at once.
    ///
    /// # Errors
    /// [`LabError`], if the address is not of the namespace or taken.
    pub fn start(
        namespace: &Namespace,
        addr: SocketAddr,
        name: &str,
        keep_alive: bool,
    ) -> Result<Self, LabError> {
        let requests = Arc::new(AtomicU64::new(0));
        let (counter, name) = (Arc::clone(&requests), name.to_owned());
        let server =
            TcpServer::start(namespace, addr, move |stream| serve(stream, &name, keep_alive, &counter))?;
        Ok(Self { server, requests })
    }

    /// Where it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.server.addr()
    }

    /// Requests answered.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Connections accepted.
    #[must_use]
    pub fn connections(&self) -> u64 {
        self.server.connections()
    }
}

fn serve(mut stream: &TcpStream, name: &str, keep_alive: bool, requests: &AtomicU64) -> io::Result<()> {
    while let Some(head) = read_head(&mut stream)? {
        let head = head.to_ascii_lowercase();
        let close = !keep_alive || head.contains("connection: close");
        requests.fetch_add(1, Ordering::Relaxed);
        let (status, body) =
            if head.starts_with("get ") { ("200 OK", name) } else { ("501 Not Implemented", "") };
        let connection = if close { "close" } else { "keep-alive" };
        let answer = format!(
            "HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {}\r\nConnection: {connection}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(answer.as_bytes())?;
        if close {
            break;
        }
    }
    Ok(())
}

/// Reads up to the empty line; nothing if the peer has closed before the first byte.
fn read_head(stream: &mut &TcpStream) -> io::Result<Option<String>> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() >= MAX_HEAD {
            return Err(io::Error::other("request head too long"));
        }
        match stream.read(&mut byte)? {
            0 if head.is_empty() => return Ok(None),
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            _ => head.extend(byte),
        }
    }
    Ok(Some(String::from_utf8_lossy(&head).into_owned()))
}

/// A GET over a TCP connection of its own, from the calling thread's namespace.
#[derive(Clone, Copy, Debug)]
pub struct Get {
    /// Where to connect to.
    pub to: SocketAddr,
    /// Source address, if not the kernel's choice.
    pub from: Option<IpAddr>,
    /// For connecting and for every read and write.
    pub timeout: Duration,
}

impl Get {
    /// Sends the request and returns the body.
    ///
    /// # Errors
    /// [`LabError::System`] when the connection fails or times out, [`LabError::Protocol`] for any answer but a whole
    /// 200.
    pub fn send(&self) -> Result<String, LabError> {
        let answer = self.exchange().map_err(LabError::at(format!("GET http://{}/", self.to)))?;
        let text = String::from_utf8_lossy(&answer);
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let length =
            head.lines().find_map(|line| line.strip_prefix("Content-Length: ")?.parse::<usize>().ok());
        if !head.starts_with("HTTP/1.1 200 ") || length != Some(body.len()) {
            let what = format!("{:?}", text.chars().take(80).collect::<String>());
            return Err(LabError::Protocol { peer: self.to.to_string(), what });
        }
        Ok(body.to_owned())
    }

    fn exchange(&self) -> io::Result<Vec<u8>> {
        let socket = Socket::new(Domain::for_address(self.to), Type::STREAM, None)?;
        if let Some(from) = self.from {
            socket.bind(&SocketAddr::new(from, 0).into())?;
        }
        socket.connect_timeout(&self.to.into(), self.timeout)?;
        socket.set_read_timeout(Some(self.timeout))?;
        socket.set_write_timeout(Some(self.timeout))?;
        let mut stream = TcpStream::from(socket);
        stream.write_all(
            format!("GET / HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.to).as_bytes(),
        )?;
        let mut answer = Vec::new();
        stream.take(MAX_ANSWER).read_to_end(&mut answer)?;
        Ok(answer)
    }
}

const MAX_HEAD: usize = 8 * 1024;
const MAX_ANSWER: u64 = 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::tests::root;
    use crate::lab::{Veth, run_in};

    #[test]
    fn requests_cross_a_pair_and_the_server_stops() {
        if !root() {
            return;
        }
        let [a, b] = ["a", "b"].map(|name| Namespace::new(name).unwrap());
        let (pa, pb) = Veth::pair((&a, "eth0"), (&b, "eth0")).unwrap();
        for (port, address) in
            [(&pa, "10.0.0.1/24"), (&pb, "10.0.0.2/24"), (&pa, "fd00::1/64"), (&pb, "fd00::2/64")]
        {
            port.add_address(address.parse().unwrap()).unwrap();
        }
        for to in ["10.0.0.2:80", "[fd00::2]:80"] {
            let server = HttpServer::start(&b, to.parse().unwrap(), "blue", false).unwrap();
            let get = Get { to: server.addr(), from: None, timeout: Duration::from_secs(3) };
            let bodies = run_in(&a, || (0..20).map(|_| get.send().unwrap()).collect::<Vec<_>>()).unwrap();
            assert_eq!(bodies, vec!["blue"; 20]);
            assert_eq!((server.requests(), server.connections()), (20, 20));
            drop(server);
            let refused = run_in(&a, || get.send()).unwrap().unwrap_err().to_string();
            assert!(refused.contains("refused"), "{refused}");
        }
    }

    #[test]
    fn a_connection_is_kept_alive_and_ends_with_the_server() {
        let here = Namespace::current().unwrap();
        if !root() {
            return;
        }
        let server = HttpServer::start(&here, "127.0.0.1:0".parse().unwrap(), "green", true).unwrap();
        let mut stream = TcpStream::connect(server.addr()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(3))).unwrap();
        for _ in 0..3 {
            stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
            let head = read_head(&mut &stream).unwrap().unwrap();
            assert!(head.contains("keep-alive"), "{head}");
            let mut body = [0; 5];
            stream.read_exact(&mut body).unwrap();
            assert_eq!(&body, b"green");
        }
        assert_eq!((server.requests(), server.connections()), (3, 1));
        drop(server);
        assert_eq!(stream.read(&mut [0; 1]).unwrap_or(0), 0);
    }
}
