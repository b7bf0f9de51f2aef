//! weir's side: a worker with one service, as the daemon starts one.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use proxy_user::l7::process::channel::Channel;
use proxy_user::l7::process::listeners::Pair;
use proxy_user::l7::process::message::{FromWorker, Start, ToWorker};
use proxy_user::l7::snapshot::{
    ClientAddress, Endpoint, EndpointState, Limits, Rules, Service, Snapshot, Timeouts, VERSION,
};
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
