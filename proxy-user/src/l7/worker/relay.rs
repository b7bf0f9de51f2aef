//! Opaque TCP: each connection of a client gets one of its own to an endpoint, and bytes go both ways.

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use tokio::io::copy_bidirectional;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::l7::snapshot::{EndpointState, Snapshot};
use crate::l7::stats::{ServiceStats, Stats};

/// What all connections of a worker share.
#[derive(Debug, Default)]
pub(super) struct Relay {
    snapshot: Rc<Snapshot>,
    stats: Stats,
    turn: u64,
}

/// Where a connection goes.
struct Way {
    service: String,
    endpoints: Vec<SocketAddr>,
    connect: Duration,
}

impl Relay {
    /// New connections go by this snapshot.
    pub(super) fn serve_by(&mut self, snapshot: Snapshot) {
        self.stats.services.retain(|name, stats| stats.active > 0 || snapshot.services.contains_key(name));
        self.snapshot = Rc::new(snapshot);
    }

    pub(super) fn stats(&self) -> Stats {
        self.stats.clone()
    }

    /// Whether no client is connected.
    pub(super) fn is_idle(&self) -> bool {
        self.stats.active == 0
    }

    /// The endpoints for a connection by its local address, in the order in which to try them: the first by weight.
    fn way(&mut self, local: SocketAddr) -> Option<Way> {
        let snapshot = self.snapshot.clone();
        let (name, service) = snapshot.service(local)?;
        let open = service
            .endpoints
            .iter()
            .filter(|endpoint| endpoint.state == EndpointState::Active && endpoint.weight > 0);
        let total: u64 = open.clone().map(|endpoint| u64::from(endpoint.weight)).sum();
        self.turn = self.turn.wrapping_add(STRIDE);
        // The upper half of the turn, as a part of the total.
        let turn = ((self.turn >> 32) * total) >> 32;
        let mut passed = 0;
        let first = open
            .clone()
            .position(|endpoint| {
                passed += u64::from(endpoint.weight);
                turn < passed
            })
            .unwrap_or(0);
        let address = |mut addr: SocketAddr| {
            if addr.port() == 0 {
                addr.set_port(local.port());
            }
            addr
        };
        let mut endpoints: Vec<SocketAddr> = open.map(|endpoint| address(endpoint.addr)).collect();
        endpoints.rotate_left(first);
        Some(Way { service: name.to_owned(), endpoints, connect: service.timeouts.connect })
    }

    fn of(&mut self, service: &str) -> &mut ServiceStats {
        self.stats.services.entry(service.to_owned()).or_default()
    }
}

/// One connection, from its acceptance to its end.
pub(super) async fn relay(relay: Rc<RefCell<Relay>>, mut client: TcpStream) {
    let way = client.local_addr().ok().and_then(|local| relay.borrow_mut().way(local));
    let Some(way) = way else {
        relay.borrow_mut().stats.strays += 1;
        return;
    };
    let _active = Active::begin(&relay, &way.service);
    let Ok(mut server) = connect(&way).await else {
        relay.borrow_mut().of(&way.service).failed += 1;
        // A client that hears a reset knows that nothing was done.
        let _ = client.set_zero_linger();
        return;
    };
    let (up, down) = copy_bidirectional(&mut client, &mut server).await.unwrap_or_default();
    let mut relay = relay.borrow_mut();
    let stats = relay.of(&way.service);
    stats.bytes_up += up;
    stats.bytes_down += down;
}

async fn connect(way: &Way) -> io::Result<TcpStream> {
    for endpoint in way.endpoints.iter().take(TRIES) {
        if let Ok(Ok(server)) = timeout(way.connect, TcpStream::connect(endpoint)).await {
            server.set_nodelay(true)?;
            return Ok(server);
        }
    }
    Err(io::ErrorKind::NotConnected.into())
}

/// Counts a connection while it lives, however it ends.
struct Active {
    relay: Rc<RefCell<Relay>>,
    service: String,
}

impl Active {
    fn begin(relay: &Rc<RefCell<Relay>>, service: &str) -> Self {
        let mut borrowed = relay.borrow_mut();
        borrowed.stats.active += 1;
        borrowed.stats.accepted += 1;
        let stats = borrowed.of(service);
        stats.active += 1;
        stats.accepted += 1;
        Self { relay: relay.clone(), service: service.to_owned() }
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        let mut relay = self.relay.borrow_mut();
        relay.stats.active = relay.stats.active.saturating_sub(1);
        let stats = relay.of(&self.service);
        stats.active = stats.active.saturating_sub(1);
    }
}

/// The golden ratio's part of 2^64: turns fall evenly over the weights, however few they are.
const STRIDE: u64 = 0x9e37_79b9_7f4a_7c15;
/// Endpoints tried for one connection.
const TRIES: usize = 3;
