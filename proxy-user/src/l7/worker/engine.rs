//! The loop: events in batches, then what they have left to do, then flushes.

use std::io;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use super::Listeners;
use super::buffers::Buffers;
use super::connection::{Client, Upstream};
use super::held;
use super::journal::Journal;
use super::poll::{Poll, Ready, Token};
use super::services::Directory;
use super::slab::Slab;
use super::splice::Pipes;
use super::timers::{NEVER, Timers};
use crate::l7::pool::Endpoint;
use crate::l7::process::control::{Control, Event};
use crate::l7::process::entry::turn_stderr;
use crate::l7::stats::Stats;

/// All that a worker has.
pub(super) struct Engine {
    pub(super) poll: Poll,
    pub(super) control: Control,
    pub(super) v4: Option<TcpListener>,
    pub(super) v6: Option<TcpListener>,
    pub(super) workers: u32,
    pub(super) clients: Slab<Client>,
    pub(super) upstreams: Slab<Upstream>,
    pub(super) endpoints: Slab<Endpoint>,
    pub(super) directory: Directory,
    pub(super) timers: Timers,
    pub(super) buffers: Buffers,
    pub(super) pipes: Pipes,
    /// Connections with something to send.
    dirty: Vec<Token>,
    /// Connections to be looked at without an event of theirs.
    again: Vec<Token>,
    scratch: Vec<u8>,
    pub(super) stats: Stats,
    /// The access log.
    pub(super) journal: Journal,
    begun: Instant,
    /// Microseconds since the start, as of this batch. Never 0.
    pub(super) now: u64,
    /// There was a snapshot.
    pub(super) ready: bool,
    /// Until when connections may go on: it drains.
    pub(super) drain_until: Option<u64>,
    next_report: u64,
    seed: u64,
    /// When to accept again, if it was stopped.
    pub(super) accept_again: u64,
    /// From when on a client that is to go is not waited for, if nothing of it is under way.
    pub(super) hurry_at: u64,
    /// From when on, and in how much time, clients are closed that are silent while it drains, in microseconds.
    pub(super) leaving: (u64, u64),
    /// When requests of clients that have left are looked for.
    pub(super) leavers_at: u64,
    /// Bytes that are kept for clients on shared connections, and how many may be.
    pub(super) held: usize,
    pub(super) most_held: usize,
    /// Bytes that wait for shared connections with many of them.
    pub(super) held_up: usize,
    /// Copies of requests under way, on connections that have one at a time.
    pub(super) mirrors: u32,
}

impl Engine {
    pub(super) fn new(listeners: Listeners, control: Control, log: OwnedFd) -> io::Result<Self> {
        let poll = Poll::new()?;
        poll.add_level(&control, Token::Control)?;
        for listener in [&listeners.v4, &listeners.v6].into_iter().flatten() {
            listener.set_nonblocking(true)?;
        }
        Ok(Self {
            poll,
            control,
            v4: listeners.v4,
            v6: listeners.v6,
            workers: listeners.workers,
            clients: Slab::default(),
            upstreams: Slab::default(),
            endpoints: Slab::default(),
            directory: Directory::default(),
            timers: Timers::default(),
            buffers: Buffers::default(),
            pipes: Pipes::default(),
            dirty: Vec::new(),
            again: Vec::new(),
            scratch: Vec::new(),
            stats: Stats::default(),
            journal: Journal::new(log),
            begun: Instant::now(),
            now: 1,
            ready: false,
            drain_until: None,
            next_report: REPORT,
            seed: u64::from(std::process::id()) << 32 | u64::from(listeners.number),
            accept_again: NEVER,
            hurry_at: NEVER,
            leaving: (NEVER, 0),
            leavers_at: NEVER,
            held: 0,
            held_up: 0,
            most_held: held::most(0),
            mirrors: 0,
        })
    }

    pub(super) fn run(mut self) -> io::Result<()> {
        loop {
            let until = self.timers.next().min(self.next_report).min(self.accept_again).min(self.leavers_at);
            let until = until.min(self.drain_until.unwrap_or(NEVER));
            self.poll.wait(self.now, until)?;
            self.look_at_the_clock();
            let mut control = false;
            for number in 0..self.poll.len() {
                match self.poll.get(number) {
                    Some(Ready { token: Token::Control, .. }) => control = true,
                    Some(ready) => self.guarded(ready.token, |engine| engine.on(ready)),
                    None => {}
                }
            }
            self.settle();
            // Between two batches, so that a request sees one state.
            if control {
                self.hear()?;
            }
            self.tick();
            self.accept_if_due();
            self.settle();
            if self.now >= self.next_report {
                self.next_report = self.now + REPORT;
                self.journal.write();
                let stats = self.stats();
                self.control.report(&stats);
            } else if self.journal.is_due() {
                self.journal.write();
            }
            if self.is_drained() {
                // What is cut off has its line too.
                for key in self.clients.keys() {
                    self.guarded(Token::Client(key), |engine| engine.client_lost(key));
                }
                self.journal.finish();
                let stats = self.stats();
                self.control.report(&stats);
                return Ok(());
            }
        }
    }

    fn look_at_the_clock(&mut self) {
        self.now = self.clock();
    }

    fn clock(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_micros()).unwrap_or(u64::MAX).max(1)
    }

    /// Reports as before, if it is time: in work that is long, and no hang.
    pub(super) fn show_life(&mut self) {
        let now = self.clock();
        if now >= self.next_report {
            self.next_report = now + REPORT;
            self.control.report(&self.stats);
        }
    }

    fn hear(&mut self) -> io::Result<()> {
        while let Some(event) = self.control.event() {
            match event {
                Event::Snapshot(snapshot) => {
                    let first = !self.ready;
                    match self.serve_by(&snapshot) {
                        Ok(()) => self.control.acknowledge(snapshot.generation),
                        Err(reason) => self.control.refuse(snapshot.generation, reason),
                    }
                    if first && self.ready && self.drain_until.is_none() {
                        self.listen()?;
                    }
                }
                Event::Drain(patience) => self.begin_drain(patience),
                Event::Connections(question) => self.control.tell(self.list(&question)),
                Event::Log(out) => {
                    turn_stderr(&out);
                    self.journal.turn_to(out);
                }
            }
            self.settle();
        }
        Ok(())
    }

    fn on(&mut self, ready: Ready) {
        match ready.token {
            Token::Client(key) => self.on_client(key, ready),
            Token::Upstream(key) => self.on_upstream(key, ready),
            Token::ListenerV4 | Token::ListenerV6 => self.accept(ready.token),
            Token::Control => {}
        }
    }

    /// A fault of weir's own in a connection's work ends that connection only.
    pub(super) fn guarded(&mut self, token: Token, work: impl FnOnce(&mut Self)) {
        if catch_unwind(AssertUnwindSafe(|| work(self))).is_err() {
            let cleaned = catch_unwind(AssertUnwindSafe(|| self.end_after_panic(token)));
            if cleaned.is_err() {
                match token {
                    Token::Client(key) => drop(self.clients.remove(key)),
                    Token::Upstream(key) => drop(self.upstreams.remove(key)),
                    Token::Control | Token::ListenerV4 | Token::ListenerV6 => {}
                }
            }
        }
    }

    /// Does what events have left: connections to look at again, and what is to be sent, until there is nothing of it.
    pub(super) fn settle(&mut self) {
        let mut rounds = 0;
        while (!self.again.is_empty() || !self.dirty.is_empty()) && rounds < ROUNDS {
            rounds += 1;
            let mut again = std::mem::take(&mut self.again);
            for token in again.drain(..) {
                self.guarded(token, |engine| engine.look_again(token));
            }
            if self.again.is_empty() {
                self.again = again;
            }
            let mut dirty = std::mem::take(&mut self.dirty);
            for token in dirty.drain(..) {
                self.guarded(token, |engine| engine.flush(token));
            }
            if self.dirty.is_empty() {
                self.dirty = dirty;
            }
        }
        if !self.again.is_empty() || !self.dirty.is_empty() {
            // Others have their turn first.
            self.poll.do_not_wait();
        }
    }

    fn look_again(&mut self, token: Token) {
        #[cfg(test)]
        super::tests::looked_again();
        match token {
            Token::Client(key) => {
                if let Some(client) = self.clients.get_mut(key) {
                    client.stream.listed = false;
                    self.turn_client(key, true);
                }
            }
            Token::Upstream(key) => {
                if let Some(upstream) = self.upstreams.get_mut(key) {
                    upstream.stream.listed = false;
                    self.turn_upstream(key, true);
                }
            }
            Token::Control | Token::ListenerV4 | Token::ListenerV6 => {}
        }
    }

    fn flush(&mut self, token: Token) {
        match token {
            Token::Client(key) => self.flush_client(key),
            Token::Upstream(key) => self.flush_upstream(key),
            Token::Control | Token::ListenerV4 | Token::ListenerV6 => {}
        }
    }

    /// A client has something to send.
    #[inline]
    pub(super) fn dirty_client(&mut self, key: super::Key) {
        if let Some(client) = self.clients.get_mut(key)
            && !client.stream.dirty
        {
            client.stream.dirty = true;
            self.dirty.push(Token::Client(key));
        }
    }

    /// An upstream has something to send.
    #[inline]
    pub(super) fn dirty_upstream(&mut self, key: super::Key) {
        if let Some(upstream) = self.upstreams.get_mut(key)
            && !upstream.stream.dirty
        {
            upstream.stream.dirty = true;
            self.dirty.push(Token::Upstream(key));
        }
    }

    /// A client is to be looked at again in this batch.
    pub(super) fn list_client(&mut self, key: super::Key) {
        if let Some(client) = self.clients.get_mut(key)
            && !client.stream.listed
        {
            client.stream.listed = true;
            self.again.push(Token::Client(key));
        }
    }

    /// An upstream is to be looked at again in this batch.
    pub(super) fn list_upstream(&mut self, key: super::Key) {
        if let Some(upstream) = self.upstreams.get_mut(key)
            && !upstream.stream.listed
        {
            upstream.stream.listed = true;
            self.again.push(Token::Upstream(key));
        }
    }

    /// Space to read into, shared by all connections: to be given back.
    pub(super) fn take_scratch(&mut self) -> Vec<u8> {
        let scratch = std::mem::take(&mut self.scratch);
        if scratch.is_empty() { vec![0; SCRATCH] } else { scratch }
    }

    pub(super) fn give_scratch(&mut self, scratch: Vec<u8>) {
        self.scratch = scratch;
    }

    /// A number that differs each time.
    pub(super) fn seed(&mut self) -> u64 {
        self.seed = self.seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.seed
    }
}

/// Bytes read at once.
const SCRATCH: usize = 256 << 10;
/// Times that connections with much to do are looked at again before others have their turn.
const ROUNDS: u32 = 4;
/// Between two reports, in microseconds.
const REPORT: u64 = 1_000_000;
