//! What daemon and workers say to each other. [`Hello`] and [`ToWorker::Drain`] never change their form: with them a
//! daemon tells a worker of another build to end. All else is only said to workers of the same build. A worker of any build
//! says something about once a second, also while it drains: one that does not is killed.

use serde::{Deserialize, Serialize};

use crate::control::types::L7Connection;
use crate::l7::snapshot::Snapshot;
use crate::l7::stats::Stats;

/// Version of the messages, without what never changes.
pub const PROTOCOL: u32 = 1;

/// From the daemon.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ToWorker {
    /// The first message to a new worker. Descriptors: its control socket, then its listeners as [`Hello::families`] says.
    Start(Start),
    /// What to serve from now on.
    Snapshot(Box<Snapshot>),
    /// Accept no more, end connections by their protocol's means, and exit when none is left or after this time.
    Drain {
        /// Milliseconds.
        deadline_ms: u64,
    },
    /// Tell of some connections: [`FromWorker::Connections`].
    Connections(Question),
    /// Log here from now on. Descriptor: the daemon's standard error.
    Log,
}

/// Which connections to tell of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    /// Its number; the answer has it.
    pub id: u64,
    /// Those of this service; none for all.
    pub service: Option<String>,
    /// So many at most.
    pub limit: u32,
}

/// Connections that were told of.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed {
    /// Number of the question.
    pub id: u64,
    /// Connections, in no order.
    pub connections: Vec<L7Connection>,
    /// Whether there may be more.
    pub more: bool,
}

/// What a new worker is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Start {
    /// Its number, from 0.
    pub worker: u32,
    /// How many workers there are.
    pub workers: u32,
    /// User and group to become; none keeps the daemon's, which is not root then.
    pub identity: Option<(u32, u32)>,
    /// The daemon's user: beside root, who may connect to the control socket.
    pub daemon: u32,
    /// Which listeners come along.
    pub families: Families,
}

/// Families of a worker's listeners, in the order of their descriptors: IPv4, IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Families {
    /// There is one for IPv4.
    pub v4: bool,
    /// There is one for IPv6.
    pub v6: bool,
}

/// From a worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FromWorker {
    /// The first message on every connection. Descriptors: its listeners as [`Hello::families`] says.
    Hello(Hello),
    /// A snapshot is in force.
    Acknowledged {
        /// Its generation.
        generation: u64,
    },
    /// A snapshot is not taken; the one before it stays in force.
    Refused {
        /// Its generation.
        generation: u64,
        /// Why.
        reason: String,
    },
    /// Its counters.
    Stats(Box<Stats>),
    /// Some of its connections.
    Connections(Box<Listed>),
}

/// Who a worker is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// [`PROTOCOL`] of its build.
    pub protocol: u32,
    /// Its build (`spawn::build`).
    pub build: String,
    /// Its number.
    pub worker: u32,
    /// Generation of its snapshot, if it has one.
    pub generation: Option<u64>,
    /// Whether it ends.
    pub draining: bool,
    /// Which listeners come along; none while it drains.
    pub families: Families,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What workers of every build understand, byte for byte.
    #[test]
    fn the_form_of_hello_and_drain_stays() {
        let drain = serde_json::to_string(&ToWorker::Drain { deadline_ms: 500 }).unwrap();
        assert_eq!(drain, r#"{"drain":{"deadline_ms":500}}"#);
        let hello = FromWorker::Hello(Hello {
            protocol: 1,
            build: "b".into(),
            worker: 2,
            generation: None,
            draining: false,
            families: Families { v4: true, v6: false },
        });
        let text = r#"{"hello":{"protocol":1,"build":"b","worker":2,"generation":null,"draining":false,"families":{"v4":true,"v6":false}}}"#;
        assert_eq!(serde_json::to_string(&hello).unwrap(), text);
        let later = text.replace("\"protocol\":1", "\"new\":[],\"protocol\":9");
        assert!(matches!(serde_json::from_str(&later), Ok(FromWorker::Hello(Hello { protocol: 9, .. }))));
    }
}
