//! Bulk TCP: a stream of known bytes, checked by the receiver.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use super::server::TcpServer;
use super::{LabError, Namespace};

/// Receives streams of [`send`], checks every byte and answers with how many were right. Stops when dropped.
#[derive(Debug)]
pub struct BulkServer {
    server: TcpServer,
}

impl BulkServer {
    /// Starts it inside a namespace. Port 0 is chosen by the kernel.
    ///
    /// # Errors
    /// [`LabError`], if the address is not of the namespace or taken.
    pub fn start(namespace: &Namespace, addr: SocketAddr) -> Result<Self, LabError> {
        Ok(Self { server: TcpServer::start(namespace, addr, receive)? })
    }

    /// Where it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.server.addr()
    }

    /// Connections accepted.
    #[must_use]
    pub fn connections(&self) -> u64 {
        self.server.connections()
    }
}

/// Sends `bytes` bytes over one connection from the calling thread's namespace and returns how many the server found
/// right, which is `bytes` unless something on the way is wrong. `timeout` holds for connecting and for every read
/// and write.
///
/// # Errors
/// [`LabError::System`] when the connection fails or stalls.
pub fn send(to: SocketAddr, bytes: u64, timeout: Duration) -> Result<u64, LabError> {
    exchange(to, bytes, timeout).map_err(LabError::at(format!("send {bytes} bytes to {to}")))
}

fn exchange(to: SocketAddr, bytes: u64, timeout: Duration) -> io::Result<u64> {
    let mut stream = TcpStream::connect_timeout(&to, timeout)?;
    stream.set_read_timeout(Some(timeout))?;
    stream.set_write_timeout(Some(timeout))?;
    let mut left = bytes;
    let block = pattern();
    while left > 0 {
        let length = usize::try_from(left).unwrap_or(usize::MAX).min(block.len());
        stream.write_all(block.get(..length).unwrap_or_default())?;
        left -= length as u64;
    }
    stream.shutdown(Shutdown::Write)?;
    let mut answer = [0; 8];
    stream.read_exact(&mut answer)?;
    Ok(u64::from_be_bytes(answer))
}

fn receive(mut stream: &TcpStream) -> io::Result<()> {
    let block = pattern();
    let mut buffer = vec![0; block.len()];
    let (mut place, mut right) = (0, 0u64);
    loop {
        // Never over the end of the pattern, so that place and buffer stay in step.
        let room = buffer.len() - place;
        let length = stream.read(buffer.get_mut(..room).unwrap_or_default())?;
        if length == 0 {
            break;
        }
        let expected = block.iter().skip(place);
        right += buffer.iter().take(length).zip(expected).filter(|(got, want)| got == want).count() as u64;
        place = (place + length) % block.len();
    }
    stream.write_all(&right.to_be_bytes())
}

/// Not a divisor of any power of two, so that a segment put in the wrong place is found.
const PERIOD: u8 = 251;

fn pattern() -> Vec<u8> {
    (0..PERIOD).cycle().take(usize::from(PERIOD) * 256).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::tests::root;
    use crate::lab::{Veth, run_in};

    #[test]
    fn every_byte_arrives_in_its_place() {
        if !root() {
            return;
        }
        let [a, b] = ["a", "b"].map(|name| Namespace::new(name).unwrap());
        let (pa, pb) = Veth::pair((&a, "eth0"), (&b, "eth0")).unwrap();
        pa.add_address("10.0.0.1/24".parse().unwrap()).unwrap();
        pb.add_address("10.0.0.2/24".parse().unwrap()).unwrap();
        let server = BulkServer::start(&b, "10.0.0.2:5001".parse().unwrap()).unwrap();
        for bytes in [0, 1, 1_000_003, 8 << 20] {
            let right = run_in(&a, || send(server.addr(), bytes, Duration::from_secs(5))).unwrap().unwrap();
            assert_eq!(right, bytes);
        }
        assert_eq!(server.connections(), 4);
    }

    #[test]
    fn wrong_bytes_are_not_counted() {
        if !root() {
            return;
        }
        let a = Namespace::new("a").unwrap();
        let server = BulkServer::start(&a, "127.0.0.1:5001".parse().unwrap()).unwrap();
        let mut stream = run_in(&a, || TcpStream::connect(server.addr())).unwrap().unwrap();
        stream.write_all(&[0, 1, 9, 3]).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut answer = [0; 8];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(u64::from_be_bytes(answer), 3);
    }
}
