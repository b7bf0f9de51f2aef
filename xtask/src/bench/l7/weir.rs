//! weir's side: a worker with one service, as the daemon starts one; where memory counts, with its daemon.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use proxy_user::l7::process::channel::Channel;
use proxy_user::l7::process::listeners::Pair;
use proxy_user::l7::process::message::{FromWorker, Start, ToWorker};
use proxy_user::l7::snapshot::{Endpoint, Rules, Service, Snapshot, Timeouts, VERSION};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use super::proxies::{Proxy, tied};
use super::wire::Speech;

/// A worker, as the daemon starts one.
pub(super) fn start(speech: Speech, backend: SocketAddr) -> Result<Proxy> {
    let dir = tempfile::tempdir()?;
    let pair = Pair::make(None)?;
    let (ours, theirs) = Channel::pair()?;
    let control =
        rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    rustix::net::bind(&control, &SocketAddrUnix::new(dir.path().join("control"))?)?;
    let child = tied(&std::env::current_exe()?)
        .arg("l7-worker")
        .stdin(Stdio::from(theirs))
        .stdout(Stdio::null())
        .spawn()?;
    let v4 = pair.v4.as_ref().context("no IPv4")?.try_clone()?;
    let at = TcpListener::from(v4).local_addr()?;
    let proxy = Proxy::new(child, at, dir);
    let start = Start { worker: 0, workers: 1, identity: None, daemon: 0, families: pair.families() };
    let descriptors: Vec<BorrowedFd<'_>> =
        std::iter::once(control.as_fd()).chain(pair.descriptors()).collect();
    ours.send(&ToWorker::Start(start), &descriptors)?;
    ours.send(&ToWorker::Snapshot(Box::new(snapshot(speech, at, backend))), &[])?;
    let end = Instant::now() + Duration::from_secs(5);
    loop {
        match ours.receive::<FromWorker>().map(|received| received.message) {
            Ok(FromWorker::Acknowledged { .. }) => break,
            Ok(FromWorker::Refused { reason, .. }) => bail!("{reason}"),
            _ => std::thread::sleep(Duration::from_millis(2)),
        }
        ensure!(Instant::now() < end, "the worker does not take its snapshot");
    }
    Ok(proxy.with_daemon(ours))
}

/// A daemon in this network namespace, with one worker and the same service; memory is that of both.
pub(super) fn start_whole(speech: Speech, backend: SocketAddr) -> Result<Proxy> {
    let dir = tempfile::tempdir()?;
    fs::write(dir.path().join(CONFIG), config(speech, backend))?;
    let log = fs::File::create(dir.path().join("said"))?;
    // Mounts of its own: its pins go with it.
    let child = tied(Path::new(UNSHARE))
        .args(["--mount", "--"])
        .arg(std::env::current_exe()?)
        .args(["run", "--quiet"])
        .arg("--config")
        .arg(dir.path().join(CONFIG))
        .arg("--run-dir")
        .arg(dir.path().join("run"))
        .arg("--state-dir")
        .arg(dir.path().join("state"))
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()?;
    Proxy::new(child, SocketAddr::from((VIP, 80)), dir).listens()
}

/// What [`snapshot`] says, as a configuration.
fn config(speech: Speech, backend: SocketAddr) -> String {
    let (codec, route) = match speech {
        Speech::Http1 => ("http1", "[[service.route]]\nname = \"all\"\npath = { prefix = \"/\" }\n"),
        Speech::Bolt => {
            ("bolt", "[[service.route]]\nname = \"all\"\nservice = { prefix = \"com.example.\" }\n")
        }
        Speech::Echo | Speech::Bulk => ("tcp", ""),
    };
    let timeouts = if codec == "tcp" { "" } else { "timeouts = { request = \"10s\" }\n" };
    format!(
        r#"version = 1
[l7]
workers = 1
[interface.{INTERFACE}]
[[acl.list]]
name = "denied"
order = 10
action = "drop"
entries = ["192.0.2.0/24", "198.51.100.0/24"]
[[service]]
name = "bench"
vip = "tcp/{VIP}:80"
forward = "l7"
codec = "{codec}"
backends = ["{backend}"]
[service.l7]
access = {{ lists = ["denied"] }}
{timeouts}{route}"#
    )
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
        timeouts: Timeouts { request: Some(Duration::from_secs(10)), ..Timeouts::default() },
        rules,
        ..Service::new(at, codec, vec![Endpoint::new(backend)])
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

/// weir's interface in the namespace, and the backend's address there: a daemon takes none on the loopback.
pub(super) const INTERFACE: &str = "weir0";
pub(super) const BACKEND: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
/// Nobody has it but weir.
const VIP: Ipv4Addr = Ipv4Addr::new(10, 77, 1, 1);
const CONFIG: &str = "weir.toml";
const UNSHARE: &str = "/usr/bin/unshare";
