//! Ctrl-C and its kin: the daemon is ended first, then this process, and the namespaces with it.

use std::thread;

use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

use super::error::DemoError;
use super::process::Process;

/// Watches as long as it lives.
pub(super) struct Watch {
    _end: oneshot::Sender<()>,
}

impl Watch {
    /// From now on a signal ends `process`, then this process with the exit code that shells expect.
    pub(super) fn start(process: Process) -> Result<Self, DemoError> {
        let failed = || DemoError::at("watch for signals");
        let runtime = Builder::new_current_thread().enable_all().build().map_err(failed())?;
        let (mut interrupt, mut terminate, mut hang_up) = {
            let _inside = runtime.enter();
            let watch = |kind| signal(kind).map_err(failed());
            (watch(SignalKind::interrupt())?, watch(SignalKind::terminate())?, watch(SignalKind::hangup())?)
        };
        let (end, ended) = oneshot::channel();
        let watcher = move || {
            let number = runtime.block_on(async {
                tokio::select! {
                    _ = ended => None,
                    _ = interrupt.recv() => Some(libc::SIGINT),
                    _ = terminate.recv() => Some(libc::SIGTERM),
                    _ = hang_up.recv() => Some(libc::SIGHUP),
                }
            });
            if let Some(number) = number {
                process.end();
                std::process::exit(128 + number);
            }
        };
        thread::Builder::new().name("demo-signals".into()).spawn(watcher).map_err(failed())?;
        Ok(Self { _end: end })
    }
}
