//! Requests through the VIP: who answered.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use serde::Serialize;

use super::super::error::DemoError;
use super::super::topology::{CLIENT, Topology, VIP};
use super::config::{BOLT_PORT, DENIED, HOP};
use crate::lab::bolt::BoltClient;
use crate::lab::talk::Talk;
use crate::lab::{LabError, run_in};

/// How requests ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Asked {
    /// Connections of the client.
    pub(super) connections: u64,
    /// Requests.
    pub(super) requests: u64,
    /// Of these, without the answer that they should have.
    pub(super) failed: u64,
    /// Answers by the name of the backend that gave them, and for HTTP by the route that the request should take.
    pub(super) answers: BTreeMap<String, u64>,
    /// The first failure.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) failure: Option<String>,
}

/// What became of requests that a trusted hop forwards.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct ByHop {
    /// For somebody whom nobody denies.
    pub(super) asked: u64,
    /// Of these, answered by a backend.
    pub(super) answered: u64,
    /// For the denied source.
    pub(super) asked_for_denied: u64,
    /// Of these, denied with status 403.
    pub(super) denied: u64,
}

/// Requests over HTTP, every other one with the header that takes it to the next version.
pub(super) fn http(lab: &Topology) -> Result<Asked, DemoError> {
    Ok(run_in(&lab.client, || {
        let mut asked = Asked::default();
        for _ in 0..HTTP_CONNECTIONS {
            asked.connections += 1;
            let done = http_connection(&mut asked);
            asked.note(done);
        }
        asked
    })?)
}

fn http_connection(asked: &mut Asked) -> Result<(), LabError> {
    let mut talk = Talk::connect(SocketAddr::V4(VIP), Some(IpAddr::V4(CLIENT)), TIMEOUT)?;
    for number in 0..REQUESTS {
        let (route, line) = if number % 2 == 1 { ("testers", "X-Version: next\r\n") } else { ("rest", "") };
        asked.requests += 1;
        let answer = talk.get("/", "shop.example", line).inspect_err(|_| asked.failed += 1)?;
        *asked.answers.entry(format!("{route}: {}", answer.body)).or_default() += 1;
        asked.failed += u64::from(answer.status != 200);
    }
    Ok(())
}

/// Requests over Bolt, all of a connection at once.
pub(super) fn rpc(lab: &Topology) -> Result<Asked, DemoError> {
    Ok(run_in(&lab.client, || {
        let mut asked = Asked::default();
        let to = SocketAddr::new((*VIP.ip()).into(), BOLT_PORT);
        for _ in 0..RPC_CONNECTIONS {
            asked.connections += 1;
            asked.requests += u64::from(REQUESTS);
            let called = BoltClient::connect(to, Some(IpAddr::V4(CLIENT)), TIMEOUT)
                .and_then(|mut client| client.call("com.example.Orders:1.0", REQUESTS));
            let answers = match called {
                Ok(answers) => answers,
                Err(error) => {
                    asked.failed += u64::from(REQUESTS);
                    asked.note(Err(error));
                    continue;
                }
            };
            for answer in answers {
                asked.failed += u64::from(answer.status != 0);
                *asked.answers.entry(answer.content).or_default() += 1;
            }
        }
        asked
    })?)
}

/// Requests of a trusted hop, for a client that may ask and for the one that may not.
pub(super) fn by_hop(lab: &Topology) -> Result<ByHop, DemoError> {
    run_in(&lab.client, || {
        let mut found = ByHop::default();
        for _ in 0..HOP_REQUESTS {
            let status = |client: &str| {
                let mut talk = Talk::connect(SocketAddr::V4(VIP), Some(IpAddr::V4(HOP)), TIMEOUT)?;
                let answer = talk.get("/", "shop.example", &format!("X-Forwarded-For: {client}\r\n"))?;
                Ok::<_, LabError>(answer.status)
            };
            found.asked += 1;
            found.answered += u64::from(status("192.0.2.1")? == 200);
            found.asked_for_denied += 1;
            found.denied += u64::from(status(&DENIED.to_string())? == 403);
        }
        Ok(found)
    })?
}

impl Asked {
    fn note(&mut self, done: Result<(), LabError>) {
        if let Err(error) = done {
            self.failure.get_or_insert_with(|| error.to_string());
        }
    }

    /// For people.
    pub(super) fn describe(&self) -> String {
        let spread: Vec<String> =
            self.answers.iter().map(|(name, count)| format!("{name} {count}")).collect();
        let failed = if self.failed == 0 { String::new() } else { format!("  failed {}", self.failed) };
        format!(
            "{} requests over {} connections  -> {}{failed}",
            self.requests,
            self.connections,
            spread.join("  ")
        )
    }
}

/// Connections over HTTP.
pub(super) const HTTP_CONNECTIONS: u64 = 10;
/// Connections over Bolt.
pub(super) const RPC_CONNECTIONS: u64 = 10;
/// Requests of each connection; even, as every other one takes another route.
pub(super) const REQUESTS: u32 = 20;
/// Requests of the hop, of each kind.
pub(super) const HOP_REQUESTS: u64 = 5;
const TIMEOUT: Duration = Duration::from_secs(10);
