//! Bytes from one socket to the other: copied, or in bulk through a pipe.

use std::io;

use super::buffers::Buffers;
use super::client::HIGH;
use super::splice::{Bulk, Moved, Pipes};
use super::stream::Stream;

/// What moving bytes came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flow {
    /// Nothing more is there.
    Drained,
    /// The other side has to take some first.
    Full,
    /// There may be more.
    More,
    /// The source has said all.
    Ended,
}

/// Whose connection failed.
#[derive(Debug)]
pub(super) enum Failed {
    Source,
    Target(io::Error),
}

/// Moves what is there from one socket to the other. `ready`: the target is connected.
pub(super) fn pump(
    source: &mut Stream,
    target: &mut Stream,
    ready: bool,
    bulk: &mut Bulk,
    scratch: &mut [u8],
    buffers: &mut Buffers,
    pipes: &mut Pipes,
) -> Result<Flow, Failed> {
    if !source.input.is_empty() {
        target.output(buffers).extend_from_slice(&source.input);
        buffers.take_back(&mut source.input);
    }
    for _ in 0..READS {
        if target.unsent() > HIGH {
            return Ok(Flow::Full);
        }
        if bulk.on && ready {
            match splice(source, target, bulk, buffers, pipes)? {
                Some(Flow::More) => continue,
                Some(flow) => return Ok(flow),
                // Copied, then.
                None => {}
            }
        }
        if source.eof {
            return Ok(Flow::Ended);
        }
        if !source.readable {
            return Ok(Flow::Drained);
        }
        let count = source.receive(scratch).map_err(|_| Failed::Source)?;
        if source.eof {
            return Ok(Flow::Ended);
        }
        bulk.note(count);
        target.put(scratch.get(..count).unwrap_or_default(), ready, buffers).map_err(Failed::Target)?;
        if !source.readable {
            return Ok(Flow::Drained);
        }
    }
    Ok(Flow::More)
}

/// One pipe full. `None`: there is no pipe.
fn splice(
    source: &mut Stream,
    target: &mut Stream,
    bulk: &mut Bulk,
    buffers: &mut Buffers,
    pipes: &mut Pipes,
) -> Result<Option<Flow>, Failed> {
    if target.unsent() > 0 {
        target.flush(buffers).map_err(Failed::Target)?;
        if target.unsent() > 0 {
            return Ok(Some(Flow::Full));
        }
    }
    if bulk.inside == 0 {
        if !source.readable || source.eof {
            bulk.rest(pipes);
            return Ok(Some(if source.eof { Flow::Ended } else { Flow::Drained }));
        }
        match bulk.fill(&source.fd, pipes).map_err(|_| Failed::Source)? {
            Moved::Bytes(count) => source.total_received += count as u64,
            Moved::NoPipe => return Ok(None),
            Moved::Blocked => {
                source.readable = false;
                bulk.rest(pipes);
                return Ok(Some(Flow::Drained));
            }
            Moved::End => {
                source.eof = true;
                source.readable = false;
                bulk.rest(pipes);
                return Ok(Some(Flow::Ended));
            }
        }
    }
    match bulk.drain(&target.fd).map_err(Failed::Target)? {
        Moved::Bytes(count) => target.total_sent += count as u64,
        Moved::Blocked | Moved::End | Moved::NoPipe => {}
    }
    if bulk.inside > 0 {
        target.writable = false;
        return Ok(Some(Flow::Full));
    }
    bulk.rest(pipes);
    Ok(Some(Flow::More))
}

/// Reads of one direction in a row.
const READS: usize = 8;

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::os::unix::net::UnixStream;

    use super::*;

    /// A socket that is readable and writable, as far as its events have told, and the other end of it.
    fn pair() -> (Stream, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let mut stream = Stream::new(ours.into());
        (stream.readable, stream.writable) = (true, true);
        (stream, theirs)
    }

    fn room() -> (Bulk, Vec<u8>, Buffers) {
        let mut bulk = Bulk::default();
        bulk.on = true;
        (bulk, vec![0; 64 << 10], Buffers::default())
    }

    #[test]
    fn without_a_pipe_bytes_are_copied() {
        let ((mut source, mut from), (mut target, mut to)) = (pair(), pair());
        let (mut bulk, mut scratch, mut buffers) = room();
        let sent = (0..100_000_u32).map(|n| (n >> 4).to_le_bytes()[0]).collect::<Vec<u8>>();
        from.write_all(&sent).unwrap();
        drop(from);
        // As the event says that comes with the end.
        source.hangup = true;
        let mut pipes = Pipes::none();
        let flow = pump(&mut source, &mut target, true, &mut bulk, &mut scratch, &mut buffers, &mut pipes);
        assert_eq!(flow.unwrap(), Flow::Ended);
        assert!(!bulk.on || bulk.inside == 0);
        target.flush(&mut buffers).unwrap();
        drop(target);
        let mut received = Vec::new();
        to.read_to_end(&mut received).unwrap();
        assert!(received == sent, "{} bytes", received.len());
    }

    #[test]
    fn what_is_in_the_pipe_is_not_lost_with_its_source() {
        let ((mut source, mut from), (mut target, to)) = (pair(), pair());
        let (mut bulk, mut scratch, mut buffers) = room();
        // Nobody takes it: some stays in the pipe.
        let part = vec![7; 100_000];
        let mut sent = 0;
        to.set_nonblocking(true).unwrap();
        from.set_nonblocking(true).unwrap();
        let mut pipes = Pipes::default();
        while bulk.inside == 0 && sent < 64 << 20 {
            sent += from.write(&part).unwrap_or(0);
            source.readable = true;
            pump(&mut source, &mut target, true, &mut bulk, &mut scratch, &mut buffers, &mut pipes).unwrap();
        }
        let inside = bulk.inside;
        assert!(inside > 0);
        let mut out = b"before".to_vec();
        bulk.take_out(&mut out);
        assert_eq!((bulk.inside, out.len()), (0, inside + 6));
        assert!(out.starts_with(b"before\x07"));
    }
}
