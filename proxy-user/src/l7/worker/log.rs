//! The access log: one JSON object for one of so many requests, on standard error, which is the daemon's.

use std::net::SocketAddr;
use std::rc::Rc;

use serde::Serialize;

use crate::l7::codec::{Head, LocalReason};

/// What is known of a request when it begins.
#[derive(Debug)]
pub(super) struct Line {
    service: Rc<str>,
    client: SocketAddr,
    host: String,
    method: String,
    path: String,
    rpc: String,
}

/// How it ended.
#[derive(Debug)]
pub(super) struct Ended<'a> {
    pub(super) status: u16,
    pub(super) reason: Option<LocalReason>,
    pub(super) route: &'a str,
    pub(super) endpoint: Option<SocketAddr>,
    pub(super) micros: u64,
    pub(super) tries: u8,
}

#[derive(Serialize)]
struct Object<'a> {
    service: &'a str,
    client: SocketAddr,
    #[serde(skip_serializing_if = "str::is_empty")]
    host: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    method: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    path: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    rpc_service: &'a str,
    status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    #[serde(skip_serializing_if = "str::is_empty")]
    route: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    endpoint: Option<SocketAddr>,
    duration_us: u64,
    tries: u8,
}

impl Line {
    pub(super) fn begin(service: &Rc<str>, client: SocketAddr, head: &Head, message: &[u8]) -> Box<Self> {
        let text = |span: crate::l7::codec::Span| {
            let bytes = span.of(message);
            String::from_utf8_lossy(bytes.get(..LONGEST).unwrap_or(bytes)).into_owned()
        };
        Box::new(Self {
            service: Rc::clone(service),
            client,
            host: text(head.keys.host),
            method: text(head.keys.method),
            path: text(head.keys.path),
            rpc: text(head.keys.service),
        })
    }

    /// The object, with its line's end. Serializing to memory does not fail.
    pub(super) fn end(&self, ended: &Ended<'_>) -> Vec<u8> {
        let object = Object {
            service: &self.service,
            client: self.client,
            host: &self.host,
            method: &self.method,
            path: &self.path,
            rpc_service: &self.rpc,
            status: ended.status,
            reason: ended.reason.map(LocalReason::label),
            route: ended.route,
            endpoint: ended.endpoint,
            duration_us: ended.micros,
            tries: ended.tries,
        };
        let mut line = serde_json::to_vec(&object).unwrap_or_default();
        line.push(b'\n');
        line
    }
}

/// Longest text of a client's that is logged.
const LONGEST: usize = 256;
