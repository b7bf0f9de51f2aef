//! The sets of registries that are in use, on disk: what a start knows before any registry answers. Written beside the
//! daemon's loop a moment after a change, whole or not at all. Nothing here may keep weir from starting or working: a file
//! that cannot be read is set aside with a warning, and a disk that refuses is a problem to report.
//!
//! The file is open only while it is read or written, so that two daemons that take turns do not wait for each other.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use redb::{Database, DatabaseError, ReadableDatabase, ReadableTable, TableDefinition};

use super::known_rows::{self as rows, Row};
use crate::catalog::pool::Remembered;

pub use super::known_keeper::Keeper;

/// Why the sets cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum KnownError {
    /// Another process is at it.
    #[error("{} is in use by another process; weir tries again", path.display())]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// The disk, its permissions, or the content.
    #[error("{}: {detail} (check space and permissions of the state directory)", path.display())]
    Failed {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        detail: String,
    },
}

/// The file.
#[derive(Debug)]
pub struct Known {
    path: PathBuf,
    /// What is in it, as far as this process has read or written it.
    written: Remembered,
}

impl Known {
    /// Reads what is remembered. What cannot be read is left out with a warning, the file set aside where it is damaged
    /// or of another format; a missing file is an empty one.
    #[must_use]
    pub fn open(path: &Path) -> (Self, Remembered, Option<String>) {
        let mut known = Self { path: path.to_owned(), written: Remembered::new() };
        if !path.exists() {
            return (known, Remembered::new(), None);
        }
        let mut warning = None;
        match known.read() {
            Ok((read, bad)) => {
                known.written = read;
                if bad > 0 {
                    warning =
                        Some(format!("{bad} sets in {} cannot be read and are left out", path.display()));
                }
            }
            Err(Bad::InUse) => {
                let detail =
                    "is in use by another process: weir starts without what it remembers of registries";
                warning = Some(format!("{} {detail}", path.display()));
            }
            Err(Bad::Content(detail)) => warning = Some(known.set_aside(&detail)),
        }
        let remembered = known.written.clone();
        (known, remembered, warning)
    }

    /// Writes what differs from what is written.
    ///
    /// # Errors
    /// When the disk refuses, or another process has the file; what was written before is still there.
    pub fn write(&mut self, new: &Remembered) -> Result<(), KnownError> {
        if self.written == *new {
            return Ok(());
        }
        let result = self.try_write(new);
        match result {
            Ok(()) => {
                self.written = new.clone();
                Ok(())
            }
            Err(Bad::InUse) => Err(KnownError::InUse { path: self.path.clone() }),
            Err(Bad::Content(detail)) => Err(KnownError::Failed { path: self.path.clone(), detail }),
        }
    }

    fn read(&self) -> Result<(Remembered, u64), Bad> {
        let length = std::fs::metadata(&self.path)?.len();
        if length == 0 || length > MAX_FILE {
            return Err(Bad::Content(format!("it has {length} bytes, which is no file of weir")));
        }
        let database = self.database()?;
        let read = database.begin_read()?;
        let meta = read.open_table(META)?;
        let format = meta.get("format")?.map(|row| row.value());
        if format != Some(FORMAT) {
            return Err(Bad::Content(format!("it has format {format:?}, this weir reads {FORMAT}")));
        }
        let (mut remembered, mut bad) = (Remembered::new(), 0);
        for row in read.open_table(SETS)?.iter()? {
            let (key, value) = row?;
            match rows::decode(key.value(), value.value()) {
                Some((key, set)) if remembered.len() < MAX_SETS => {
                    remembered.insert(key, Arc::new(set));
                }
                _ => bad += 1,
            }
        }
        Ok((remembered, bad))
    }

    fn try_write(&self, new: &Remembered) -> Result<(), Bad> {
        match self.put(new) {
            // Not ours any more, or damaged meanwhile: a new one holds all that is known.
            Err(Bad::Content(detail)) if self.path.exists() => {
                tracing::warn!("{}", self.set_aside(&detail));
                Self { path: self.path.clone(), written: BTreeMap::new() }.put(new)
            }
            other => other,
        }
    }

    fn put(&self, new: &Remembered) -> Result<(), Bad> {
        let database = self.database()?;
        let write = database.begin_write()?;
        {
            write.open_table(META)?.insert("format", FORMAT)?;
            let mut sets = write.open_table(SETS)?;
            for (key, set) in new.iter().take(MAX_SETS) {
                if self.written.get(key) == Some(set) {
                    continue;
                }
                let Row { key, value } = rows::encode(key, set)?;
                sets.insert(key.as_str(), value.as_slice())?;
            }
            for key in self.written.keys().filter(|key| !new.contains_key(*key)) {
                sets.remove(rows::key(key)?.as_str())?;
            }
        }
        write.commit()?;
        Ok(())
    }

    fn database(&self) -> Result<Database, Bad> {
        let database = Database::builder().set_cache_size(CACHE).create(&self.path)?;
        // It says where services are: nobody else's business.
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(&self.path, mode)?;
        Ok(database)
    }

    fn set_aside(&self, detail: &str) -> String {
        let aside = self.path.with_extension("redb.damaged");
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

/// What keeps the file from being read or written.
#[derive(Debug)]
enum Bad {
    InUse,
    Content(String),
}

impl From<DatabaseError> for Bad {
    fn from(error: DatabaseError) -> Self {
        match error {
            DatabaseError::DatabaseAlreadyOpen => Self::InUse,
            other => Self::Content(other.to_string()),
        }
    }
}

macro_rules! content {
    ($($error:ty),*) => {
        $(impl From<$error> for Bad {
            fn from(error: $error) -> Self {
                Self::Content(error.to_string())
            }
        })*
    };
}
content!(
    std::io::Error,
    serde_json::Error,
    redb::TransactionError,
    redb::TableError,
    redb::StorageError,
    redb::CommitError
);

/// Raised with each change of a table or a row that an older weir would misread.
const FORMAT: u64 = 1;
/// Largest file that is read.
const MAX_FILE: u64 = 1 << 30;
/// Most sets.
const MAX_SETS: usize = 65_536;
/// Memory for pages, bytes.
const CACHE: usize = 8 << 20;
const META: TableDefinition<'_, &str, u64> = TableDefinition::new("weir_known");
const SETS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("sets");
