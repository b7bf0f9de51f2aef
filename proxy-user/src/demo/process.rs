//! The daemon's process: it ends when the demo does, however that ends.

use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, ExitStatus};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::unistd::{Pid, getpid, getppid};

use crate::lab::Namespace;

/// The daemon's process, once it runs. Clones are the same process.
#[derive(Clone, Debug, Default)]
pub(super) struct Process(Arc<Mutex<Option<Running>>>);

#[derive(Debug)]
struct Running {
    child: Child,
    /// The thread that it dies with ends when this is dropped.
    _parent: Option<Sender<()>>,
}

impl Process {
    /// Kills it, if it runs, and waits until it is gone.
    pub(super) fn end(&self) {
        if let Some(mut running) = self.0.lock().unwrap_or_else(PoisonError::into_inner).take() {
            let _ = running.child.kill();
            let _ = running.child.wait();
        }
    }

    /// Starts it inside a network namespace, to die with the calling thread. With `apart` it is the first process of a
    /// process namespace, which ends with it: whatever it has started does not outlive it.
    pub(super) fn start(
        &self,
        mut command: Command,
        namespace: Namespace,
        apart: bool,
    ) -> std::io::Result<()> {
        // Nobody of another process namespace has a parent's number.
        let parent = if apart { Pid::from_raw(0) } else { getpid() };
        // SAFETY: between fork and exec only system calls are made, and nothing is allocated.
        unsafe { command.pre_exec(move || prepare(&namespace, parent)) };
        // Under the lock, so that a signal either prevents the start or ends what was started.
        let mut slot = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *slot = Some(if apart {
            spawn_apart(command)?
        } else {
            Running { child: command.spawn()?, _parent: None }
        });
        Ok(())
    }

    pub(super) fn ended(&self) -> Option<ExitStatus> {
        let mut running = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        running.as_mut().and_then(|running| running.child.try_wait().ok().flatten())
    }
}

/// A thread's children are of the process namespace that it was given, and it can make no more threads then: so it is a
/// thread of its own, which stays, as the process dies with it.
fn spawn_apart(mut command: Command) -> std::io::Result<Running> {
    let (parent, end) = mpsc::channel::<()>();
    let (tell, told) = mpsc::channel();
    thread::Builder::new().name("demo-parent".into()).spawn(move || {
        let spawned = unshare(CloneFlags::CLONE_NEWPID).map_err(Into::into).and_then(|()| command.spawn());
        let _ = tell.send(spawned);
        let _ = end.recv();
    })?;
    let gone = |_| std::io::Error::other("the thread that starts it has ended");
    Ok(Running { child: told.recv().map_err(gone)??, _parent: Some(parent) })
}

fn prepare(namespace: &Namespace, parent: Pid) -> std::io::Result<()> {
    set_pdeathsig(Signal::SIGKILL)?;
    if getppid() != parent {
        // It died before it was watched for.
        return Err(std::io::ErrorKind::BrokenPipe.into());
    }
    Ok(setns(namespace.fd(), CloneFlags::CLONE_NEWNET)?)
}
