//! What the demo found, as JSON gives it, and whether it is what it should be.

use std::collections::BTreeMap;

use serde::Serialize;

use super::traffic::{Asked, ByHop, HOP_REQUESTS, HTTP_CONNECTIONS, REQUESTS, RPC_CONNECTIONS};

/// The counts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(in crate::demo) struct Report {
    /// Over HTTP, as the client counts.
    pub(super) http: Asked,
    /// Requests by backend, as the backends count.
    pub(super) http_served: BTreeMap<String, u64>,
    /// Connections, as weir's XDP program counts, with those of the trusted hop.
    pub(super) http_connections_counted: u64,
    /// Over Bolt, as the client counts.
    pub(super) rpc: Asked,
    /// Requests by backend, as the backends count.
    pub(super) rpc_served: BTreeMap<String, u64>,
    /// Connections, as weir's XDP program counts.
    pub(super) rpc_connections_counted: u64,
    /// Connections that backends have accepted.
    pub(super) rpc_upstream_connections: u64,
    /// Requests that a trusted hop forwards.
    pub(super) hop: ByHop,
    /// Packets that the denied source sent.
    pub(super) denied_sent: u64,
    /// Of these, dropped in XDP by the list.
    pub(super) denied_dropped_in_xdp: u64,
    /// Of these, with a connection at a backend.
    pub(super) denied_reached_backend: u64,
    /// `native`, on every interface.
    pub(super) xdp_mode: String,
    /// The whole demo, milliseconds.
    pub(in crate::demo) elapsed_ms: u64,
}

impl Report {
    /// Every count that is not as it should be, in words.
    pub(in crate::demo) fn wrong(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        let mut expect = |right: bool, text: String| {
            if !right {
                wrong.push(text);
            }
        };
        for (name, asked, count) in [
            ("HTTP", &self.http, HTTP_CONNECTIONS * u64::from(REQUESTS)),
            ("Bolt", &self.rpc, RPC_CONNECTIONS * u64::from(REQUESTS)),
        ] {
            let cause =
                asked.failure.as_ref().map_or(String::new(), |failure| format!(" (first: {failure})"));
            expect(
                asked.failed == 0 && asked.requests == count,
                format!("{} of {} {name} requests failed{cause}", asked.failed, asked.requests),
            );
        }
        let half = HTTP_CONNECTIONS * u64::from(REQUESTS) / 2;
        let routed =
            BTreeMap::from([("rest: backend-a".to_owned(), half), ("testers: backend-b".to_owned(), half)]);
        expect(
            self.http.answers == routed,
            format!("requests did not go by their header: {:?}", self.http.answers),
        );
        let served = BTreeMap::from([("backend-a".to_owned(), half), ("backend-b".to_owned(), half)]);
        expect(
            self.http_served == served,
            format!("HTTP backends count other requests: {:?}", self.http_served),
        );
        expect(
            self.rpc_served == self.rpc.answers,
            format!(
                "Bolt backends count other requests ({:?}) than the client ({:?})",
                self.rpc_served, self.rpc.answers
            ),
        );
        let least = self.rpc.requests / 4;
        let spread = self.rpc.answers.len() == 2 && self.rpc.answers.values().all(|count| *count >= least);
        expect(spread, format!("one backend has most of the Bolt requests: {:?}", self.rpc.answers));
        expect(
            self.hop
                == ByHop {
                    asked: HOP_REQUESTS,
                    answered: HOP_REQUESTS,
                    asked_for_denied: HOP_REQUESTS,
                    denied: HOP_REQUESTS,
                },
            format!("what a trusted hop says is not what counts: {:?}", self.hop),
        );
        let counted = (self.http_connections_counted, self.rpc_connections_counted);
        let made = (self.http.connections + 2 * HOP_REQUESTS, self.rpc.connections);
        expect(
            counted == made,
            format!("weir counts other connections ({counted:?}) than there were ({made:?})"),
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
        expect(self.xdp_mode == "native", format!("XDP runs in {} mode, not native", self.xdp_mode));
        wrong
    }
}
