//! What the API has set, on disk, in an embedded database (redb). A change is written in two steps: [`Store::prepare`]
//! writes it into a transaction, and [`Prepared::commit`] makes it last once the kernel has taken it. Whatever ends the
//! daemon in between leaves the old state. Nothing here ever empties a file that it cannot read.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use redb::{
    Database, DatabaseError, ReadableDatabase, ReadableTable, StorageError, TableDefinition, WriteTransaction,
};

use crate::catalog::ApiState;

pub mod known;
mod known_keeper;
mod known_rows;
#[cfg(test)]
mod known_tests;
mod reopen;
mod rows;

/// Why the state cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process has it open.
    #[error("{} is in use by another process (another weir daemon? give each its own --state-dir)", path.display())]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// Damaged, or not weir's.
    #[error(
        "{} cannot be read as weir's state: {detail} (it was left as it is; put a backup in its place, or move it away to \
         start without what the API has set)",
        path.display()
    )]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        detail: String,
    },
    /// Written by another version.
    #[error(
        "{} has format {found}, this version of weir reads formats 1 to {FORMAT} (use the version that wrote it, or move the \
         file away to start without what the API has set)",
        path.display()
    )]
    Format {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u64,
    },
    /// The disk or its permissions.
    #[error("cannot read or write {}: {detail} (check space and permissions of the state directory)", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        detail: String,
    },
    /// Opened again after a fault of the disk, it holds something else.
    #[error(
        "{} no longer holds what is in force: it was changed or replaced (put it back, or restart weir to go by what it has)",
        path.display()
    )]
    Replaced {
        /// The file.
        path: PathBuf,
    },
}

/// Numbers that are drawn once and kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Seed of the Maglev rings, unless the configuration sets one.
    pub seed: u64,
    /// Secret of this instance, for tags and port choice.
    pub secret: u64,
}

/// The open database.
#[derive(Debug)]
pub struct Store {
    /// None after a fault, until it can be opened again.
    database: Option<Database>,
    path: PathBuf,
    identity: Identity,
    refused: Refused,
}

/// What was to be stored when the disk refused. The database takes nothing any more from then on.
type Refused = Arc<OnceLock<ApiState>>;

impl Store {
    /// Opens the state file, or makes it; a new one takes its identity from `fresh`, an existing one keeps its own.
    ///
    /// # Errors
    /// When the file is in use, damaged, not weir's, of another format, or the disk refuses.
    pub fn open(path: &Path, fresh: Identity) -> Result<Self, StoreError> {
        let empty = std::fs::metadata(path).is_ok_and(|meta| meta.len() == 0);
        if empty {
            // redb would take it for a new database.
            return Err(unreadable(path, "it is empty"));
        }
        if !path.exists() {
            found(path, fresh)?;
        }
        Self::existing(path)
    }

    fn existing(path: &Path) -> Result<Self, StoreError> {
        // Else a damaged page is found when it is read, by a panic or not at all.
        let database = Database::builder().set_check_integrity_on_open(true).set_cache_size(CACHE).open(path);
        let database = database.map_err(|error| open_error(path, error))?;
        let identity = recognise(path, &database)?;
        Ok(Self { database: Some(database), path: path.to_owned(), identity, refused: Refused::default() })
    }

    fn database(&self) -> Result<&Database, StoreError> {
        self.database.as_ref().ok_or_else(|| failed(&self.path, redb::Error::PreviousIo))
    }

    /// The numbers that this state keeps.
    #[must_use]
    pub fn identity(&self) -> Identity {
        self.identity
    }

    /// All that the API has set.
    ///
    /// # Errors
    /// When a row cannot be read.
    pub fn load(&self) -> Result<ApiState, StoreError> {
        let read = self.database()?.begin_read().map_err(|error| self.failed(error))?;
        let mut api = ApiState::default();
        let lists = read.open_table(LISTS).map_err(|error| self.failed(error))?;
        for row in lists.iter().map_err(|error| self.failed(error))? {
            let (name, value) = row.map_err(|error| self.failed(error))?;
            let part = api.lists.entry(name.value().to_owned()).or_default();
            part.definition = Some(self.row(rows::decode(value.value()))?);
        }
        let entries = read.open_table(ENTRIES).map_err(|error| self.failed(error))?;
        let mut found: BTreeMap<String, BTreeMap<_, _>> = BTreeMap::new();
        for row in entries.iter().map_err(|error| self.failed(error))? {
            let (key, value) = row.map_err(|error| self.failed(error))?;
            let (list, prefix) = key.value();
            let prefix = self.row(rows::prefix(prefix))?;
            let entry = self.row(rows::decode(value.value()))?;
            match found.get_mut(list) {
                Some(entries) => entries.insert(prefix, entry),
                None => found.entry(list.to_owned()).or_default().insert(prefix, entry),
            };
        }
        for (list, entries) in found {
            api.lists.entry(list).or_default().entries = Arc::new(entries);
        }
        let services = read.open_table(SERVICES).map_err(|error| self.failed(error))?;
        for row in services.iter().map_err(|error| self.failed(error))? {
            let (name, value) = row.map_err(|error| self.failed(error))?;
            let service = self.row(rows::service(name.value(), value.value()))?;
            api.services.insert(name.value().to_owned(), service);
        }
        Ok(api)
    }

    /// Writes the way from `old`, which must be what is stored, to `new` into a transaction; nothing lasts until it is
    /// committed, and dropping it forgets it. After a fault of the disk the file is opened again first.
    ///
    /// # Errors
    /// When the disk refuses; when the file, opened again, has something else.
    pub fn prepare(&mut self, old: &ApiState, new: &ApiState) -> Result<Prepared, StoreError> {
        let stored = self.reopen(old)?;
        let old = stored.as_ref().unwrap_or(old);
        let write = self.write(old, new).inspect_err(|_| {
            let _ = self.refused.set(old.clone());
        })?;
        Ok(Prepared { write, path: self.path.clone(), new: new.clone(), refused: self.refused.clone() })
    }

    fn write(&self, old: &ApiState, new: &ApiState) -> Result<WriteTransaction, StoreError> {
        let mut write = self.database()?.begin_write().map_err(|error| self.failed(error))?;
        // Else a damaged last change would be answered with the one before it.
        write.set_two_phase_commit(true);
        {
            // An older format ends with the first change.
            let mut meta = write.open_table(META).map_err(|error| self.failed(error))?;
            meta.insert("format", FORMAT).map_err(|error| self.failed(error))?;
        }
        self.write_lists(&write, old, new)?;
        self.write_entries(&write, old, new)?;
        self.write_services(&write, old, new)?;
        Ok(write)
    }

    fn write_lists(
        &self,
        write: &WriteTransaction,
        old: &ApiState,
        new: &ApiState,
    ) -> Result<(), StoreError> {
        let mut table = write.open_table(LISTS).map_err(|error| self.failed(error))?;
        for (name, part) in &new.lists {
            if let Some(own) = part.definition
                && old.lists.get(name).and_then(|part| part.definition) != Some(own)
            {
                let value = self.row(rows::encode(&own))?;
                table.insert(name.as_str(), value.as_slice()).map_err(|error| self.failed(error))?;
            }
        }
        for (name, _) in old.lists.iter().filter(|(_, part)| part.definition.is_some()) {
            if new.lists.get(name).is_none_or(|part| part.definition.is_none()) {
                table.remove(name.as_str()).map_err(|error| self.failed(error))?;
            }
        }
        Ok(())
    }

    fn write_entries(
        &self,
        write: &WriteTransaction,
        old: &ApiState,
        new: &ApiState,
    ) -> Result<(), StoreError> {
        let mut table = write.open_table(ENTRIES).map_err(|error| self.failed(error))?;
        let none = Arc::default();
        let names: std::collections::BTreeSet<_> = old.lists.keys().chain(new.lists.keys()).collect();
        for name in names {
            let before = old.lists.get(name).map_or(&none, |part| &part.entries);
            let after = new.lists.get(name).map_or(&none, |part| &part.entries);
            if Arc::ptr_eq(before, after) {
                continue;
            }
            for (prefix, entry) in after.iter().filter(|(prefix, entry)| before.get(prefix) != Some(entry)) {
                let key = (name.as_str(), &rows::prefix_key(prefix));
                let value = self.row(rows::encode(entry))?;
                table.insert(key, value.as_slice()).map_err(|error| self.failed(error))?;
            }
            for prefix in before.keys().filter(|prefix| !after.contains_key(prefix)) {
                let key = (name.as_str(), &rows::prefix_key(prefix));
                table.remove(key).map_err(|error| self.failed(error))?;
            }
        }
        Ok(())
    }

    fn write_services(
        &self,
        write: &WriteTransaction,
        old: &ApiState,
        new: &ApiState,
    ) -> Result<(), StoreError> {
        let mut table = write.open_table(SERVICES).map_err(|error| self.failed(error))?;
        for (name, part) in new.services.iter().filter(|(name, part)| old.services.get(*name) != Some(part)) {
            let value = self.row(rows::service_row(part))?;
            table.insert(name.as_str(), value.as_slice()).map_err(|error| self.failed(error))?;
        }
        for name in old.services.keys().filter(|name| !new.services.contains_key(*name)) {
            table.remove(name.as_str()).map_err(|error| self.failed(error))?;
        }
        Ok(())
    }

    fn write_identity(&self) -> Result<(), StoreError> {
        let mut write = self.database()?.begin_write().map_err(|error| self.failed(error))?;
        write.set_two_phase_commit(true);
        {
            let mut meta = write.open_table(META).map_err(|error| self.failed(error))?;
            let rows = [("format", FORMAT), ("seed", self.identity.seed), ("secret", self.identity.secret)];
            for (key, value) in rows {
                meta.insert(key, value).map_err(|error| self.failed(error))?;
            }
            write.open_table(LISTS).map_err(|error| self.failed(error))?;
            write.open_table(ENTRIES).map_err(|error| self.failed(error))?;
            write.open_table(SERVICES).map_err(|error| self.failed(error))?;
        }
        write.commit().map_err(|error| self.failed(error))
    }

    fn row<T>(&self, row: Result<T, rows::BadRow>) -> Result<T, StoreError> {
        row.map_err(|error| unreadable(&self.path, error))
    }

    fn failed(&self, error: impl Into<redb::Error>) -> StoreError {
        failed(&self.path, error.into())
    }
}

/// A change that is written but does not last yet.
pub struct Prepared {
    write: WriteTransaction,
    path: PathBuf,
    new: ApiState,
    refused: Refused,
}

impl std::fmt::Debug for Prepared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Prepared").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Prepared {
    /// Makes the change last, through a power cut.
    ///
    /// # Errors
    /// When the disk refuses; the old state is stored then.
    pub fn commit(self) -> Result<(), StoreError> {
        self.write.commit().map_err(|error| {
            let _ = self.refused.set(self.new);
            failed(&self.path, error.into())
        })
    }
}

fn recognise(path: &Path, database: &Database) -> Result<Identity, StoreError> {
    let read = database.begin_read().map_err(|error| failed(path, error.into()))?;
    let meta = read.open_table(META).map_err(|error| unreadable(path, error))?;
    let number = |key: &str| -> Result<u64, StoreError> {
        let row = meta.get(key).map_err(|error| failed(path, error.into()))?;
        row.map(|row| row.value()).ok_or_else(|| unreadable(path, format_args!("it has no {key}")))
    };
    let found = number("format")?;
    if !(1..=FORMAT).contains(&found) {
        return Err(StoreError::Format { path: path.to_owned(), found });
    }
    Ok(Identity { seed: number("seed")?, secret: number("secret")? })
}

/// Makes the file with the tables and the identity under another name and puts it in its place whole: a start that was
/// cut short must not leave a file that the next one refuses.
fn found(path: &Path, identity: Identity) -> Result<(), StoreError> {
    let draft = path.with_extension("new");
    let io = |error: std::io::Error| failed(path, redb::Error::Io(error));
    match std::fs::remove_file(&draft) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(io(error)),
        _ => {}
    }
    let database = Database::create(&draft).map_err(|error| open_error(path, error))?;
    std::fs::set_permissions(&draft, std::fs::Permissions::from_mode(0o600)).map_err(io)?;
    let store =
        Store { database: Some(database), path: path.to_owned(), identity, refused: Refused::default() };
    store.write_identity()?;
    drop(store);
    std::fs::rename(&draft, path).map_err(io)?;
    let parent = path.parent().map_or_else(|| Ok(()), |dir| std::fs::File::open(dir)?.sync_all());
    parent.map_err(io)
}

fn open_error(path: &Path, error: DatabaseError) -> StoreError {
    match error {
        DatabaseError::DatabaseAlreadyOpen => StoreError::InUse { path: path.to_owned() },
        DatabaseError::Storage(StorageError::Io(error))
            if error.kind() != std::io::ErrorKind::InvalidData
                && error.kind() != std::io::ErrorKind::UnexpectedEof =>
        {
            StoreError::Io { path: path.to_owned(), detail: error.to_string() }
        }
        DatabaseError::Storage(StorageError::PreviousIo) => failed(path, redb::Error::PreviousIo),
        other => unreadable(path, other),
    }
}

fn failed(path: &Path, error: redb::Error) -> StoreError {
    match error {
        redb::Error::Io(error) => StoreError::Io { path: path.to_owned(), detail: error.to_string() },
        // Says nothing of what is in the file.
        redb::Error::PreviousIo => {
            StoreError::Io { path: path.to_owned(), detail: "an earlier write failed".into() }
        }
        other => unreadable(path, other),
    }
}

fn unreadable(path: &Path, detail: impl std::fmt::Display) -> StoreError {
    StoreError::Unreadable { path: path.to_owned(), detail: detail.to_string() }
}

/// Bytes of the file kept in memory at most; all of it is read at the start only.
const CACHE: usize = 4 << 20;
/// Raised with each change of a table or a row; older ones are read, and raised with the first change. 2: services have L7
/// settings.
const FORMAT: u64 = 2;
const META: TableDefinition<'_, &str, u64> = TableDefinition::new("weir_meta");
const LISTS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("lists");
const ENTRIES: TableDefinition<'_, (&str, &[u8; rows::PREFIX_BYTES]), &[u8]> =
    TableDefinition::new("entries");
const SERVICES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("services");

#[cfg(test)]
mod tests;
