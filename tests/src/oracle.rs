//! The decision a second time, as plainly as it can be said: ACL lists are scanned in their order, tables are hash
//! maps, a flow is one record, packets are read by etherparse, checksums are worked out from nothing.
//!
//! It shares no code with `proxy-ebpf` but [`proxy_ebpf::hash`], which says which ring slot, cache line and first port
//! belong to a tuple: those are numbers by definition, and a second definition would prove nothing.

mod acl;
mod emit;
mod flows;
mod nat;
pub mod parse;
mod stateless;

use std::collections::HashMap;
use std::net::IpAddr;

use proxy_common::{BackendState, BackendValue, Mac, Mode, Reason, backend_flag, proto};

use crate::engine::{self, Counters, Facts, Verdict};
use crate::world::{Service, World};
use flows::Flows;
use parse::{Content, Parsed, Tuple};
use stateless::Cache;

pub use flows::Flow;

/// The oracle: settings, and what packets have left behind.
#[derive(Clone, Debug)]
pub struct Oracle {
    /// Settings.
    pub world: World,
    /// Tick.
    pub now: u32,
    /// Tick at which the settings were made.
    pub installed_at: u32,
    /// Ways that the FIB knows, by destination: interface, destination and source MAC address.
    pub fib: HashMap<IpAddr, (u32, Mac, Mac)>,
    /// Flows.
    pub flows: Flows,
    /// What was counted.
    pub counters: Counters,
    cache: Cache,
    budgets: HashMap<u16, (u32, u32)>,
}

/// How a packet leaves.
struct Sent {
    reason: Reason,
    egress: u32,
    frame: Vec<u8>,
}

/// What a packet brings along.
struct Arrival<'a> {
    frame: &'a [u8],
    ingress: u32,
    parsed: Parsed,
}

impl Oracle {
    /// With nothing remembered, and room for so many flow entries (two for each flow).
    pub fn new(world: World, capacity: usize) -> Self {
        Self {
            world,
            now: 0,
            installed_at: 0,
            fib: HashMap::new(),
            flows: Flows::new(capacity),
            counters: Counters::default(),
            cache: Cache::default(),
            budgets: HashMap::new(),
        }
    }

    /// Decides and counts.
    pub fn run(&mut self, frame: &[u8], ingress: u32) -> (Reason, engine::Result) {
        let mut facts = Facts { bytes: frame.len() as u64, ..Facts::default() };
        let (reason, egress, out) = match self.decide(frame, ingress, &mut facts) {
            Ok(sent) => (sent.reason, sent.egress, sent.frame),
            Err(reason) => (reason, 0, frame.to_vec()),
        };
        self.counters.add(reason, &facts);
        (reason, engine::Result { verdict: Verdict::of(reason, ingress, egress), frame: out })
    }

    fn decide(&mut self, frame: &[u8], ingress: u32, facts: &mut Facts) -> Result<Sent, Reason> {
        let parsed = parse::parse(frame)?;
        facts.bytes = (parsed.ip + parsed.ip_len) as u64;
        if matches!(parsed.content, Ok(Content::Discovery)) {
            return Err(Reason::NeighbourDiscovery);
        }
        let arrival = Arrival { frame, ingress, parsed };
        if let Some(done) = self.known_flow(&arrival, facts) {
            return done;
        }
        let Some(vip) = self.world.vips.iter().find(|vip| vip.addr == arrival.parsed.dst) else {
            self.traffic_acl(arrival.parsed.src, facts)?;
            return Err(Reason::NotOurs);
        };
        let pass = vip.unknown_port_pass;
        self.service_acl(arrival.parsed.src, facts)?;
        if is_martian(&arrival.parsed) {
            return Err(Reason::MartianSource);
        }
        let (tuple, is_error) = match arrival.parsed.content.clone()? {
            Content::Tcp { tuple, .. } | Content::Udp { tuple } => (tuple, false),
            Content::Echo => return Err(Reason::VipEcho),
            Content::Error(Some((quoted, _))) if quoted.src == arrival.parsed.dst => {
                (quoted.reversed(), true)
            }
            Content::Error(_) | Content::OtherIcmp | Content::Discovery => {
                return Err(Reason::UnsupportedIcmp);
            }
        };
        let service = match self.service(tuple) {
            Some(service) => service.clone(),
            None if is_error => return Err(Reason::UnsupportedIcmp),
            None if pass => return Err(Reason::UnknownPortPass),
            None => return Err(Reason::UnknownPort),
        };
        facts.service = service.id;
        if service.mode == Mode::L7 && !service.unknown_mode {
            facts.new_flow = is_syn(&arrival.parsed);
            return Err(Reason::Deliver);
        }
        if arrival.parsed.ttl <= 1 {
            return Err(Reason::TtlExceeded);
        }
        match service.mode {
            Mode::L7 => Err(Reason::HelperFailed),
            _ if service.unknown_mode => Err(Reason::HelperFailed),
            Mode::Nat if is_error => Err(Reason::UnsupportedIcmp),
            Mode::Nat => self.begin_nat(&arrival, &service, tuple, facts),
            Mode::DsrL2 => self.direct(&arrival, &service, tuple, is_error, facts),
        }
    }

    /// The service of a packet's destination: its port's, else the VIP's any-port one.
    fn service(&self, tuple: Tuple) -> Option<&Service> {
        [tuple.dport, 0].into_iter().find_map(|port| {
            self.world
                .services
                .iter()
                .find(|s| s.addr == tuple.dst && s.proto == tuple.proto && s.port == port)
        })
    }

    /// The backend of a slot, if it belongs to the service and lives.
    fn usable(&self, service: &Service, slot: u16) -> Option<(u16, BackendValue)> {
        let backend = self.world.backends.get(&slot)?;
        (backend.service == service.id && alive(backend)).then_some((slot, *backend))
    }

    /// Ring slot of a tuple: current and previous owner.
    fn owners(&self, service: &Service, tuple: Tuple) -> Result<(u16, u16), Reason> {
        if service.ring.is_empty() {
            return Err(Reason::NoBackend);
        }
        let hash = proxy_ebpf::hash::flow_hash(self.world.config.seed, &tuple.key());
        Ok(service.ring[proxy_ebpf::hash::ring_index(hash, service.ring.len() as u32) as usize])
    }
}

/// Whether packets may go to a backend at all.
fn alive(backend: &BackendValue) -> bool {
    backend.state == BackendState::Active as u8 || backend.state == BackendState::Draining as u8
}

/// Whether a packet can leave towards a backend.
fn next_hop(arrival: &Arrival<'_>, backend: &BackendValue) -> Result<(), Reason> {
    if backend.flags & backend_flag::RESOLVED == 0 {
        return Err(Reason::NeighbourUnresolved);
    }
    if arrival.parsed.ip_len > usize::from(backend.mtu) {
        return Err(Reason::TooBig);
    }
    untagged_or_same(arrival, backend.ifindex)
}

fn untagged_or_same(arrival: &Arrival<'_>, egress: u32) -> Result<(), Reason> {
    if arrival.parsed.tags > 0 && egress != arrival.ingress { Err(Reason::VlanAcross) } else { Ok(()) }
}

/// Sources that can't be: 0/8, 127/8, multicast and class E; `::`, `::1`, multicast and mapped; the destination itself.
fn is_martian(parsed: &Parsed) -> bool {
    parsed.src == parsed.dst
        || match parsed.src {
            IpAddr::V4(v4) => v4.octets()[0] == 0 || v4.is_loopback() || v4.octets()[0] >= 224,
            IpAddr::V6(v6) => {
                v6.is_unspecified() || v6.is_loopback() || v6.is_multicast() || v6.to_ipv4_mapped().is_some()
            }
        }
}

/// A bare SYN.
fn is_syn(parsed: &Parsed) -> bool {
    matches!(parsed.content, Ok(Content::Tcp { flags, .. }) if flags & 0x12 == 2)
}

/// Whether a packet may be the first of a flow.
fn may_begin(parsed: &Parsed, tuple: Tuple) -> bool {
    tuple.proto == proto::UDP || is_syn(parsed)
}
