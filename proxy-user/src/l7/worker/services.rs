//! Services as a worker runs them: compiled from a snapshot, with their counters and endpoints. A snapshot that says the
//! same of a service leaves all of it as it was.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::rc::Rc;

use super::connection::Protocol;
use super::counters::Counters;
use super::engine::Engine;
use super::held;
use super::slab::{Key, Slab};
use super::timers::NEVER;
use crate::l7::codec::{self, Codec, Limits as CodecLimits, PoolMode};
use crate::l7::pool::{Budget, Chooser, Endpoint, micros};
use crate::l7::route::access::AccessList;
use crate::l7::route::{Ranges, Taken, VirtualHosts};
use crate::l7::snapshot::{self, EndpointState, Snapshot};

/// One service.
#[derive(Debug)]
pub(super) struct Service {
    pub(super) name: Rc<str>,
    /// As the snapshot has it.
    pub(super) plan: snapshot::Service,
    hosts_plan: Vec<snapshot::VirtualHost>,
    /// Who may ask.
    pub(super) access: Option<AccessList>,
    /// Peers that are believed.
    pub(super) trusted: Ranges,
    pub(super) codec: Protocol,
    /// To be detected among; empty: it is `codec`.
    pub(super) candidates: Vec<Protocol>,
    /// None: all goes to itself.
    pub(super) hosts: Option<VirtualHosts>,
    pub(super) itself: Rc<Taken>,
    pub(super) chooser: Chooser,
    pub(super) counters: Counters,
    pub(super) budget: Budget,
    pub(super) bounds: Bounds,
    /// No longer in the snapshot: kept for its connections.
    pub(super) gone: bool,
    pub(super) log_turn: u32,
}

impl Service {
    /// Whether it has left the snapshot, and nothing holds it any more.
    pub(super) fn is_over(&self) -> bool {
        self.gone && self.counters.active == 0 && self.counters.requests_active == 0
    }

    /// Bytes of the longest message that is kept until it is whole, if there are such.
    fn longest_kept(&self) -> Option<usize> {
        let mut all = std::iter::once(&self.codec).chain(&self.candidates);
        all.any(|codec| codec.0.pool() == PoolMode::Multiplex).then_some(self.bounds.codec.whole)
    }

    /// Whether a connection of this protocol may be one of its own.
    pub(super) fn speaks(&self, codec: Protocol) -> bool {
        let all = std::iter::once(&self.codec).chain(&self.candidates);
        all.into_iter().any(|one| one.0.name() == codec.0.name())
    }

    /// Whether what no codec has is passed on unread.
    pub(super) fn falls_back(&self) -> bool {
        self.plan.falls_back(self.hosts.is_some())
    }
}

/// Bounds and times, ready for use: a worker's share, and microseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) connections: u64,
    pub(super) requests: u64,
    pub(super) pending: u64,
    pub(super) codec: CodecLimits,
    /// Of answers.
    pub(super) answers: CodecLimits,
    pub(super) connect: u64,
    pub(super) idle: u64,
    pub(super) request: u64,
    pub(super) pool_idle: u64,
    pub(super) pool_longest: u64,
    pub(super) heartbeat: u64,
    pub(super) streams: usize,
    /// For a message to come.
    pub(super) head: u64,
}

impl Bounds {
    fn of(plan: &snapshot::Service, workers: u32) -> Self {
        let share =
            |bound: Option<u32>| bound.map_or(u64::MAX, |all| u64::from(all.div_ceil(workers.max(1))));
        let or_never = |time: u64| if time == 0 { NEVER } else { time };
        let defaults = CodecLimits::default();
        let rules = &plan.rules;
        Self {
            connections: share(plan.limits.connections),
            requests: share(plan.limits.requests),
            pending: share(plan.limits.pending.or(Some(PENDING))),
            codec: plan.codec_limits(),
            // A bound on requests says nothing of answers, which a client may choose.
            answers: CodecLimits { body: u64::MAX, whole: defaults.whole, ..plan.codec_limits() },
            connect: micros(plan.timeouts.connect),
            idle: micros(plan.timeouts.idle),
            request: plan.timeouts.request.map_or(NEVER, micros),
            pool_idle: or_never(micros(rules.pool.idle)),
            pool_longest: or_never(micros(rules.pool.longest)),
            heartbeat: or_never(micros(rules.pool.heartbeat)),
            head: if rules.head.is_zero() { HEAD } else { micros(rules.head) },
            streams: usize::try_from(rules.pool.streams).unwrap_or(usize::MAX).max(1),
        }
    }
}

/// For a message to come, in microseconds, where nothing is said.
const HEAD: u64 = 30_000_000;
/// Requests that wait, where no bound is set.
const PENDING: u32 = 1024;

/// Where services are found.
#[derive(Debug, Default)]
pub(super) struct Directory {
    pub(super) all: Slab<Service>,
    pub(super) by_name: HashMap<Rc<str>, Key>,
    by_address: HashMap<SocketAddr, Key>,
}

impl Directory {
    /// The service of a connection by its local address: the port's own, else that of every port.
    pub(super) fn at(&self, local: SocketAddr) -> Option<Key> {
        let find = |port| self.by_address.get(&SocketAddr::new(local.ip(), port)).copied();
        find(local.port()).or_else(|| find(0))
    }

    pub(super) fn named(&self, name: &str) -> Option<Key> {
        self.by_name.get(name).copied()
    }
}

impl Engine {
    /// Serves by this snapshot from now on.
    ///
    /// # Errors
    /// The snapshot has a fault ([`Snapshot::check`]); nothing has changed then.
    pub(super) fn serve_by(&mut self, snapshot: &Snapshot) -> Result<(), String> {
        snapshot.check()?;
        let first = !self.ready;
        let returning = self.returning(snapshot);
        for (name, plan) in &snapshot.services {
            let hosts = snapshot.routes.services.get(name).map_or(&[][..], Vec::as_slice);
            match (self.directory.named(name), returning.get(&**name)) {
                (Some(key), _) => self.change_service(key, plan, hosts),
                (None, Some(key)) => {
                    self.revive(*key);
                    self.change_service(*key, plan, hosts);
                }
                (None, None) => self.new_service(name, plan, hosts, first),
            }
            // Many services take their time.
            self.show_life();
        }
        let gone: Vec<Key> = self
            .directory
            .all
            .iter()
            .filter(|(_, service)| !snapshot.services.contains_key(&*service.name))
            .map(|(key, _)| key)
            .collect();
        for key in &gone {
            self.end_service(*key);
        }
        let there = self.directory.all.iter().filter(|(_, service)| !service.gone);
        let by_address: HashMap<_, _> = there.map(|(key, service)| (service.plan.vip, key)).collect();
        if by_address != self.directory.by_address {
            self.directory.by_address = by_address;
            self.rehome();
        }
        for key in gone {
            self.send_away(key);
        }
        self.forget_services();
        let longest = self.directory.all.iter().filter_map(|(_, service)| service.longest_kept()).max();
        self.most_held = held::MOST.max(longest.unwrap_or(0).saturating_mul(4));
        self.ready = true;
        Ok(())
    }

    fn new_service(
        &mut self,
        name: &str,
        plan: &snapshot::Service,
        hosts: &[snapshot::VirtualHost],
        first: bool,
    ) {
        let name: Rc<str> = name.into();
        let key = self.directory.all.next_key();
        let born = if first { 0 } else { self.now };
        let members = plan.endpoints.iter().map(|endpoint| self.new_endpoint(key, endpoint, born)).collect();
        let seed = self.seed();
        let service = Service {
            chooser: Chooser::new(&plan.rules, members, &self.endpoints, seed),
            codec: protocol(&plan.codec),
            candidates: plan.rules.detect.iter().map(|codec| protocol(codec)).collect(),
            hosts: (!hosts.is_empty()).then(|| VirtualHosts::compile(hosts)),
            hosts_plan: hosts.to_vec(),
            access: plan.rules.access.as_ref().map(AccessList::compile),
            trusted: Ranges::of(&plan.rules.trusted),
            itself: Rc::new(Taken::to_itself()),
            counters: Counters::default(),
            budget: Budget::default(),
            bounds: Bounds::of(plan, self.workers),
            plan: plan.clone(),
            gone: false,
            log_turn: 0,
            name: Rc::clone(&name),
        };
        let key = self.directory.all.insert(service);
        self.directory.by_name.insert(name, key);
    }

    fn new_endpoint(&mut self, service: Key, plan: &snapshot::Endpoint, born: u64) -> Key {
        self.endpoints.insert(Endpoint::new(service, plan.addr, plan.weight, plan.state, born))
    }

    fn change_service(&mut self, key: Key, plan: &snapshot::Service, hosts: &[snapshot::VirtualHost]) {
        let (workers, now, seed) = (self.workers, self.now, self.seed());
        let Some(service) = self.directory.all.get_mut(key) else { return };
        if service.hosts_plan != hosts {
            let compiled = VirtualHosts::compile_after(hosts, service.hosts.as_ref());
            service.hosts = (!hosts.is_empty()).then_some(compiled);
            service.hosts_plan = hosts.to_vec();
        }
        if service.plan == *plan {
            return;
        }
        service.codec = protocol(&plan.codec);
        service.candidates = plan.rules.detect.iter().map(|codec| protocol(codec)).collect();
        service.bounds = Bounds::of(plan, workers);
        // Endpoints change often, long lists seldom.
        if service.plan.rules.access != plan.rules.access {
            service.access = plan.rules.access.as_ref().map(AccessList::compile);
        }
        service.trusted = Ranges::of(&plan.rules.trusted);
        service.plan = plan.clone();
        let before = service.chooser.members().to_vec();
        let known: HashMap<SocketAddr, Key> =
            before.iter().filter_map(|key| Some((self.endpoints.get(*key)?.addr, *key))).collect();
        let mut members = Vec::with_capacity(plan.endpoints.len());
        for endpoint in &plan.endpoints {
            let known = known.get(&endpoint.addr).copied();
            if let Some(there) = known.and_then(|key| self.endpoints.get_mut(key)) {
                there.weight = endpoint.weight;
                there.state = endpoint.state;
            }
            members.push(known.unwrap_or_else(|| self.new_endpoint(key, endpoint, now)));
        }
        let stay: HashSet<Key> = members.iter().copied().collect();
        let gone: Vec<Key> = before.into_iter().filter(|key| !stay.contains(key)).collect();
        let chooser = Chooser::new(&plan.rules, members.clone(), &self.endpoints, seed);
        if let Some(service) = self.directory.all.get_mut(key) {
            service.chooser = chooser;
        }
        for endpoint in gone {
            self.end_endpoint(endpoint);
        }
        for endpoint in members {
            if self.endpoints.get(endpoint).is_some_and(|endpoint| endpoint.state == EndpointState::Down) {
                self.retire_connections(endpoint);
            }
        }
    }

    /// An endpoint has left: what is under way ends by itself.
    pub(super) fn end_endpoint(&mut self, key: Key) {
        let Some(endpoint) = self.endpoints.get_mut(key) else { return };
        endpoint.gone = true;
        let pending = std::mem::take(&mut endpoint.pending);
        self.retire_connections(key);
        for client in pending {
            self.choose_again(client);
        }
        self.forget_endpoint(key);
    }

    /// Removes an endpoint that has left, once nothing holds it.
    pub(super) fn forget_endpoint(&mut self, key: Key) {
        let unused = |endpoint: &Endpoint| endpoint.gone && endpoint.connections == 0 && endpoint.active == 0;
        if self.endpoints.get(key).is_some_and(unused) {
            self.endpoints.remove(key);
        }
    }
}

/// Names are checked before.
fn protocol(name: &str) -> Protocol {
    Protocol(codec::by_name(name).unwrap_or(&codec::tcp::Tcp as &'static dyn Codec))
}
