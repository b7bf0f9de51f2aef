//! `weir demo`: the real daemon, real connections and a denied source, in namespaces of its own. Every count is
//! checked, so that the same code is a test. `weir demo --l7` shows the L7 path: the module `l7`.
//!
//! Nothing is left behind, whatever happens: links, mounts, pins and files live in namespaces that end with this
//! process, and the daemon is its child and dies with it.

mod cost;
mod daemon;
mod deny;
mod error;
mod l7;
mod place;
mod privilege;
mod process;
mod report;
mod signals;
mod steer;
mod story;
mod syn;
mod topology;

use std::panic;
use std::thread;
use std::time::Instant;

use serde::Serialize;

use crate::cli::{Failure, Format, Output};
use daemon::Daemon;
use error::DemoError;
use place::Place;
use report::{Explained, Report};
use story::Story;
use topology::Topology;

/// Runs the demo.
///
/// # Errors
///
/// A [`Failure`]: not permitted, a step that failed, or a count that is not as expected.
pub fn run(output: &Output) -> anyhow::Result<()> {
    let report = on_own_thread(|| perform(output)).map_err(failure)?;
    let next = format!("weir run --iface eth0 --vip {}", topology::vip_flag());
    finish(&report, report.wrong(), (report.elapsed_ms, &next), output)
}

/// Runs the demo of the L7 path.
///
/// # Errors
///
/// As [`run`].
pub fn run_l7(output: &Output) -> anyhow::Result<()> {
    let report = on_own_thread(|| l7::perform(output)).map_err(failure)?;
    let next = "weir run --config weir.toml, beginning with examples/l7.toml";
    finish(&report, report.wrong(), (report.elapsed_ms, next), output)
}

fn finish<R: Serialize>(
    report: &R,
    wrong: Vec<String>,
    (elapsed, next): (u64, &str),
    output: &Output,
) -> anyhow::Result<()> {
    let quiet = output.format != Format::Table || output.quiet || !wrong.is_empty();
    output.data(report, |_| if quiet { String::new() } else { closing(elapsed, next) })?;
    if wrong.is_empty() { Ok(()) } else { Err(failure(DemoError::Wrong(wrong)).into()) }
}

fn perform(output: &Output) -> Result<Report, DemoError> {
    let started = Instant::now();
    privilege::check()?;
    let place = Place::enter()?;
    let mut story = Story::new(output, 5);

    let lab = Topology::build(false)?;
    story.tell("topology", &lab.describe())?;

    let vip = topology::vip_flag();
    let daemon = Daemon::start(&lab, &place, vec!["--vip".into(), (&vip).into()], false)?;
    let attached = daemon.wait_ready()?;
    story.tell("attach", &attached.describe(&format!("--vip {vip}")))?;

    let steered = steer::steer(&lab)?;
    story.tell("steer", &steered.describe())?;

    let denied = deny::deny(&lab, &daemon)?;
    let cost = cost::measure(&lab, &place)?;
    story.tell("drop", &format!("{}, {} ns/packet", denied.describe(), cost.packet))?;

    let explained = Explained::ask(&daemon)?;
    story.tell("explain", &explained.describe())?;

    daemon.detach()?;
    if output.verbose {
        output.say(&format!("the daemon's log:\n{}", daemon.words()));
    }
    Ok(Report {
        connections: steered.connections,
        failed: steered.failed,
        per_backend: steered.per_backend,
        failure: steered.failure,
        counted_per_backend: denied.counted_per_backend,
        denied_sent: denied.sent,
        denied_dropped_in_xdp: denied.dropped,
        denied_reached_backend: denied.reached,
        explained,
        xdp_mode: attached.mode,
        ns_per_packet: cost.packet,
        floor_ns: cost.floor,
        elapsed_ms: u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
    })
}

fn closing(elapsed_ms: u64, next: &str) -> String {
    let seconds = std::time::Duration::from_millis(elapsed_ms).as_secs_f64();
    format!(
        "every count is right, nothing is left behind ({seconds:.1} s)\nnext, on a real interface: {next}\n"
    )
}

/// The mount namespace of a thread can't be left again, so a thread is used up for it.
fn on_own_thread<T: Send>(work: impl FnOnce() -> Result<T, DemoError> + Send) -> Result<T, DemoError> {
    let started = thread::scope(|scope| {
        let thread = thread::Builder::new().name("demo".into()).spawn_scoped(scope, work)?;
        Ok(thread.join().unwrap_or_else(|panic| panic::resume_unwind(panic)))
    });
    started.unwrap_or_else(|source| Err(DemoError::System { what: "start a thread".into(), source }))
}

fn failure(error: DemoError) -> Failure {
    match error {
        DemoError::NotPermitted(_) => Failure::NotPermitted(error.to_string()),
        _ => Failure::Failed(error.to_string()),
    }
}
