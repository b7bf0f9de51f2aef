//! The daemon: reads the configuration, puts it into the kernel, keeps it there, and answers at the door. The parts do the
//! work; here they are put together.
//!
//! `start` builds a `daemon::Daemon` → its loop waits for requests, signals, changes of links and ways, and times →
//! whatever changes the desired state goes through `apply`, the only place where a plan is made and written.

mod addresses;
mod apply;
mod daemon;
mod discovery;
mod endpoints;
mod handover;
mod interfaces;
mod journal;
mod kept;
mod l7;
mod leave;
mod log;
mod memory;
mod publications;
mod request;
mod serving;
mod start;
mod stats;
mod view;

use std::time::Duration;

use anyhow::Context as _;

use crate::cli::Failure;
use crate::cli::run::{Places, RunArgs};
use crate::control::types::DetachAnswer;
use crate::kernel::bpffs::{BpffsError, PinDir};
use crate::kernel::{links, lock};
use crate::l7::process::workers;
use crate::net::announce::Announcer;
use crate::net::netlink::Netlink;

/// Runs the daemon until it is stopped.
///
/// # Errors
/// Why it does not start, or had to end. The data path stays as it is then.
pub fn run(args: RunArgs) -> anyhow::Result<()> {
    memory::share_heap();
    let _log = log::init(args.verbose, args.quiet);
    crate::l7::process::outlive_full_files();
    let loaded = args.setup.load().map_err(|diagnostics| Failure::Usage(diagnostics.to_string()))?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("starting the runtime")?;
    let result = runtime.block_on(async {
        // Before anything else: a signal during the start must not end weir in the middle of it.
        let signals = daemon::Signals::catch()?;
        let places = args.places.clone();
        let others = workers::are_left_behind(&places.run_dir());
        let mut daemon = match start::start(args, loaded).await {
            Ok(daemon) => daemon,
            Err(error) => {
                tidy(&places, others).await;
                return Err(error);
            }
        };
        daemon.run(signals).await
    });
    runtime.shutdown_timeout(Duration::from_secs(1));
    result
}

/// Starts logging as the daemon does, for an L7 worker, which shares its standard error.
pub(crate) fn log_as_worker() {
    log::init_worker();
}

/// After a start that failed: maps that no attached program uses are nobody's, and of no use to the next start. With workers
/// of an earlier daemon (`others`) all stays: their pins may be where this process does not see them, in another mount
/// namespace, and go with the directory.
async fn tidy(places: &Places, others: bool) {
    if others {
        return;
    }
    let Ok(_lock) = lock::acquire(&places.run_dir()) else { return };
    let Ok(pins) = PinDir::open(&pin_path(places)) else { return };
    if !links::list(&pins).is_ok_and(|links| links.is_empty()) {
        return;
    }
    if let Err(error) = links::detach_all(pins) {
        tracing::warn!(%error, "the pins of the failed start stay");
    }
    if let Err(error) = workers::stop_left_behind(&places.run_dir(), Duration::ZERO).await {
        tracing::warn!(%error, "the L7 workers of the failed start stay");
    }
}

/// Removes links, pins and addresses when no daemon runs.
///
/// # Errors
/// A daemon runs after all, or something cannot be removed.
pub fn detach(places: &Places) -> anyhow::Result<DetachAnswer> {
    let run_dir = places.run_dir();
    let _lock = lock::acquire(&run_dir)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut answer = DetachAnswer { removed: Vec::new(), left: Vec::new() };
        match PinDir::open(&pin_path(places)) {
            // Never started, or already gone.
            Err(BpffsError::File { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {}
            Ok(pins) => remove_pins(pins, &mut answer),
            Err(error) => answer.left.push(error.to_string()),
        }
        let netlink = Netlink::open()?;
        l7::detach(&run_dir, &netlink, &mut answer).await;
        addresses::remove_all(&mut Announcer::new(netlink), &mut answer).await;
        Ok(answer)
    })
}

/// Where the pins are.
fn pin_path(places: &Places) -> std::path::PathBuf {
    places.bpffs.clone().map_or_else(|| places.run_dir().join("bpf"), |bpffs| bpffs.join("weir"))
}

/// Takes every pin out.
fn remove_pins(pins: PinDir, answer: &mut DetachAnswer) {
    let path = pins.path().display().to_string();
    match links::detach_all(pins) {
        Ok(interfaces) => {
            answer.removed.extend(interfaces.into_iter().map(|name| format!("program on {name}")));
            answer.removed.push(format!("pins in {path}"));
        }
        Err(error) => answer.left.push(error.to_string()),
    }
}
