//! Endpoints from files: JSON, TOML or lines, read again when they change.
//!
//! `settings` says which file, `read` watches directories and reads, `parse` makes endpoints of bytes, `follow` decides when
//! to read and what to tell. A file that is missing, half-written or unreadable is unknown, never empty.

mod follow;
mod parse;
mod read;
pub mod settings;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use self::follow::{Follow, Read};
use self::read::Watches;
use super::source::{Client, Ended, Event, Order, Parcel, Query, Session, SessionError};

use self::settings::Settings;

/// A client that reads files.
pub fn client(settings: &Settings, taken_over: Option<Parcel>) -> Box<dyn Client> {
    // There is no connection to take over.
    drop(taken_over);
    Box::new(Files { settings: settings.clone() })
}

/// For fuzzing: see `parse`.
pub fn fuzz(data: &[u8]) {
    parse::fuzz(data);
}

struct Files {
    settings: Settings,
}

impl Client for Files {
    fn session<'a>(&'a mut self, session: &'a mut Session) -> BoxFuture<'a, Result<Ended, SessionError>> {
        let peer = self.settings.dir.display().to_string();
        let mut reading = Reading {
            settings: &self.settings,
            files: BTreeMap::new(),
            watches: Arc::new(Watches::new()),
            reads: JoinSet::new(),
            at_once: Arc::new(Semaphore::new(AT_ONCE)),
        };
        async move {
            session.wanted.mark_changed();
            if session.events.send(Event::Connected { peer }).await.is_err() {
                return Ok(Ended::Unwanted);
            }
            Ok(reading.run(session).await)
        }
        .boxed()
    }
}

struct Reading<'a> {
    settings: &'a Settings,
    files: BTreeMap<Arc<Query>, (PathBuf, Follow)>,
    watches: Arc<Watches>,
    reads: JoinSet<(Arc<Query>, Read)>,
    at_once: Arc<Semaphore>,
}

impl Reading<'_> {
    async fn run(&mut self, session: &mut Session) -> Ended {
        loop {
            for event in self.begin() {
                if session.events.send(event).await.is_err() {
                    return Ended::Unwanted;
                }
            }
            let next = self.files.values().filter_map(|(_, follow)| follow.next()).min();
            let next = next.unwrap_or_else(|| Instant::now() + Duration::from_secs(3600));
            let event = tokio::select! {
                changed = session.wanted.changed() => {
                    let wanted = Arc::clone(&session.wanted.borrow_and_update());
                    if changed.is_err() {
                        return Ended::Unwanted;
                    }
                    self.want(&wanted.queries);
                    None
                }
                changed = session.order.changed() => {
                    let order = *session.order.borrow_and_update();
                    match (changed, order) {
                        (Err(_), _) => return Ended::Unwanted,
                        (_, Order::HandOver) => return Ended::HandedOver(None),
                        (_, Order::Resync(_)) => self.refresh(),
                        (_, Order::Run) => {}
                    }
                    None
                }
                paths = self.watches.happened() => {
                    self.happened(&paths);
                    None
                }
                Some(ended) = self.reads.join_next() => ended.ok().and_then(|(query, read)| self.ended(query, read)),
                () = tokio::time::sleep_until(next.into()) => None,
                () = session.events.closed() => return Ended::Unwanted,
            };
            if let Some(event) = event
                && session.events.send(event).await.is_err()
            {
                return Ended::Unwanted;
            }
        }
    }

    fn want(&mut self, queries: &BTreeSet<Arc<Query>>) {
        let now = Instant::now();
        self.files.retain(|query, _| queries.contains(query));
        for query in queries {
            if !self.files.contains_key(query) {
                let path = self.settings.dir.join(&query.service);
                self.files.insert(Arc::clone(query), (path, Follow::new(now)));
            }
        }
        let parents = self.files.values().filter_map(|(path, _)| path.parent());
        self.watches.keep(&parents.chain([self.settings.dir.as_path()]).collect());
    }

    fn refresh(&mut self) {
        let now = Instant::now();
        self.files.values_mut().for_each(|(_, follow)| follow.refresh(now));
    }

    fn happened(&mut self, paths: &BTreeSet<PathBuf>) {
        let now = Instant::now();
        let dir = &self.settings.dir;
        for (path, follow) in self.files.values_mut() {
            if paths.iter().any(|at| at.as_os_str().is_empty() || read::concerns(at, dir, path)) {
                follow.dirty(now);
            }
        }
    }

    /// Begins to read what is due; tells of what hangs.
    fn begin(&mut self) -> Vec<Event> {
        let now = Instant::now();
        let mut overdue = Vec::new();
        for (query, (path, follow)) in &mut self.files {
            if let Some(why) = follow.overdue(now) {
                overdue.push(Event::Gone { query: Arc::clone(query), why });
            }
            if follow.begin(now) {
                let job = Job {
                    query: Arc::clone(query),
                    dir: self.settings.dir.clone(),
                    path: path.clone(),
                    watches: Arc::clone(&self.watches),
                };
                let at_once = Arc::clone(&self.at_once);
                self.reads.spawn(async move {
                    let query = Arc::clone(&job.query);
                    let _one = at_once.acquire_owned().await;
                    let read = tokio::task::spawn_blocking(move || job.run()).await;
                    (query, read.unwrap_or_else(|_| Read::Bad("reading it failed".to_owned())))
                });
            }
        }
        overdue
    }

    fn ended(&mut self, query: Arc<Query>, read: Read) -> Option<Event> {
        let (_, follow) = self.files.get_mut(&query)?;
        match follow.ended(Instant::now(), read, self.settings.poll)? {
            Ok(set) => Some(Event::Reset { query, set }),
            Err(why) => Some(Event::Gone { query, why }),
        }
    }
}

/// One reading of one file.
struct Job {
    query: Arc<Query>,
    dir: PathBuf,
    path: PathBuf,
    watches: Arc<Watches>,
}

impl Job {
    fn run(&self) -> Read {
        // Before the file is read, so that no change falls between the two.
        self.watches.ensure(&self.dir);
        if let Some(parent) = self.path.parent().filter(|parent| *parent != Path::new(&self.dir)) {
            self.watches.ensure(parent);
        }
        match settings::format(&self.query) {
            Ok(format) => read::read(&self.path, format),
            Err(fault) => Read::Bad(fault.to_string()),
        }
    }
}

/// Files that are read at the same time.
const AT_ONCE: usize = 16;
