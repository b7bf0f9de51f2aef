//! The laboratory of a test: a client, weir between, backends behind interfaces of their own.
//!
//! ```text
//! client eth0 ── cl weir b1 ── eth0 backend 1
//!        d1 ─────────── b2 ──────── direct        (the way of direct answers)
//! ```

use std::net::{IpAddr, SocketAddr};
use std::panic::resume_unwind;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::thread;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};
use proxy_user::lab::{Namespace, Port, Route, Veth, left_out};

/// An IP version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    V4,
    V6,
}

pub(crate) const FAMILIES: [Family; 2] = [Family::V4, Family::V6];

impl Family {
    /// The VIP of all services.
    pub(crate) fn vip(self) -> IpAddr {
        self.pick("198.51.100.10", "2001:db8::10")
    }

    /// The client's address that nobody denies.
    pub(crate) fn client(self) -> IpAddr {
        self.pick("10.1.0.1", "fd01::1")
    }

    /// The client's address that the tests deny.
    pub(crate) fn denied(self) -> IpAddr {
        self.pick("10.1.0.66", "fd01::66")
    }

    /// Backend number `n`, from 1.
    pub(crate) fn backend(self, n: usize) -> IpAddr {
        self.pick(&format!("10.2.{n}.1"), &format!("fd02:{n}::1"))
    }

    /// The VIP with a port.
    pub(crate) fn vip_at(self, port: u16) -> SocketAddr {
        SocketAddr::new(self.vip(), port)
    }

    /// A backend with a port.
    pub(crate) fn backend_at(self, n: usize, port: u16) -> SocketAddr {
        SocketAddr::new(self.backend(n), port)
    }

    pub(crate) fn pick(self, v4: &str, v6: &str) -> IpAddr {
        match self {
            Self::V4 => v4.parse().unwrap(),
            Self::V6 => v6.parse().unwrap(),
        }
    }
}

/// A backend's namespace.
pub(crate) struct Backend {
    pub(crate) space: Namespace,
    /// Towards weir.
    pub(crate) port: Port,
    /// weir's end.
    pub(crate) weir_port: Port,
}

/// The laboratory. The thread that runs the test is inside weir's namespace.
pub(crate) struct Bed {
    pub(crate) dir: PathBuf,
    pub(crate) client: Namespace,
    pub(crate) weir: Namespace,
    /// The client's end towards weir, and weir's end of it.
    pub(crate) client_port: Port,
    pub(crate) weir_port: Port,
    pub(crate) backends: Vec<Backend>,
}

/// Runs a test in a laboratory with this many backends.
pub(crate) fn bed(backends: usize, test: impl FnOnce(&Bed) + Send + 'static) {
    sandbox(move |dir, weir| test(&Bed::new(dir, weir, backends)));
}

/// Runs a test in a thread with mounts of its own, inside a new namespace that is to be weir's.
pub(crate) fn sandbox(test: impl FnOnce(PathBuf, Namespace) + Send + 'static) {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    if !nix::unistd::geteuid().is_root() {
        left_out("needs root for namespaces, bpf and XDP");
        return;
    }
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_owned();
    let result = thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNS).unwrap();
        mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>).unwrap();
        let weir = Namespace::new("weir").unwrap();
        setns(weir.fd(), CloneFlags::CLONE_NEWNET).unwrap();
        test(path, weir);
    })
    .join();
    if let Err(panic) = result {
        resume_unwind(panic);
    }
}

impl Bed {
    fn new(dir: PathBuf, weir: Namespace, backends: usize) -> Self {
        let client = Namespace::new("client").unwrap();
        accept_any_way(&client);
        let (client_port, weir_port) = Veth::pair((&client, "eth0"), (&weir, "cl")).unwrap();
        addresses(&weir_port, &["10.1.0.254/24", "fd01::fe/64"]);
        addresses(&client_port, &["10.1.0.1/24", "10.1.0.66/24", "fd01::1/64", "fd01::66/64"]);
        for (family, net, gateway) in
            [(Family::V4, "198.51.100.0/24", "10.1.0.254"), (Family::V6, "2001:db8::/32", "fd01::fe")]
        {
            let route = Route::via(net.parse().unwrap(), gateway.parse().unwrap());
            client_port.add_route(route.source(family.client())).unwrap();
        }
        let backends = (1..=backends).map(|n| backend(n, &client, &weir)).collect();
        Self { dir, client, weir, client_port, weir_port, backends }
    }

    /// Gives every backend the VIPs, for `dsr-l2`.
    pub(crate) fn share_vips(&self) {
        for backend in &self.backends {
            let lo = Port::named(&backend.space, "lo").unwrap();
            addresses(&lo, &["198.51.100.10/32", "2001:db8::10/128"]);
        }
    }

    /// `[interface.…]` for all of weir's interfaces, and small tables.
    pub(crate) fn config_head(&self) -> String {
        let mut text = String::from(CONFIG_HEAD);
        text.push_str("[interface.cl]\n");
        for backend in &self.backends {
            text.push_str(&format!("[interface.{}]\n", backend.weir_port.name()));
        }
        text
    }

    /// A service over the first `count` backends; `port` is the VIP's and theirs.
    pub(crate) fn service(&self, name: &str, proto: &str, family: Family, port: u16, more: &str) -> String {
        let backends: Vec<String> =
            (1..=self.backends.len()).map(|n| format!("\"{}\"", family.backend_at(n, port))).collect();
        format!(
            "[[service]]\nname = \"{name}\"\nvip = \"{proto}/{}\"\nbackends = [{}]\n{more}\n",
            family.vip_at(port),
            backends.join(", ")
        )
    }
}

fn backend(n: usize, client: &Namespace, weir: &Namespace) -> Backend {
    let space = Namespace::new(&format!("backend{n}")).unwrap();
    accept_any_way(&space);
    let (port, weir_port) = Veth::pair((&space, "eth0"), (weir, &format!("b{n}"))).unwrap();
    addresses(&port, &[&format!("10.2.{n}.1/24"), &format!("fd02:{n}::1/64")]);
    addresses(&weir_port, &[&format!("10.2.{n}.254/24"), &format!("fd02:{n}::fe/64")]);
    let (direct, back) = Veth::pair((&space, "direct"), (client, &format!("d{n}"))).unwrap();
    addresses(&direct, &[&format!("10.3.{n}.1/24"), &format!("fd03:{n}::1/64")]);
    addresses(&back, &[&format!("10.3.{n}.254/24"), &format!("fd03:{n}::fe/64")]);
    for (net, gateway) in [("10.1.0.0/24", format!("10.3.{n}.254")), ("fd01::/64", format!("fd03:{n}::fe"))] {
        direct.add_route(Route::via(net.parse().unwrap(), gateway.parse().unwrap())).unwrap();
    }
    Backend { space, port, weir_port }
}

pub(crate) fn addresses(port: &Port, list: &[&str]) {
    for address in list {
        port.add_address(address.parse().unwrap()).unwrap();
    }
}

/// Direct answers come by another interface than the one that the way back leads out of.
fn accept_any_way(space: &Namespace) {
    for scope in ["all", "default"] {
        space.set_sysctl(&format!("net/ipv4/conf/{scope}/rp_filter"), "0").unwrap();
    }
}

const CONFIG_HEAD: &str = "version = 1
[limits]
acl_ipv4_prefixes = 1024
acl_ipv6_prefixes = 1024
flows = 65536
";
