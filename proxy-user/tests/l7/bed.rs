//! A worker in a process of its own, as the daemon starts one. Dropping it ends it.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use proxy_user::l7::process::channel::{Channel, ChannelError};
use proxy_user::l7::process::listeners::Pair;
use proxy_user::l7::process::message::{FromWorker, Start, ToWorker};
use proxy_user::l7::snapshot::{Endpoint, Route, Service, Snapshot, VERSION, VirtualHost};
use proxy_user::l7::stats::Stats;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

pub(crate) struct Worker {
    child: Child,
    daemon: Option<Channel>,
    /// Where clients connect.
    pub(crate) at: SocketAddr,
    _dir: tempfile::TempDir,
    _pair: Pair,
}

impl Worker {
    /// One that serves one service, `web`, changed by `with`.
    pub(crate) fn new(codec: &str, backend: SocketAddr, with: impl FnOnce(&mut Service)) -> Self {
        Self::start(Command::new(env!("CARGO_BIN_EXE_weir")), codec, backend, with)
    }

    /// One whose service has these routes.
    pub(crate) fn routed(backend: SocketAddr, routes: Vec<Route>) -> Self {
        Self::start_with(Command::new(env!("CARGO_BIN_EXE_weir")), "http1", backend, |_| {}, routes)
    }

    /// One that has so many descriptors at most.
    pub(crate) fn short_of_descriptors(most: u32, codec: &str, backend: SocketAddr) -> Self {
        let mut command = Command::new("sh");
        let line = format!("ulimit -n {most} && exec \"$0\" \"$@\"");
        command.args(["-c", &line, env!("CARGO_BIN_EXE_weir")]);
        Self::start(command, codec, backend, |_| {})
    }

    fn start(command: Command, codec: &str, backend: SocketAddr, with: impl FnOnce(&mut Service)) -> Self {
        Self::start_with(command, codec, backend, with, Vec::new())
    }

    fn start_with(
        mut command: Command,
        codec: &str,
        backend: SocketAddr,
        with: impl FnOnce(&mut Service),
        routes: Vec<Route>,
    ) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let pair = Pair::make(None).unwrap();
        let (daemon, theirs) = Channel::pair().unwrap();
        let control =
            rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None);
        let control = control.unwrap();
        rustix::net::bind(&control, &SocketAddrUnix::new(dir.path().join("control")).unwrap()).unwrap();
        let child =
            command.arg("l7-worker").stdin(Stdio::from(theirs)).stdout(Stdio::null()).spawn().unwrap();
        let at = TcpListener::from(pair.v4.as_ref().unwrap().try_clone().unwrap()).local_addr().unwrap();
        let mut worker = Self { child, daemon: Some(daemon), at, _dir: dir, _pair: pair };
        let start =
            Start { worker: 0, workers: 1, identity: None, daemon: 0, families: worker._pair.families() };
        let descriptors: Vec<BorrowedFd<'_>> =
            std::iter::once(control.as_fd()).chain(worker._pair.descriptors()).collect();
        worker.channel().send(&ToWorker::Start(start), &descriptors).unwrap();
        drop(descriptors);
        let mut service = Service::new(at, codec, vec![Endpoint::new(backend)]);
        with(&mut service);
        let services = BTreeMap::from([("web".to_owned(), service)]);
        let mut snapshot = Snapshot { version: VERSION, generation: 1, services, ..Snapshot::default() };
        if !routes.is_empty() {
            let host = VirtualHost { name: "any".to_owned(), hosts: vec!["*".to_owned()], routes };
            snapshot.routes.services.insert("web".to_owned(), vec![host]);
        }
        worker.channel().send(&ToWorker::Snapshot(Box::new(snapshot)), &[]).unwrap();
        worker.hear(|message| matches!(message, FromWorker::Acknowledged { .. }));
        worker
    }

    fn channel(&self) -> &Channel {
        self.daemon.as_ref().unwrap()
    }

    /// The daemon is gone.
    pub(crate) fn orphan(&mut self) {
        self.daemon = None;
    }

    /// Hears the worker until it says something.
    fn hear(&mut self, wanted: impl Fn(&FromWorker) -> bool) -> FromWorker {
        let end = Instant::now() + Duration::from_secs(20);
        loop {
            match self.channel().receive::<FromWorker>().map(|received| received.message) {
                Ok(message) if wanted(&message) => return message,
                Ok(FromWorker::Refused { reason, .. }) => panic!("{reason}"),
                Ok(_) => {}
                Err(ChannelError::Socket(error)) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    std::thread::sleep(Duration::from_millis(2));
                }
                Err(error) => panic!("{error}; {:?}", self.child.try_wait()),
            }
            assert!(Instant::now() < end, "the worker does not say it");
        }
    }

    /// Counters that are news.
    pub(crate) fn stats(&mut self) -> Stats {
        while self.channel().receive::<FromWorker>().is_ok() {}
        match self.hear(|message| matches!(message, FromWorker::Stats(_))) {
            FromWorker::Stats(stats) => *stats,
            _ => Stats::default(),
        }
    }

    pub(crate) fn connect(&self) -> TcpStream {
        connect(self.at)
    }

    /// Bytes of memory that it has.
    pub(crate) fn resident(&self) -> u64 {
        let text = std::fs::read_to_string(format!("/proc/{}/statm", self.child.id())).unwrap();
        text.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
    }

    /// Processor time that it has used.
    pub(crate) fn used(&self) -> Duration {
        let text = std::fs::read_to_string(format!("/proc/{}/schedstat", self.child.id())).unwrap();
        Duration::from_nanos(text.split(' ').next().unwrap().parse().unwrap())
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn connect(at: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(at).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream
}

/// An address that nobody listens on, for now.
pub(crate) fn free() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// A program, killed when dropped.
pub(crate) struct Program(pub(crate) Child);

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Where a program is, by name.
pub(crate) fn find(name: &str) -> Option<std::path::PathBuf> {
    let places = std::env::var_os("PATH").unwrap_or_default();
    let places = std::env::split_paths(&places).chain(["/usr/sbin".into(), "/sbin".into()]);
    places.map(|place| place.join(name)).find(|path| path.is_file())
}
