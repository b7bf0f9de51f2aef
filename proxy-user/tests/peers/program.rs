//! A Java program below `tests/peers/java/rpc`: takes commands, prints JSON objects, one a line.

use std::path::Path;
use std::time::Duration;

use proxy_user::lab::Namespace;
use serde_json::Value;

use crate::jars::Project;
use crate::java::java;
use crate::process::Process;

/// A running program.
#[derive(Debug)]
pub(crate) struct Program {
    pub(crate) process: Process,
    /// Lines before this number have been waited for.
    read: usize,
}

impl Program {
    /// Starts it and waits until it says that it is ready. None, and it is said why, if it cannot be had here.
    pub(crate) fn start(
        main: &str,
        name: &str,
        space: &Namespace,
        dir: &Path,
        args: &[String],
    ) -> Option<Self> {
        let class_path = Project::Rpc.class_path()?;
        let home = dir.join(name);
        let mut command = java(&class_path, &home, HEAP_MB, &[], &format!("weir.peers.{main}"));
        command.args(args);
        let mut program = Self { process: Process::talk(name, space, &home, &mut command), read: 0 };
        program.event("ready");
        Some(program)
    }

    /// Sends a command and waits for its answer.
    pub(crate) fn obey(&mut self, command: &str) -> Value {
        self.process.say(command);
        self.event(command.split(' ').next().unwrap_or_default())
    }

    /// Waits for the next object of this kind after those waited for so far.
    pub(crate) fn event(&mut self, event: &str) -> Value {
        self.event_that(event, |value| value["event"] == event)
    }

    /// Waits for the next object that is meant, after those waited for so far.
    pub(crate) fn event_that(&mut self, what: &str, is_meant: impl Fn(&Value) -> bool) -> Value {
        let (number, value) = self
            .process
            .wait_line(what, self.read, PATIENCE, |line| object(line).filter(|value| is_meant(value)));
        self.read = number + 1;
        value
    }

    /// All objects of this kind so far.
    pub(crate) fn events(&self, event: &str) -> Vec<Value> {
        let lines = self.process.lines();
        lines.iter().filter_map(|line| object(line)).filter(|value| value["event"] == event).collect()
    }
}

/// Libraries print lines of their own.
fn object(line: &str) -> Option<Value> {
    serde_json::from_str(line).ok().filter(Value::is_object)
}

const HEAP_MB: u32 = 96;
const PATIENCE: Duration = Duration::from_secs(60);
