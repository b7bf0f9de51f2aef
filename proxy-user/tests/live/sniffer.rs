//! What enters the client's interfaces: answers to SYNs.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use proxy_user::lab::{FrameSocket, Port};

use crate::bed::Bed;

/// Counts until it is dropped.
pub(crate) struct Sniffer {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    answers: AtomicU64,
    refusals: AtomicU64,
}

impl Sniffer {
    /// Looks at the client's end towards weir and at those of the backends' direct answers.
    pub(crate) fn start(bed: &Bed) -> Self {
        let shared = Arc::<Shared>::default();
        let direct = (1..=bed.backends.len()).map(|n| Port::named(&bed.client, &format!("d{n}")).unwrap());
        let sockets = direct.map(|port| FrameSocket::open(&port).unwrap());
        let threads = std::iter::once(FrameSocket::open(&bed.client_port).unwrap())
            .chain(sockets)
            .map(|socket| {
                let shared = Arc::clone(&shared);
                thread::spawn(move || shared.watch(&socket))
            })
            .collect();
        Self { shared, threads }
    }

    /// SYNs that were answered with SYN and ACK.
    pub(crate) fn answers(&self) -> u64 {
        self.shared.answers.load(Ordering::Relaxed)
    }

    /// SYNs that were answered with a reset.
    pub(crate) fn refusals(&self) -> u64 {
        self.shared.refusals.load(Ordering::Relaxed)
    }
}

impl Shared {
    fn watch(&self, socket: &FrameSocket) {
        while !self.stop.load(Ordering::Relaxed) {
            let Some(frame) = socket.recv_timeout(Duration::from_millis(100)).unwrap() else { continue };
            let Some(tcp) = tcp(&frame) else { continue };
            // RFC 9293, 3.10.7.1: a reset that answers a SYN has the sequence number 0.
            match (tcp[13] & (SYN | ACK | RST), &tcp[4..8]) {
                (SYN_ACK, _) => self.answers.fetch_add(1, Ordering::Relaxed),
                (RST_ACK, [0, 0, 0, 0]) => self.refusals.fetch_add(1, Ordering::Relaxed),
                _ => 0,
            };
        }
    }
}

impl Drop for Sniffer {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// The TCP header of a frame, if it has one.
fn tcp(frame: &[u8]) -> Option<&[u8; 20]> {
    let (ethernet, ip) = frame.split_at_checked(14)?;
    let header = match (&ethernet[12..], ip.first()?) {
        ([8, 0], first) if *ip.get(9)? == TCP => usize::from(first & 15) * 4,
        ([0x86, 0xdd], _) if *ip.get(6)? == TCP => 40,
        _ => return None,
    };
    ip.get(header..)?.first_chunk()
}

const TCP: u8 = 6;
const SYN: u8 = 2;
const RST: u8 = 4;
const ACK: u8 = 16;
const SYN_ACK: u8 = SYN | ACK;
const RST_ACK: u8 = RST | ACK;
