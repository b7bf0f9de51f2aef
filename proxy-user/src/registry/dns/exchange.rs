//! Questions over the network: UDP, TCP where the answer does not fit, and the next server where one fails.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hickory_resolver::proto::rr::{Name, RecordType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::Semaphore;

use super::wire::{Asked, Reply};

/// The name servers.
#[derive(Debug)]
pub(super) struct Servers {
    addrs: Vec<SocketAddr>,
    /// The one that answered last, to be asked first.
    first: AtomicUsize,
    timeout: Duration,
    attempts: u8,
    at_once: Semaphore,
}

impl Servers {
    pub(super) fn new(addrs: Vec<SocketAddr>, timeout: Duration, attempts: u8) -> Self {
        Self { addrs, first: AtomicUsize::new(0), timeout, attempts, at_once: Semaphore::new(AT_ONCE) }
    }

    /// Asks until a server says something that can be relied on: records, an alias, or nothing.
    pub(super) async fn ask(&self, name: &Name, kind: RecordType) -> Result<Reply, String> {
        let mut failures = Vec::new();
        for round in 0..self.attempts {
            for at in 0..self.addrs.len() {
                let place = (self.first.load(Ordering::Relaxed) + at) % self.addrs.len();
                let Some(server) = self.addrs.get(place) else { continue };
                match self.one(*server, name, kind).await {
                    Ok(reply) => {
                        self.first.store(place, Ordering::Relaxed);
                        return Ok(reply);
                    }
                    Err(why) if round == 0 => failures.push(format!("{server}: {why}")),
                    Err(_) => {}
                }
            }
        }
        failures.truncate(4);
        Err(format!("{} {kind}: {}", name.to_ascii(), failures.join("; ")))
    }

    async fn one(&self, server: SocketAddr, name: &Name, kind: RecordType) -> Result<Reply, String> {
        // Sockets are not without number; who waits here has not begun to wait for a server.
        let _room = self.at_once.acquire().await;
        let mut reply = self.timed(by_udp(server, &Asked::new(name, kind, true)?)).await?;
        if reply == Reply::Plain {
            reply = self.timed(by_udp(server, &Asked::new(name, kind, false)?)).await?;
        }
        if reply == Reply::Truncated {
            reply = self.timed(by_tcp(server, &Asked::new(name, kind, true)?)).await?;
        }
        match reply {
            Reply::Failed(why) => Err(why),
            Reply::Plain => Err("it does not understand the question".to_owned()),
            Reply::Truncated | Reply::Stray => Err("no whole answer over TCP".to_owned()),
            reply => Ok(reply),
        }
    }

    async fn timed(&self, exchange: impl Future<Output = io::Result<Reply>>) -> Result<Reply, String> {
        match tokio::time::timeout(self.timeout, exchange).await {
            Ok(Ok(reply)) => Ok(reply),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err(format!("no answer within {:?}", self.timeout)),
        }
    }
}

async fn by_udp(server: SocketAddr, asked: &Asked) -> io::Result<Reply> {
    let any: SocketAddr = match server {
        SocketAddr::V4(_) => ([0, 0, 0, 0], 0).into(),
        SocketAddr::V6(_) => ([0u16; 8], 0).into(),
    };
    // A socket for each question: its port is as hard to guess as its id.
    let socket = UdpSocket::bind(any).await?;
    socket.connect(server).await?;
    socket.send(&asked.bytes).await?;
    let mut bytes = vec![0; MAX_DATAGRAM];
    loop {
        let length = socket.recv(&mut bytes).await?;
        match asked.read(bytes.get(..length).unwrap_or_default()) {
            Reply::Stray => {}
            reply => return Ok(reply),
        }
    }
}

async fn by_tcp(server: SocketAddr, asked: &Asked) -> io::Result<Reply> {
    let mut stream = TcpStream::connect(server).await?;
    let length = u16::try_from(asked.bytes.len()).map_err(io::Error::other)?;
    let mut message = length.to_be_bytes().to_vec();
    message.extend_from_slice(&asked.bytes);
    stream.write_all(&message).await?;
    let mut bytes = vec![0; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut bytes).await?;
    Ok(asked.read(&bytes))
}

/// Questions under way.
const AT_ONCE: usize = 256;
/// Longest datagram that is read: some servers send more than they were asked for.
const MAX_DATAGRAM: usize = 4096;
