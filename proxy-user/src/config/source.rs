//! Files read whole, size-capped, and only when they held still meanwhile.

use std::borrow::Cow;
use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::ops::Range;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use super::diagnostic::{Diagnostic, Place};
use super::mask::masked;
use super::problem::{Code, Severity};

/// Largest configuration file, bytes.
pub(super) const MAX_CONFIG_BYTES: u64 = 16 << 20;
/// Largest list file, bytes.
pub(super) const MAX_LIST_BYTES: u64 = 128 << 20;

/// A file's text under the name the operator knows it by.
#[derive(Debug)]
pub(super) struct Source {
    name: String,
    text: String,
}

impl Source {
    pub(super) fn new(name: impl Into<String>, text: impl Into<String>) -> Self {
        Self { name: name.into(), text: text.into() }
    }

    /// Reads a regular file of at most `cap` bytes of UTF-8.
    pub(super) fn read(path: &Path, cap: u64) -> Result<Self, Box<Diagnostic>> {
        let name = path.display().to_string();
        let fail = |code, message: String, hint: &str| {
            let hint = hint.to_owned();
            Box::new(Diagnostic::without_place(code, Severity::Error, message, hint, Some(&name)))
        };
        let bytes = match read_bytes(path, cap) {
            Ok(Outcome::Whole(bytes)) => bytes,
            Ok(Outcome::TooLarge) => {
                let message = format!("`{name}` is larger than {} MiB", cap >> 20);
                return Err(fail(Code::TooLarge, message, "split it, or name the right file"));
            }
            Ok(Outcome::NotRegular) => {
                let message = format!("`{name}` is not a regular file, so a reload could not read it again");
                return Err(fail(Code::Unreadable, message, "write it to a file and name that"));
            }
            Ok(Outcome::Changed) => {
                let message = format!("`{name}` changed while it was read: somebody is still writing it");
                let hint = "try again; write such files under another name and rename them into place";
                return Err(fail(Code::Truncated, message, hint));
            }
            Err(error) => {
                let hint = match error.kind() {
                    io::ErrorKind::NotFound => {
                        "create it or correct the path; paths in a file are relative to that file"
                    }
                    io::ErrorKind::PermissionDenied => "let the user that weir runs as read it",
                    _ => "see that the path names a readable file",
                };
                return Err(fail(Code::Unreadable, format!("cannot read `{name}`: {error}"), hint));
            }
        };
        match String::from_utf8(bytes) {
            Ok(mut text) => {
                // Some editors put a byte order mark before the first line.
                if text.starts_with('\u{feff}') {
                    text.remove(0);
                }
                Ok(Self { name, text })
            }
            Err(error) => {
                let valid = error.utf8_error().valid_up_to();
                let head = error.as_bytes().get(..valid).unwrap_or_default();
                let line = 1 + head.iter().filter(|b| **b == b'\n').count();
                let message = format!("`{name}` is not UTF-8 text: see line {line}");
                let hint = "it may be damaged or half-written; write it as plain UTF-8";
                Err(fail(Code::Syntax, message, hint))
            }
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    pub(super) fn place(&self, span: Range<usize>, label: impl Into<String>) -> Place<'_> {
        Place { source: self, span, label: label.into() }
    }

    /// Line and column, both from 1, of a byte offset.
    pub(super) fn position(&self, offset: usize) -> (usize, usize) {
        let start = self.line_start(offset);
        let line = 1 + self.text.bytes().take(start).filter(|b| *b == b'\n').count();
        let column = 1 + self.text.get(start..offset).map_or(0, |s| s.chars().count());
        (line, column)
    }

    /// The line a span begins on: its number, its text (cut when very long, secrets starred), the span within.
    pub(super) fn excerpt(&self, span: &Range<usize>) -> (usize, Cow<'_, str>, Range<usize>) {
        let start = self.line_start(span.start);
        let rest = self.text.get(start..).unwrap_or_default();
        let line = rest.split('\n').next().unwrap_or_default().trim_end_matches('\r');
        let line = cut(line, 400);
        let from = span.start.saturating_sub(start).min(line.len());
        let to = span.end.saturating_sub(start).clamp(from, line.len());
        (self.position(span.start).0, masked(line), from..to)
    }

    fn line_start(&self, offset: usize) -> usize {
        let head = self.text.as_bytes().get(..offset).unwrap_or(self.text.as_bytes());
        head.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1)
    }
}

/// At most `max` bytes of a text, cut between characters.
pub(super) fn cut(text: &str, max: usize) -> &str {
    text.get(..text.floor_char_boundary(max)).unwrap_or(text)
}

/// What became of reading a file.
pub(crate) enum Outcome {
    /// All of it.
    Whole(Vec<u8>),
    /// It is larger than was asked for.
    TooLarge,
    /// It is a directory, FIFO or device.
    NotRegular,
    /// It changed meanwhile.
    Changed,
}

/// Reads a regular file of at most `cap` bytes.
pub(crate) fn read_bytes(path: &Path, cap: u64) -> io::Result<Outcome> {
    // O_NONBLOCK: opening a FIFO without a writer must not hang a reload.
    let mut file =
        OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC).open(path)?;
    let before = stamp(&file)?;
    if !file.metadata()?.is_file() {
        return Ok(Outcome::NotRegular);
    }
    let mut bytes = Vec::new();
    (&mut file).take(cap.saturating_add(1)).read_to_end(&mut bytes)?;
    let read = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    Ok(if read > cap {
        Outcome::TooLarge
    } else if before != stamp(&file)? {
        Outcome::Changed
    } else {
        Outcome::Whole(bytes)
    })
}

fn stamp(file: &File) -> io::Result<(u64, i64, i64)> {
    let data = file.metadata()?;
    Ok((data.size(), data.mtime(), data.mtime_nsec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_and_excerpts() {
        let source = Source::new("f", "ab\ncdé f\r\nlast");
        assert_eq!(source.position(0), (1, 1));
        assert_eq!(source.position(8), (2, 5));
        assert_eq!(source.excerpt(&(8..9)), (2, "cdé f".into(), 5..6));
        assert_eq!(source.excerpt(&(11..99)), (3, "last".into(), 0..4));
        assert_eq!(source.excerpt(&(99..99)).0, 3);
    }

    #[test]
    fn unreadable_files_are_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        let missing = Source::read(&dir.path().join("none"), 10).unwrap_err();
        assert_eq!(missing.code, Code::Unreadable);
        let fifo = dir.path().join("fifo");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(Source::read(&fifo, 10).unwrap_err().message.contains("not a regular file"));
        assert!(Source::read(dir.path(), 10).unwrap_err().message.contains("not a regular file"));
        let big = dir.path().join("big");
        std::fs::write(&big, "12345678901").unwrap();
        assert_eq!(Source::read(&big, 10).unwrap_err().code, Code::TooLarge);
        assert_eq!(Source::read(&big, 11).unwrap().text().len(), 11);
        std::fs::write(&big, "\u{feff}a\n").unwrap();
        assert_eq!(Source::read(&big, 11).unwrap().text(), "a\n");
        std::fs::write(&big, b"a\nb\xff").unwrap();
        assert!(Source::read(&big, 11).unwrap_err().message.contains("line 2"));
    }
}
