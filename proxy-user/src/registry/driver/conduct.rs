//! One session from outside: its events passed on, its times watched, commands given to it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::{mpsc, watch};

use super::run::{Command, Outcome, Reply, failed};
use super::{Phase, Report, Status, Tuning};
use crate::registry::source::{Event, Order};

/// Passes a session's events on, and notes what they say of the session itself.
pub(super) struct Pump<'a> {
    pub name: &'a Arc<str>,
    pub to: &'a mpsc::Sender<(Arc<str>, Report)>,
    pub status: &'a watch::Sender<Status>,
    /// When the session was connected.
    pub connected: watch::Sender<Option<Instant>>,
}

impl Pump<'_> {
    pub(super) async fn run(self, mut from: mpsc::Receiver<Event>) {
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
                self.connected.send_replace(Some(Instant::now()));
            }
            if self.to.send((self.name.clone(), Report::Event(event))).await.is_err() {
                return;
            }
        }
    }
}

/// What happens to a session from outside: times and commands.
pub(super) struct Conduct<'a> {
    pub commands: &'a mut mpsc::UnboundedReceiver<Command>,
    pub order: watch::Sender<Order>,
    pub connected: watch::Receiver<Option<Instant>>,
    pub tuning: &'a Tuning,
    pub resyncs: &'a mut u64,
}

impl Conduct<'_> {
    /// Until the session has to be cut. While `reply` waits for a hand-over the client has a last span of time.
    pub(super) async fn run(mut self, reply: &mut Option<Reply>) -> Outcome {
        let connect = tokio::time::sleep(self.tuning.connect);
        let hand_over = tokio::time::sleep(Duration::MAX);
        let resync = tokio::time::sleep(self.next_resync());
        tokio::pin!(connect, hand_over, resync);
        loop {
            let (connected, leaving) = (self.connected.borrow().is_some(), reply.is_some());
            tokio::select! {
                command = self.commands.recv() => match command {
                    Some(Command::Resync) => self.resync(),
                    Some(Command::Begin) => {}
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
                    return failed("nobody takes its events any more");
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
