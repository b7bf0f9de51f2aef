//! The daemon's side: all workers. It takes over those that an earlier daemon has left, starts the missing ones, tells
//! all of them each snapshot, and lets go of those that are too many or of another build.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::sync::{broadcast, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

pub use super::keeper::WorkerView;
use super::keeper::{Keeper, Shared};
use super::life::Life;
use super::listeners::Pair;
use super::message::ToWorker;
use super::observer::{Books, Observer};
use super::places::Places;
use super::spawn;
use crate::l7::snapshot::Snapshot;

/// Why workers cannot be kept.
#[derive(Debug, thiserror::Error)]
pub enum WorkersError {
    /// The directory of control sockets.
    #[error("cannot use {path} for the control sockets of L7 workers: {source}; choose another --run-dir")]
    Directory {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// No listeners.
    #[error(
        "cannot make the listening sockets of L7 workers: {0}; raise the limit of open files (LimitNOFILE=)"
    )]
    Listen(#[source] io::Error),
    /// Nobody to become.
    #[error("cannot look up the user `nobody`, whom L7 workers become: {0}")]
    Identity(#[source] io::Error),
}

/// The workers. Dropping this leaves them running, for the next daemon.
pub struct Workers {
    snapshot: watch::Sender<Option<Arc<ToWorker>>>,
    stop: watch::Sender<Option<Duration>>,
    shared: Shared,
    keepers: JoinSet<()>,
    published: Option<Snapshot>,
    pairs: Vec<Pair>,
    /// Numbers of questions.
    ids: Arc<AtomicU64>,
}

impl Workers {
    /// Takes over the workers that are there and starts those that are missing, `count` in all. [`Self::listeners`] are
    /// ready when this returns, so that what comes from then on waits for its worker.
    ///
    /// # Errors
    /// [`WorkersError`].
    pub async fn start(run_dir: &Path, count: u32) -> Result<Self, WorkersError> {
        let places = Places::of(run_dir);
        let directory = |source| WorkersError::Directory { path: run_dir.join("l7"), source };
        places.prepare().map_err(directory)?;
        let (snapshot, snapshots) = watch::channel(None);
        let (stop, stops) = watch::channel(None);
        let shared = Shared {
            places,
            workers: count,
            identity: spawn::identity().map_err(WorkersError::Identity)?,
            snapshot: snapshots,
            stop: stops,
            views: Arc::new(watch::channel(BTreeMap::new()).0),
            books: Books::default(),
            questions: broadcast::channel(QUESTIONS).0,
            leaving: Arc::default(),
        };
        let mut found = found(&shared, count).await.map_err(directory)?;
        let mut workers = Self {
            snapshot,
            stop,
            shared,
            keepers: JoinSet::new(),
            published: None,
            pairs: Vec::new(),
            ids: Arc::default(),
        };
        let mut group = found.values().find_map(|found| found.pair.duplicate().ok()).unwrap_or_default();
        for worker in 0..count {
            let Found { pair, current, predecessor } = found.remove(&worker).unwrap_or_default();
            let pair = match pair.families() == Pair::default().families() {
                true => Pair::make(Some(&group)).map_err(WorkersError::Listen)?,
                false => pair,
            };
            workers.pairs.push(pair.duplicate().map_err(WorkersError::Listen)?);
            group = pair.duplicate().map_err(WorkersError::Listen)?;
            let keeper = Keeper { worker, pair, shared: workers.shared.clone(), predecessor };
            workers.keepers.spawn(keeper.keep(current));
        }
        Ok(workers)
    }

    /// The listeners of each worker, by its number.
    #[must_use]
    pub fn listeners(&self) -> &[Pair] {
        &self.pairs
    }

    /// Tells all workers what to serve. Says whether it is news.
    pub fn publish(&mut self, snapshot: Snapshot) -> bool {
        if self.published.as_ref() == Some(&snapshot) {
            return false;
        }
        self.published = Some(snapshot.clone());
        self.snapshot.send_replace(Some(Arc::new(ToWorker::Snapshot(Box::new(snapshot)))));
        true
    }

    /// Waits until every worker serves by the snapshot that was published last, at most so long. Says whether they do.
    pub async fn settled(&self, patience: Duration) -> bool {
        let Some(wanted) = self.published.as_ref().map(|snapshot| snapshot.generation) else { return true };
        let count = usize::try_from(self.shared.workers).unwrap_or(usize::MAX);
        let mut views = self.shared.views.subscribe();
        // A refusal ends the wait, and is none that serves by it.
        let all = views.wait_for(|views| answers(views, wanted).0 >= count);
        matches!(timeout(patience, all).await, Ok(Ok(views)) if answers(&views, wanted).1 >= count)
    }

    /// What others may look at.
    #[must_use]
    pub fn observer(&self) -> Observer {
        Observer {
            views: self.shared.views.clone(),
            snapshot: self.shared.snapshot.clone(),
            books: self.shared.books.clone(),
            questions: self.shared.questions.clone(),
            ids: Arc::clone(&self.ids),
        }
    }

    /// What is known of each worker, by its number.
    #[must_use]
    pub fn views(&self) -> BTreeMap<u32, WorkerView> {
        self.shared.views.borrow().clone()
    }

    /// Drains all workers; those that have not ended in time are killed.
    pub async fn stop(mut self, patience: Duration) {
        self.stop.send_replace(Some(patience));
        while self.keepers.join_next().await.is_some() {}
        let mut leaving =
            std::mem::take(&mut *self.shared.leaving.lock().unwrap_or_else(PoisonError::into_inner));
        while leaving.join_next().await.is_some() {}
        self.shared.places.clear();
    }
}

/// Drains the workers of a runtime directory when no daemon runs. Answers how many there were.
///
/// # Errors
/// The directory cannot be read.
pub async fn stop_left_behind(run_dir: &Path, patience: Duration) -> Result<usize, WorkersError> {
    let places = Places::of(run_dir);
    let listed = places.list();
    listed.map_err(|source| WorkersError::Directory { path: run_dir.join("l7"), source })?;
    Ok(stop_all(&places, patience).await)
}

/// Whether an earlier daemon has left workers in a runtime directory.
#[must_use]
pub fn are_left_behind(run_dir: &Path) -> bool {
    // What cannot be read is not this process's to end.
    Places::of(run_dir).list().map_or(true, |found| !found.is_empty())
}

async fn stop_all(places: &Places, patience: Duration) -> usize {
    let mut parting = JoinSet::new();
    for (_, path) in places.list().unwrap_or_default() {
        match Life::find(&path).await {
            Ok(Some((life, _))) => {
                let (stop, snapshot) = (watch::channel(None).1, watch::channel(None).1);
                parting.spawn(life.part(patience, stop, snapshot, drop));
            }
            Ok(None) => {}
            Err(error) => tracing::warn!(path = %path.display(), %error, "an L7 worker cannot be stopped"),
        }
    }
    let count = parting.len();
    while parting.join_next().await.is_some() {}
    places.clear();
    count
}

/// How many workers have answered a snapshot, and how many of them serve by it.
fn answers(views: &BTreeMap<u32, WorkerView>, wanted: u64) -> (usize, usize) {
    let serves = |view: &&WorkerView| view.generation == Some(wanted);
    let refused = |view: &&WorkerView| matches!(&view.refused, Some((which, _)) if *which == wanted);
    let answered = views.values().filter(|view| serves(view) || refused(view)).count();
    (answered, views.values().filter(serves).count())
}

/// What was found of one worker's place.
#[derive(Default)]
struct Found {
    pair: Pair,
    current: Option<Life>,
    predecessor: Option<Life>,
}

/// Looks for the workers of an earlier daemon. Those that are too many are let go at once.
async fn found(shared: &Shared, count: u32) -> io::Result<BTreeMap<u32, Found>> {
    let build = spawn::build();
    let mut all: BTreeMap<u32, Found> = BTreeMap::new();
    for (worker, path) in shared.places.list()? {
        let (life, pair) = match Life::find(&path).await {
            Ok(Some(found)) => found,
            Ok(None) => continue,
            Err(error) => {
                tracing::error!(worker, path = %path.display(), %error, "an L7 worker of an earlier daemon is left alone");
                continue;
            }
        };
        if life.is_of(&build) {
            life.hand_log().await;
        }
        let place = all.entry(worker).or_default();
        if worker >= count || place.current.is_some() || place.predecessor.is_some() || life.hello.draining {
            shared.let_go(life, SURPLUS);
            continue;
        }
        place.pair = pair;
        match life.is_usable(&build) {
            true => place.current = Some(life),
            false => place.predecessor = Some(life),
        }
    }
    Ok(all)
}

/// Questions that wait for a worker's place to ask them.
const QUESTIONS: usize = 16;
/// How long workers drain that are more than there shall be, or do so already.
const SURPLUS: Duration = Duration::from_secs(600);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_that_refuses_a_snapshot_has_answered_and_does_not_serve_by_it() {
        let at = |generation| WorkerView { generation: Some(generation), ..WorkerView::default() };
        let refused = WorkerView { refused: Some((7, "why".into())), ..at(6) };
        assert_eq!(answers(&[(0, at(7)), (1, refused)].into(), 7), (2, 1));
        assert_eq!(answers(&[(0, at(7)), (1, at(6))].into(), 7), (1, 1));
    }
}
