//! Runs one registry's client for ever: session after session with jittered back-off, a resync on a timer, an end by
//! cancellation. What a client does wrong (it fails, hangs before it is connected, panics) ends its session and nothing else.

mod back_off;
mod conduct;
mod run;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{mpsc, oneshot, watch};

use super::source::{Client, Event, Parcel, Wanted};
use back_off::BackOff;
use run::{Command, Run};

/// What a driver tells of its registry.
#[derive(Clone, Debug)]
pub enum Report {
    /// What the client says.
    Event(Event),
    /// The session has ended: nothing is known of any query of this registry.
    Lost {
        /// Why, for people.
        why: String,
    },
}

/// Times of a driver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tuning {
    /// Shortest pause before the second session; each further one is twice as long, and up to twice that by chance.
    pub first_delay: Duration,
    /// Longest pause.
    pub longest_delay: Duration,
    /// Shortest pause after a server has refused weir.
    pub refused_delay: Duration,
    /// A session that was connected for so long begins the pauses anew.
    pub lived: Duration,
    /// Longest time until a session is connected.
    pub connect: Duration,
    /// Longest time for a connection to be handed over.
    pub hand_over: Duration,
    /// Time between two full lists within a session, up to a quarter less by chance; none for never.
    pub resync: Option<Duration>,
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            first_delay: Duration::from_millis(100),
            longest_delay: Duration::from_secs(30),
            refused_delay: Duration::from_secs(10),
            lived: Duration::from_secs(10),
            connect: Duration::from_secs(30),
            hand_over: Duration::from_secs(2),
            resync: Some(Duration::from_secs(600)),
        }
    }
}

/// What a driver is at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    /// Nothing is wanted of the registry.
    #[default]
    Idle,
    /// A session has begun, and is not connected yet.
    Connecting,
    /// In session.
    Connected,
    /// Between two sessions.
    Waiting,
    /// At its end.
    Stopped,
}

/// How a registry's sessions go.
#[derive(Clone, Debug)]
pub struct Status {
    /// What the driver is at.
    pub phase: Phase,
    /// Since when.
    pub since: Timestamp,
    /// The server, while connected.
    pub peer: Option<String>,
    /// Sessions begun.
    pub sessions: u64,
    /// Sessions that failed.
    pub failures: u64,
    /// Events of the client.
    pub events: u64,
    /// The last failure, and when it was.
    pub last_error: Option<(Timestamp, String)>,
    /// When the next session begins, while waiting.
    pub next_try: Option<Timestamp>,
}

/// Starts drivers.
#[derive(Clone, Copy, Debug)]
pub struct Driver;

/// A running driver; dropping it ends the session at once.
#[derive(Debug)]
pub struct Handle {
    wanted: watch::Sender<Arc<Wanted>>,
    commands: mpsc::UnboundedSender<Command>,
    status: watch::Receiver<Status>,
    task: tokio::task::JoinHandle<()>,
}

impl Driver {
    /// Starts to run a client. No session begins before something is wanted. Events go to `events`, which all drivers may
    /// share; while it is full the client's session goes on until its own buffer is full.
    #[must_use]
    pub fn spawn(
        name: Arc<str>,
        client: Box<dyn Client>,
        tuning: Tuning,
        events: mpsc::Sender<(Arc<str>, Report)>,
    ) -> Handle {
        let (wanted, wanted_end) = watch::channel(Arc::default());
        let (commands, commands_end) = mpsc::unbounded_channel();
        let (status, status_end) = watch::channel(Status::new());
        let back_off = BackOff::new(&tuning);
        let run = Run {
            name,
            client,
            tuning,
            events,
            wanted: wanted_end,
            commands: commands_end,
            status,
            back_off,
            resyncs: 0,
        };
        Handle { wanted, commands, status: status_end, task: tokio::spawn(run.run()) }
    }
}

impl Handle {
    /// Says what is wanted from now on.
    pub fn set_wanted(&self, wanted: Arc<Wanted>) {
        self.wanted.send_if_modified(|old| {
            let changed = *old != wanted;
            *old = wanted;
            changed
        });
    }

    /// Asks for everything again: a full list in the session, or the next session at once.
    pub fn resync(&self) {
        // Without a receiver the driver has ended.
        let _ = self.commands.send(Command::Resync);
    }

    /// Begins a session even if nothing is wanted: the client has a connection that was handed over, with registrations on
    /// it that must be kept alive or ended.
    pub fn begin(&self) {
        let _ = self.commands.send(Command::Begin);
    }

    /// Asks the driver to end and to give away the connection with what is registered on it, where the registry's kind has
    /// such a thing and is in session. What is answered does not depend on anybody reading the events.
    pub fn hand_over(&self) -> impl Future<Output = Option<Parcel>> + use<> {
        let (reply, answer) = oneshot::channel();
        let asked = self.commands.send(Command::HandOver(reply));
        async move {
            asked.ok()?;
            answer.await.ok().flatten()
        }
    }

    /// Ends the session and the driver, and waits until both are gone.
    pub async fn stop(mut self) {
        self.task.abort();
        let _ = (&mut self.task).await;
    }

    /// How it goes.
    #[must_use]
    pub fn status(&self) -> Status {
        self.status.borrow().clone()
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Status {
    fn new() -> Self {
        Self {
            phase: Phase::Idle,
            since: Timestamp::now(),
            peer: None,
            sessions: 0,
            failures: 0,
            events: 0,
            last_error: None,
            next_try: None,
        }
    }
}
