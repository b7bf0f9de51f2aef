//! Bytes in bulk, moved from socket to socket within the kernel through a pipe. For small amounts a copy is cheaper, so
//! that a direction changes over only when much comes at once.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::io::Errno;
use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};

/// One direction of a tunnel.
#[derive(Debug, Default)]
pub(super) struct Bulk {
    /// It moves in bulk.
    pub(super) on: bool,
    /// Bytes in the pipe.
    pub(super) inside: usize,
    pipe: Option<Pipe>,
    /// Small amounts in a row.
    small: u8,
}

#[derive(Debug)]
pub(super) struct Pipe {
    out: OwnedFd,
    into: OwnedFd,
}

/// Pipes nobody uses.
#[derive(Debug)]
pub(super) struct Pipes {
    free: Vec<Pipe>,
    make: fn() -> io::Result<Pipe>,
}

impl Default for Pipes {
    fn default() -> Self {
        Self { free: Vec::new(), make: new_pipe }
    }
}

/// What a move came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Moved {
    /// So many bytes.
    Bytes(usize),
    /// The other side cannot, now.
    Blocked,
    /// The source has ended.
    End,
    /// There is no pipe to be had (descriptors, or memory, have run out): nothing was moved, and it is to be copied.
    NoPipe,
}

impl Bulk {
    /// Notes how much came at once.
    #[inline]
    pub(super) fn note(&mut self, count: usize) {
        if count >= MUCH {
            self.on = true;
            self.small = 0;
        }
    }

    /// Fills the pipe from a socket.
    pub(super) fn fill(&mut self, source: &impl AsFd, pipes: &mut Pipes) -> io::Result<Moved> {
        if self.pipe.is_none() {
            match pipes.take() {
                Ok(pipe) => self.pipe = Some(pipe),
                Err(_) => {
                    self.on = false;
                    return Ok(Moved::NoPipe);
                }
            }
        }
        let Some(pipe) = &self.pipe else { return Ok(Moved::Blocked) };
        let moved = attempt(source, &pipe.into)?;
        if let Moved::Bytes(count) = moved {
            self.inside += count;
            self.small = if count >= LITTLE { 0 } else { self.small.saturating_add(1) };
        }
        Ok(moved)
    }

    /// Empties the pipe into a socket, as far as it takes.
    pub(super) fn drain(&mut self, target: &impl AsFd) -> io::Result<Moved> {
        let Some(pipe) = &self.pipe else { return Ok(Moved::Bytes(0)) };
        let mut all = 0;
        while self.inside > 0 {
            match attempt_len(&pipe.out, target, self.inside)? {
                Moved::Bytes(count) => {
                    self.inside = self.inside.saturating_sub(count);
                    all += count;
                }
                Moved::Blocked => return Ok(if all > 0 { Moved::Bytes(all) } else { Moved::Blocked }),
                Moved::End | Moved::NoPipe => return Err(io::ErrorKind::BrokenPipe.into()),
            }
        }
        Ok(Moved::Bytes(all))
    }

    /// Gives the pipe back, if nothing is in it, and goes back to copying if little came lately.
    pub(super) fn rest(&mut self, pipes: &mut Pipes) {
        if self.inside == 0 {
            if self.small >= SMALL_IN_A_ROW {
                self.on = false;
                self.small = 0;
            }
            pipes.free.extend(self.pipe.take().filter(|_| pipes.free.len() < MOST));
        }
    }

    /// Takes what is in the pipe out again, behind what is in `out`: its source is gone.
    pub(super) fn take_out(&mut self, out: &mut Vec<u8>) {
        let Some(pipe) = self.pipe.take() else { return };
        let mut room = [0; 16 << 10];
        while self.inside > 0 {
            match rustix::io::read(&pipe.out, &mut room) {
                Ok(count) if count > 0 => {
                    out.extend_from_slice(room.get(..count).unwrap_or_default());
                    self.inside = self.inside.saturating_sub(count);
                }
                Err(Errno::INTR) => {}
                Ok(_) | Err(_) => return,
            }
        }
    }
}

impl Pipes {
    fn take(&mut self) -> io::Result<Pipe> {
        match self.free.pop() {
            Some(pipe) => Ok(pipe),
            None => (self.make)(),
        }
    }

    /// As where descriptors have run out.
    #[cfg(test)]
    pub(super) fn none() -> Self {
        Self { free: Vec::new(), make: || Err(Errno::MFILE.into()) }
    }
}

fn new_pipe() -> io::Result<Pipe> {
    let (out, into) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
    // Above the user's bound it stays small.
    let _ = fcntl_setpipe_size(&into, SIZE);
    Ok(Pipe { out, into })
}

fn attempt(source: &impl AsFd, target: &impl AsFd) -> io::Result<Moved> {
    attempt_len(source, target, SIZE)
}

fn attempt_len(source: &impl AsFd, target: &impl AsFd, len: usize) -> io::Result<Moved> {
    loop {
        match splice(source, None, target, None, len, SpliceFlags::MOVE | SpliceFlags::NONBLOCK) {
            Ok(0) => return Ok(Moved::End),
            Ok(count) => return Ok(Moved::Bytes(count)),
            Err(Errno::AGAIN) => return Ok(Moved::Blocked),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Bytes of a pipe.
const SIZE: usize = 256 << 10;
/// So much at once is bulk.
const MUCH: usize = 64 << 10;
/// Less than this is not.
const LITTLE: usize = 48 << 10;
const SMALL_IN_A_ROW: u8 = 4;
/// Pipes kept at most.
const MOST: usize = 16;
