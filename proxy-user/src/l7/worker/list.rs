//! The connections that a worker has, for the operator: a few of them, between two batches.

use super::connection::{Client, State};
use super::engine::Engine;
use crate::control::types::L7Connection;
use crate::l7::process::message::{Listed, Question};

impl Engine {
    /// Answers a question. What is looked at is bounded, so that requests do not wait for it.
    pub(super) fn list(&self, question: &Question) -> Listed {
        let wanted = |client: &Client| match &question.service {
            None => true,
            Some(name) => self.directory.all.get(client.service).is_some_and(|one| *one.name == **name),
        };
        let most = usize::try_from(question.limit).unwrap_or(MOST_LISTED).min(MOST_LISTED);
        let mut connections = Vec::new();
        let mut more = self.clients.len() > MOST_LOOKED_AT;
        for (_, client) in self.clients.iter().take(MOST_LOOKED_AT) {
            if !wanted(client) {
                continue;
            }
            if connections.len() >= most {
                more = true;
                break;
            }
            connections.push(self.describe(client));
        }
        Listed { id: question.id, connections, more }
    }

    fn describe(&self, client: &Client) -> L7Connection {
        let (state, under_way, endpoint) = match &client.state {
            State::Detecting => ("detecting", 0, None),
            State::Idle => ("idle", 0, None),
            State::Busy(exchange) => ("busy", 1, Some(exchange.endpoint)),
            State::Shared(under_way) => ("shared", *under_way, None),
            State::Tunnel(tunnel) => ("tunnel", 0, Some(tunnel.endpoint)),
            State::Closing => ("closing", 0, None),
        };
        let upstream = endpoint.and_then(|key| self.endpoints.get(key)).map(|endpoint| {
            let mut addr = endpoint.addr;
            if addr.port() == 0 {
                addr.set_port(client.local.port());
            }
            addr.to_string()
        });
        L7Connection {
            // The daemon knows.
            worker: 0,
            client: client.peer.to_string(),
            local: client.local.to_string(),
            service: self
                .directory
                .all
                .get(client.service)
                .map_or_else(String::new, |one| one.name.to_string()),
            codec: client.codec.map(|codec| codec.0.name().to_owned()),
            state: state.to_owned(),
            upstream,
            age_ms: self.now.saturating_sub(client.born) / 1000,
            requests: client.requests,
            requests_active: u64::from(under_way),
            bytes_up: client.stream.total_received,
            bytes_down: client.stream.total_sent,
        }
    }
}

/// Connections told at once.
const MOST_LISTED: usize = 1_000;
/// Connections looked at for them.
const MOST_LOOKED_AT: usize = 65_536;
