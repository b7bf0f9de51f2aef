//! The driver's task: session after session.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Instant;

use futures_util::FutureExt as _;
use jiff::Timestamp;
use tokio::sync::{mpsc, oneshot, watch};

use super::back_off::BackOff;
use super::conduct::{Conduct, Pump};
use super::{Phase, Report, Status, Tuning};
use crate::registry::source::{Client, Ended, Order, Parcel, Session, SessionError, Wanted};

#[derive(Debug)]
pub(super) enum Command {
    Resync,
    /// Begin a session even if nothing is wanted.
    Begin,
    HandOver(oneshot::Sender<Option<Parcel>>),
}

/// Who waits for the connection.
pub(super) type Reply = oneshot::Sender<Option<Parcel>>;

/// What became of one session.
struct Past {
    outcome: Outcome,
    /// Who has asked for its connection.
    reply: Option<Reply>,
    /// Since when it was connected.
    connected: Option<Instant>,
}

/// Nobody listens any more.
struct Gone;

/// How a session ended, for the driver.
pub(super) enum Outcome {
    Ended(Ended),
    Failed { why: String, refused: bool },
}

/// The driver's task.
pub(super) struct Run {
    pub name: Arc<str>,
    pub client: Box<dyn Client>,
    pub tuning: Tuning,
    pub events: mpsc::Sender<(Arc<str>, Report)>,
    pub wanted: watch::Receiver<Arc<Wanted>>,
    pub commands: mpsc::UnboundedReceiver<Command>,
    pub status: watch::Sender<Status>,
    pub back_off: BackOff,
    pub resyncs: u64,
}

impl Run {
    pub(super) async fn run(mut self) {
        while self.something_wanted().await {
            let Past { outcome, mut reply, connected } = self.session().await;
            if connected.is_some_and(|since| since.elapsed() >= self.tuning.lived) {
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
            if reply.is_none() {
                match self.tell_lost(why.clone()).await {
                    Ok(asked) => reply = asked,
                    Err(Gone) => break,
                }
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

    /// Tells that the session has ended. Who asks for a hand-over meanwhile may be who empties the channel.
    async fn tell_lost(&mut self, why: String) -> Result<Option<Reply>, Gone> {
        let lost = self.events.send((self.name.clone(), Report::Lost { why }));
        tokio::pin!(lost);
        loop {
            tokio::select! {
                sent = &mut lost => return sent.map(|()| None).map_err(|_| Gone),
                command = self.commands.recv() => match command {
                    Some(Command::HandOver(reply)) => return Ok(Some(reply)),
                    Some(Command::Resync | Command::Begin) => {}
                    None => return Err(Gone),
                },
            }
        }
    }

    /// Waits until something is wanted, or a session is to begin nevertheless; false when nobody can want anything any more.
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
                    Some(Command::Begin) => return true,
                    Some(Command::Resync) => {}
                    Some(Command::HandOver(reply)) => { let _ = reply.send(None); return false }
                    None => return false,
                },
            }
        }
    }

    /// One session, its events passed on to the last.
    async fn session(&mut self) -> Past {
        self.enter(Phase::Connecting, |status| status.sessions += 1);
        let (order, order_end) = watch::channel(Order::Run);
        let (events, events_end) = mpsc::channel(BUFFER);
        let mut session = Session { wanted: self.wanted.clone(), order: order_end, events };
        let (connected, connected_end) = watch::channel(None);
        let connected_since = connected_end.clone();
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
        tokio::pin!(pump);
        let mut run = Box::pin(run);
        let mut pumped = false;
        let (outcome, mut reply) = loop {
            tokio::select! {
                ended = &mut run => break ended,
                () = &mut pump, if !pumped => pumped = true,
            }
        };
        drop(run);
        // Who asks for the connection may be who empties the channel.
        while !pumped && reply.is_none() {
            tokio::select! {
                () = &mut pump => pumped = true,
                command = self.commands.recv() => match command {
                    Some(Command::HandOver(asked)) => reply = Some(asked),
                    Some(Command::Resync | Command::Begin) => {}
                    None => break,
                },
            }
        }
        let connected = *connected_since.borrow();
        Past { outcome, reply, connected }
    }

    /// Waits for the next session; false when there is to be none.
    async fn pause(&mut self, why: String, refused: bool) -> bool {
        let delay = self.back_off.next(refused);
        let now = Timestamp::now();
        let again = self.status.borrow().last_error.as_ref().is_some_and(|(_, last)| *last == why);
        if again {
            tracing::debug!(registry = %self.name, why, ?delay, "registry session ended as before");
        } else {
            tracing::warn!(registry = %self.name, why, ?delay, "registry session ended; weir tries again");
        }
        self.enter(Phase::Waiting, |status| {
            status.failures += 1;
            status.last_error = Some((now, why));
            status.next_try = now.saturating_add(delay).ok();
        });
        tokio::select! {
            () = tokio::time::sleep(delay) => true,
            () = self.events.closed() => false,
            command = self.commands.recv() => match command {
                Some(Command::Resync | Command::Begin) => true,
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

pub(super) fn failed(why: &str) -> Outcome {
    Outcome::Failed { why: why.to_owned(), refused: false }
}

/// Events of a session that wait to be passed on.
const BUFFER: usize = 256;
