//! What a worker needs to know, whole: services with their endpoints, and routes. A snapshot replaces the one before it;
//! nothing in it is a difference.

mod check;
mod routes;
mod rules;
mod target;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use check::FRAMING;
pub use routes::{
    Action, Destination, HeaderChange, HeaderMatch, Matches, Mirror, QueryMatch, Retry, Route, Routes,
    TextMatch, VirtualHost,
};
pub use rules::{Access, AccessRule, Balance, HashBy, Outlier, Pool, Rules};
pub use target::{Location, PathChange, Rewrite, Scheme, Url};

/// Everything that workers serve by.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// [`VERSION`] of the writer.
    pub version: u32,
    /// The daemon's generation; what a worker acknowledges.
    pub generation: u64,
    /// Services by name.
    pub services: BTreeMap<String, Service>,
    /// Routes.
    pub routes: Routes,
}

/// Version of the form of a [`Snapshot`]. Raised when an older reader would misread it.
pub const VERSION: u32 = 2;

/// A service of mode `l7`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    /// What clients connect to (TCP): the local address of their connections. Port 0 is every port of the address that
    /// has no service of its own.
    pub vip: SocketAddr,
    /// Name of the codec; `tcp` forwards bytes without looking at them.
    pub codec: String,
    /// Backends, in no particular order.
    pub endpoints: Vec<Endpoint>,
    /// Bounds on what it may use.
    pub limits: Limits,
    /// Times after which something is given up.
    pub timeouts: Timeouts,
    /// How the client's address is passed on.
    pub client_address: ClientAddress,
    /// All else.
    #[serde(default)]
    pub rules: Rules,
}

/// A backend.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// Where it listens; port 0 stands for the port that the client dialled.
    pub addr: SocketAddr,
    /// Share of new requests relative to the service's other endpoints, 0 to 1000; 0 takes none.
    pub weight: u16,
    /// Zone, as the registry says.
    pub zone: Option<String>,
    /// Labels, as the registry says.
    pub labels: BTreeMap<String, String>,
    /// Whether it takes requests.
    pub state: EndpointState,
}

/// Whether an endpoint takes requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EndpointState {
    /// New ones.
    #[default]
    Active,
    /// Only those of connections that it has.
    Draining,
    /// None.
    Down,
}

/// Bounds of one service. Each is of the service as a whole: a worker keeps to its share, the bound divided by the
/// number of workers and rounded up. `None` is no bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Connections of clients.
    pub connections: Option<u32>,
    /// Requests under way.
    pub requests: Option<u32>,
    /// Requests that wait for a connection to an endpoint.
    pub pending: Option<u32>,
    /// Bytes of a request's body.
    pub body_bytes: Option<u64>,
}

/// Times of one service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timeouts {
    /// For a connection to an endpoint.
    pub connect: Duration,
    /// For a connection on which nothing moves, also while a request is under way.
    pub idle: Duration,
    /// For a request, from its first byte to its answer's last; none is no bound, but 60 s where requests share a connection.
    pub request: Option<Duration>,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self { connect: Duration::from_secs(5), idle: Duration::from_secs(3600), request: None }
    }
}

/// How an endpoint learns the client's address.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClientAddress {
    /// Not at all.
    #[default]
    None,
    /// A PROXY protocol header of version 2 before the first byte.
    ProxyV2,
    /// `X-Forwarded-For`.
    XForwardedFor,
    /// `Forwarded` (RFC 7239).
    Forwarded,
    /// A header of this name (HTTP/1, Bolt). What peers that are not trusted say in it is removed; behind what a trusted one
    /// says, its own address is appended.
    Header(String),
}

impl Service {
    /// A service without bounds, routes or lists, with the usual times.
    #[must_use]
    pub fn new(vip: SocketAddr, codec: &str, endpoints: Vec<Endpoint>) -> Self {
        Self {
            vip,
            codec: codec.to_owned(),
            endpoints,
            limits: Limits::default(),
            timeouts: Timeouts::default(),
            client_address: ClientAddress::default(),
            rules: Rules::default(),
        }
    }
}

impl Endpoint {
    /// A backend that takes requests, with the weight of one of which nothing is said.
    #[must_use]
    pub fn new(addr: SocketAddr) -> Self {
        Self { addr, weight: 100, zone: None, labels: BTreeMap::new(), state: EndpointState::Active }
    }
}

impl Snapshot {
    /// The service of a connection by its local address: the port's own, else that of every port.
    #[must_use]
    pub fn service(&self, local: SocketAddr) -> Option<(&str, &Service)> {
        let find = |port| {
            self.services
                .iter()
                .find(|(_, service)| service.vip.ip() == local.ip() && service.vip.port() == port)
        };
        find(local.port()).or_else(|| find(0)).map(|(name, service)| (name.as_str(), service))
    }

    /// What of it no worker would serve by: the first fault, with its place.
    ///
    /// # Errors
    /// A codec that there is none of, a header that is none or frames the message, a status or a percentage out of range, a way
    /// to tell the client's address that the service's codec does not have.
    pub fn check(&self) -> Result<(), String> {
        check::check(self)
    }

    /// Whether two snapshots say the same, whatever their generations.
    #[must_use]
    pub fn same_content(&self, other: &Self) -> bool {
        (&self.services, &self.routes) == (&other.services, &other.routes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(vip: &str) -> Service {
        Service::new(vip.parse().unwrap(), "tcp", Vec::new())
    }

    #[test]
    fn the_ports_own_service_comes_first() {
        let services = [("any", "10.0.0.1:0"), ("web", "10.0.0.1:80"), ("six", "[fd00::1]:80")]
            .map(|(name, vip)| (name.to_owned(), service(vip)));
        let snapshot = Snapshot { services: services.into(), ..Snapshot::default() };
        let found = |local: &str| snapshot.service(local.parse().unwrap()).map(|(name, _)| name);
        assert_eq!(found("10.0.0.1:80"), Some("web"));
        assert_eq!(found("10.0.0.1:81"), Some("any"));
        assert_eq!(found("[fd00::1]:80"), Some("six"));
        assert_eq!(found("[fd00::1]:81"), None);
        assert_eq!(found("127.0.0.1:80"), None);
    }

    #[test]
    fn survives_the_wire() {
        let mut web = service("10.0.0.1:80");
        web.client_address = ClientAddress::Header("x-client".into());
        web.endpoints.push(Endpoint {
            weight: 7,
            zone: Some("a".into()),
            labels: BTreeMap::from([("k".into(), "v".into())]),
            state: EndpointState::Draining,
            ..Endpoint::new("10.0.0.2:8080".parse().unwrap())
        });
        let snapshot = Snapshot {
            version: VERSION,
            generation: 3,
            services: BTreeMap::from([("web".into(), web)]),
            ..Snapshot::default()
        };
        let text = serde_json::to_string(&snapshot).unwrap();
        assert_eq!(serde_json::from_str::<Snapshot>(&text).unwrap(), snapshot);
    }
}
