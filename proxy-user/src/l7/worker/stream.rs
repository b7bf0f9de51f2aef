//! A connection's socket with what is to be kept for it: bytes received and not used yet, bytes to send.

use std::io;
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, Shutdown};

use super::buffers::Buffers;

/// A nonblocking socket. Its events come once for each change (`EPOLLET`), so that what is known of it is kept here.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) fd: OwnedFd,
    /// Received and not used.
    pub(super) input: Vec<u8>,
    /// To be sent, from `sent` on.
    output: Vec<u8>,
    sent: usize,
    /// Bytes sent in all.
    pub(super) total_sent: u64,
    /// Bytes received in all.
    pub(super) total_received: u64,
    /// Bytes that must be there before it is worth looking at them again.
    pub(super) need: usize,
    pub(super) readable: bool,
    pub(super) writable: bool,
    /// The kernel has told that the end of the stream is there, behind what can be read.
    pub(super) hangup: bool,
    /// The other side has sent all, and all was read.
    pub(super) eof: bool,
    /// Listed to be flushed.
    pub(super) dirty: bool,
    /// Listed to be looked at again.
    pub(super) listed: bool,
    /// What was sent is kept, to send it again elsewhere.
    pub(super) keep_sent: bool,
    /// No more is sent after what is in the buffer.
    pub(super) end: bool,
    /// Nothing can be sent any more, for this reason; what it has sent before may be left to read.
    pub(super) broken: Option<io::ErrorKind>,
    /// It ends by a reset: what came for it is not whole, and an orderly end would say that it is.
    pub(super) cut: bool,
    shut: bool,
}

/// Where the bytes are that [`Stream::gather`] has found.
#[derive(Debug)]
pub(super) enum Gathered {
    /// Nothing new.
    Nothing,
    /// So many in the scratch space.
    Scratch(usize),
    /// In a buffer of their own, since they are many.
    Own(Vec<u8>),
}

impl Stream {
    pub(super) fn new(fd: OwnedFd) -> Self {
        Self {
            fd,
            input: Vec::new(),
            output: Vec::new(),
            sent: 0,
            total_sent: 0,
            total_received: 0,
            need: 0,
            readable: false,
            writable: false,
            hangup: false,
            eof: false,
            dirty: false,
            listed: false,
            keep_sent: false,
            end: false,
            broken: None,
            cut: false,
            shut: false,
        }
    }

    /// Reads once what is there, and puts it behind what was kept. `again` gives back what was kept even if nothing came.
    ///
    /// # Errors
    /// The connection failed.
    pub(super) fn gather(
        &mut self,
        scratch: &mut [u8],
        again: bool,
        buffers: &mut Buffers,
    ) -> io::Result<Gathered> {
        let kept = self.input.len();
        if kept > 0 && self.need == 0 {
            // Not looked at yet: nothing more is read before it was, or one who sends on and on would fill the memory.
            return Ok(if again { self.hand_out(scratch, buffers) } else { Gathered::Nothing });
        }
        if kept > scratch.len() / 2 || self.need > scratch.len() {
            return self.gather_many(scratch, again);
        }
        let fresh = match (self.readable, scratch.get_mut(kept..)) {
            (true, Some(room)) => self.receive(room)?,
            _ => 0,
        };
        let enough = kept + fresh >= self.need || self.eof;
        if fresh == 0 && !(again && kept > 0) && !self.eof || kept + fresh == 0 {
            return Ok(Gathered::Nothing);
        }
        if !enough {
            let room = scratch.get(kept..kept + fresh).unwrap_or_default();
            buffers.lend(&mut self.input);
            self.input.extend_from_slice(room);
            return Ok(Gathered::Nothing);
        }
        if let Some(front) = scratch.get_mut(..kept) {
            front.copy_from_slice(&self.input);
        }
        buffers.take_back(&mut self.input);
        self.need = 0;
        Ok(Gathered::Scratch(kept + fresh))
    }

    /// What was kept.
    fn hand_out(&mut self, scratch: &mut [u8], buffers: &mut Buffers) -> Gathered {
        let kept = self.input.len();
        match scratch.get_mut(..kept) {
            Some(room) => {
                room.copy_from_slice(&self.input);
                buffers.take_back(&mut self.input);
                Gathered::Scratch(kept)
            }
            None => Gathered::Own(std::mem::take(&mut self.input)),
        }
    }

    /// Many bytes are kept: each is moved once only.
    fn gather_many(&mut self, scratch: &mut [u8], again: bool) -> io::Result<Gathered> {
        let fresh = if self.readable { self.receive(scratch)? } else { 0 };
        self.input.extend_from_slice(scratch.get(..fresh).unwrap_or_default());
        if (fresh == 0 && !again && !self.eof) || (self.input.len() < self.need && !self.eof) {
            return Ok(Gathered::Nothing);
        }
        self.need = 0;
        Ok(Gathered::Own(std::mem::take(&mut self.input)))
    }

    /// Keeps what could not be used.
    pub(super) fn keep(&mut self, rest: &[u8], buffers: &mut Buffers) {
        if !rest.is_empty() {
            buffers.lend(&mut self.input);
            self.input.extend_from_slice(rest);
        }
    }

    /// Reads once. 0: nothing is there now, or [`Self::eof`].
    pub(super) fn receive(&mut self, room: &mut [u8]) -> io::Result<usize> {
        let wanted = room.len();
        loop {
            match rustix::net::recv(&self.fd, &mut *room, RecvFlags::empty()) {
                Ok((_, 0)) if wanted > 0 => {
                    self.eof = true;
                    self.readable = false;
                    return Ok(0);
                }
                Ok((_, count)) => {
                    self.total_received += count as u64;
                    // What did not fill the room was all: the next event says when more is there.
                    self.readable = count == wanted || self.hangup;
                    return Ok(count);
                }
                Err(Errno::AGAIN) => {
                    self.readable = false;
                    return Ok(0);
                }
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// The buffer of what is to be sent, to append to.
    #[inline]
    pub(super) fn output(&mut self, buffers: &mut Buffers) -> &mut Vec<u8> {
        buffers.lend(&mut self.output);
        &mut self.output
    }

    /// Appends bytes; many, or all if `now`, are sent from where they are as far as the socket takes them.
    ///
    /// # Errors
    /// The connection failed.
    #[inline]
    pub(super) fn put(&mut self, bytes: &[u8], now: bool, buffers: &mut Buffers) -> io::Result<()> {
        let mut rest = bytes;
        if (now || bytes.len() >= MANY) && self.writable && self.unsent() == 0 && !self.keep_sent {
            let count = self.send(bytes)?;
            rest = bytes.get(count..).unwrap_or_default();
        }
        if !rest.is_empty() {
            self.output(buffers).extend_from_slice(rest);
        }
        Ok(())
    }

    /// Bytes that wait to be sent.
    #[inline]
    pub(super) fn unsent(&self) -> usize {
        self.output.len() - self.sent
    }

    /// Bytes that the other side has not taken, as far as the kernel tells: those that wait here, and those on their way.
    pub(super) fn untaken(&self) -> usize {
        self.unsent() + crate::kernel::sys::unacknowledged(&self.fd)
    }

    /// Its end, whenever that is, will be a reset.
    pub(super) fn cut(&mut self) {
        self.cut = true;
        let _ = rustix::net::sockopt::set_socket_linger(&self.fd, Some(std::time::Duration::ZERO));
    }

    /// Bytes of memory that its buffers take.
    #[inline]
    pub(super) fn held(&self) -> usize {
        self.input.capacity() + self.output.capacity()
    }

    /// Sends what waits, as far as the socket takes it.
    ///
    /// # Errors
    /// The connection failed.
    pub(super) fn flush(&mut self, buffers: &mut Buffers) -> io::Result<()> {
        while self.writable && self.unsent() > 0 {
            let output = std::mem::take(&mut self.output);
            let sent = self.send(output.get(self.sent..).unwrap_or_default());
            self.output = output;
            self.sent += sent?;
        }
        if self.sent >= MANY && self.sent >= self.unsent() && !self.keep_sent {
            // Where more comes all the while, the buffer may never be empty: what was sent must not stay in it.
            self.output.drain(..self.sent);
            self.sent = 0;
        }
        if self.unsent() == 0 && !self.keep_sent {
            self.forget_sent(buffers);
        }
        if self.end && self.unsent() == 0 && self.writable && !self.shut {
            self.shut = true;
            let _ = rustix::net::shutdown(&self.fd, Shutdown::Write);
        }
        Ok(())
    }

    /// Lets go of what was sent.
    #[inline]
    pub(super) fn forget_sent(&mut self, buffers: &mut Buffers) {
        self.keep_sent = false;
        if self.unsent() == 0 {
            self.sent = 0;
            buffers.take_back(&mut self.output);
        }
    }

    /// Sends this; nothing else waits.
    pub(super) fn set_output(&mut self, output: Vec<u8>) {
        self.output = output;
        self.sent = 0;
    }

    /// All that was to be sent, and what of it is kept though it was.
    pub(super) fn take_output(&mut self) -> Vec<u8> {
        self.sent = 0;
        std::mem::take(&mut self.output)
    }

    /// What is to be sent, and was not.
    pub(super) fn waiting(&self) -> &[u8] {
        self.output.get(self.sent..).unwrap_or_default()
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match rustix::net::send(&self.fd, bytes, SendFlags::NOSIGNAL) {
                Ok(count) => {
                    self.writable = count == bytes.len();
                    self.total_sent += count as u64;
                    return Ok(count);
                }
                Err(Errno::AGAIN) => {
                    self.writable = false;
                    return Ok(0);
                }
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// From here on a system call is cheaper than a copy.
const MANY: usize = 16 << 10;

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn what_was_sent_leaves_a_buffer_that_is_never_empty() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let (mut stream, mut buffers) = (Stream::new(ours.into()), Buffers::default());
        let mut room = vec![0; 64 << 10];
        stream.output(&mut buffers).extend_from_slice(&vec![7; 512 << 10]);
        for _ in 0..500 {
            stream.writable = true;
            stream.flush(&mut buffers).unwrap();
            theirs.read_exact(&mut room).unwrap();
            stream.output(&mut buffers).extend_from_slice(&room);
        }
        assert!(stream.unsent() > 0);
        assert!(stream.held() < 2 << 20, "{}", stream.held());
    }
}
