//! The sets of registries that are in use, on disk: what a start knows before any registry answers. Written beside the
//! daemon's loop a moment after a change, whole or not at all. Nothing here may keep weir from starting or working: what
//! cannot be read is left out with a warning, and a disk that refuses is a problem to report.
//!
//! A line for each set, each with a checksum of its own: a damaged one is no set at all, never another one. A last line says
//! how many there are. A new file takes the place of the old one by its name.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::known_rows as rows;
use crate::catalog::pool::Remembered;

pub use super::known_keeper::Keeper;

/// The disk refuses to remember the sets.
#[derive(Debug, thiserror::Error)]
#[error("{}: {source} (check space and permissions of the state directory)", path.display())]
pub struct KnownError {
    /// The file.
    pub path: PathBuf,
    /// What went wrong.
    pub source: io::Error,
}

/// The file.
#[derive(Clone, Debug)]
pub struct Known {
    path: PathBuf,
    /// What is in it, as far as this process has read or written it.
    written: Remembered,
}

impl Known {
    /// Reads what is remembered. What cannot be read is left out with a warning, the file set aside where it is none of
    /// weir's or of another format; a missing file is an empty one.
    #[must_use]
    pub fn open(path: &Path) -> (Self, Remembered, Option<String>) {
        let mut known = Self { path: path.to_owned(), written: Remembered::new() };
        if !path.exists() {
            return (known, Remembered::new(), None);
        }
        let warning = match known.read() {
            Ok(Found { sets, damage }) => {
                known.written = sets;
                damage.map(|damage| format!("{}: {damage}; they are left out", path.display()))
            }
            Err(detail) => Some(known.set_aside(&detail)),
        };
        let remembered = known.written.clone();
        (known, remembered, warning)
    }

    /// Writes these sets, if they are not what is written.
    ///
    /// # Errors
    /// When the disk refuses; what was written before is still there.
    pub fn write(&mut self, new: &Remembered) -> Result<(), KnownError> {
        if self.written != *new {
            self.put(new).map_err(|source| KnownError { path: self.path.clone(), source })?;
            self.written.clone_from(new);
        }
        Ok(())
    }

    fn read(&self) -> Result<Found, String> {
        let mut content = Vec::new();
        let file = File::open(&self.path).map_err(|error| error.to_string())?;
        let size = file.take(MAX_FILE + 1).read_to_end(&mut content).map_err(|error| error.to_string())?;
        if u64::try_from(size).is_ok_and(|size| size > MAX_FILE) {
            return Err(format!("it has more than {MAX_FILE} bytes"));
        }
        found(&content).ok_or_else(|| "it does not begin as a file of this weir does".to_owned())
    }

    fn put(&self, new: &Remembered) -> io::Result<()> {
        let draft = self.path.with_extension("new");
        match std::fs::remove_file(&draft) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        // It says where services are: nobody else's business.
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
        let mut out = Lines { out: BufWriter::new(file), size: 0 };
        out.line(HEAD.as_bytes())?;
        for (key, set) in new {
            out.line(&rows::encode(key, set)?)?;
        }
        out.line(format!("{END}{}", new.len()).as_bytes())?;
        out.out.into_inner()?.sync_all()?;
        std::fs::rename(&draft, &self.path)?;
        self.path.parent().map_or(Ok(()), |dir| File::open(dir)?.sync_all())
    }

    fn set_aside(&self, detail: &str) -> String {
        let aside = self.path.with_extension("damaged");
        let path = self.path.display();
        match std::fs::rename(&self.path, &aside) {
            Ok(()) => format!(
                "{path} cannot be read: {detail}; it is {} now, and weir waits for the registries' answers",
                aside.display()
            ),
            Err(error) => format!("{path} cannot be read: {detail}; nor moved away: {error}"),
        }
    }
}

/// What a file has.
struct Found {
    sets: Remembered,
    /// What of it cannot be read.
    damage: Option<String>,
}

/// Reads a file's content; none if it is none of weir's.
fn found(content: &[u8]) -> Option<Found> {
    let mut lines = content.split(|byte| *byte == b'\n');
    if checked(lines.next()?)? != HEAD.as_bytes() {
        return None;
    }
    let (mut sets, mut there) = (Remembered::new(), None::<usize>);
    for body in lines.filter_map(checked) {
        match body.strip_prefix(END.as_bytes()) {
            Some(count) => there = std::str::from_utf8(count).ok().and_then(|count| count.parse().ok()),
            None => sets.extend(rows::decode(body).map(|(key, set)| (key, Arc::new(set)))),
        }
    }
    let damage = match there {
        Some(there) if there == sets.len() => None,
        Some(there) => Some(format!("{} of {there} sets cannot be read", there.abs_diff(sets.len()))),
        None => Some("its end is missing, and sets may be".to_owned()),
    };
    Some(Found { sets, damage })
}

/// The content of a line whose checksum is right.
fn checked(line: &[u8]) -> Option<&[u8]> {
    let (sum, body) = line.split_at_checked(SUM)?;
    let body = body.strip_prefix(b" ")?;
    (sum == checksum(body).as_bytes()).then_some(body)
}

fn checksum(body: &[u8]) -> String {
    format!("{:08x}", crc32fast::hash(body))
}

/// Writes lines, no more of them than are read again.
struct Lines {
    out: BufWriter<File>,
    size: u64,
}

impl Lines {
    fn line(&mut self, body: &[u8]) -> io::Result<()> {
        self.size += u64::try_from(body.len() + SUM + 2).unwrap_or(u64::MAX);
        if self.size > MAX_FILE {
            return Err(io::Error::other(format!("more than {MAX_FILE} bytes are not remembered")));
        }
        self.out.write_all(checksum(body).as_bytes())?;
        self.out.write_all(b" ")?;
        self.out.write_all(body)?;
        self.out.write_all(b"\n")
    }
}

/// Its number is raised with each change that an older weir would misread.
const HEAD: &str = "weir known sets 1";
const END: &str = "end ";
/// Digits of a checksum.
const SUM: usize = 8;
/// Largest file that is read.
const MAX_FILE: u64 = 1 << 30;
