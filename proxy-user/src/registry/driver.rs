//! Runs one registry's client for ever: session after session with jittered back-off, a resync on a timer, an end by
//! cancellation. What a client does wrong (it fails, hangs before it is connected, panics) ends its session and nothing else.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use backon::{BackoffBuilder as _, ExponentialBackoff, ExponentialBuilder};
use futures_util::FutureExt as _;
use jiff::Timestamp;
use tokio::sync::{mpsc, oneshot, watch};

use super::source::{Client, Ended, Event, Order, Parcel, Session, SessionError, Wanted};

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
    /// A session that lived this long begins the pauses anew.
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

    /// Ends the driver and gives away the connection with what is registered on it, where the registry's kind has such a
    /// thing and is in session.
    pub async fn hand_over(&self) -> Option<Parcel> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(Command::HandOver(reply)).ok()?;
        answer.await.ok().flatten()
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

#[derive(Debug)]
enum Command {
    Resync,
    HandOver(oneshot::Sender<Option<Parcel>>),
}

/// How a session ended, for the driver.
enum Outcome {
    Ended(Ended),
    Failed { why: String, refused: bool },
}

/// The driver's task.
struct Run {
    name: Arc<str>,
    client: Box<dyn Client>,
    tuning: Tuning,
    events: mpsc::Sender<(Arc<str>, Report)>,
    wanted: watch::Receiver<Arc<Wanted>>,
    commands: mpsc::UnboundedReceiver<Command>,
    status: watch::Sender<Status>,
    back_off: BackOff,
    resyncs: u64,
}

impl Run {
    async fn run(mut self) {
        while self.something_wanted().await {
            let begun = Instant::now();
            let (outcome, reply) = self.session().await;
            if begun.elapsed() >= self.tuning.lived {
                self.back_off = BackOff::new(&self.tuning);
            }
            let (why, refused) = match outcome {
                Outcome::Ended(ended) => {
                    let parcel = match ended {
                        Ended::HandedOver(parcel) => parcel,
                        Ended::Unwanted => None,
                    };
                    if let Some(reply) = reply {
                        self.enter(Phase::Stopped, |_| {});
                        let _ = reply.send(parcel);
                        return;
                    }
                    ("the client ended the session".to_owned(), false)
                }
                Outcome::Failed { why, refused } => (why, refused),
            };
            let lost = (self.name.clone(), Report::Lost { why: why.clone() });
            // A hand-over is waited for by who empties the channel: it has no use for this any more.
            if reply.is_none() && self.events.send(lost).await.is_err() {
                break;
            }
            if let Some(reply) = reply {
                let _ = reply.send(None);
                break;
            }
            if !self.pause(why, refused).await {
                break;
            }
        }
        self.enter(Phase::Stopped, |_| {});
    }

    /// Waits until something is wanted; false when nobody can want anything any more.
    async fn something_wanted(&mut self) -> bool {
        loop {
            let idle = {
                let wanted = self.wanted.borrow_and_update();
                wanted.queries.is_empty() && wanted.publications.is_empty()
            };
            if !idle {
                return true;
            }
            if self.status.borrow().phase != Phase::Idle {
                self.enter(Phase::Idle, |_| {});
            }
            tokio::select! {
                changed = self.wanted.changed() => if changed.is_err() { return false },
                command = self.commands.recv() => match command {
                    Some(Command::Resync) => {}
                    Some(Command::HandOver(reply)) => { let _ = reply.send(None); return false }
                    None => return false,
                },
            }
        }
    }

    /// One session, its events passed on to the last.
    async fn session(&mut self) -> (Outcome, Option<oneshot::Sender<Option<Parcel>>>) {
        self.enter(Phase::Connecting, |status| status.sessions += 1);
        let (order, order_end) = watch::channel(Order::Run);
        let (events, events_end) = mpsc::channel(BUFFER);
        let mut session = Session { wanted: self.wanted.clone(), order: order_end, events };
        let (connected, connected_end) = watch::channel(false);
        let pump = Pump { name: &self.name, to: &self.events, status: &self.status, connected };
        let conduct = Conduct {
            commands: &mut self.commands,
            order,
            connected: connected_end,
            tuning: &self.tuning,
            resyncs: &mut self.resyncs,
        };
        let client = self.client.as_mut();
        // Owns the session's end of the events, so that the pump sees the end of them.
        let run = async move {
            let mut reply = None;
            let session = AssertUnwindSafe(client.session(&mut session)).catch_unwind();
            let ended = tokio::select! {
                ended = session => outcome(ended),
                failed = conduct.run(&mut reply) => failed,
            };
            (ended, reply)
        };
        // Both go on while the other waits: a client that must answer its server is not kept from it by a full channel.
        let pump = pump.run(events_end);
        tokio::pin!(run, pump);
        let mut pumped = false;
        let ended = loop {
            tokio::select! {
                ended = &mut run => break ended,
                () = &mut pump, if !pumped => pumped = true,
            }
        };
        // Who waits for the connection may be who empties the channel.
        if !pumped && ended.1.is_none() {
            pump.await;
        }
        ended
    }

    /// Waits for the next session; false when there is to be none.
    async fn pause(&mut self, why: String, refused: bool) -> bool {
        let delay = self.back_off.next(refused);
        let now = Timestamp::now();
        tracing::warn!(registry = %self.name, why, retry_ms = delay.as_millis(), "registry session ended");
        self.enter(Phase::Waiting, |status| {
            status.failures += 1;
            status.last_error = Some((now, why));
            status.next_try = now.saturating_add(delay).ok();
        });
        tokio::select! {
            () = tokio::time::sleep(delay) => true,
            () = self.events.closed() => false,
            command = self.commands.recv() => match command {
                Some(Command::Resync) => true,
                Some(Command::HandOver(reply)) => { let _ = reply.send(None); false }
                None => false,
            },
        }
    }

    fn enter(&self, phase: Phase, more: impl FnOnce(&mut Status)) {
        self.status.send_modify(|status| {
            status.phase = phase;
            status.since = Timestamp::now();
            status.peer = None;
            status.next_try = None;
            more(status);
        });
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

/// Passes a session's events on, and notes what they say of the session itself.
struct Pump<'a> {
    name: &'a Arc<str>,
    to: &'a mpsc::Sender<(Arc<str>, Report)>,
    status: &'a watch::Sender<Status>,
    connected: watch::Sender<bool>,
}

impl Pump<'_> {
    async fn run(self, mut from: mpsc::Receiver<Event>) {
        while let Some(event) = from.recv().await {
            self.status.send_modify(|status| {
                status.events += 1;
                if let Event::Connected { peer } = &event {
                    status.phase = Phase::Connected;
                    status.since = Timestamp::now();
                    status.peer = Some(peer.clone());
                }
            });
            if matches!(event, Event::Connected { .. }) {
                self.connected.send_replace(true);
            }
            if self.to.send((self.name.clone(), Report::Event(event))).await.is_err() {
                return;
            }
        }
    }
}

/// What happens to a session from outside: times and commands.
struct Conduct<'a> {
    commands: &'a mut mpsc::UnboundedReceiver<Command>,
    order: watch::Sender<Order>,
    connected: watch::Receiver<bool>,
    tuning: &'a Tuning,
    resyncs: &'a mut u64,
}

impl Conduct<'_> {
    /// Until the session has to be cut. While `reply` waits for a hand-over the client has a last span of time.
    async fn run(mut self, reply: &mut Option<oneshot::Sender<Option<Parcel>>>) -> Outcome {
        let connect = tokio::time::sleep(self.tuning.connect);
        let hand_over = tokio::time::sleep(Duration::MAX);
        let resync = tokio::time::sleep(self.next_resync());
        tokio::pin!(connect, hand_over, resync);
        loop {
            let (connected, leaving) = (*self.connected.borrow(), reply.is_some());
            tokio::select! {
                command = self.commands.recv() => match command {
                    Some(Command::Resync) => self.resync(),
                    Some(Command::HandOver(asked)) => {
                        *reply = Some(asked);
                        self.order.send_replace(Order::HandOver);
                        hand_over.as_mut().reset(tokio::time::Instant::now() + self.tuning.hand_over);
                    }
                    None => return failed("weir has no use for it any more"),
                },
                () = &mut connect, if !connected => {
                    return failed(&format!("not connected after {:?}", self.tuning.connect));
                }
                () = &mut hand_over, if leaving => {
                    return failed(&format!("not handed over after {:?}", self.tuning.hand_over));
                }
                () = &mut resync, if connected && !leaving && self.tuning.resync.is_some() => {
                    self.resync();
                    resync.as_mut().reset(tokio::time::Instant::now() + self.next_resync());
                }
                // Looks again at what holds: the time to connect stops to count.
                changed = self.connected.changed(), if !connected => if changed.is_err() {
                    std::future::pending::<()>().await;
                },
            }
        }
    }

    fn resync(&mut self) {
        *self.resyncs += 1;
        self.order.send_replace(Order::Resync(*self.resyncs));
    }

    fn next_resync(&self) -> Duration {
        let Some(period) = self.tuning.resync else { return Duration::MAX };
        period.mul_f64(1.0 - fastrand::f64() / 4.0)
    }
}

/// Pauses between sessions.
struct BackOff {
    failed: ExponentialBackoff,
    refused: ExponentialBackoff,
}

impl BackOff {
    fn new(tuning: &Tuning) -> Self {
        let builder = |first: Duration, longest: Duration| {
            // Jitter lies on top, up to as much again: half of the longest leaves room for it.
            ExponentialBuilder::default()
                .with_min_delay(first)
                .with_max_delay((longest / 2).max(first))
                .with_factor(2.0)
                .without_max_times()
                .with_jitter()
                .build()
        };
        Self {
            failed: builder(tuning.first_delay, tuning.longest_delay),
            refused: builder(tuning.refused_delay, tuning.refused_delay * 30),
        }
    }

    fn next(&mut self, refused: bool) -> Duration {
        let delays = if refused { &mut self.refused } else { &mut self.failed };
        delays.next().unwrap_or(Duration::from_secs(30))
    }
}

fn outcome(ended: Result<Result<Ended, SessionError>, Box<dyn std::any::Any + Send>>) -> Outcome {
    match ended {
        Ok(Ok(ended)) => Outcome::Ended(ended),
        Ok(Err(error)) => {
            let refused = matches!(error, SessionError::Refused { .. });
            Outcome::Failed { why: error.to_string(), refused }
        }
        Err(panic) => {
            let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
            let text = text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
            failed(&format!("the client broke down, a fault of weir: {text}"))
        }
    }
}

fn failed(why: &str) -> Outcome {
    Outcome::Failed { why: why.to_owned(), refused: false }
}

/// Events of a session that wait to be passed on.
const BUFFER: usize = 256;

#[cfg(test)]
mod tests;
