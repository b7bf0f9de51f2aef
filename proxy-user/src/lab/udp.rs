//! UDP datagrams with sequence numbers: what was lost, and what came twice.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::{LabError, Namespace, run_in, spawn_in};

/// What arrived.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Different sequence numbers.
    pub received: u64,
    /// Datagrams whose number was there before.
    pub duplicates: u64,
    /// Datagrams that are none of ours, or numbered beyond what is counted (16 million).
    pub foreign: u64,
    seen: Vec<u64>,
}

impl Tally {
    fn count(&mut self, datagram: &[u8]) {
        let number = datagram.try_into().map(u64::from_be_bytes).ok().filter(|number| *number < MAX_NUMBER);
        let Some(number) = number.and_then(|number| usize::try_from(number).ok()) else {
            self.foreign += 1;
            return;
        };
        let (word, bit) = (number / 64, 1u64 << (number % 64));
        if word >= self.seen.len() {
            self.seen.resize(word + 1, 0);
        }
        match self.seen.get_mut(word) {
            Some(word) if *word & bit == 0 => {
                *word |= bit;
                self.received += 1;
            }
            _ => self.duplicates += 1,
        }
    }
}

/// Receives numbered datagrams and, if asked to, sends each back.
#[derive(Debug)]
pub struct UdpReceiver {
    addr: SocketAddr,
    running: Running<Tally>,
}

impl UdpReceiver {
    /// Starts it inside a namespace. Port 0 is chosen by the kernel.
    ///
    /// # Errors
    /// [`LabError`], if the address is not of the namespace or taken.
    pub fn start(namespace: &Namespace, addr: SocketAddr, echo: bool) -> Result<Self, LabError> {
        let socket = bind(namespace, addr)?;
        let addr = socket.local_addr().map_err(LabError::at(format!("name the socket at {addr}")))?;
        let running = Running::start(namespace, move |stop, counter| {
            let mut tally = Tally::default();
            let mut buffer = [0; 2048];
            // After the stop, what is still on the way is waited for.
            while let Some((length, from)) = receive(&socket, &mut buffer, stop)? {
                let datagram = buffer.get(..length).unwrap_or_default();
                tally.count(datagram);
                counter.store(tally.received, Ordering::Relaxed);
                if echo {
                    let _ = socket.send_to(datagram, from);
                }
            }
            Ok(tally)
        })?;
        Ok(Self { addr, running })
    }

    /// Where it receives.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Different datagrams so far.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.running.counter.load(Ordering::Relaxed)
    }

    /// Waits until nothing arrives any more (100 ms) and stops.
    ///
    /// # Errors
    /// [`LabError`], if receiving failed.
    pub fn stop(self) -> Result<Tally, LabError> {
        self.running.stop().map_err(LabError::at(format!("receive datagrams on {}", self.addr)))
    }
}

/// Sends numbered datagrams at a steady rate and counts those sent back.
#[derive(Debug)]
pub struct UdpSender {
    to: SocketAddr,
    running: Running<(u64, Tally)>,
}

impl UdpSender {
    /// Starts it inside a namespace: one flow from `from` (port 0: the kernel's choice) to `to`.
    ///
    /// # Errors
    /// [`LabError`], if `from` is not of the namespace or taken.
    pub fn start(
        namespace: &Namespace,
        from: SocketAddr,
        to: SocketAddr,
        per_second: u32,
    ) -> Result<Self, LabError> {
        let socket = bind(namespace, from)?;
        let gap = Duration::from_secs(1) / per_second.max(1);
        let running = Running::start(namespace, move |stop, counter| {
            let mut tally = Tally::default();
            let mut buffer = [0; 2048];
            let (mut number, mut next) = (0u64, Instant::now());
            while !stop.load(Ordering::Relaxed) && number < MAX_NUMBER {
                // A refused or full socket is a loss that the receiver shows, not a reason to end.
                let _ = socket.send_to(&number.to_be_bytes(), to);
                number += 1;
                counter.store(number, Ordering::Relaxed);
                next += gap;
                socket.set_nonblocking(true)?;
                while let Ok((length, _)) = socket.recv_from(&mut buffer) {
                    tally.count(buffer.get(..length).unwrap_or_default());
                }
                socket.set_nonblocking(false)?;
                thread::sleep(next.saturating_duration_since(Instant::now()));
            }
            while let Some((length, _)) = receive(&socket, &mut buffer, stop)? {
                tally.count(buffer.get(..length).unwrap_or_default());
            }
            Ok((number, tally))
        })?;
        Ok(Self { to, running })
    }

    /// Datagrams sent so far.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.running.counter.load(Ordering::Relaxed)
    }

    /// Stops; returns how many were sent and what came back.
    ///
    /// # Errors
    /// [`LabError`], if receiving failed.
    pub fn stop(self) -> Result<(u64, Tally), LabError> {
        self.running.stop().map_err(LabError::at(format!("send datagrams to {}", self.to)))
    }
}

/// A thread with a stop flag and a counter. Ends when dropped.
#[derive(Debug)]
struct Running<T> {
    stop: Arc<AtomicBool>,
    counter: Arc<AtomicU64>,
    thread: Option<JoinHandle<io::Result<io::Result<T>>>>,
}

impl<T: Send + 'static> Running<T> {
    fn start(
        namespace: &Namespace,
        work: impl FnOnce(&AtomicBool, &AtomicU64) -> io::Result<T> + Send + 'static,
    ) -> Result<Self, LabError> {
        let (stop, counter) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (flag, count) = (Arc::clone(&stop), Arc::clone(&counter));
        let thread = Some(spawn_in(namespace, move || work(&flag, &count))?);
        Ok(Self { stop, counter, thread })
    }

    fn stop(mut self) -> io::Result<T> {
        self.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take().ok_or_else(|| io::Error::other("already stopped"))?;
        thread.join().map_err(|_| io::Error::other("the thread panicked"))??
    }
}

impl<T> Drop for Running<T> {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn bind(namespace: &Namespace, addr: SocketAddr) -> Result<UdpSocket, LabError> {
    let open = || {
        let socket = UdpSocket::bind(addr)?;
        socket.set_read_timeout(Some(QUIET_TIME))?;
        // Bursts wait here while the receiving thread has no CPU.
        let _ = socket2::SockRef::from(&socket).set_recv_buffer_size(8 << 20);
        Ok(socket)
    };
    run_in(namespace, open)?.map_err(LabError::at(format!("bind UDP {addr} in {}", namespace.name())))
}

/// The next datagram; nothing once `stop` is set and no datagram came for a while.
fn receive(
    socket: &UdpSocket,
    buffer: &mut [u8],
    stop: &AtomicBool,
) -> io::Result<Option<(usize, SocketAddr)>> {
    loop {
        let stopping = stop.load(Ordering::Relaxed);
        match socket.recv_from(buffer) {
            Ok(received) => return Ok(Some(received)),
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut if stopping => return Ok(None),
                // ICMP errors of earlier datagrams come as ConnectionRefused.
                io::ErrorKind::WouldBlock
                | io::ErrorKind::TimedOut
                | io::ErrorKind::Interrupted
                | io::ErrorKind::ConnectionRefused
                | io::ErrorKind::HostUnreachable
                | io::ErrorKind::NetworkUnreachable => {}
                _ => return Err(error),
            },
        }
    }
}

const QUIET_TIME: Duration = Duration::from_millis(100);
const MAX_NUMBER: u64 = 1 << 24;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::Veth;
    use crate::lab::tests::root;

    #[test]
    fn numbers_are_told_apart() {
        let mut tally = Tally::default();
        for number in [0u64, 5, 5, 1 << 23, 1 << 60] {
            tally.count(&number.to_be_bytes());
        }
        tally.count(b"other");
        assert_eq!((tally.received, tally.duplicates, tally.foreign), (3, 1, 2));
    }

    #[test]
    fn nothing_is_lost_over_a_pair_and_the_echo_returns() {
        if !root() {
            return;
        }
        let [a, b] = ["a", "b"].map(|name| Namespace::new(name).unwrap());
        let (pa, pb) = Veth::pair((&a, "eth0"), (&b, "eth0")).unwrap();
        pa.add_address("10.0.0.1/24".parse().unwrap()).unwrap();
        pb.add_address("10.0.0.2/24".parse().unwrap()).unwrap();
        let receiver = UdpReceiver::start(&b, "10.0.0.2:0".parse().unwrap(), true).unwrap();
        let from = "10.0.0.1:0".parse().unwrap();
        let sender = UdpSender::start(&a, from, receiver.addr(), 2000).unwrap();
        let end = Instant::now() + Duration::from_secs(5);
        while receiver.received() < 200 && Instant::now() < end {
            thread::sleep(Duration::from_millis(5));
        }
        let (sent, back) = sender.stop().unwrap();
        let there = receiver.stop().unwrap();
        assert!(sent >= 200);
        assert_eq!((there.received, there.duplicates), (sent, 0));
        assert_eq!((back.received, back.foreign), (sent, 0));
    }
}
