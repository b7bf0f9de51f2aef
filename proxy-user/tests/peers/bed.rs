//! The laboratory of a test with registries: everything meets in weir's namespace, which forwards.
//!
//! ```text
//! client eth0 10.1.0.1 ── cl  weir  b1 ── eth0 10.2.1.1 backend 1
//!                             │└── b2 ── eth0 10.2.2.1 backend 2
//!                             r1 ── registry
//! ```

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::panic::resume_unwind;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use nix::sched::{CloneFlags, setns};
use proxy_user::lab::{Namespace, Port, Route, Veth, left_out};

use crate::scratch::scratch;

/// The laboratory. The thread that runs the test is inside weir's namespace.
#[derive(Debug)]
pub(crate) struct Bed {
    /// In memory, gone with the test.
    pub(crate) dir: PathBuf,
    pub(crate) weir: Namespace,
    pub(crate) client: Namespace,
    pub(crate) backends: Vec<Namespace>,
}

/// A way to a registry. Dropping it removes it.
#[derive(Debug)]
pub(crate) struct Link {
    /// The registry's end.
    port: Option<Port>,
    net: String,
    /// weir's end.
    pub(crate) weir_port: Port,
}

/// Runs a test in a laboratory with this many backends. One runs at a time; without root it is left out.
pub(crate) fn bed(backends: usize, test: impl FnOnce(&Bed) + Send + 'static) {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    if !nix::unistd::geteuid().is_root() {
        left_out("needs root for network namespaces");
        return;
    }
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let name = thread::current().name().unwrap_or("a test").to_owned();
    let run = move || {
        let dir = scratch();
        let weir = Namespace::new("weir").unwrap();
        setns(weir.fd(), CloneFlags::CLONE_NEWNET).unwrap();
        test(&Bed::new(dir, weir, backends));
    };
    if let Err(panic) = thread::Builder::new().name(name).spawn(run).unwrap().join() {
        resume_unwind(panic);
    }
}

impl Bed {
    fn new(dir: PathBuf, weir: Namespace, backends: usize) -> Self {
        weir.set_sysctl("net/ipv4/ip_forward", "1").unwrap();
        let leaf = |name: &str, port: &str, net: &str| {
            let space = Namespace::new(name).unwrap();
            join(&space, "eth0", &weir, port, net);
            space
        };
        let client = leaf("client", "cl", "10.1.0");
        let backends = (1..=backends)
            .map(|n| leaf(&format!("backend{n}"), &format!("b{n}"), &format!("10.2.{n}")))
            .collect();
        Self { dir, weir, client, backends }
    }

    /// Backend number `n`, from 1, with a port.
    pub(crate) fn backend_at(&self, n: u8, port: u16) -> SocketAddr {
        SocketAddr::new(IpAddr::from([10, 2, n, 1]), port)
    }

    /// The start of a configuration of weir between the client and the backends.
    pub(crate) fn config_head(&self) -> String {
        let ports = (1..=self.backends.len()).map(|n| format!("[interface.b{n}]\n"));
        format!("version = 1\n[limits]\nflows = 65536\n[interface.cl]\n{}", ports.collect::<String>())
    }

    /// The client's address.
    pub(crate) fn client_address(&self) -> Ipv4Addr {
        Ipv4Addr::new(10, 1, 0, 1)
    }

    /// Joins a registry's namespace, where the registry has this address on `lo`.
    pub(crate) fn link(&self, registry: &Namespace, address: Ipv4Addr) -> Link {
        // A namespace that ended a moment ago may still have its own.
        static NEXT: AtomicUsize = AtomicUsize::new(1);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let net = format!("10.4.{n}");
        let (port, weir_port) = join(registry, &format!("w{n}"), &self.weir, &format!("r{n}"), &net);
        let to = format!("{address}/32").parse().unwrap();
        weir_port.add_route(Route::via(to, format!("{net}.1").parse().unwrap())).unwrap();
        Link { port: Some(port), net, weir_port }
    }
}

impl Link {
    /// Loses all packets for a time; nobody is told.
    pub(crate) fn cut(&self, time: Duration) {
        let port = self.port.as_ref().unwrap();
        let address = format!("{}.1/24", self.net).parse().unwrap();
        // Its routes go with it.
        port.delete_address(address).unwrap();
        thread::sleep(time);
        port.add_address(address).unwrap();
        port.add_route(Route::default_via(format!("{}.254", self.net).parse().unwrap())).unwrap();
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        if let Some(port) = self.port.take() {
            let _ = port.delete();
        }
    }
}

/// A pair of ends .1 and .254 in a /24; all that is elsewhere is behind the second.
fn join(leaf: &Namespace, leaf_port: &str, weir: &Namespace, weir_port: &str, net: &str) -> (Port, Port) {
    for space in [leaf, weir] {
        for scope in ["all", "default"] {
            space.set_sysctl(&format!("net/ipv4/conf/{scope}/rp_filter"), "0").unwrap();
        }
    }
    let (near, far) = Veth::pair((leaf, leaf_port), (weir, weir_port)).unwrap();
    near.add_address(format!("{net}.1/24").parse().unwrap()).unwrap();
    far.add_address(format!("{net}.254/24").parse().unwrap()).unwrap();
    near.add_route(Route::default_via(format!("{net}.254").parse().unwrap())).unwrap();
    (near, far)
}
