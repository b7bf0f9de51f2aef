//! Where the access log's lines wait and go: to the standard error of the daemon, whatever that is. Nothing waits for whoever
//! reads them, and no line is ever cut: one that there is no room for is dropped whole, and counted.

use std::fs::File;
use std::io::IoSlice;
use std::os::fd::OwnedFd;

use rustix::fs::{FileType, OFlags};
use rustix::io::{Errno, ReadWriteFlags};
use rustix::net::SendFlags;

use super::log::{Ended, LONGEST, Line};

/// Lines on their way.
#[derive(Debug)]
pub(super) struct Journal {
    out: File,
    kind: Kind,
    /// Whole lines, but for the first where it was sent in part.
    waiting: Vec<u8>,
    /// How much was left when it was tried last.
    left: usize,
    lost: u64,
    /// The first line that waits was written in part.
    begun: bool,
    /// What was written last may have no end, here or by another who writes to the same: the next line begins with one.
    torn: bool,
}

/// How it is written to without waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// It is there for others too, and must not be set not to block: each write is told not to. What knows no such writes
    /// (a terminal that could not be opened anew) gets no lines.
    Shared,
    /// It does not block.
    Free,
    /// A file: it does not either, and may be full, or too long, in the middle of a line.
    File,
    Socket,
}

impl Journal {
    pub(super) fn new(out: OwnedFd) -> Self {
        let kind = kind_of(&out);
        Self { out: out.into(), kind, waiting: Vec::new(), left: 0, lost: 0, begun: false, torn: false }
    }

    /// Writes elsewhere from now on.
    pub(super) fn turn_to(&mut self, out: OwnedFd) {
        self.kind = kind_of(&out);
        self.out = out.into();
        if std::mem::take(&mut self.begun) {
            // Its front is where it was.
            let end = self.waiting.iter().position(|byte| *byte == b'\n').map_or(0, |place| place + 1);
            self.waiting.drain(..end);
            self.lost += 1;
        }
        self.torn = false;
        self.left = 0;
    }

    /// Ends a line, if there is one, and takes it.
    pub(super) fn note(&mut self, line: Option<&Line>, ended: &Ended<'_>) {
        if let Some(line) = line {
            self.push(&line.end(ended));
        }
    }

    fn push(&mut self, line: &str) {
        if self.waiting.len() + line.len() > MOST {
            self.lost += 1;
        } else {
            self.waiting.extend_from_slice(line.as_bytes());
        }
    }

    /// Lines dropped so far.
    pub(super) fn lost(&self) -> u64 {
        self.lost
    }

    /// Whether so much waits that it is to be written before its time.
    #[inline]
    pub(super) fn is_due(&self) -> bool {
        self.waiting.len() >= self.left + MUCH
    }

    /// Writes lines, as many at once as a pipe takes as one, until there is no room. The rest waits.
    pub(super) fn write(&mut self) {
        let mut done = 0;
        while let Some(part) = whole_lines(self.waiting.get(done..).unwrap_or_default()) {
            let part = if self.torn { &b"\n"[..] } else { part };
            match self.put(part) {
                Ok(0) | Err(Errno::AGAIN) => break,
                Ok(_) if self.torn => self.torn = false,
                Ok(count) => {
                    self.begun = part.get(..count).is_some_and(|written| !written.ends_with(b"\n"));
                    done += count;
                }
                Err(Errno::INTR) => {}
                Err(_) => {
                    // Nobody will ever read it.
                    self.lost += lines(self.waiting.get(done..).unwrap_or_default());
                    done = self.waiting.len();
                    self.torn |= self.begun || self.kind == Kind::File;
                    self.begun = false;
                }
            }
        }
        self.waiting.drain(..done);
        self.left = self.waiting.len();
        if self.waiting.is_empty() && self.waiting.capacity() > 2 * MUCH {
            self.waiting = Vec::new();
        }
    }

    /// Writes for the last time.
    pub(super) fn finish(&mut self) {
        self.write();
        self.lost += lines(&self.waiting);
        self.waiting.clear();
    }

    fn put(&self, part: &[u8]) -> Result<usize, Errno> {
        match self.kind {
            Kind::Shared => {
                rustix::io::pwritev2(&self.out, &[IoSlice::new(part)], u64::MAX, ReadWriteFlags::NOWAIT)
            }
            Kind::Free | Kind::File => rustix::io::write(&self.out, part),
            Kind::Socket => rustix::net::send(&self.out, part, SendFlags::DONTWAIT | SendFlags::NOSIGNAL),
        }
    }
}

fn kind_of(out: &OwnedFd) -> Kind {
    let free = rustix::fs::fcntl_getfl(out).is_ok_and(|flags| flags.contains(OFlags::NONBLOCK));
    match rustix::fs::fstat(out).map(|stat| FileType::from_raw_mode(stat.st_mode)) {
        Ok(FileType::Socket) => Kind::Socket,
        Ok(FileType::RegularFile) => Kind::File,
        _ if free => Kind::Free,
        _ => Kind::Shared,
    }
}

/// As many whole lines from the front as one write may have; of one that is longer, its front.
fn whole_lines(bytes: &[u8]) -> Option<&[u8]> {
    let most = bytes.get(..LONGEST).unwrap_or(bytes);
    let end = most.iter().rposition(|byte| *byte == b'\n').map_or(most.len(), |place| place + 1);
    most.get(..end).filter(|part| !part.is_empty())
}

fn lines(bytes: &[u8]) -> u64 {
    bytes.iter().map(|byte| u64::from(*byte == b'\n')).sum()
}

/// Bytes that wait at most.
const MOST: usize = 1 << 20;
/// Bytes that are written at once rather than with the next report.
const MUCH: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use rustix::pipe::{PipeFlags, pipe_with};

    use super::*;

    fn line(number: usize) -> String {
        format!("{{\"line\":{number},\"text\":\"{}\"}}\n", "x".repeat(number % 3000))
    }

    #[test]
    fn a_full_pipe_drops_whole_lines_and_counts_them() {
        for flags in [PipeFlags::NONBLOCK, PipeFlags::empty()] {
            let (mut from, into) = pipe_with(flags).map(|(from, into)| (File::from(from), into)).unwrap();
            let mut journal = Journal::new(into);
            let pushed = 3000;
            for number in 0..pushed {
                journal.push(&line(number));
                if journal.is_due() {
                    journal.write();
                }
            }
            let mut read = Vec::new();
            let mut room = vec![0; 1 << 20];
            // What has waited goes out once somebody reads.
            while !journal.waiting.is_empty() {
                let count = from.read(&mut room).unwrap();
                read.extend_from_slice(&room[..count]);
                journal.write();
            }
            let lost = journal.lost();
            drop(journal);
            while let Ok(count @ 1..) = from.read(&mut room) {
                read.extend_from_slice(&room[..count]);
            }
            let text = String::from_utf8(read).unwrap();
            let number = |line| {
                let object: serde_json::Value = serde_json::from_str(line).expect("a whole line");
                object["line"].as_u64().unwrap()
            };
            let numbers: Vec<u64> = text.lines().map(number).collect();
            assert!(lost > 0);
            assert_eq!(numbers.len() as u64 + lost, pushed as u64);
            assert!(numbers.is_sorted() && numbers.first() == Some(&0));
        }
    }

    #[test]
    fn two_writers_of_one_pipe_cut_no_line() {
        let (mut from, into) =
            pipe_with(PipeFlags::empty()).map(|(from, into)| (File::from(from), into)).unwrap();
        let writers: Vec<_> = (0..2)
            .map(|_| {
                let mut journal = Journal::new(into.try_clone().unwrap());
                std::thread::spawn(move || {
                    for number in 0..3000 {
                        journal.push(&line(number));
                        journal.write();
                    }
                    journal.finish();
                    journal.lost()
                })
            })
            .collect();
        drop(into);
        let mut text = String::new();
        from.read_to_string(&mut text).unwrap();
        let lost: u64 = writers.into_iter().map(|writer| writer.join().unwrap()).sum();
        for line in text.lines() {
            assert!(serde_json::from_str::<serde_json::Value>(line).is_ok(), "{line}");
        }
        assert_eq!(text.lines().count() as u64 + lost, 6000);
    }

    fn terminal() -> (OwnedFd, OwnedFd) {
        use std::os::fd::FromRawFd as _;
        let (mut master, mut slave) = (0, 0);
        use std::ptr::{null, null_mut};
        // SAFETY: the call writes the two numbers and reads nothing else, and nobody else has what it opens.
        unsafe {
            assert_eq!(libc::openpty(&raw mut master, &raw mut slave, null_mut(), null(), null()), 0);
            (OwnedFd::from_raw_fd(master), OwnedFd::from_raw_fd(slave))
        }
    }

    #[test]
    fn a_terminal_that_nobody_reads_holds_nobody_up() {
        for reopened in [false, true] {
            let (master, slave) = terminal();
            let out = if reopened { crate::l7::process::reopened(&slave).unwrap().into() } else { slave };
            let (tell, told) = std::sync::mpsc::channel();
            std::thread::spawn(move || {
                let mut journal = Journal::new(out);
                for number in 0..3000 {
                    journal.push(&line(number));
                    journal.write();
                }
                journal.finish();
                tell.send(journal.lost()).unwrap();
            });
            let lost = told.recv_timeout(std::time::Duration::from_secs(20)).expect("not blocked");
            assert!(if reopened { (1..3000).contains(&lost) } else { lost == 3000 }, "{lost}");
            drop(master);
        }
    }

    #[test]
    fn what_nobody_reads_or_has_room_for_is_counted_and_stops_nobody() {
        let closed = |flags| pipe_with(flags).unwrap().1;
        let full = || OwnedFd::from(File::options().write(true).open("/dev/full").unwrap());
        let reopened = || crate::l7::process::reopened(full()).unwrap().into();
        let socket = std::os::unix::net::UnixStream::pair().unwrap().0.into();
        // Its size cannot change.
        let sealed = rustix::fs::memfd_create("t", rustix::fs::MemfdFlags::ALLOW_SEALING).unwrap();
        rustix::fs::fcntl_add_seals(&sealed, rustix::fs::SealFlags::GROW).unwrap();
        let kinds: [OwnedFd; 6] =
            [closed(PipeFlags::empty()), closed(PipeFlags::NONBLOCK), full(), reopened(), socket, sealed];
        for out in kinds {
            let mut journal = Journal::new(out);
            for _ in 0..2 {
                journal.push("a\n");
                journal.push("b\n");
                journal.write();
            }
            journal.finish();
            assert_eq!((journal.lost(), journal.waiting.len()), (4, 0), "{:?}", journal.kind);
        }
    }

    #[test]
    fn a_line_that_was_begun_ends_where_it_was_and_the_next_has_a_line_of_its_own() {
        let mut read = tempfile::tempfile().unwrap();
        let (mut from, into) = pipe_with(PipeFlags::NONBLOCK).map(|(f, i)| (File::from(f), i)).unwrap();
        let mut journal = Journal::new(read.try_clone().unwrap().into());
        journal.push("a\n");
        journal.write();
        // Of the next the file took half, and then it was full.
        journal.torn = true;
        journal.push("b\n");
        journal.write();
        std::io::Seek::rewind(&mut read).unwrap();
        let mut text = String::new();
        read.read_to_string(&mut text).unwrap();
        assert_eq!((&*text, journal.lost()), ("a\n\nb\n", 0));
        journal.push("st of c\n");
        journal.push("d\n");
        journal.begun = true;
        journal.turn_to(into);
        journal.write();
        let mut room = [0; 64];
        let count = from.read(&mut room).unwrap();
        assert_eq!((&room[..count], journal.lost()), (&b"d\n"[..], 1));
    }
}
