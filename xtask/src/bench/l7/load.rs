//! The load: clients and their backend in one thread that never sleeps, so that all else of the path is the proxy's.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use rustix::event::{Timespec, epoll};
use rustix::fs::{MemfdFlags, memfd_create, sendfile};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};

use super::wire::Speech;

/// Who clients are, and how many requests each has under way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    pub(super) speech: Speech,
    pub(super) connections: usize,
    pub(super) depth: usize,
}

/// What a stretch of load came to.
#[derive(Clone, Debug, Default)]
pub(super) struct Outcome {
    /// Answers; of bulk, bytes.
    pub(super) done: u64,
    pub(super) elapsed: Duration,
    /// Microseconds from the time that a request was meant to go.
    pub(super) latencies: Vec<u32>,
}

/// Clients and backend.
pub(super) struct Load {
    shape: Shape,
    poll: OwnedFd,
    listener: TcpListener,
    /// Clients first, then the backend's connections as they come.
    sockets: Vec<Socket>,
    buffer: Vec<u8>,
    /// What is sent in bulk, without a copy.
    file: OwnedFd,
    next_free: usize,
    /// Clients at the front of `sockets` that ask whenever they may; those behind them, once.
    active: usize,
}

struct Socket {
    stream: TcpStream,
    client: bool,
    input: Vec<u8>,
    output: Vec<u8>,
    /// When requests under way were meant to go, in order, with their ids.
    under_way: VecDeque<(u32, Instant)>,
    next_id: u32,
}

const LISTENER: u64 = u64::MAX;

impl Load {
    /// A backend on the loopback, without clients.
    pub(super) fn new(shape: Shape) -> Result<Self> {
        Self::at(shape, Ipv4Addr::LOCALHOST)
    }

    /// A backend at an address of this host, without clients.
    pub(super) fn at(shape: Shape, backend: Ipv4Addr) -> Result<Self> {
        let listener = TcpListener::bind((backend, 0))?;
        listener.set_nonblocking(true)?;
        let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        epoll::add(&poll, &listener, epoll::EventData::new_u64(LISTENER), epoll::EventFlags::IN)?;
        let (buffer, file) = (vec![0; CHUNK], memfd_create("bulk", MemfdFlags::CLOEXEC)?);
        rustix::io::write(&file, &buffer)?;
        Ok(Self { shape, poll, listener, sockets: Vec::new(), buffer, file, next_free: 0, active: 0 })
    }

    /// Where the backend listens.
    pub(super) fn backend(&self) -> Result<SocketAddr> {
        Ok(self.listener.local_addr()?)
    }

    /// Connects the clients.
    pub(super) fn connect(&mut self, to: SocketAddr) -> Result<()> {
        for _ in 0..self.shape.connections {
            let stream =
                TcpStream::connect(to).with_context(|| format!("connecting to the proxy at {to}"))?;
            self.add(stream, true)?;
            self.active += 1;
        }
        Ok(())
    }

    /// Connects clients that ask once and are silent from then on.
    pub(super) fn connect_idle(&mut self, to: SocketAddr, count: usize) -> Result<()> {
        let mut numbers = Vec::new();
        for batch in 0..count.div_ceil(BATCH) {
            for _ in 0..BATCH.min(count - batch * BATCH) {
                let number = self.sockets.len();
                self.add(TcpStream::connect(to)?, true)?;
                self.ask(number, Instant::now());
                self.flush(number)?;
                numbers.push(number);
            }
            self.run(Duration::from_millis(20), Some(SELDOM))?;
        }
        let waits = |load: &Self, number: &usize| {
            load.sockets.get(*number).is_some_and(|socket| !socket.under_way.is_empty())
        };
        for _ in 0..50 {
            if !numbers.iter().any(|number| waits(self, number)) {
                return Ok(());
            }
            self.settle()?;
        }
        anyhow::bail!("a client that asks once is not answered in 5 s")
    }

    fn add(&mut self, stream: TcpStream, client: bool) -> Result<()> {
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        let data = epoll::EventData::new_u64(self.sockets.len() as u64);
        let flags = epoll::EventFlags::IN | epoll::EventFlags::OUT | epoll::EventFlags::ET;
        epoll::add(&self.poll, &stream, data, flags)?;
        self.sockets.push(Socket {
            stream,
            client,
            input: Vec::new(),
            output: Vec::new(),
            under_way: VecDeque::new(),
            next_id: 0,
        });
        Ok(())
    }

    /// Runs for a time: at a rate, or as fast as answers come.
    pub(super) fn run(&mut self, time: Duration, rate: Option<f64>) -> Result<Outcome> {
        let begin = Instant::now();
        let mut outcome = Outcome::default();
        let mut meant = 0_u64;
        let mut events: Vec<epoll::Event> = Vec::with_capacity(256);
        let mut asked = Vec::new();
        if rate.is_none() {
            for number in 0..self.active {
                let missing = self.sockets.get(number).map_or(0, |s| self.shape.depth - s.under_way.len());
                for _ in 0..missing {
                    self.ask(number, begin);
                }
                self.flush(number)?;
            }
        }
        loop {
            let now = Instant::now();
            outcome.elapsed = now - begin;
            if outcome.elapsed >= time {
                return Ok(outcome);
            }
            if let Some(rate) = rate {
                while begin + Duration::from_secs_f64(meant_seconds(meant, rate)) <= now {
                    let at = begin + Duration::from_secs_f64(meant_seconds(meant, rate));
                    let Some(free) = self.free() else { break };
                    meant += 1;
                    self.ask(free, at);
                    asked.push(free);
                }
                // Each socket once, or this side is the slow one.
                for number in asked.drain(..) {
                    self.flush(number)?;
                }
            }
            events.clear();
            let none = Timespec { tv_sec: 0, tv_nsec: 0 };
            epoll::wait(&self.poll, rustix::buffer::spare_capacity(&mut events), Some(&none))?;
            for event in &events {
                let key = event.data.u64();
                if key == LISTENER {
                    while let Ok((stream, _)) = self.listener.accept() {
                        self.add(stream, false)?;
                    }
                } else {
                    self.on(usize::try_from(key)?, rate.is_none(), &mut outcome)?;
                }
            }
        }
    }

    /// Reads what is left to come, so that the next stretch begins with nothing under way.
    pub(super) fn settle(&mut self) -> Result<()> {
        self.run(Duration::from_millis(100), Some(SELDOM)).map(drop)
    }

    /// A client with room for a request.
    fn free(&mut self) -> Option<usize> {
        let count = self.active;
        let found = (0..count).map(|step| (self.next_free + step) % count).find(|number| {
            self.sockets.get(*number).is_some_and(|socket| socket.under_way.len() < self.shape.depth)
        })?;
        self.next_free = found + 1;
        Some(found)
    }

    fn ask(&mut self, number: usize, at: Instant) {
        let Some(socket) = self.sockets.get_mut(number) else { return };
        socket.next_id = socket.next_id.wrapping_add(1);
        self.shape.speech.request(socket.next_id, &mut socket.output);
        socket.under_way.push_back((socket.next_id, at));
    }

    fn on(&mut self, number: usize, closed_loop: bool, outcome: &mut Outcome) -> Result<()> {
        if self.shape.speech == Speech::Bulk {
            return self.bulk(number, outcome);
        }
        let Some(socket) = self.sockets.get_mut(number) else { return Ok(()) };
        loop {
            match rustix::net::recv(&socket.stream, &mut *self.buffer, RecvFlags::empty()) {
                Ok((_, 0)) => {
                    ensure!(!socket.client, "the proxy has closed a client's connection");
                    return Ok(());
                }
                Ok((_, count)) => {
                    socket.input.extend_from_slice(self.buffer.get(..count).unwrap_or_default());
                    if count < self.buffer.len() {
                        break;
                    }
                }
                Err(Errno::AGAIN | Errno::INTR) => break,
                Err(error) => return Err(error.into()),
            }
        }
        let (speech, client) = (self.shape.speech, socket.client);
        let mut at = 0;
        let mut answered = 0;
        let now = Instant::now();
        loop {
            let rest = socket.input.get(at..).unwrap_or_default();
            ensure!(!client || speech.succeeds(rest), "a request failed");
            let Some((length, id)) = speech.message(rest, client) else { break };
            at += length;
            if !client {
                speech.answer(id, &mut socket.output);
                continue;
            }
            let place = match speech {
                Speech::Bolt => socket.under_way.iter().position(|(other, _)| *other == id),
                _ => Some(0),
            };
            let begun = place.and_then(|place| socket.under_way.remove(place));
            let (_, meant) = begun.context("an answer that nobody asked for")?;
            answered += 1;
            if !closed_loop {
                let micros = now.saturating_duration_since(meant).as_micros();
                outcome.latencies.push(u32::try_from(micros).unwrap_or(u32::MAX));
            }
        }
        socket.input.drain(..at);
        outcome.done += answered;
        if closed_loop && client {
            for _ in 0..answered {
                self.ask(number, now);
            }
        }
        self.flush(number)
    }

    fn bulk(&mut self, number: usize, outcome: &mut Outcome) -> Result<()> {
        let Some(socket) = self.sockets.get_mut(number) else { return Ok(()) };
        // A turn of each, so that no side starves the other.
        for _ in 0..8 {
            let moved = if socket.client {
                sendfile(&socket.stream, &self.file, Some(&mut 0), CHUNK)
            } else {
                // Taken out of the socket without a copy.
                rustix::net::recv(&socket.stream, &mut *self.buffer, RecvFlags::TRUNC).map(|(_, count)| count)
            };
            match moved {
                Ok(count) if !socket.client => outcome.done += count as u64,
                Ok(_) => {}
                Err(Errno::AGAIN | Errno::INTR) => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
        // Edge-triggered: there may be more, and nothing will tell.
        let data = epoll::EventData::new_u64(number as u64);
        let flags = epoll::EventFlags::IN | epoll::EventFlags::OUT | epoll::EventFlags::ET;
        Ok(epoll::modify(&self.poll, &socket.stream, data, flags)?)
    }

    fn flush(&mut self, number: usize) -> Result<()> {
        let Some(socket) = self.sockets.get_mut(number) else { return Ok(()) };
        if socket.output.is_empty() {
            return Ok(());
        }
        match rustix::net::send(&socket.stream, &socket.output, SendFlags::NOSIGNAL) {
            Ok(count) => drop(socket.output.drain(..count)),
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }
}

/// Bytes moved at once in bulk.
const CHUNK: usize = 256 << 10;
/// Idle clients that connect at once.
const BATCH: usize = 50;
/// Requests a second where none are wanted.
const SELDOM: f64 = 1e-9;

#[expect(clippy::cast_precision_loss, reason = "a count of requests, far below 2^52")]
fn meant_seconds(count: u64, rate: f64) -> f64 {
    count as f64 / rate
}
