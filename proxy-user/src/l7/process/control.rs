//! The worker's side of the control socket: whichever daemon is there, one at a time. While none is, the worker goes on by
//! the snapshot that it has.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::time::Duration;

use rustix::net::SocketFlags;
use tokio::io::unix::AsyncFd;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::channel::{Channel, ChannelError, Received, TO_WORKER, Waiting, registered};
use super::listeners::Pair;
use super::message::{FromWorker, Hello, PROTOCOL, Start, ToWorker};
use super::places::WAITING_DAEMONS;
use super::spawn;
use crate::l7::snapshot::{Snapshot, VERSION};
use crate::l7::stats::Stats;

/// What the daemon, or the system, asks of a worker.
#[derive(Debug)]
pub enum Event {
    /// Serve this from now on, then say so by [`Control::acknowledge`] or [`Control::refuse`].
    Snapshot(Box<Snapshot>),
    /// Drop the listeners, end connections by their protocol's means, and return from the worker's body when none is
    /// left or after this time. A shorter time than that of an earlier one holds.
    Drain(Duration),
}

/// The worker's end of the control socket.
#[derive(Debug)]
pub struct Control {
    hello: Hello,
    daemon_user: u32,
    socket: AsyncFd<OwnedFd>,
    /// Duplicates, to hand them to the next daemon; none while draining.
    pair: Pair,
    daemon: Option<Waiting>,
    /// An answer that found no room.
    owed: Option<FromWorker>,
    terminate: Signal,
}

impl Control {
    /// Says hello to the daemon that has started this worker.
    pub(super) fn new(start: &Start, socket: OwnedFd, pair: Pair, daemon: Waiting) -> io::Result<Self> {
        // From here on whoever connects sees this process as the peer, and not the daemon that made the socket.
        rustix::net::listen(&socket, WAITING_DAEMONS)?;
        let hello = Hello {
            protocol: PROTOCOL,
            build: spawn::build(),
            worker: start.worker,
            generation: None,
            draining: false,
            families: pair.families(),
        };
        let mut control = Self {
            hello,
            daemon_user: start.daemon,
            socket: registered(socket)?,
            pair,
            daemon: None,
            owed: None,
            terminate: signal(SignalKind::terminate())?,
        };
        control.greet(daemon);
        Ok(control)
    }

    /// Waits for the next event. May be given up at any time, so that it can stand in a `select!`.
    pub async fn next(&mut self) -> Event {
        loop {
            let mut signalled = false;
            let event = tokio::select! {
                received = receive(self.daemon.as_ref()) => self.take(received),
                daemon = accept(&self.socket, self.daemon_user) => {
                    self.greet(daemon);
                    None
                }
                _ = self.terminate.recv() => {
                    signalled = true;
                    Some(Event::Drain(TERMINATED))
                }
            };
            if let Some(event) = event {
                if let Event::Drain(_) = event {
                    self.hello.draining = true;
                    self.pair = Pair::default();
                    self.hello.families = self.pair.families();
                    if signalled {
                        // The daemon does not know yet, and what waits needs a successor.
                        self.answer(FromWorker::Hello(self.hello.clone()));
                    }
                }
                return event;
            }
        }
    }

    /// Says that a snapshot is in force.
    pub fn acknowledge(&mut self, generation: u64) {
        self.hello.generation = Some(generation);
        self.answer(FromWorker::Acknowledged { generation });
    }

    /// Says that a snapshot is not taken, and that the one before it stays in force.
    pub fn refuse(&mut self, generation: u64, reason: String) {
        self.answer(FromWorker::Refused { generation, reason });
    }

    /// Sends the counters, about once a second. Where there is no daemon, or it does not read, they are lost: the next
    /// ones are as good.
    pub fn report(&mut self, stats: &Stats) {
        if let Some(owed) = self.owed.take() {
            self.answer(owed);
        }
        if self.owed.is_none() && self.daemon.is_some() {
            let _room = self.say(&FromWorker::Stats(Box::new(stats.clone())));
        }
    }

    fn answer(&mut self, answer: FromWorker) {
        if !self.say(&answer) {
            self.owed = Some(answer);
        }
    }

    /// Whether it was said, or there is nobody to say it to.
    fn say(&mut self, message: &FromWorker) -> bool {
        let Some(daemon) = &self.daemon else { return true };
        match daemon.try_send(message) {
            Ok(sent) => sent,
            Err(_) => {
                self.daemon = None;
                true
            }
        }
    }

    fn greet(&mut self, daemon: Waiting) {
        self.owed = None;
        // A new connection has room.
        let hello = FromWorker::Hello(self.hello.clone());
        self.daemon = daemon.greet(&hello, &self.pair.descriptors()).is_ok().then_some(daemon);
    }

    fn take(&mut self, received: Result<Received<ToWorker>, ChannelError>) -> Option<Event> {
        match received.map(|received| received.message) {
            Ok(ToWorker::Snapshot(snapshot)) if snapshot.version == VERSION => {
                Some(Event::Snapshot(snapshot))
            }
            Ok(ToWorker::Snapshot(snapshot)) => {
                let reason = format!("its form is version {}, this worker reads {VERSION}", snapshot.version);
                self.refuse(snapshot.generation, reason);
                None
            }
            Ok(ToWorker::Drain { deadline_ms }) => Some(Event::Drain(Duration::from_millis(deadline_ms))),
            // Not said twice.
            Ok(ToWorker::Start(_)) => None,
            // Of a daemon that has gone, or of another build.
            Err(_) => {
                self.daemon = None;
                None
            }
        }
    }
}

async fn receive(daemon: Option<&Waiting>) -> Result<Received<ToWorker>, ChannelError> {
    match daemon {
        Some(daemon) => daemon.receive().await,
        None => std::future::pending().await,
    }
}

/// The next daemon that may speak to this worker: of root or the user that started it.
async fn accept(socket: &AsyncFd<OwnedFd>, user: u32) -> Waiting {
    loop {
        let Ok(mut ready) = socket.readable().await else { return std::future::pending().await };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let Ok(accepted) = rustix::net::accept_with(socket.get_ref().as_fd(), flags) else {
            ready.clear_ready();
            continue;
        };
        let allowed = rustix::net::sockopt::socket_peercred(&accepted)
            .is_ok_and(|peer| peer.uid.is_root() || peer.uid.as_raw() == user);
        if allowed && let Ok(waiting) = Channel::new(accepted, TO_WORKER).and_then(Waiting::new) {
            return waiting;
        }
    }
}

/// How long a worker drains that is told to end by a signal.
const TERMINATED: Duration = Duration::from_secs(30);
