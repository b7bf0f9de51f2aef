//! The daemon's own log: text for people on a terminal, JSON lines otherwise. A thread of its own writes it: workers may
//! fill the same pipe, and nothing of the daemon waits for whoever reads that.

use std::io::{self, IsTerminal as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use tracing::Level;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

/// Lines that wait at most; more are dropped, and counted.
const MOST: usize = 4_096;
/// How long the end of the process waits for the last lines.
const FLUSH: Duration = Duration::from_secs(1);

/// Starts logging to standard error. `WEIR_LOG` overrides the level (`debug`, `proxy_user::net=trace`). What is answered
/// waits, when it is dropped, until what was logged is written.
pub(super) fn init(verbose: bool, quiet: bool) -> Option<Flush> {
    let level = match (verbose, quiet) {
        (true, _) => Level::DEBUG,
        (_, true) => Level::WARN,
        _ => Level::INFO,
    };
    let json = !io::stderr().is_terminal();
    let lines = Lines::start(Stderr, json).ok();
    let flush = lines.clone().map(Flush);
    match lines {
        Some(lines) => subscribe(level, json, lines),
        None => subscribe(level, json, io::stderr),
    }
    flush
}

/// The same for an L7 worker, which must have one thread; its standard error does not block where that can be had.
pub(super) fn init_worker() {
    subscribe(Level::INFO, !io::stderr().is_terminal(), io::stderr);
}

fn subscribe<W: for<'a> MakeWriter<'a> + Send + Sync + 'static>(level: Level, json: bool, out: W) {
    // To say on standard error that it cannot be written would be a panic.
    let builder = tracing_subscriber::fmt().with_writer(out).log_internal_errors(false);
    // A filter of directives takes more memory than a level. A logger that is already there (tests) is as good.
    let _ = match (EnvFilter::try_from_env("WEIR_LOG"), json) {
        (Ok(filter), true) => builder.with_env_filter(filter).json().try_init(),
        (Ok(filter), false) => builder.with_env_filter(filter).with_target(false).try_init(),
        (Err(_), true) => builder.with_max_level(level).json().try_init(),
        (Err(_), false) => builder.with_max_level(level).with_target(false).try_init(),
    };
}

/// Where lines go.
#[derive(Clone, Debug)]
struct Lines {
    out: SyncSender<Item>,
    lost: Arc<AtomicU64>,
}

#[derive(Debug)]
enum Item {
    Line(Vec<u8>),
    Flush(SyncSender<()>),
}

impl Lines {
    fn start(out: impl io::Write + Send + 'static, json: bool) -> io::Result<Self> {
        let (sender, receiver) = sync_channel(MOST);
        let lines = Self { out: sender, lost: Arc::default() };
        let lost = lines.lost.clone();
        std::thread::Builder::new()
            .name("log".into())
            .spawn(move || write_out(&receiver, out, &lost, json))?;
        Ok(lines)
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = &'a Self;

    fn make_writer(&'a self) -> Self::Writer {
        self
    }
}

impl io::Write for &Lines {
    /// Takes a line: they come whole.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.out.try_send(Item::Line(line.to_vec())).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn write_out(lines: &Receiver<Item>, mut out: impl io::Write, lost: &AtomicU64, json: bool) {
    // A line has no end: the disk was full in the middle of it.
    let mut torn = false;
    while let Ok(item) = lines.recv() {
        match item {
            Item::Line(line) => {
                // Once it can be written again, what is lost is told.
                let before = lost.swap(0, Ordering::Relaxed);
                let told = match (before, json) {
                    (0, _) => String::new(),
                    (_, true) => format!(
                        "{{\"level\":\"WARN\",\"fields\":{{\"message\":\"lines of the log are lost\",\"lost\":{before}}}}}\n"
                    ),
                    (..) => format!("WARN lines of the log are lost lost={before}\n"),
                };
                let end = if torn { "\n" } else { "" };
                let told = out.write_all(end.as_bytes()).and_then(|()| out.write_all(told.as_bytes()));
                let untold = if told.is_ok() { 0 } else { before };
                torn = told.and_then(|()| out.write_all(&line)).is_err();
                if torn {
                    lost.fetch_add(untold + 1, Ordering::Relaxed);
                }
            }
            Item::Flush(done) => {
                let _ = done.try_send(());
            }
        }
    }
}

/// Waits for the last lines when it is dropped, but not for ever.
#[derive(Debug)]
pub(super) struct Flush(Lines);

impl Drop for Flush {
    fn drop(&mut self) {
        let end = Instant::now() + FLUSH;
        let (done, flushed) = sync_channel(1);
        let mut item = Item::Flush(done);
        while let Err(TrySendError::Full(back)) = self.0.out.try_send(item) {
            if Instant::now() >= end {
                return;
            }
            item = back;
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = flushed.recv_timeout(end.saturating_duration_since(Instant::now()));
    }
}

/// Standard error, also where somebody has set it not to block.
struct Stderr;

impl io::Write for Stderr {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // Not locked: a thread that panics must be able to say so while this one waits.
        let stderr = io::stderr();
        loop {
            match rustix::io::write(&stderr, bytes) {
                Err(rustix::io::Errno::AGAIN) => {
                    let _ = poll(&mut [PollFd::new(&stderr, PollFlags::OUT)], None);
                }
                done => return Ok(done?),
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::{Read as _, Write as _};

    use super::*;

    #[test]
    fn a_full_pipe_stalls_nobody_and_what_is_lost_is_told() {
        let (mut from, into) = io::pipe().unwrap();
        let lines = Lines::start(File::from(std::os::fd::OwnedFd::from(into)), true).unwrap();
        let begun = Instant::now();
        let line = [&[b'x'; 999][..], b"\n"].concat();
        for _ in 0..MOST + 1_000 {
            assert_eq!((&lines).write(&line).unwrap(), 1_000);
        }
        drop(Flush(lines.clone()));
        assert!(begun.elapsed() < FLUSH * 3, "{:?}", begun.elapsed());
        let reader = std::thread::spawn(move || {
            let mut text = String::new();
            from.read_to_string(&mut text).unwrap();
            text
        });
        drop(Flush(lines.clone()));
        (&lines).write_all(b"last\n").unwrap();
        drop(Flush(lines.clone()));
        drop(lines);
        let text = reader.join().unwrap();
        // A first time perhaps before the writer has begun.
        let told = text.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
        let lost: u64 = told.map(|told| told["fields"]["lost"].as_u64().unwrap()).sum();
        let written = text.lines().filter(|line| line.starts_with('x')).count() as u64;
        assert!(lost > 0);
        assert_eq!(written + lost, MOST as u64 + 1_000);
        assert!(text.ends_with("last\n"));
    }
}
