//! Peers and loads.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use proxy_user::lab::bulk::{self, BulkServer};
use proxy_user::lab::http::{Get, HttpServer};
use proxy_user::lab::udp::UdpReceiver;
use proxy_user::lab::{run_in, spawn_in};

use crate::bed::{Bed, Family};

pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

impl Bed {
    /// An HTTP server on every backend, at its own address, named by its number.
    pub(crate) fn http(&self, family: Family, port: u16) -> Vec<HttpServer> {
        self.http_at(|n| family.backend_at(n, port))
    }

    /// An HTTP server on every backend, at an address of the test's choice.
    pub(crate) fn http_at(&self, addr: impl Fn(usize) -> SocketAddr) -> Vec<HttpServer> {
        let start = |(n, space)| HttpServer::start(space, addr(n), &n.to_string(), true).unwrap();
        self.spaces().map(start).collect()
    }

    /// A checking TCP sink on every backend.
    pub(crate) fn bulk_at(&self, addr: impl Fn(usize) -> SocketAddr) -> Vec<BulkServer> {
        self.spaces().map(|(n, space)| BulkServer::start(space, addr(n)).unwrap()).collect()
    }

    /// A UDP receiver that answers on every backend.
    pub(crate) fn udp_at(&self, addr: impl Fn(usize) -> SocketAddr) -> Vec<UdpReceiver> {
        self.spaces().map(|(n, space)| UdpReceiver::start(space, addr(n), true).unwrap()).collect()
    }

    fn spaces(&self) -> impl Iterator<Item = (usize, &proxy_user::lab::Namespace)> {
        self.backends.iter().enumerate().map(|(n, backend)| (n + 1, &backend.space))
    }

    /// One request over a connection of its own; the answering backend's number.
    pub(crate) fn get(&self, from: IpAddr, to: SocketAddr) -> Result<usize, String> {
        self.get_within(from, to, PATIENCE)
    }

    /// As [`Self::get`], with a limit for connecting and each answer.
    pub(crate) fn get_within(
        &self,
        from: IpAddr,
        to: SocketAddr,
        timeout: Duration,
    ) -> Result<usize, String> {
        let get = Get { to, from: Some(from), timeout };
        let body = run_in(&self.client, || get.send()).unwrap().map_err(|error| error.to_string())?;
        Ok(body.parse().unwrap())
    }

    /// Many short connections; how many each backend answered.
    pub(crate) fn gets(&self, from: IpAddr, to: SocketAddr, count: usize) -> Vec<usize> {
        let get = Get { to, from: Some(from), timeout: PATIENCE };
        let mut answered = vec![0; self.backends.len()];
        run_in(&self.client, || {
            for _ in 0..count {
                let n: usize = get.send().unwrap().parse().unwrap();
                answered[n - 1] += 1;
            }
        })
        .unwrap();
        answered
    }

    /// Sends this many bytes over one connection; all must arrive right.
    pub(crate) fn bulk(&self, to: SocketAddr, bytes: u64) {
        let right = run_in(&self.client, || bulk::send(to, bytes, PATIENCE)).unwrap().unwrap();
        assert_eq!(right, bytes);
    }

    /// A connection that stays.
    pub(crate) fn talk(&self, to: SocketAddr) -> Talk {
        let connected = run_in(&self.client, || TcpStream::connect_timeout(&to, PATIENCE)).unwrap();
        let stream = connected.unwrap_or_else(|error| panic!("connect to {to}: {error}"));
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Talk { stream }
    }

    /// Repeats `work` in the client's namespace until it is stopped.
    pub(crate) fn repeat(&self, work: impl Fn() + Send + 'static) -> Repeat {
        let stop = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&stop);
        let thread = spawn_in(&self.client, move || {
            let mut times = 0;
            while !flag.load(Ordering::Relaxed) {
                work();
                times += 1;
            }
            times
        });
        Repeat { stop, thread: Some(thread.unwrap()) }
    }
}

/// An HTTP connection that stays open.
pub(crate) struct Talk {
    stream: TcpStream,
}

impl Talk {
    /// The client's end.
    pub(crate) fn name(&self) -> SocketAddr {
        self.stream.local_addr().unwrap()
    }

    /// A request over it; the answering backend's number.
    pub(crate) fn ask(&mut self) -> Result<usize, String> {
        self.stream.write_all(b"GET / HTTP/1.1\r\nHost: vip\r\n\r\n").map_err(|error| error.to_string())?;
        let mut answer = Vec::new();
        let mut buffer = [0; 512];
        loop {
            let length = self.stream.read(&mut buffer).map_err(|error| error.to_string())?;
            answer.extend_from_slice(&buffer[..length]);
            let text = String::from_utf8_lossy(&answer);
            match text.split_once("\r\n\r\n") {
                Some((_, body)) if !body.is_empty() => return Ok(body.parse().unwrap()),
                _ if length == 0 => return Err("closed".into()),
                _ => {}
            }
        }
    }
}

/// Work that goes on meanwhile.
pub(crate) struct Repeat {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<std::io::Result<u64>>>,
}

impl Repeat {
    /// Ends it; how often it was done.
    pub(crate) fn stop(mut self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap().unwrap()
    }
}

impl Drop for Repeat {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Waits until it holds.
pub(crate) fn wait_for(what: &str, holds: impl Fn() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < end, "not in time: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

pub(crate) fn pause(milliseconds: u64) {
    thread::sleep(Duration::from_millis(milliseconds));
}
