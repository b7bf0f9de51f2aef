//! The worker's side of the control socket: whichever daemon is there, one at a time. While none is, the worker goes on by
//! the snapshot that it has.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::event::epoll;
use rustix::net::SocketFlags;

use super::channel::{Channel, ChannelError, Received, TO_WORKER, is_shortage};
use super::listeners::Pair;
use super::message::{FromWorker, Hello, Listed, PROTOCOL, Question, Start, ToWorker};
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
    /// Tell of some connections by [`Control::tell`].
    Connections(Question),
    /// Log here from now on.
    Log(OwnedFd),
}

/// The worker's end of the control socket.
#[derive(Debug)]
pub struct Control {
    hello: Hello,
    daemon_user: u32,
    socket: OwnedFd,
    /// Duplicates, to hand them to the next daemon; none while draining.
    pair: Pair,
    daemon: Option<Channel>,
    /// An answer that found no room.
    owed: Option<FromWorker>,
    terminate: SignalFd,
    /// Readable when any of the above is.
    poll: OwnedFd,
    /// Given up for what the daemon is told or tells: connections may have taken all other descriptors.
    reserve: Option<OwnedFd>,
}

impl AsFd for Control {
    /// Readable when [`Control::event`] may have an event.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.poll.as_fd()
    }
}

impl Control {
    /// Says hello to the daemon that has started this worker. SIGTERM must be blocked in this process.
    pub(crate) fn new(start: &Start, socket: OwnedFd, pair: Pair, daemon: Channel) -> io::Result<Self> {
        // From here on whoever connects sees this process as the peer, and not the daemon that made the socket.
        rustix::net::listen(&socket, WAITING_DAEMONS)?;
        rustix::io::ioctl_fionbio(&socket, true)?;
        let hello = Hello {
            protocol: PROTOCOL,
            build: spawn::build(),
            worker: start.worker,
            generation: None,
            draining: false,
            families: pair.families(),
        };
        let terminate = SignalFd::with_flags(&termination(), SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;
        let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        watch(&poll, &socket)?;
        watch(&poll, &terminate)?;
        let mut control = Self {
            hello,
            daemon_user: start.daemon,
            socket,
            pair,
            daemon: None,
            owed: None,
            terminate,
            reserve: reserve(&poll),
            poll,
        };
        control.greet(daemon);
        Ok(control)
    }

    /// The next event, if there is one now.
    pub fn event(&mut self) -> Option<Event> {
        if let Ok(Some(_)) = self.terminate.read_signal() {
            self.drained();
            // The daemon does not know yet, and what waits needs a successor.
            self.answer(FromWorker::Hello(self.hello.clone()));
            return Some(Event::Drain(TERMINATED));
        }
        while let Some(daemon) = accept(&self.socket, self.daemon_user) {
            self.greet(daemon);
        }
        while let Some(daemon) = &self.daemon {
            self.reserve = None;
            let received = daemon.receive::<ToWorker>();
            self.reserve = reserve(&self.poll);
            let event = match received {
                Err(ChannelError::Socket(error)) if error.kind() == io::ErrorKind::WouldBlock => return None,
                received => self.take(received),
            };
            if let Some(Event::Drain(_)) = event {
                self.drained();
            }
            if event.is_some() {
                return event;
            }
        }
        None
    }

    fn drained(&mut self) {
        self.hello.draining = true;
        self.pair = Pair::default();
        self.hello.families = self.pair.families();
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

    /// Tells of connections. Where there is no room, they are not told: whoever asked asks again.
    pub fn tell(&mut self, listed: Listed) {
        if self.owed.is_none() {
            let _room = self.say(&FromWorker::Connections(Box::new(listed)));
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
        self.reserve = None;
        let said = daemon.send(message, &[]);
        self.reserve = reserve(&self.poll);
        match said {
            Ok(()) => true,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock || is_shortage(&error) => false,
            Err(_) => {
                self.lose_daemon();
                true
            }
        }
    }

    /// Its socket is no longer watched either: where a duplicate of it is open (standard input), closing it does not do that,
    /// and its end would be told again and again.
    fn lose_daemon(&mut self) {
        if let Some(daemon) = self.daemon.take() {
            let _ = epoll::delete(&self.poll, &daemon);
        }
    }

    fn greet(&mut self, daemon: Channel) {
        self.lose_daemon();
        self.owed = None;
        // A new connection has room.
        let hello = FromWorker::Hello(self.hello.clone());
        let greeted = daemon.send(&hello, &self.pair.descriptors()).and_then(|()| watch(&self.poll, &daemon));
        self.daemon = greeted.is_ok().then_some(daemon);
    }

    fn take(&mut self, received: Result<Received<ToWorker>, ChannelError>) -> Option<Event> {
        let (received, mut descriptors) = match received {
            Ok(Received { message, descriptors, .. }) => (Ok(message), descriptors),
            Err(error) => (Err(error), Vec::new()),
        };
        match received {
            Ok(ToWorker::Snapshot(snapshot)) if snapshot.version == VERSION => {
                Some(Event::Snapshot(snapshot))
            }
            Ok(ToWorker::Snapshot(snapshot)) => {
                let reason = format!("its form is version {}, this worker reads {VERSION}", snapshot.version);
                self.refuse(snapshot.generation, reason);
                None
            }
            Ok(ToWorker::Drain { deadline_ms }) => Some(Event::Drain(Duration::from_millis(deadline_ms))),
            Ok(ToWorker::Connections(question)) => Some(Event::Connections(question)),
            Ok(ToWorker::Log) => descriptors.pop().map(Event::Log),
            // Not said twice.
            Ok(ToWorker::Start(_)) => None,
            // What was lost is said again to a worker that says hello, with the next report.
            Err(ChannelError::Shortage) => {
                self.owed = Some(FromWorker::Hello(self.hello.clone()));
                None
            }
            // Of a daemon that has gone, or of another build.
            Err(_) => {
                self.lose_daemon();
                None
            }
        }
    }
}

/// The next daemon that may speak to this worker: of root or the user that started it.
fn accept(socket: &OwnedFd, user: u32) -> Option<Channel> {
    loop {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let accepted = rustix::net::accept_with(socket, flags).ok()?;
        let allowed = rustix::net::sockopt::socket_peercred(&accepted)
            .is_ok_and(|peer| peer.uid.is_root() || peer.uid.as_raw() == user);
        if allowed && let Ok(channel) = Channel::new(accepted, TO_WORKER) {
            return Some(channel);
        }
    }
}

/// A descriptor that can be given up. A duplicate of one that nothing is told of, and that ends with this process.
fn reserve(poll: &OwnedFd) -> Option<OwnedFd> {
    rustix::io::fcntl_dupfd_cloexec(poll, 0).ok()
}

fn watch(poll: &OwnedFd, source: &impl AsFd) -> io::Result<()> {
    let data = epoll::EventData::new_u64(0);
    Ok(epoll::add(poll, source, data, epoll::EventFlags::IN)?)
}

/// What tells a worker to end.
pub(super) fn termination() -> SigSet {
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGTERM);
    signals
}

/// How long a worker drains that is told to end by a signal.
const TERMINATED: Duration = Duration::from_secs(30);
