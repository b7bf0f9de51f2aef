//! A worker on a thread of its own, with real sockets on the loopback, and backends written plainly.

mod bolt;
mod counts;
mod drains;
mod failures;
mod faults;
mod http1;
mod identity;
mod kept;
mod list;
mod log;
mod many;
mod mirror;
mod moves;
mod resets;
mod retries;
mod routes;
mod shortage;
mod slow;
mod stalled;
mod targets;
mod tcp;
mod tunnel_resets;
mod tunnels;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

pub(super) use faults::is_short;

use super::Listeners;
use crate::l7::process::channel::{Channel, ChannelError, TO_WORKER};
use crate::l7::process::control::Control;
use crate::l7::process::listeners::Pair;
use crate::l7::process::message::{FromWorker, Listed, Question, Start, ToWorker};
use crate::l7::snapshot::{ClientAddress, Endpoint, Limits, Service, Snapshot, VERSION};
use crate::l7::stats::Stats;

/// A worker, and the daemon's end of its control socket. Dropping it ends the worker.
struct Rig {
    daemon: Channel,
    thread: Option<JoinHandle<std::io::Result<()>>>,
    /// Where clients connect.
    at: SocketAddr,
    generation: u64,
    acknowledged: Option<u64>,
    stats: Stats,
    listed: Option<Listed>,
    /// Connections that it has looked at without an event of theirs.
    turns: Arc<AtomicU64>,
    /// The access log.
    log_path: std::path::PathBuf,
    _dir: tempfile::TempDir,
}

impl Rig {
    /// A worker that serves one service, `web`, changed by `with`.
    fn new(codec: &str, endpoints: &[SocketAddr], with: impl FnOnce(&mut Snapshot)) -> Self {
        Self::holding(None, codec, endpoints, with)
    }

    /// One that keeps so many bytes for clients that share, and for their endpoints.
    fn holding(
        most: Option<usize>,
        codec: &str,
        endpoints: &[SocketAddr],
        with: impl FnOnce(&mut Snapshot),
    ) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let pair = Pair::make(None).unwrap();
        let (v4, v6) = pair.duplicate().unwrap().into_listeners();
        let at = v4.as_ref().unwrap().local_addr().unwrap();
        let (daemon, theirs) = Channel::pair().unwrap();
        let flags = SocketFlags::CLOEXEC;
        let control =
            rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap();
        rustix::net::bind(&control, &SocketAddrUnix::new(dir.path().join("c")).unwrap()).unwrap();
        let start = Start { worker: 0, workers: 1, identity: None, daemon: 0, families: pair.families() };
        let theirs = Channel::new(theirs, TO_WORKER).unwrap();
        let log_path = dir.path().join("log");
        let log = std::fs::File::create(&log_path).unwrap().into();
        let turns = Arc::new(AtomicU64::new(0));
        let counter = turns.clone();
        let thread = std::thread::spawn(move || {
            TURNS.set(Some(counter));
            MOST_HELD.set(most);
            let control = Control::new(&start, control, pair, theirs)?;
            super::run(Listeners { number: 0, workers: 1, v4, v6 }, control, log)
        });
        let mut rig = Self {
            daemon,
            thread: Some(thread),
            at,
            generation: 0,
            acknowledged: None,
            stats: Stats::default(),
            listed: None,
            turns,
            log_path,
            _dir: dir,
        };
        let mut snapshot = Snapshot {
            version: VERSION,
            services: BTreeMap::from([("web".to_owned(), service(at, codec, endpoints))]),
            ..Snapshot::default()
        };
        with(&mut snapshot);
        rig.publish(snapshot);
        rig
    }

    /// Has the worker serve by a snapshot.
    fn publish(&mut self, mut snapshot: Snapshot) {
        self.generation += 1;
        snapshot.generation = self.generation;
        self.daemon.send(&ToWorker::Snapshot(Box::new(snapshot)), &[]).unwrap();
        let wanted = Some(self.generation);
        self.until(|rig| rig.acknowledged == wanted);
    }

    /// Hears the worker until something holds.
    fn until(&mut self, holds: impl Fn(&Self) -> bool) {
        let end = Instant::now() + Duration::from_secs(20);
        while !holds(self) {
            assert!(Instant::now() < end, "it did not come to hold: {:?}", self.stats);
            match self.daemon.receive::<FromWorker>().map(|received| received.message) {
                Ok(FromWorker::Acknowledged { generation }) => self.acknowledged = Some(generation),
                Ok(FromWorker::Stats(stats)) => self.stats = *stats,
                Ok(FromWorker::Refused { reason, .. }) => panic!("{reason}"),
                Ok(FromWorker::Connections(listed)) => self.listed = Some(*listed),
                Ok(FromWorker::Hello(_)) => {}
                Err(ChannelError::Socket(error)) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    std::thread::sleep(Duration::from_millis(2));
                }
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// Counters that are news.
    fn fresh_stats(&mut self) -> Stats {
        while self.daemon.receive::<FromWorker>().is_ok() {}
        self.stats = Stats::default();
        self.until(|rig| rig.stats != Stats::default());
        self.stats.clone()
    }

    /// Some of its connections.
    fn list(&mut self, service: Option<&str>, limit: u32) -> Listed {
        let question = Question { id: u64::from(limit), service: service.map(Into::into), limit };
        self.daemon.send(&ToWorker::Connections(question), &[]).unwrap();
        self.listed = None;
        self.until(|rig| rig.listed.as_ref().is_some_and(|listed| listed.id == u64::from(limit)));
        self.listed.take().unwrap()
    }

    /// Lines of its access log, once there are so many.
    fn lines(&self, count: usize) -> Vec<serde_json::Value> {
        let text = || std::fs::read_to_string(&self.log_path).unwrap();
        wait_until("the lines are there", || text().lines().count() >= count);
        let lines: Vec<serde_json::Value> =
            text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), count, "{lines:#?}");
        lines
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.at).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.set_nodelay(true).unwrap();
        stream
    }

    fn drain(&self, patience: Duration) {
        let deadline_ms = u64::try_from(patience.as_millis()).unwrap();
        // One that has ended already is fine.
        let _ = self.daemon.send(&ToWorker::Drain { deadline_ms }, &[]);
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.drain(Duration::ZERO);
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            if !std::thread::panicking() {
                ended.unwrap().unwrap();
            }
        }
    }
}

fn service(vip: SocketAddr, codec: &str, endpoints: &[SocketAddr]) -> Service {
    Service::new(vip, codec, endpoints.iter().map(|addr| Endpoint::new(*addr)).collect())
}

/// A service that a test changes.
fn web(snapshot: &mut Snapshot) -> &mut Service {
    snapshot.services.get_mut("web").unwrap()
}

/// A server with a thread for each connection; it ends with the test's process, or when it is dropped.
struct Backend {
    at: SocketAddr,
    connections: Arc<AtomicU64>,
    open: Arc<Mutex<Vec<TcpStream>>>,
    stop: Arc<AtomicU64>,
}

impl Backend {
    fn new(serve: impl Fn(TcpStream) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap();
        let (connections, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let open = Arc::new(Mutex::new(Vec::new()));
        let backend = Self { at, connections: connections.clone(), open: open.clone(), stop: stop.clone() };
        let serve = Arc::new(serve);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if stop.load(Ordering::SeqCst) != 0 {
                    return;
                }
                let Ok(stream) = stream else { return };
                connections.fetch_add(1, Ordering::SeqCst);
                let _ = stream.set_nodelay(true);
                open.lock().unwrap().push(stream.try_clone().unwrap());
                let serve = serve.clone();
                std::thread::spawn(move || {
                    let copy = stream.try_clone();
                    serve(stream);
                    // The copy that is listed keeps it open.
                    let _ = copy.map(|copy| copy.shutdown(std::net::Shutdown::Both));
                });
            }
        });
        backend
    }

    fn connections(&self) -> u64 {
        self.connections.load(Ordering::SeqCst)
    }

    /// Ends all connections that there are.
    fn cut(&self) {
        for stream in self.open.lock().unwrap().drain(..) {
            let _ = stream.shutdown(std::net::Shutdown::Both);
        }
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.stop.store(1, Ordering::SeqCst);
        self.cut();
        // Wakes the listener, so that it sees it.
        let _ = TcpStream::connect(self.at);
    }
}

/// Reads until `bytes` ends with `end`.
fn read_until(stream: &mut impl Read, end: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut byte = [0];
    while !bytes.ends_with(end) {
        match stream.read(&mut byte) {
            Ok(1) => bytes.push(byte[0]),
            _ => return bytes,
        }
    }
    bytes
}

/// Reads a number of bytes.
fn read_exactly(stream: &mut impl Read, count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    stream.read_exact(&mut bytes).unwrap();
    bytes
}

fn nobody() -> SocketAddr {
    // Bound and closed again: nobody listens.
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

fn echo(mut stream: TcpStream) {
    let mut room = vec![0; 64 << 10];
    while let Ok(count) = stream.read(&mut room) {
        if count == 0 || stream.write_all(&room[..count]).is_err() {
            return;
        }
    }
}

/// A fault of weir's own, in the middle of its work: for requests that ask for it.
pub(super) fn fault(asking: &crate::l7::route::Asking<'_>) {
    faults::is_asked(asking);
    let asked = asking.codec.header(asking.message, asking.head, b"x-fault");
    assert!(asked.is_none(), "a fault, as the test asks for");
}

thread_local! {
    /// Of the worker on this thread.
    static TURNS: std::cell::RefCell<Option<Arc<AtomicU64>>> = const { std::cell::RefCell::new(None) };
    static MOST_HELD: std::cell::Cell<Option<usize>> = const { std::cell::Cell::new(None) };
}

/// Bytes that the worker on this thread keeps, where a test says so.
pub(super) fn most_held() -> Option<usize> {
    MOST_HELD.get()
}

/// A worker looks at a connection without an event of its own.
pub(super) fn looked_again() {
    TURNS.with_borrow(|turns| {
        if let Some(turns) = turns {
            turns.fetch_add(1, Ordering::Relaxed);
        }
    });
}

/// Closes a connection by a reset: what it has sent and is not read yet is lost.
fn reset(stream: TcpStream) {
    let _ = rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO));
    drop(stream);
}

/// Waits until something holds.
fn wait_until(what: &str, holds: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(Instant::now() < end, "it did not come to hold: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
