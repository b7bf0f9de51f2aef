//! The floor: a process that forwards bytes between two sockets by bare epoll, with one buffer, and nothing else.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd as _, OwnedFd};

use anyhow::Result;
use rustix::event::epoll;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, Shutdown};

const LISTENER: u64 = u64::MAX;
const BUFFER: usize = 256 << 10;

/// One direction's end: where what comes from it goes, and what is left of it.
struct End {
    fd: OwnedFd,
    other: u64,
    waiting: Vec<u8>,
}

/// Ends by their descriptors.
#[derive(Default)]
struct Ends(Vec<Option<End>>);

impl Ends {
    fn get(&self, key: u64) -> Option<&End> {
        self.0.get(usize::try_from(key).ok()?)?.as_ref()
    }

    fn get_mut(&mut self, key: u64) -> Option<&mut End> {
        self.0.get_mut(usize::try_from(key).ok()?)?.as_mut()
    }

    fn insert(&mut self, key: u64, end: End) {
        let place = usize::try_from(key).unwrap_or_default();
        if self.0.len() <= place {
            self.0.resize_with(place + 1, || None);
        }
        if let Some(slot) = self.0.get_mut(place) {
            *slot = Some(end);
        }
    }

    fn remove(&mut self, key: u64) -> Option<End> {
        self.0.get_mut(usize::try_from(key).ok()?)?.take()
    }
}

/// Forwards until it is killed.
pub(crate) fn run(listen: SocketAddr, to: SocketAddr) -> Result<()> {
    let listener = TcpListener::bind(listen)?;
    listener.set_nonblocking(true)?;
    let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    epoll::add(&poll, &listener, epoll::EventData::new_u64(LISTENER), epoll::EventFlags::IN)?;
    let mut ends = Ends::default();
    let mut buffer = vec![0; BUFFER];
    let mut events: Vec<epoll::Event> = Vec::with_capacity(256);
    loop {
        events.clear();
        epoll::wait(&poll, rustix::buffer::spare_capacity(&mut events), None)?;
        for event in &events {
            let (key, flags) = (event.data.u64(), event.flags);
            if key == LISTENER {
                while let Ok((client, _)) = listener.accept() {
                    pair(&poll, &mut ends, client, TcpStream::connect(to)?)?;
                }
                continue;
            }
            let writable = flags.contains(epoll::EventFlags::OUT);
            let failed = (writable && drain(&poll, &mut ends, key).is_err())
                || forward(&poll, &mut ends, key, &mut buffer).is_err();
            if failed && let Some(end) = ends.remove(key) {
                ends.remove(end.other);
            }
        }
    }
}

fn pair(poll: &OwnedFd, ends: &mut Ends, client: TcpStream, server: TcpStream) -> io::Result<()> {
    let key = |stream: &TcpStream| u64::try_from(stream.as_raw_fd()).unwrap_or_default();
    let keys = (key(&client), key(&server));
    for (stream, own, other) in [(client, keys.0, keys.1), (server, keys.1, keys.0)] {
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        let end = End { fd: stream.into(), other, waiting: Vec::new() };
        epoll::add(poll, &end.fd, epoll::EventData::new_u64(own), epoll::EventFlags::IN)?;
        ends.insert(own, end);
    }
    Ok(())
}

/// Reads once and writes what came.
fn forward(poll: &OwnedFd, ends: &mut Ends, key: u64, buffer: &mut [u8]) -> io::Result<()> {
    let Some(end) = ends.get(key) else { return Ok(()) };
    let other = end.other;
    let Some(target) = ends.get(other) else { return Ok(()) };
    if !target.waiting.is_empty() {
        return Ok(());
    }
    let count = match rustix::net::recv(&end.fd, &mut *buffer, RecvFlags::empty()) {
        Ok((_, 0)) => {
            let _ = rustix::net::shutdown(&target.fd, Shutdown::Write);
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok((_, count)) => count,
        Err(Errno::AGAIN | Errno::INTR) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    let bytes = buffer.get(..count).unwrap_or_default();
    let sent = match rustix::net::send(&target.fd, bytes, SendFlags::NOSIGNAL) {
        Ok(sent) => sent,
        Err(Errno::AGAIN) => 0,
        Err(error) => return Err(error.into()),
    };
    if sent < count {
        watch(poll, end, key, epoll::EventFlags::empty())?;
        if let Some(target) = ends.get_mut(other) {
            target.waiting.extend_from_slice(bytes.get(sent..).unwrap_or_default());
            watch(poll, target, other, epoll::EventFlags::IN | epoll::EventFlags::OUT)?;
        }
    }
    Ok(())
}

/// Writes what waits; then its source is read from again.
fn drain(poll: &OwnedFd, ends: &mut Ends, key: u64) -> io::Result<()> {
    let Some(end) = ends.get_mut(key) else { return Ok(()) };
    match rustix::net::send(&end.fd, &end.waiting, SendFlags::NOSIGNAL) {
        Ok(sent) => drop(end.waiting.drain(..sent)),
        Err(Errno::AGAIN) => {}
        Err(error) => return Err(error.into()),
    }
    if end.waiting.is_empty() {
        watch(poll, end, key, epoll::EventFlags::IN)?;
        let other = end.other;
        if let Some(source) = ends.get(other) {
            watch(poll, source, other, epoll::EventFlags::IN)?;
        }
    }
    Ok(())
}

fn watch(poll: &OwnedFd, end: &End, key: u64, flags: epoll::EventFlags) -> io::Result<()> {
    Ok(epoll::modify(poll, &end.fd, epoll::EventData::new_u64(key), flags)?)
}
