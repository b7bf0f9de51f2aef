//! One worker's process as the daemon knows it: started by this daemon, or found at its control socket.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::process::Pid;
use tokio::process::Child;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::channel::{Channel, ChannelError, Waiting, is_shortage};
use super::listeners::Pair;
use super::message::{FromWorker, Hello, PROTOCOL, Start, ToWorker};
use super::places::Places;
use super::pulse::{HUNG, Pulse};
use super::spawn;
use crate::l7::stats::Stats;

/// A living worker.
pub(super) struct Life {
    line: Waiting,
    process: OwnedFd,
    pub(super) pid: Pid,
    path: PathBuf,
    child: Option<Child>,
    pub(super) hello: Hello,
}

impl Life {
    /// Starts a worker and waits for its hello.
    pub(super) async fn start(places: &Places, start: Start, pair: &Pair) -> io::Result<Self> {
        let (path, control) = places.bind(start.worker)?;
        let spawned = spawn::spawn(start, &control, pair)
            .and_then(|(child, channel)| Ok((child, Waiting::new(channel)?)));
        let started = match spawned {
            Ok((child, line)) => Self::greeted(line, path.clone(), Some(child)).await.map(|(life, _)| life),
            Err(error) => Err(error),
        };
        started.inspect_err(|_| spawn::remove(&path))
    }

    /// Finds the worker of a control socket, and the listeners that it hands back. `None` where nobody listens, or a worker
    /// that does not answer, which is killed: its listeners would go on taking connections.
    pub(super) async fn find(path: &Path) -> io::Result<Option<(Self, Pair)>> {
        let (channel, peer) = match Channel::connect(path) {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                spawn::remove(path);
                return Ok(None);
            }
            channel => channel?,
        };
        // As long as somebody listens, the process lives, and its number is its own.
        let process = spawn::handle(peer.pid)?;
        match Self::greeted(Waiting::new(channel)?, path.to_owned(), None).await {
            Ok(found) => Ok(Some(found)),
            // Else it is the daemon that made the socket, or whoever has its number now.
            Err(error) if spawn::is_worker(peer.pid) => {
                tracing::error!(pid = peer.pid.as_raw_nonzero().get(), %error, "an L7 worker does not answer; killed");
                spawn::kill(&process);
                spawn::remove(path);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    async fn greeted(line: Waiting, path: PathBuf, child: Option<Child>) -> io::Result<(Self, Pair)> {
        let invalid = |what: String| io::Error::new(io::ErrorKind::InvalidData, what);
        let received = timeout(HELLO, line.receive::<FromWorker>())
            .await
            .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "the worker does not say hello"))?
            .map_err(|error| invalid(error.to_string()))?;
        let FromWorker::Hello(hello) = received.message else {
            return Err(invalid("the worker's first message is no hello".into()));
        };
        let pid = received.pid.ok_or_else(|| invalid("the kernel does not tell who said hello".into()))?;
        let pair = Pair::handed_back(hello.families, received.descriptors)?;
        let process = spawn::handle(pid)?;
        Ok((Self { line, process, pid, path, child, hello }, pair))
    }

    /// Whether it is of this build.
    pub(super) fn is_of(&self, build: &str) -> bool {
        self.hello.protocol == PROTOCOL && self.hello.build == build
    }

    /// Whether it is of this build, and serves.
    pub(super) fn is_usable(&self, build: &str) -> bool {
        self.is_of(build) && !self.hello.draining
    }

    /// Its process's number.
    pub(super) fn number(&self) -> i32 {
        self.pid.as_raw_nonzero().get()
    }

    /// Its next message.
    pub(super) async fn receive(&self) -> Result<FromWorker, ChannelError> {
        self.line.receive().await.map(|received| received.message)
    }

    /// Says something; a worker that does not read for some seconds counts as gone.
    pub(super) async fn say(&self, message: &ToWorker) -> io::Result<()> {
        timeout(PATIENCE, self.line.send(message, &[]))
            .await
            .unwrap_or_else(|_| Err(io::Error::new(io::ErrorKind::TimedOut, "the worker does not read")))
    }

    /// Has it log where this daemon does. One that does not hear goes on as before.
    pub(super) async fn hand_log(&self) {
        let own = spawn::own_stderr();
        let stderr = io::stderr();
        let log = own.as_ref().map_or(stderr.as_fd(), AsFd::as_fd);
        let handed = timeout(PATIENCE, self.line.send(&ToWorker::Log, &[log])).await;
        if !matches!(handed, Ok(Ok(()))) {
            tracing::warn!(pid = self.number(), "an L7 worker goes on logging where it did before");
        }
    }

    /// Has it drain and waits for its end, at most a little longer than the time that it has; then it is killed. So it is once
    /// it gives no sign of life, which is answered. Once workers are told to stop, the time that they have holds if it is
    /// shorter. Clients that it still has are served by what is published meanwhile, too; one of another build may not read
    /// that, and has little time left once another access is. `report` gets its counters.
    pub(super) async fn part(
        self,
        patience: Duration,
        mut stop: watch::Receiver<Option<Duration>>,
        mut snapshot: watch::Receiver<Published>,
        mut report: impl FnMut(Stats),
    ) -> bool {
        let mut end = Instant::now() + patience;
        let mut told = self.drain(patience).await;
        let follows = self.is_of(&spawn::build());
        let mut before = snapshot.borrow_and_update().clone();
        if follows {
            snapshot.mark_changed();
        }
        let mut hasty = false;
        let (mut stopped, mut hung) = (false, false);
        let mut pulse = Pulse::of(self.pid);
        while told {
            tokio::select! {
                message = self.receive() => {
                    pulse.heard();
                    match message {
                        Ok(FromWorker::Stats(stats)) => report(*stats),
                        // One of another build may say what this one does not know.
                        Ok(_) | Err(ChannelError::Malformed(_) | ChannelError::Shortage) => {}
                        Err(ChannelError::Closed | ChannelError::Socket(_)) => told = false,
                    }
                }
                () = pulse.stops() => {
                    tracing::error!(pid = self.number(), how = HUNG, "an L7 worker that drains has ended");
                    self.kill();
                    hung = true;
                    break;
                }
                less = told_to_stop(&mut stop), if !stopped => {
                    stopped = true;
                    if Instant::now() + less < end {
                        end = Instant::now() + less;
                        told = self.drain(less).await;
                    }
                }
                message = published(&mut snapshot), if !hasty => match follows {
                    true => match self.say(&message).await {
                        Ok(()) => {}
                        Err(error) if is_shortage(&error) => {
                            sleep(AGAIN).await;
                            snapshot.mark_changed();
                        }
                        Err(_) => told = false,
                    },
                    false if before.as_ref().is_some_and(|before| changes_access(before, &message)) => {
                        hasty = true;
                        end = end.min(Instant::now() + HASTE);
                        told = self.drain(HASTE).await;
                    }
                    false => before = Some(message),
                },
                () = sleep_until(end + GRACE) => break,
            }
        }
        self.bury().await;
        hung
    }

    async fn drain(&self, patience: Duration) -> bool {
        let deadline_ms = u64::try_from(patience.as_millis()).unwrap_or(u64::MAX);
        self.say(&ToWorker::Drain { deadline_ms }).await.is_ok()
    }

    /// Ends its process at once.
    pub(super) fn kill(&self) {
        spawn::kill(&self.process);
    }

    /// After its connection has ended: makes sure that its process has, too.
    pub(super) async fn bury(self) -> String {
        spawn::remove(&self.path);
        let Some(mut child) = self.child else {
            spawn::kill(&self.process);
            return "ended".to_owned();
        };
        if let Ok(Ok(status)) = timeout(GRACE, child.wait()).await {
            return status.to_string();
        }
        spawn::kill(&self.process);
        child.wait().await.map_or_else(|error| error.to_string(), |status| status.to_string())
    }
}

/// How long workers have when they are told to stop.
pub(super) async fn told_to_stop(stop: &mut watch::Receiver<Option<Duration>>) -> Duration {
    let patience = stop.wait_for(Option::is_some).await.ok().and_then(|patience| *patience);
    match patience {
        Some(patience) => patience,
        None => std::future::pending().await,
    }
}

/// What workers serve by, as they are told.
pub(super) type Published = Option<Arc<ToWorker>>;

/// The next snapshot.
pub(super) async fn published(snapshot: &mut watch::Receiver<Published>) -> Arc<ToWorker> {
    while snapshot.changed().await.is_ok() {
        if let Some(message) = snapshot.borrow_and_update().clone() {
            return message;
        }
    }
    std::future::pending().await
}

/// Whether others may ask than before, of any service that is still there.
fn changes_access(before: &ToWorker, now: &ToWorker) -> bool {
    let (ToWorker::Snapshot(before), ToWorker::Snapshot(now)) = (before, now) else { return false };
    before.services.iter().any(|(name, old)| {
        now.services.get(name).is_some_and(|new| {
            (&old.rules.access, &old.rules.trusted) != (&new.rules.access, &new.rules.trusted)
        })
    })
}

/// From a connection, or a start, to the worker's hello.
const HELLO: Duration = Duration::from_secs(5);
const PATIENCE: Duration = Duration::from_secs(10);
/// Until what there was no descriptor for is said again.
pub(super) const AGAIN: Duration = Duration::from_secs(1);
/// How long a worker of another build goes on by an access that no longer holds.
const HASTE: Duration = Duration::from_secs(10);
/// From the end of the connection, or of the time to drain, to the end of the process.
const GRACE: Duration = Duration::from_secs(1);
