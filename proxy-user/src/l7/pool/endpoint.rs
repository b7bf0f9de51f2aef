//! One endpoint: its connections, who waits for one, and how well it does.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use crate::l7::snapshot::{EndpointState, Outlier};
use crate::l7::stats::Tally;
use crate::l7::worker::Key;

/// One endpoint of one service.
#[derive(Debug)]
pub(in crate::l7) struct Endpoint {
    /// Service that it belongs to.
    pub(in crate::l7) service: Key,
    /// Where it listens; port 0: the port that the client dialled.
    pub(in crate::l7) addr: SocketAddr,
    pub(in crate::l7) weight: u16,
    pub(in crate::l7) state: EndpointState,
    /// No longer in the snapshot: kept for its connections.
    pub(in crate::l7) gone: bool,
    /// Idle connections, the one used last at the end.
    pub(in crate::l7) idle: Vec<Key>,
    /// Connections that requests share.
    pub(in crate::l7) shared: Vec<Key>,
    /// Clients whose request waits for a connection.
    pub(in crate::l7) pending: VecDeque<Key>,
    /// Connections in all.
    pub(in crate::l7) connections: u32,
    /// Those of them that are tunnels, which the pool's bound does not have.
    pub(in crate::l7) tunnels: u32,
    /// Requests, or tunnels, under way.
    pub(in crate::l7) active: u32,
    /// When it came, in microseconds; 0: it was there from the start.
    pub(in crate::l7) born: u64,
    pub(in crate::l7) counters: EndpointCounters,
    pub(in crate::l7) answers: Tally,
    /// For turns by weight.
    pub(super) credit: i64,
    failures: u32,
    ejections: u32,
    ejected_until: u64,
    /// Not chosen before this time if there are others: connections to it could not be made.
    unreached_until: u64,
    unreached: u32,
}

/// What is counted.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::l7) struct EndpointCounters {
    pub(in crate::l7) requests: u64,
    pub(in crate::l7) failures: u64,
    pub(in crate::l7) connects: u64,
    pub(in crate::l7) connect_failures: u64,
    pub(in crate::l7) reused: u64,
    pub(in crate::l7) resets: u64,
    pub(in crate::l7) retries: u64,
    pub(in crate::l7) ejections: u64,
}

/// How a request went, as far as its endpoint is to blame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::l7) enum Verdict {
    Good,
    Failed,
}

impl Endpoint {
    pub(in crate::l7) fn new(
        service: Key,
        addr: SocketAddr,
        weight: u16,
        state: EndpointState,
        born: u64,
    ) -> Self {
        Self {
            service,
            addr,
            weight,
            state,
            gone: false,
            idle: Vec::new(),
            shared: Vec::new(),
            pending: VecDeque::new(),
            connections: 0,
            tunnels: 0,
            active: 0,
            born,
            counters: EndpointCounters::default(),
            answers: Tally::default(),
            credit: 0,
            failures: 0,
            ejections: 0,
            ejected_until: 0,
            unreached_until: 0,
            unreached: 0,
        }
    }

    /// Connections that requests have, or may get.
    pub(in crate::l7) fn pooled(&self) -> u32 {
        self.connections.saturating_sub(self.tunnels)
    }

    /// Takes new requests, whatever its health.
    pub(in crate::l7) fn in_service(&self) -> bool {
        !self.gone && self.weight > 0 && self.state == EndpointState::Active
    }

    pub(in crate::l7) fn is_ejected(&self, now: u64) -> bool {
        self.ejected_until > now
    }

    /// A connection could not be made: others come first for a second, and longer each time up to 16.
    pub(in crate::l7) fn not_reached(&mut self, now: u64) {
        self.counters.connect_failures += 1;
        self.unreached_until = now.saturating_add(1_000_000 << self.unreached.min(4));
        self.unreached = self.unreached.saturating_add(1);
    }

    /// A connection was made.
    pub(in crate::l7) fn reached(&mut self) {
        self.unreached = 0;
        self.unreached_until = 0;
    }

    /// Connections to it could not be made lately.
    pub(in crate::l7) fn is_unreached(&self, now: u64) -> bool {
        self.unreached_until > now
    }

    /// Notes how a request went. Says whether the endpoint is one to leave out, as far as it alone tells.
    pub(in crate::l7) fn note(&mut self, verdict: Verdict, rule: Option<&Outlier>) -> bool {
        if verdict == Verdict::Good {
            self.failures = 0;
            return false;
        }
        self.counters.failures += 1;
        self.failures = self.failures.saturating_add(1);
        rule.is_some_and(|rule| rule.failures > 0 && self.failures >= rule.failures)
    }

    /// Leaves it out: twice as long as the last time.
    pub(in crate::l7) fn eject(&mut self, rule: &Outlier, now: u64) {
        let times = 1_u32.checked_shl(self.ejections).unwrap_or(u32::MAX);
        let time = rule.base.saturating_mul(times).min(rule.longest);
        self.ejections = self.ejections.saturating_add(1).min(31);
        self.ejected_until = now.saturating_add(micros(time));
        self.failures = 0;
        self.counters.ejections += 1;
    }

    /// Weight while it starts slowly, in thousandths of the unit of weight; never 0 for one in service.
    pub(super) fn effective_weight(&self, slow_start: Duration, now: u64) -> u64 {
        let full = u64::from(self.weight) * 1000;
        let (age, span) = (now.saturating_sub(self.born), micros(slow_start));
        if self.born == 0 || age >= span {
            return full;
        }
        (full.saturating_mul(age) / span.max(1)).max(full / 10).max(1)
    }
}

/// Microseconds, up to the largest number.
pub(in crate::l7) fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// How many retries there may be: a part of the requests, and a few.
#[derive(Clone, Copy, Debug)]
pub(in crate::l7) struct Budget(u32);

impl Default for Budget {
    fn default() -> Self {
        Self(FEW * RETRY)
    }
}

impl Budget {
    /// A request has come, of which `percent` of a retry may be.
    #[inline]
    pub(in crate::l7) fn earn(&mut self, percent: u8) {
        self.0 = (self.0 + u32::from(percent)).min(MOST * RETRY);
    }

    /// Whether there may be a retry now.
    pub(in crate::l7) fn spend(&mut self) -> bool {
        match self.0.checked_sub(RETRY) {
            Some(left) => {
                self.0 = left;
                true
            }
            None => false,
        }
    }
}

/// What a retry costs.
const RETRY: u32 = 100;
/// Retries that are allowed without requests before.
const FEW: u32 = 10;
/// Retries that may be saved up.
const MOST: u32 = 100;
