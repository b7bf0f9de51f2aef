//! `epoll`: each socket is registered once, for all that may happen to it, and told once of each change.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::event::{Timespec, epoll};

use super::slab::Key;
use super::timers::NEVER;

/// Whose event it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Token {
    /// A client's connection.
    Client(Key),
    /// A connection to an endpoint.
    Upstream(Key),
    /// The daemon, or the system.
    Control,
    /// The listener for IPv4.
    ListenerV4,
    /// The listener for IPv6.
    ListenerV6,
}

const UPSTREAM: u64 = 1 << 63;

impl Token {
    pub(super) fn bits(self) -> u64 {
        match self {
            Self::Client(key) => key.bits(),
            Self::Upstream(key) => key.bits() | UPSTREAM,
            Self::Control => u64::MAX,
            Self::ListenerV4 => u64::MAX - 1,
            Self::ListenerV6 => u64::MAX - 2,
        }
    }

    pub(super) fn from_bits(bits: u64) -> Self {
        match bits {
            u64::MAX => Self::Control,
            _ if bits == u64::MAX - 1 => Self::ListenerV4,
            _ if bits == u64::MAX - 2 => Self::ListenerV6,
            _ if bits & UPSTREAM != 0 => Self::Upstream(Key::from_bits(bits & !UPSTREAM)),
            _ => Self::Client(Key::from_bits(bits)),
        }
    }
}

/// What happened.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ready {
    pub(super) token: Token,
    /// Something to read, or an end, or an error.
    pub(super) read: bool,
    /// Room to write, or an error.
    pub(super) write: bool,
    /// The other side sends no more.
    pub(super) hangup: bool,
    /// The connection is gone in both directions.
    pub(super) gone: bool,
}

pub(super) struct Poll {
    fd: OwnedFd,
    events: Vec<epoll::Event>,
    /// The next wait only looks.
    hurry: bool,
}

impl Poll {
    pub(super) fn new() -> io::Result<Self> {
        let fd = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        Ok(Self { fd, events: Vec::with_capacity(BATCH), hurry: false })
    }

    /// Registers a connection, for all changes.
    pub(super) fn add(&self, source: &impl AsFd, token: Token) -> io::Result<()> {
        use epoll::EventFlags as Flags;
        let flags = Flags::IN | Flags::OUT | Flags::RDHUP | Flags::ET;
        Ok(epoll::add(&self.fd, source, epoll::EventData::new_u64(token.bits()), flags)?)
    }

    /// Registers what is told as long as there is something to read.
    pub(super) fn add_level(&self, source: &impl AsFd, token: Token) -> io::Result<()> {
        let data = epoll::EventData::new_u64(token.bits());
        Ok(epoll::add(&self.fd, source, data, epoll::EventFlags::IN)?)
    }

    pub(super) fn remove(&self, source: &impl AsFd) {
        let _ = epoll::delete(&self.fd, source);
    }

    /// Waits for events, at most until a time, both in microseconds of the worker's clock.
    pub(super) fn wait(&mut self, now: u64, until: u64) -> io::Result<()> {
        let until = if std::mem::take(&mut self.hurry) { now } else { until };
        let timeout = (until != NEVER).then(|| {
            // Upwards: waking a moment too early would be in vain.
            let millis = until.saturating_sub(now).div_ceil(1000).min(LONGEST);
            let part = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
            Timespec { tv_sec: part(millis / 1000), tv_nsec: part(millis % 1000 * 1_000_000) }
        });
        self.events.clear();
        match epoll::wait(&self.fd, rustix::buffer::spare_capacity(&mut self.events), timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// There is more to do: the next wait only looks.
    pub(super) fn do_not_wait(&mut self) {
        self.hurry = true;
    }

    pub(super) fn len(&self) -> usize {
        self.events.len()
    }

    pub(super) fn get(&self, number: usize) -> Option<Ready> {
        use epoll::EventFlags as Flags;
        let event = self.events.get(number)?;
        let (flags, data) = (event.flags, event.data);
        let has = |wanted: Flags| flags.intersects(wanted);
        Some(Ready {
            token: Token::from_bits(data.u64()),
            read: has(Flags::IN | Flags::RDHUP | Flags::HUP | Flags::ERR),
            write: has(Flags::OUT | Flags::HUP | Flags::ERR),
            hangup: has(Flags::RDHUP | Flags::HUP | Flags::ERR),
            gone: has(Flags::HUP | Flags::ERR),
        })
    }
}

/// Events taken at once: what they make to send goes out behind the last.
const BATCH: usize = 256;
/// Milliseconds waited at most.
const LONGEST: u64 = 1000;
