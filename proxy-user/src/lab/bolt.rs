//! A small real SOFABolt server and client over real TCP connections, for the demo and the tests.

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::connect::connect;
use super::server::TcpServer;
use super::{LabError, Namespace};
use crate::wire::bolt::{self, Frame, FrameLimits, Head, Kind, Parsed, Version, codec, command, status};

/// A server that answers every request with its name and, behind a space, what the request's header [`ECHO`] says.
/// Stops when dropped, its connections too.
#[derive(Debug)]
pub struct BoltServer {
    server: TcpServer,
    requests: Arc<AtomicU64>,
}

impl BoltServer {
    /// Starts it inside a namespace. Port 0 is chosen by the kernel.
    ///
    /// # Errors
    /// [`LabError`], if the address is not of the namespace or taken.
    pub fn start(namespace: &Namespace, addr: SocketAddr, name: &str) -> Result<Self, LabError> {
        let requests = Arc::new(AtomicU64::new(0));
        let (counter, name) = (Arc::clone(&requests), name.to_owned());
        let server = TcpServer::start(namespace, addr, move |stream| serve(stream, &name, &counter))?;
        Ok(Self { server, requests })
    }

    /// Where it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.server.addr()
    }

    /// Requests answered, without heartbeats.
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

/// The header whose value the server repeats.
pub const ECHO: &str = "x-client-address";

fn serve(mut stream: &TcpStream, name: &str, requests: &AtomicU64) -> io::Result<()> {
    while let Some((head, bytes)) = read_frame(&mut stream)? {
        let frame = Frame::new(head, &bytes).map_err(io::Error::other)?;
        let mut answer = Vec::new();
        if head.command == command::HEARTBEAT {
            bolt::encode_heartbeat_reply(head.version, head.id, &mut answer);
        } else {
            requests.fetch_add(1, Ordering::Relaxed);
            let said = frame.headers().last(ECHO.as_bytes()).unwrap_or_default();
            let content = [name.as_bytes(), b" ", said].concat();
            let kind = Kind::Response { status: status::SUCCESS };
            let head = Head { kind, command: command::RESPONSE, ..head };
            bolt::encode(&head, b"", b"", content.trim_ascii_end(), &mut answer).map_err(io::Error::other)?;
        }
        if !matches!(head.kind, Kind::OneWay { .. }) {
            stream.write_all(&answer)?;
        }
    }
    Ok(())
}

/// Reads a frame; nothing if the peer has closed before its first byte.
fn read_frame(stream: &mut &TcpStream) -> io::Result<Option<(Head, Vec<u8>)>> {
    let mut bytes = Vec::new();
    loop {
        let limits = FrameLimits { max_frame: MAX_FRAME };
        let wanted = match Head::parse(&bytes, limits).map_err(io::Error::other)? {
            Parsed::More(wanted) => wanted,
            Parsed::Head(head) if bytes.len() >= head.total_len() => return Ok(Some((head, bytes))),
            Parsed::Head(head) => head.total_len(),
        };
        let have = bytes.len();
        bytes.resize(wanted, 0);
        match stream.read(bytes.get_mut(have..).unwrap_or_default())? {
            0 if have == 0 => return Ok(None),
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => bytes.truncate(have + read),
        }
    }
}

/// A client's connection.
#[derive(Debug)]
pub struct BoltClient {
    stream: TcpStream,
    next: u32,
}

/// What a request came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answered {
    /// Status of the response.
    pub status: u16,
    /// Its content.
    pub content: String,
}

impl BoltClient {
    /// Connects from the calling thread's namespace. `timeout` is for connecting and for every read and write.
    ///
    /// # Errors
    /// [`LabError::System`].
    pub fn connect(to: SocketAddr, from: Option<IpAddr>, timeout: Duration) -> Result<Self, LabError> {
        Ok(Self { stream: connect(to, from, timeout)?, next: 1 })
    }

    /// Sends so many requests to an RPC service at once, and takes their answers, in whatever order.
    ///
    /// # Errors
    /// [`LabError::System`], also for an answer to nothing that was asked.
    pub fn call(&mut self, service: &str, count: u32) -> Result<Vec<Answered>, LabError> {
        let (first, peer) = (self.next, self.stream.peer_addr().map(|peer| peer.to_string()));
        self.next = self.next.wrapping_add(count);
        let done = self.exchange(service, first, count);
        let answers =
            done.map_err(LabError::at(format!("call {service} of {}", peer.unwrap_or_default())))?;
        Ok(answers.into_iter().map(|(_, answered)| answered).collect())
    }

    fn exchange(&mut self, service: &str, first: u32, count: u32) -> io::Result<Vec<(u32, Answered)>> {
        let mut map = Vec::new();
        bolt::put_header(b"service", service.as_bytes(), &mut map).map_err(io::Error::other)?;
        let mut bytes = Vec::new();
        for id in (0..count).map(|n| first.wrapping_add(n)) {
            let head = Head {
                version: Version::V1,
                kind: Kind::Request { timeout: 3_000 },
                command: command::REQUEST,
                ver2: 1,
                id,
                codec: codec::HESSIAN2,
                class_len: 0,
                header_len: 0,
                content_len: 0,
            };
            bolt::encode(&head, CLASS, &map, b"ask", &mut bytes).map_err(io::Error::other)?;
        }
        let mut stream = &self.stream;
        stream.write_all(&bytes)?;
        let mut answers: Vec<(u32, Answered)> = Vec::new();
        for _ in 0..count {
            let Some((head, bytes)) = read_frame(&mut stream)? else {
                return Err(io::ErrorKind::UnexpectedEof.into());
            };
            let fresh = !answers.iter().any(|(id, _)| *id == head.id);
            let Kind::Response { status } = head.kind else {
                return Err(io::Error::other("a request where an answer was due"));
            };
            if !fresh || head.id.wrapping_sub(first) >= count {
                return Err(io::Error::other(format!(
                    "an answer with id {}, which nobody waits for",
                    head.id
                )));
            }
            let frame = Frame::new(head, &bytes).map_err(io::Error::other)?;
            let content = String::from_utf8_lossy(frame.content()).into_owned();
            answers.push((head.id, Answered { status, content }));
        }
        Ok(answers)
    }
}

/// What Java's clients send.
const CLASS: &[u8] = b"com.alipay.sofa.rpc.core.request.SofaRequest";
const MAX_FRAME: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::Namespace;

    #[test]
    fn requests_are_answered_with_the_servers_name() {
        let here = Namespace::current().unwrap();
        let server = BoltServer::start(&here, "127.0.0.1:0".parse().unwrap(), "blue").unwrap();
        let mut client = BoltClient::connect(server.addr(), None, Duration::from_secs(3)).unwrap();
        for _ in 0..2 {
            let answers = client.call("com.example.Greeter:1.0", 20).unwrap();
            assert_eq!(answers, vec![Answered { status: 0, content: "blue".into() }; 20]);
        }
        assert_eq!((server.requests(), server.connections()), (40, 1));
    }
}
