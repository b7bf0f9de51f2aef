//! The proxies: each a fresh process on one core.

use std::collections::BTreeMap;
use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use proxy_user::l7::process::channel::Channel;
use proxy_user::l7::process::listeners::Pair;
use proxy_user::l7::process::message::{FromWorker, Start, ToWorker};
use proxy_user::l7::snapshot::{
    ClientAddress, Endpoint, EndpointState, Limits, Rules, Service, Snapshot, Timeouts, VERSION,
};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use rustix::thread::CpuSet;

use super::wire::Speech;

/// Who forwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Which {
    Floor,
    Weir,
    Haproxy,
    Nginx,
}

impl Which {
    pub(super) const ALL: [Self; 4] = [Self::Floor, Self::Weir, Self::Haproxy, Self::Nginx];

    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Floor => "floor",
            Self::Weir => "weir",
            Self::Haproxy => "haproxy",
            Self::Nginx => "nginx",
        }
    }

    /// Whether it speaks the protocol, and is installed.
    pub(super) fn can(self, speech: Speech) -> bool {
        let installed = match self {
            Self::Floor | Self::Weir => true,
            Self::Haproxy => Path::new(HAPROXY).exists(),
            Self::Nginx => Path::new(NGINX).exists(),
        };
        installed && (speech != Speech::Bolt || matches!(self, Self::Floor | Self::Weir))
    }
}

const HAPROXY: &str = "/usr/sbin/haproxy";
const NGINX: &str = "/usr/sbin/nginx";
const NGINX_STREAM: &str = "/usr/lib/nginx/modules/ngx_stream_module.so";

/// A proxy that runs. Dropping it ends it.
pub(super) struct Proxy {
    child: Child,
    pub(super) at: SocketAddr,
    _daemon: Option<Channel>,
    _dir: tempfile::TempDir,
}

impl Proxy {
    /// Starts it on core 0, in front of a backend. This thread is on core 1 afterwards.
    pub(super) fn start(which: Which, speech: Speech, backend: SocketAddr) -> Result<Self> {
        pin(0)?;
        let started = match which {
            Which::Weir => weir(speech, backend),
            Which::Floor => {
                let at = free_port()?;
                let texts = [at.to_string(), backend.to_string()];
                let arguments = ["l7-floor", &texts[0], &texts[1]];
                command(Path::new("/proc/self/exe"), &arguments, at, tempfile::tempdir()?)
            }
            Which::Haproxy => {
                let (at, dir) = (free_port()?, tempfile::tempdir()?);
                let file = dir.path().join("haproxy.cfg");
                fs::write(&file, haproxy(speech, at, backend))?;
                command(Path::new(HAPROXY), &["-db", "-f", &file.to_string_lossy()], at, dir)
            }
            Which::Nginx => {
                let (at, dir) = (free_port()?, tempfile::tempdir()?);
                let file = dir.path().join("nginx.conf");
                fs::write(&file, nginx(speech, at, backend, dir.path()))?;
                command(Path::new(NGINX), &["-c", &file.to_string_lossy()], at, dir)
            }
        };
        pin(1)?;
        started.with_context(|| format!("starting {}", which.label()))
    }

    /// Time on a CPU so far, of all its processes.
    pub(super) fn cpu(&self) -> Result<Duration> {
        Ok(processes(self.child.id())?.into_iter().map(cpu_of).sum())
    }

    /// Resident memory of all its processes, in bytes.
    pub(super) fn resident(&self) -> Result<u64> {
        Ok(processes(self.child.id())?.into_iter().map(resident_of).sum())
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        for pid in processes(self.child.id()).unwrap_or_default() {
            let pid = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw);
            if let Some(pid) = pid {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Puts this thread, and what it starts, on a core.
pub(super) fn pin(core: usize) -> Result<()> {
    let mut set = CpuSet::new();
    set.set(core);
    Ok(rustix::thread::sched_setaffinity(None, &set)?)
}

/// A process and its children.
fn processes(pid: u32) -> Result<Vec<u32>> {
    let mut all = vec![pid];
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    all.extend(children.split_whitespace().filter_map(|child| child.parse::<u32>().ok()));
    Ok(all)
}

fn cpu_of(pid: u32) -> Duration {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let nanos = tasks.filter_map(|task| {
        let text = fs::read_to_string(task.path().join("schedstat")).ok()?;
        text.split(' ').next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(nanos.sum())
}

fn resident_of(pid: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/statm")).unwrap_or_default();
    text.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0) * 4096
}

fn free_port() -> Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

fn command(program: &Path, arguments: &[&str], at: SocketAddr, dir: tempfile::TempDir) -> Result<Proxy> {
    let child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let mut proxy = Proxy { child, at, _daemon: None, _dir: dir };
    let end = Instant::now() + Duration::from_secs(5);
    while std::net::TcpStream::connect(at).is_err() {
        if let Some(status) = proxy.child.try_wait()? {
            bail!("it ended at once: {status}");
        }
        anyhow::ensure!(Instant::now() < end, "it does not listen on {at}");
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(proxy)
}

/// A worker, as the daemon starts one.
fn weir(speech: Speech, backend: SocketAddr) -> Result<Proxy> {
    let dir = tempfile::tempdir()?;
    let pair = Pair::make(None)?;
    let (ours, theirs) = Channel::pair()?;
    let control =
        rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    rustix::net::bind(&control, &SocketAddrUnix::new(dir.path().join("control"))?)?;
    let child = Command::new("/proc/self/exe")
        .arg("l7-worker")
        .stdin(Stdio::from(theirs))
        .stdout(Stdio::null())
        .spawn()?;
    let start = Start { worker: 0, workers: 1, identity: None, daemon: 0, families: pair.families() };
    let descriptors: Vec<BorrowedFd<'_>> =
        std::iter::once(control.as_fd()).chain(pair.descriptors()).collect();
    ours.send(&ToWorker::Start(start), &descriptors)?;
    let v4 = pair.v4.as_ref().context("no IPv4")?.try_clone()?;
    let at = TcpListener::from(v4).local_addr()?;
    ours.send(&ToWorker::Snapshot(Box::new(snapshot(speech, at, backend))), &[])?;
    let end = Instant::now() + Duration::from_secs(5);
    loop {
        match ours.receive::<FromWorker>().map(|received| received.message) {
            Ok(FromWorker::Acknowledged { .. }) => break,
            Ok(FromWorker::Refused { reason, .. }) => bail!("{reason}"),
            _ => std::thread::sleep(Duration::from_millis(2)),
        }
        anyhow::ensure!(Instant::now() < end, "the worker does not take its snapshot");
    }
    Ok(Proxy { child, at, _daemon: Some(ours), _dir: dir })
}

/// One service with a list of sources, timeouts and, where the protocol has them, a route.
fn snapshot(speech: Speech, at: SocketAddr, backend: SocketAddr) -> Snapshot {
    use proxy_user::l7::snapshot::{Access, AccessRule, Matches, Route, TextMatch, VirtualHost};
    let codec = match speech {
        Speech::Http1 => "http1",
        Speech::Bolt => "bolt",
        Speech::Echo | Speech::Bulk => "tcp",
    };
    let denied: Vec<ipnet::IpNet> =
        ["192.0.2.0/24", "198.51.100.0/24"].iter().filter_map(|net| net.parse().ok()).collect();
    let rules = Rules {
        access: Some(Access { rules: vec![AccessRule { deny: true, sources: denied }], ..Access::default() }),
        ..Rules::default()
    };
    let service = Service {
        vip: at,
        codec: codec.to_owned(),
        endpoints: vec![Endpoint {
            addr: backend,
            weight: 100,
            zone: None,
            labels: BTreeMap::new(),
            state: EndpointState::Active,
        }],
        limits: Limits::default(),
        timeouts: Timeouts { request: Some(Duration::from_secs(10)), ..Timeouts::default() },
        client_address: ClientAddress::None,
        rules,
    };
    let matches = match speech {
        Speech::Bolt => {
            Matches { service: Some(TextMatch::Prefix("com.example.".into())), ..Matches::default() }
        }
        _ => Matches { path: Some(TextMatch::Prefix("/".into())), ..Matches::default() },
    };
    let route = Route { name: "all".into(), matches, ..Route::default() };
    let host = VirtualHost { name: "any".into(), hosts: vec!["*".into()], routes: vec![route] };
    let mut snapshot = Snapshot { version: VERSION, generation: 1, ..Snapshot::default() };
    snapshot.services.insert("bench".into(), service);
    snapshot.routes.services.insert("bench".into(), vec![host]);
    snapshot
}

fn haproxy(speech: Speech, at: SocketAddr, backend: SocketAddr) -> String {
    let (mode, more) = match speech {
        Speech::Http1 => ("http", "http-reuse always"),
        Speech::Bulk => ("tcp", "option splice-request\n  option splice-response"),
        Speech::Echo | Speech::Bolt => ("tcp", ""),
    };
    format!(
        "global\n  nbthread 1\n  maxconn 6000\ndefaults\n  mode {mode}\n  {more}\n  timeout connect 5s\n  timeout client 1h\n  timeout server 1h\nlisten bench\n  bind {at}\n  server s {backend} pool-max-conn 512\n"
    )
}

fn nginx(speech: Speech, at: SocketAddr, backend: SocketAddr, dir: &Path) -> String {
    let dir = dir.display();
    let load = match Path::new(NGINX_STREAM).exists() {
        true => format!("load_module {NGINX_STREAM};"),
        false => String::new(),
    };
    let top = format!(
        "{load}\nuser root;\ndaemon off;\nworker_processes 1;\npid {dir}/pid;\nerror_log /dev/null;\nevents {{ worker_connections 6000; }}\n"
    );
    if speech == Speech::Http1 {
        return format!(
            "{top}http {{ access_log off; client_body_temp_path {dir}/b; proxy_temp_path {dir}/p; fastcgi_temp_path {dir}/f; uwsgi_temp_path {dir}/u; scgi_temp_path {dir}/s; keepalive_requests 1000000000; upstream s {{ server {backend}; keepalive 512; keepalive_requests 1000000000; }} server {{ listen {at}; location / {{ proxy_http_version 1.1; proxy_set_header Connection \"\"; proxy_pass http://s; }} }} }}\n"
        );
    }
    let size = if speech == Speech::Bulk { "64k" } else { "16k" };
    format!(
        "{top}stream {{ upstream s {{ server {backend}; }} server {{ listen {at}; proxy_buffer_size {size}; proxy_pass s; tcp_nodelay on; }} }}\n"
    )
}
