//! SOFARPC's own client and server (Java), with a worker between them.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{ChildStdout, Stdio};
use std::time::Duration;

use proxy_user::l7::snapshot::Endpoint;
use serde_json::Value;

use crate::bed::{Program, Worker, free};
use crate::jars::Project;
use crate::java::java;

/// A program below `tests/peers/java/rpc`: takes commands, prints JSON objects, one a line.
pub(crate) struct Peer {
    program: Program,
    output: BufReader<ChildStdout>,
}

impl Peer {
    /// Starts it and waits until it is ready.
    pub(crate) fn start(class_path: &str, dir: &Path, main: &str, args: &[String]) -> Self {
        let mut command = java(class_path, dir, 96, &[], &format!("weir.peers.{main}"));
        command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut program = Program(command.spawn().unwrap());
        let output = BufReader::new(program.0.stdout.take().unwrap());
        let mut peer = Self { program, output };
        peer.event("ready");
        peer
    }

    /// The next object of this kind; libraries print lines of their own.
    fn event(&mut self, event: &str) -> Value {
        let mut line = String::new();
        loop {
            line.clear();
            assert!(self.output.read_line(&mut line).unwrap() > 0, "it has ended before {event:?}");
            match serde_json::from_str::<Value>(&line) {
                Ok(value) if value["event"] == event => return value,
                _ => {}
            }
        }
    }

    /// Ends it; what it has to say then.
    pub(crate) fn finish(mut self) -> Value {
        self.program.0.stdin.as_mut().unwrap().write_all(b"exit\n").unwrap();
        self.event("summary")
    }
}

/// The service's unique id.
pub(crate) const UNIQUE: &str = "unique=worker";

#[test]
fn calls_reach_all_providers_and_none_fails() {
    let Some(class_path) = Project::Rpc.class_path() else { return };
    let dir = tempfile::tempdir().unwrap();
    let at = [free(), free()];
    let _providers: Vec<Peer> = at
        .iter()
        .zip(["one", "two"])
        .map(|(at, name)| {
            let place = [format!("host={}", at.ip()), format!("port={}", at.port())];
            let args: Vec<String> =
                [format!("name={name}"), UNIQUE.to_owned()].into_iter().chain(place).collect();
            Peer::start(&class_path, &dir.path().join(name), "Provider", &args)
        })
        .collect();
    let mut worker = Worker::new("bolt", at[0], |service| {
        service.endpoints.push(Endpoint { addr: at[1], ..service.endpoints[0].clone() });
    });
    let consumers: Vec<Peer> = ["Consumer", "Consumer", "Fresh"]
        .into_iter()
        .enumerate()
        .map(|(number, main)| {
            let args = [format!("direct={}", worker.at), UNIQUE.to_owned(), "period=5".to_owned()];
            Peer::start(&class_path, &dir.path().join(format!("consumer{number}")), main, &args)
        })
        .collect();
    std::thread::sleep(Duration::from_secs(4));
    let mut calls = 0;
    for consumer in consumers {
        let summary = consumer.finish();
        assert_eq!(summary["failed"], 0, "{summary}");
        let by = |name: &str| summary["by"][name].as_u64().unwrap_or(0);
        assert!(by("one") > 0 && by("two") > 0, "{summary}");
        calls += summary["ok"].as_u64().unwrap();
    }
    let web = worker.stats().services["web"].clone();
    assert_eq!((web.requests, web.answers.classes[1], web.requests_active), (calls, calls, 0), "{web:?}");
    let connects: u64 = web.endpoints.values().map(|endpoint| endpoint.connects).sum();
    assert_eq!(connects, 2, "clients share one connection to each provider");
}

#[test]
fn a_caller_without_a_provider_is_told_so_in_its_own_protocol() {
    let Some(class_path) = Project::Rpc.class_path() else { return };
    let dir = tempfile::tempdir().unwrap();
    let worker = Worker::new("bolt", free(), |_| {});
    let args = [format!("direct={}", worker.at), UNIQUE.to_owned(), "period=20".to_owned()];
    let consumer = Peer::start(&class_path, dir.path(), "Consumer", &args);
    std::thread::sleep(Duration::from_secs(2));
    let summary = consumer.finish();
    assert_eq!(summary["ok"], 0, "{summary}");
    assert!(summary["failed"].as_u64().unwrap() > 5, "each fails at once, none by its timeout: {summary}");
}
