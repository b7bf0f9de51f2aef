//! Users of the registry in Java: SOFARPC's provider and consumers, and the registry's own client. The programs are
//! below `tests/peers/java/rpc`.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;

use proxy_user::lab::Namespace;
use serde::Deserialize;

use crate::program::Program;

/// The interface that [`Provider`]s serve.
pub(crate) const INTERFACE: &str = "weir.peers.Hello";
/// The group of all SOFARPC registrations.
pub(crate) const GROUP: &str = "SOFA";

/// The data id of [`INTERFACE`] with a unique id, in [`GROUP`].
pub(crate) fn data_id(unique: &str) -> String {
    format!("{INTERFACE}:1.0:{unique}@DEFAULT")
}

/// A SOFARPC provider of [`INTERFACE`], which answers each call with its name. Dropping it kills it.
#[derive(Debug)]
pub(crate) struct Provider {
    program: Program,
}

impl Provider {
    /// Starts it under a unique id of the service, registered at a registry's HTTP endpoint if there is one; more
    /// arguments as in `Provider.java`. None, and it is said why, if it cannot be had here.
    pub(crate) fn start(
        name: &str,
        space: &Namespace,
        dir: &Path,
        at: SocketAddr,
        unique: &str,
        registry: Option<SocketAddr>,
        more: &[&str],
    ) -> Option<Self> {
        let mut args = vec![
            format!("name={name}"),
            format!("host={}", at.ip()),
            format!("port={}", at.port()),
            format!("unique={unique}"),
        ];
        args.extend(registry.map(|at| format!("registry={at}")));
        args.extend(more.iter().map(ToString::to_string));
        Some(Self { program: Program::start("Provider", name, space, dir, &args)? })
    }

    /// Takes it out of the registry; its port stays open.
    pub(crate) fn unregister(&mut self) {
        self.program.obey("unregister");
    }

    /// Puts it back into the registry.
    pub(crate) fn register(&mut self) {
        self.program.obey("register");
    }

    /// Ends it orderly: taken out of the registry, then its port closed, at once one after the other.
    pub(crate) fn exit(mut self) {
        self.program.obey("exit");
        self.program.process.wait_end();
    }

    /// Ends it as a crash does.
    pub(crate) fn kill(&mut self) {
        self.program.process.kill();
    }

    /// Stops it as it is: connections stay, nobody answers.
    pub(crate) fn freeze(&self) {
        self.program.process.freeze();
    }

    /// Lets it go on.
    pub(crate) fn thaw(&self) {
        self.program.process.thaw();
    }
}

/// How a [`Consumer`] finds whom it calls.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Through {
    /// SOFARPC by the list of a registry, given by its HTTP endpoint, over connections that it keeps.
    Registry(SocketAddr),
    /// SOFARPC to one address, over connections that it keeps.
    Address(SocketAddr),
    /// One address, over a new connection for each call.
    FreshConnections(SocketAddr),
}

/// Calls [`INTERFACE`] again and again, one call at a time. Dropping it kills it.
#[derive(Debug)]
pub(crate) struct Consumer {
    program: Program,
}

/// What a consumer's calls came to.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Summary {
    /// Calls answered.
    pub(crate) ok: u64,
    /// Calls that failed.
    pub(crate) failed: u64,
    /// Of the slowest call, answered or failed.
    pub(crate) slowest_ms: u64,
    /// The longest time from one answer to the next; 0 in the report of a second.
    #[serde(default)]
    pub(crate) longest_gap_ms: u64,
    /// Answered calls by provider.
    pub(crate) by: BTreeMap<String, u64>,
    /// Failed calls by exception class and SOFARPC's code.
    pub(crate) errors: BTreeMap<String, u64>,
    /// The first 100 failures; none in the report of a second.
    #[serde(default)]
    pub(crate) failures: Vec<Failure>,
}

/// A call that failed.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Failure {
    /// When it was known, milliseconds since 1970.
    pub(crate) at: u64,
    /// How long the call took.
    pub(crate) ms: u64,
    /// The exception's message.
    pub(crate) text: String,
}

impl Consumer {
    /// Starts it with a period in milliseconds; more arguments as in `Consumer.java` and `Fresh.java`. None, and it is
    /// said why, if it cannot be had here.
    pub(crate) fn start(
        name: &str,
        space: &Namespace,
        dir: &Path,
        through: Through,
        unique: &str,
        period_ms: u32,
        more: &[&str],
    ) -> Option<Self> {
        let (main, target) = match through {
            Through::Registry(at) => ("Consumer", format!("registry={at}")),
            Through::Address(at) => ("Consumer", format!("direct={at}")),
            Through::FreshConnections(at) => ("Fresh", format!("direct={at}")),
        };
        let mut args = vec![target, format!("unique={unique}"), format!("period={period_ms}")];
        args.extend(more.iter().map(ToString::to_string));
        Some(Self { program: Program::start(main, name, space, dir, &args)? })
    }

    /// Makes no calls until [`Self::resume`].
    pub(crate) fn pause(&mut self) {
        self.program.obey("pause");
    }

    /// Ends [`Self::pause`].
    pub(crate) fn resume(&mut self) {
        self.program.obey("resume");
    }

    /// Its reports so far, one for each second with calls.
    pub(crate) fn seconds(&self) -> Vec<Summary> {
        self.program
            .events("second")
            .into_iter()
            .map(|value| serde_json::from_value(value).unwrap())
            .collect()
    }

    /// The next report after those waited for so far.
    pub(crate) fn wait_second(&mut self) -> Summary {
        serde_json::from_value(self.program.event("second")).unwrap()
    }

    /// Waits for a report that holds.
    pub(crate) fn wait_for(&mut self, what: &str, holds: impl Fn(&Summary) -> bool) -> Summary {
        for _ in 0..60 {
            let second = self.wait_second();
            if holds(&second) {
                return second;
            }
        }
        panic!("not within 60 s of calls: {what}: {:?}", self.seconds());
    }

    /// Ends it.
    pub(crate) fn finish(mut self) -> Summary {
        self.program.process.say("exit");
        let summary = self.program.event("summary");
        self.program.process.wait_end();
        serde_json::from_value(summary).unwrap()
    }
}

/// The registry's own Java client.
#[derive(Debug)]
pub(crate) struct Publisher {
    program: Program,
}

impl Publisher {
    /// Starts it with the HTTP endpoint of a registry; more arguments as in `Publisher.java`. None, and it is said why,
    /// if it cannot be had here.
    pub(crate) fn start(
        name: &str,
        space: &Namespace,
        dir: &Path,
        registry: SocketAddr,
        more: &[&str],
    ) -> Option<Self> {
        let mut args = vec![format!("registry={registry}")];
        args.extend(more.iter().map(ToString::to_string));
        Some(Self { program: Program::start("Publisher", name, space, dir, &args)? })
    }

    /// Publishes entries under a data id, in place of those it has there.
    pub(crate) fn publish(&mut self, data_id: &str, entries: &[&str]) {
        self.program.obey(&format!("publish {data_id} {}", entries.join(" ")));
    }

    /// Withdraws them.
    pub(crate) fn unpublish(&mut self, data_id: &str) {
        self.program.obey(&format!("unpublish {data_id}"));
    }

    /// Asks for pushes.
    pub(crate) fn subscribe(&mut self, data_id: &str) {
        self.program.obey(&format!("subscribe {data_id}"));
    }

    /// The pushes so far: when, milliseconds since 1970, and how many entries.
    pub(crate) fn pushes(&self, data_id: &str) -> Vec<(u64, usize)> {
        let pushes = self.program.events("push").into_iter().filter(|push| push["dataId"] == data_id);
        pushes.map(|push| (push["at"].as_u64().unwrap(), push["boxes"].as_array().unwrap().len())).collect()
    }

    /// Waits for a push with these entries, given in order.
    pub(crate) fn wait_push(&mut self, data_id: &str, entries: &[&str]) {
        self.program.event_that(&format!("push of {entries:?}"), |value| {
            let boxes = value["boxes"].as_array().into_iter().flatten();
            let mut boxes: Vec<&str> = boxes.filter_map(|entry| entry.as_str()).collect();
            boxes.sort_unstable();
            value["event"] == "push" && value["dataId"] == data_id && boxes == entries
        });
    }
}
