//! The demo's network: a client, weir's host in the middle, two backends with small real HTTP servers.
//!
//! ```text
//! client 203.0.113.2 -- demo0 [ weir, VIP 198.51.100.10 ] demo1 -- backend-a 10.0.0.11
//!                                                         demo2 -- backend-b 10.0.0.12
//! ```

use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};

use ipnet::{IpNet, Ipv4Net};

use crate::lab::http::HttpServer;
use crate::lab::{LabError, Namespace, Port, Route, Veth};

/// The network. Ends when dropped.
pub(super) struct Topology {
    /// The client's host.
    pub(super) client: Namespace,
    /// The client's end of its link.
    pub(super) client_port: Port,
    /// weir's host.
    pub(super) weir: Namespace,
    /// weir's end of the client's link.
    pub(super) front: Port,
    /// The backends.
    pub(super) backends: Vec<Backend>,
}

/// A backend.
pub(super) struct Backend {
    /// Its host.
    pub(super) host: Namespace,
    /// Its host's end of its link.
    pub(super) port: Port,
    /// What answers there.
    pub(super) server: HttpServer,
}

impl Topology {
    /// Makes it. veth loses what XDP redirects unless both ends are set up for it: `lab` does that.
    /// With `keep_alive` the backends' servers let a connection have many requests.
    pub(super) fn build(keep_alive: bool) -> Result<Self, LabError> {
        let (client, weir) = (Namespace::new("client")?, Namespace::new("weir")?);
        let [front_name, sides @ ..] = INTERFACES;
        let (client_port, front) = Veth::pair((&client, "eth0"), (&weir, front_name))?;
        client_port.add_address(net(CLIENT, CLIENTS.prefix_len()))?;
        front.add_address(net(GATEWAY, CLIENTS.prefix_len()))?;
        client_port.add_route(Route::default_via(GATEWAY.into()))?;
        let backends = BACKENDS
            .into_iter()
            .zip(sides)
            .map(|(plan, side)| plan.build(&weir, side, keep_alive))
            .collect::<Result<_, _>>()?;
        Ok(Self { client, client_port, weir, front, backends })
    }

    /// For people.
    pub(super) fn describe(&self) -> String {
        let backends = BACKENDS.map(|plan| plan.addr.to_string());
        format!("client {CLIENT} -- weir {} -- backends {}", VIP.ip(), backends.join(", "))
    }
}

/// How a backend is made.
#[derive(Clone, Copy)]
struct Plan {
    name: &'static str,
    addr: Ipv4Addr,
    /// weir's address on the backend's link: the source of NAT there.
    weir: Ipv4Addr,
}

impl Plan {
    fn build(self, weir: &Namespace, side: &str, keep_alive: bool) -> Result<Backend, LabError> {
        let host = Namespace::new(self.name)?;
        let (port, near) = Veth::pair((&host, "eth0"), (weir, side))?;
        port.add_address(net(self.addr, 24))?;
        // Both links are of one prefix, so each has a route to its host alone.
        near.add_address(net(self.weir, 32))?;
        near.add_route(Route::on_link(net(self.addr, 32)).source(self.weir.into()))?;
        let addr = SocketAddr::new(self.addr.into(), BACKEND_PORT);
        let server = HttpServer::start(&host, addr, self.name, keep_alive)?;
        Ok(Backend { host, port, server })
    }
}

/// The value of `--vip`.
pub(super) fn vip_flag() -> String {
    let backends = BACKENDS.map(|plan| format!("{}:{BACKEND_PORT}", plan.addr));
    format!("tcp/{VIP}={}", backends.join(","))
}

/// The backend's name to its address as the API writes it.
pub(super) fn backend_addresses() -> impl Iterator<Item = (&'static str, String)> {
    BACKENDS.into_iter().map(|plan| (plan.name, format!("{}:{BACKEND_PORT}", plan.addr)))
}

/// The backends' names and addresses.
pub(super) fn backends() -> [(&'static str, Ipv4Addr); 2] {
    BACKENDS.map(|plan| (plan.name, plan.addr))
}

pub(super) fn net(addr: Ipv4Addr, length: u8) -> IpNet {
    IpNet::new_assert(IpAddr::V4(addr), length)
}

/// weir's interfaces: the client's side, then one for each backend.
pub(super) const INTERFACES: [&str; 3] = ["demo0", "demo1", "demo2"];
/// The client.
pub(super) const CLIENT: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 2);
/// The client's network (RFC 5737), which is denied later.
pub(super) const CLIENTS: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(203, 0, 113, 0), 24);
/// The service.
pub(super) const VIP: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(198, 51, 100, 10), 80);
/// Where the backends listen.
pub(super) const BACKEND_PORT: u16 = 8080;

const GATEWAY: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);
const BACKENDS: [Plan; 2] = [
    Plan { name: "backend-a", addr: Ipv4Addr::new(10, 0, 0, 11), weir: Ipv4Addr::new(10, 0, 0, 1) },
    Plan { name: "backend-b", addr: Ipv4Addr::new(10, 0, 0, 12), weir: Ipv4Addr::new(10, 0, 0, 2) },
];
