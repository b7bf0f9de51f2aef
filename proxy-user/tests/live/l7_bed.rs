//! What the tests of the L7 hand-off look at: workers by their process ids, sockets, local routes.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use proxy_user::lab::http::Get;
use proxy_user::lab::run_in;
use socket2::{Domain, Socket, Type};

use crate::bed::{Bed, FAMILIES, Family};
use crate::daemon::{Daemon, Places};
use crate::traffic::{PATIENCE, wait_for};

pub(crate) const PORTS: [u16; 3] = [80, 8080, 9000];

/// Ends what the test's daemons have left: workers outlive them.
pub(crate) struct Leftovers(pub(crate) Places);

impl Drop for Leftovers {
    fn drop(&mut self) {
        let _ = self.0.detach();
        for pid in self.0.worker_pids().into_iter().filter(|pid| is_worker(*pid)) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
}

impl Places {
    /// Workers that any daemon here has started, also those that have ended.
    fn worker_pids(&self) -> Vec<i32> {
        let Ok(entries) = fs::read_dir(self.dir()) else { return Vec::new() };
        let logs = entries.flatten().filter(|entry| entry.file_name().to_string_lossy().starts_with("log-"));
        logs.flat_map(|log| workers_in(&fs::read_to_string(log.path()).unwrap_or_default())).collect()
    }
}

/// Process ids of the workers that a log tells of.
pub(crate) fn workers_in(log: &str) -> Vec<i32> {
    let records = log.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let serves = records.filter(|record| record.to_string().contains("L7 worker serves"));
    serves.filter_map(|record| find_pid(&record)).collect()
}

pub(crate) fn find_pid(record: &serde_json::Value) -> Option<i32> {
    let pid = record.get("pid").or_else(|| record.get("fields")?.get("pid"))?;
    i32::try_from(pid.as_i64()?).ok()
}

pub(crate) fn is_worker(pid: i32) -> bool {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    line.windows(9).any(|part| part == b"l7-worker")
}

pub(crate) fn alive(pids: &[i32]) -> BTreeSet<i32> {
    pids.iter().copied().filter(|pid| is_worker(*pid)).collect()
}

impl Daemon {
    /// Workers that serve now, of those that this daemon has started or taken over.
    pub(crate) fn workers(&self) -> Vec<i32> {
        alive(&workers_in(&self.log())).into_iter().collect()
    }

    pub(crate) fn wait_workers(&self) -> Vec<i32> {
        let cpus = std::thread::available_parallelism().unwrap().get();
        wait_for("the workers", || self.workers().len() >= cpus);
        self.workers()
    }
}

pub(crate) fn services(bed: &Bed) -> String {
    let mut services = String::from(DENY);
    for (family, n) in FAMILIES.into_iter().zip(["4", "6"]) {
        for port in PORTS {
            services += &bed.service(&format!("l7-{n}-{port}"), "tcp", family, port, "forward = \"l7\"");
        }
        services += &bed.service(&format!("nat-{n}"), "tcp", family, 81, "");
    }
    services
}

pub(crate) const DENY: &str = r#"
[[acl.list]]
name = "block"
order = 10
action = "drop"
entries = ["10.1.0.66", "fd01::66", "10.2.1.254", "fd02:1::fe"]
"#;

/// Sockets of weir's namespace as `/proc` tells: local and remote address in its hexadecimal form, and state.
pub(crate) fn sockets(bed: &Bed, family: Family) -> Vec<(SocketAddr, SocketAddr, u8)> {
    let table = if family == Family::V4 { "tcp" } else { "tcp6" };
    let text =
        run_in(&bed.weir, || fs::read_to_string(format!("/proc/thread-self/net/{table}")).unwrap()).unwrap();
    let parse = |line: &str| {
        let mut words = line.split_whitespace().skip(1);
        let (local, remote) = (address(words.next()?)?, address(words.next()?)?);
        Some((local, remote, u8::from_str_radix(words.next()?, 16).ok()?))
    };
    text.lines().skip(1).filter_map(parse).collect()
}

/// Connections that wait in the backlogs of the listeners of weir's namespace.
pub(crate) fn waits(bed: &Bed, family: Family) -> u32 {
    let table = if family == Family::V4 { "tcp" } else { "tcp6" };
    let text =
        run_in(&bed.weir, || fs::read_to_string(format!("/proc/thread-self/net/{table}")).unwrap()).unwrap();
    let queued = |line: &str| {
        let mut words = line.split_whitespace().skip(3);
        let (state, queues) = (words.next()?, words.next()?);
        let waiting = u32::from_str_radix(queues.split_once(':')?.1, 16).ok()?;
        (u8::from_str_radix(state, 16) == Ok(LISTEN)).then_some(waiting)
    };
    text.lines().skip(1).filter_map(queued).sum()
}

pub(crate) fn address(text: &str) -> Option<SocketAddr> {
    let (addr, port) = text.split_once(':')?;
    let words: Vec<[u8; 4]> = (0..addr.len() / 8)
        .map(|n| u32::from_str_radix(&addr[n * 8..n * 8 + 8], 16).unwrap().to_ne_bytes())
        .collect();
    let bytes = words.concat();
    let addr: IpAddr = match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok()?.into(),
        _ => <[u8; 16]>::try_from(bytes).ok()?.into(),
    };
    Some(SocketAddr::new(addr, u16::from_str_radix(port, 16).ok()?))
}

pub(crate) const ESTABLISHED: u8 = 1;
pub(crate) const LISTEN: u8 = 10;

/// Whether a client in weir's own namespace, with its address towards backend `n`, gets an answer.
pub(crate) fn get_locally(bed: &Bed, family: Family, n: usize) -> bool {
    let from = family.pick(&format!("10.2.{n}.254"), &format!("fd02:{n}::fe"));
    let get = Get { to: family.vip_at(80), from: Some(from), timeout: Duration::from_millis(500) };
    run_in(&bed.weir, || get.send()).unwrap().is_ok()
}

pub(crate) fn has_address(bed: &Bed, addr: IpAddr) -> bool {
    let found = proxy_user::lab::run_async_in(&bed.weir, || async {
        let netlink = proxy_user::net::netlink::Netlink::open().unwrap();
        proxy_user::net::host::addresses(&netlink).await.unwrap()
    });
    found.unwrap().iter().any(|found| found.addr.addr() == addr)
}

/// A client that begins to connect and says what became of it later.
pub(crate) fn begin(bed: &Bed, to: SocketAddr) -> Socket {
    let connect = || {
        let socket = Socket::new(Domain::for_address(to), Type::STREAM, None).unwrap();
        socket.set_nonblocking(true).unwrap();
        let _in_progress = socket.connect(&to.into());
        socket.set_nonblocking(false).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket
    };
    run_in(&bed.client, connect).unwrap()
}

/// A request over a connection begun before.
pub(crate) fn ask(socket: &Socket) -> String {
    let mut stream: TcpStream = socket.try_clone().unwrap().into();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: vip\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

pub(crate) fn local_routes(bed: &Bed) -> BTreeSet<IpAddr> {
    local_routes_of(bed, &bed.places())
}

/// Local routes of the daemon at these places.
pub(crate) fn local_routes_of(bed: &Bed, places: &Places) -> BTreeSet<IpAddr> {
    let owner = proxy_user::net::local::Owner::of(&places.run_dir());
    let own = proxy_user::lab::run_async_in(&bed.weir, || async move {
        let netlink = proxy_user::net::netlink::Netlink::open().unwrap();
        proxy_user::net::local::own(&netlink, owner).await.unwrap()
    });
    own.unwrap()
}

pub(crate) fn assert_clean(bed: &Bed, workers: &[i32]) {
    wait_for("the end of the workers", || alive(workers).is_empty());
    assert!(local_routes(bed).is_empty());
    let run_dir = bed.places().run_dir();
    let left = |dir: &str| fs::read_dir(run_dir.join(dir)).map_or(0, |entries| entries.count());
    assert_eq!((left("bpf"), left("l7")), (0, 0));
}
