//! How a service behaves, beyond where it is and who serves it. Everything has a default.

use std::time::Duration;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::Service;
use crate::l7::codec;

/// How a service behaves.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Rules {
    /// Codecs to detect, in this order, on a connection's first bytes; empty: it is the service's codec.
    pub detect: Vec<String>,
    /// What none of them has is passed on as opaque TCP; else it is closed.
    pub fallback: bool,
    /// Peers that are believed what they say of clients (addresses, timeouts).
    pub trusted: Vec<IpNet>,
    /// Who may ask.
    pub access: Option<Access>,
    /// How an endpoint is chosen.
    pub balance: Balance,
    /// Endpoints that fail are left out.
    pub outlier: Option<Outlier>,
    /// An endpoint that is new gets its full share only after this time; zero: at once.
    pub slow_start: Duration,
    /// With fewer percent than this of the endpoints in service, all are used, also those that fail; 0: never.
    pub panic_percent: u8,
    /// Connections to endpoints.
    pub pool: Pool,
    /// Bolt clients are sent go-away when a worker drains: only if all of them are known to take it.
    pub goaway: bool,
    /// `CONNECT` is taken (HTTP/1).
    pub connect: bool,
    /// `Upgrade` is not passed on (HTTP/1).
    pub no_upgrade: bool,
    /// One of so many requests is logged; 0: none.
    pub access_log: u32,
    /// A request's head, and the whole of a message where requests share a connection (Bolt), comes within this time of its
    /// first byte; zero: 30 seconds.
    pub head: Duration,
}

/// Who may ask: an ordered list, the first match decides, as nginx's `allow` and `deny` do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Access {
    /// The header that says who the client is, as a list with the nearest last; none: the peer is the client. It counts
    /// only from [`Rules::trusted`] peers; for others the peer is the client.
    pub header: Option<String>,
    /// How many trusted hops append to the header: the client is so many entries from its end. 0 is 1.
    pub hops: u8,
    /// The rules.
    pub rules: Vec<AccessRule>,
    /// Names of the ACL's lists that the last of these rules are, for who asks why.
    pub lists: Vec<String>,
    /// Without a match: deny.
    pub default_deny: bool,
}

/// One rule.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessRule {
    /// Deny; else allow.
    pub deny: bool,
    /// Whom.
    pub sources: Vec<IpNet>,
}

/// How an endpoint is chosen.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Balance {
    /// Of two drawn at random, the one with fewer requests for its weight.
    #[default]
    LeastRequest,
    /// In turn, by weight.
    RoundRobin,
    /// The same endpoint for the same key, as long as endpoints stay.
    Maglev(HashBy),
}

/// What is hashed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HashBy {
    /// The client's address.
    Source,
    /// A header; requests without it go by the client's address.
    Header(String),
}

/// When an endpoint is left out for what it answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Outlier {
    /// Failures (5xx, resets, timeouts) in a row.
    pub failures: u32,
    /// For how long the first time; the second time twice as long, and so on.
    pub base: Duration,
    /// At most.
    pub longest: Duration,
    /// Never more than so many percent of the service's endpoints at a time, but always one.
    pub ceiling_percent: u8,
}

impl Default for Outlier {
    fn default() -> Self {
        let (base, longest) = (Duration::from_secs(30), Duration::from_secs(300));
        Self { failures: 5, base, longest, ceiling_percent: 10 }
    }
}

/// Connections to endpoints. Bounds are of each worker and endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Pool {
    /// Connections to one endpoint at most; 0 is the protocol's custom: 1 where requests share a connection (Bolt),
    /// 1024 where they don't.
    pub connections: u32,
    /// Requests under way on a shared connection at most.
    pub streams: u32,
    /// An idle connection is closed after this time.
    pub idle: Duration,
    /// A connection takes no new requests after this time; zero: no bound.
    pub longest: Duration,
    /// A shared connection without traffic is asked for a sign of life after this time; without one in as long again it
    /// is given up. Zero: never.
    pub heartbeat: Duration,
}

impl Default for Pool {
    fn default() -> Self {
        Self {
            connections: 0,
            streams: 16_384,
            idle: Duration::from_secs(60),
            longest: Duration::ZERO,
            heartbeat: Duration::from_secs(15),
        }
    }
}

impl Service {
    /// Caps on a client's messages.
    pub(in crate::l7) fn codec_limits(&self) -> codec::Limits {
        let defaults = codec::Limits::default();
        let bound = self.limits.body_bytes;
        codec::Limits {
            body: bound.unwrap_or(u64::MAX),
            whole: usize::try_from(bound.unwrap_or(MESSAGE))
                .unwrap_or(usize::MAX)
                .saturating_add(defaults.head),
            connect: self.rules.connect,
            upgrade: !self.rules.no_upgrade,
            ..defaults
        }
    }

    /// Whether what no codec has is passed on unread. Not where somebody is to be judged by what is read: by `routes`, if it has
    /// any, or by a header.
    pub(in crate::l7) fn falls_back(&self, routes: bool) -> bool {
        let rules = &self.rules;
        rules.fallback && !routes && rules.access.as_ref().is_none_or(|list| list.header.is_none())
    }
}

/// Bytes of a message that is kept until it is whole, beside its head, where no bound is set.
const MESSAGE: u64 = 1 << 20;
