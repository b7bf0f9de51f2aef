//! What the demo found, as JSON gives it, and whether it is what it should be.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::Serialize;

use super::daemon::Daemon;
use super::deny::LIST;
use super::error::DemoError;
use super::steer::CONNECTIONS;
use super::topology::{CLIENT, CLIENTS, INTERFACES, VIP};
use crate::control::types::ExplainQuery;
use crate::model::Protocol;

/// The counts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Report {
    /// Connections tried.
    pub(super) connections: u64,
    /// Of these, without a whole answer.
    pub(super) failed: u64,
    /// Why the first of them failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) failure: Option<String>,
    /// Answers by backend, as the client counts.
    pub(super) per_backend: BTreeMap<String, u64>,
    /// Connections by backend, as weir counts.
    pub(super) counted_per_backend: BTreeMap<String, u64>,
    /// Packets that the denied network sent.
    pub(super) denied_sent: u64,
    /// Of these, dropped in XDP by the list.
    pub(super) denied_dropped_in_xdp: u64,
    /// Of these, seen by a backend.
    pub(super) denied_reached_backend: u64,
    /// What `weir explain` says of a denied packet.
    pub(super) explained: Explained,
    /// `native`, on every interface.
    pub(super) xdp_mode: String,
    /// A denied packet in a test run of the loaded object, nanoseconds.
    pub(super) ns_per_packet: u64,
    /// An empty program in the same test run, nanoseconds.
    pub(super) floor_ns: u64,
    /// The whole demo, milliseconds.
    pub(super) elapsed_ms: u64,
}

/// What `weir explain` says of a denied packet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Explained {
    verdict: String,
    reason: String,
    list: String,
    prefix: String,
    ttl_seconds: Option<u64>,
}

impl Report {
    /// Every count that is not as it should be, in words.
    pub(super) fn wrong(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        let mut expect = |right: bool, text: String| {
            if !right {
                wrong.push(text);
            }
        };
        let cause = self.failure.as_ref().map_or(String::new(), |failure| format!(" (first: {failure})"));
        expect(
            self.failed == 0,
            format!("{} of {} connections failed{cause}", self.failed, self.connections),
        );
        let answers: u64 = self.per_backend.values().sum();
        expect(answers == CONNECTIONS, format!("{answers} answers to {CONNECTIONS} connections"));
        for (name, count) in &self.per_backend {
            expect(
                *count >= LEAST,
                format!("{name} got {count} of {CONNECTIONS} connections, not {LEAST} or more"),
            );
        }
        expect(
            self.per_backend == self.counted_per_backend,
            format!(
                "weir counts other connections ({:?}) than the client ({:?})",
                self.counted_per_backend, self.per_backend
            ),
        );
        expect(
            self.denied_dropped_in_xdp == self.denied_sent,
            format!(
                "{} of {} denied packets were dropped in XDP",
                self.denied_dropped_in_xdp, self.denied_sent
            ),
        );
        expect(
            self.denied_reached_backend == 0,
            format!("{} denied packets reached a backend", self.denied_reached_backend),
        );
        expect(
            self.explained.is_the_denial(),
            format!("explain does not name the list and its prefix: {:?}", self.explained),
        );
        expect(self.xdp_mode == "native", format!("XDP runs in {} mode, not native", self.xdp_mode));
        wrong
    }
}

impl Explained {
    /// Asks the daemon about a packet of the client to the VIP.
    pub(super) fn ask(daemon: &Daemon) -> Result<Self, DemoError> {
        let query = ExplainQuery {
            source: CLIENT.into(),
            destination: (*VIP.ip()).into(),
            protocol: Protocol::Tcp,
            port: VIP.port(),
            source_port: None,
            interface: INTERFACES.first().map(|name| (*name).to_owned()),
            established: false,
        };
        let answer = daemon.ask(daemon.client().explain(&query))?;
        let lookup = daemon.ask(daemon.client().lookup(IpAddr::V4(CLIENT)))?.value;
        let acl = answer.acl;
        Ok(Self {
            verdict: answer.verdict,
            reason: answer.reason,
            list: acl.as_ref().and_then(|acl| acl.list.clone()).unwrap_or_default(),
            prefix: acl.and_then(|acl| acl.prefix).unwrap_or_default(),
            ttl_seconds: lookup.matches.first().and_then(|found| found.ttl_seconds),
        })
    }

    /// For people.
    pub(super) fn describe(&self) -> String {
        let ttl = self.ttl_seconds.map_or(String::new(), |seconds| format!(" ttl {seconds}s"));
        format!(
            "weir explain {CLIENT} {} tcp {}\n{CLIENT} -> {VIP} : {}  {} {}{ttl}",
            VIP.ip(),
            VIP.port(),
            self.verdict.to_uppercase(),
            self.list,
            self.prefix
        )
    }

    fn is_the_denial(&self) -> bool {
        self.verdict == "drop"
            && self.list == LIST
            && self.prefix == CLIENTS.to_string()
            && self.ttl_seconds.is_some_and(|seconds| seconds <= 60)
    }
}

/// Of the connections, to each backend: an even spread gives less about once in 10^12 runs.
const LEAST: u64 = 50;

#[cfg(test)]
mod tests {
    use super::*;

    fn right() -> Report {
        let spread = BTreeMap::from([("backend-a".to_owned(), 101), ("backend-b".to_owned(), 99)]);
        Report {
            connections: 200,
            failed: 0,
            failure: None,
            per_backend: spread.clone(),
            counted_per_backend: spread,
            denied_sent: 1_004,
            denied_dropped_in_xdp: 1_004,
            denied_reached_backend: 0,
            explained: Explained {
                verdict: "drop".into(),
                reason: "acl_drop".into(),
                list: "block".into(),
                prefix: "203.0.113.0/24".into(),
                ttl_seconds: Some(58),
            },
            xdp_mode: "native".into(),
            ns_per_packet: 41,
            floor_ns: 9,
            elapsed_ms: 2_000,
        }
    }

    #[test]
    fn right_counts_pass() {
        assert_eq!(right().wrong(), Vec::<String>::new());
    }

    #[test]
    fn each_wrong_count_is_told() {
        let wrong = |change: fn(&mut Report)| {
            let mut report = right();
            change(&mut report);
            report.wrong().join("; ")
        };
        assert!(wrong(|report| report.denied_dropped_in_xdp = 1_003).contains("1003 of 1004"));
        assert!(wrong(|report| report.denied_reached_backend = 1).contains("reached a backend"));
        assert!(wrong(|report| report.xdp_mode = "native,generic".into()).contains("generic"));
        assert!(wrong(|report| report.failed = 1).contains("1 of 200 connections failed"));
        assert!(wrong(|report| report.explained.list = "deny".into()).contains("explain"));
        let shifted = wrong(|report| {
            report.per_backend = BTreeMap::from([("backend-a".to_owned(), 199), ("backend-b".to_owned(), 1)]);
        });
        assert!(shifted.contains("backend-b got 1") && shifted.contains("weir counts other"), "{shifted}");
    }
}
