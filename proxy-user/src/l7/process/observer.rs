//! What the daemon's other parts may look at of the workers, whatever the daemon's loop is at.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{broadcast, mpsc, watch};
use tokio::time::{Instant, timeout_at};

use super::keeper::{Views, WorkerView};
use super::message::{Listed, Question, ToWorker};
use crate::l7::snapshot::Snapshot;
use crate::l7::stats::{Ledger, Stats};

/// A question to all workers, and where their answers go, with the worker's number.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) question: Question,
    pub(super) answers: mpsc::Sender<(u32, Listed)>,
}

/// Sums over workers, shared with those who hear them.
#[derive(Clone, Debug, Default)]
pub(super) struct Books(Arc<Mutex<Ledger>>);

impl Books {
    pub(super) fn with<R>(&self, work: impl FnOnce(&mut Ledger) -> R) -> R {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Looks at the workers. Clones look at the same ones.
#[derive(Clone, Debug)]
pub struct Observer {
    pub(super) views: Views,
    pub(super) snapshot: watch::Receiver<Option<Arc<ToWorker>>>,
    pub(super) books: Books,
    pub(super) questions: broadcast::Sender<Asked>,
    pub(super) ids: Arc<AtomicU64>,
}

/// What the workers have answered.
#[derive(Clone, Debug, Default)]
pub struct Answers {
    /// Answers by worker.
    pub listed: BTreeMap<u32, Listed>,
    /// Workers that did not answer in time.
    pub silent: BTreeSet<u32>,
}

impl Observer {
    /// What is known of each worker, by its number.
    #[must_use]
    pub fn views(&self) -> BTreeMap<u32, WorkerView> {
        self.views.borrow().clone()
    }

    /// Shows what workers are to serve by; `None`: nothing was published yet.
    pub fn with_snapshot<R>(&self, show: impl FnOnce(&Snapshot) -> R) -> Option<R> {
        let published = self.snapshot.borrow().clone()?;
        match published.as_ref() {
            ToWorker::Snapshot(snapshot) => Some(show(snapshot)),
            _ => None,
        }
    }

    /// The counters of all workers together, of what is in force.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.books.with(|ledger| {
            self.with_snapshot(|snapshot| ledger.keep(snapshot));
            ledger.sum()
        })
    }

    /// Last reports of the processes that live, those that drain included.
    #[must_use]
    pub fn living(&self) -> BTreeMap<i32, Stats> {
        self.books.with(|ledger| ledger.living().clone())
    }

    /// Asks every worker that serves for some of its connections, and waits for a moment.
    pub async fn connections(&self, service: Option<String>, limit: u32) -> Answers {
        let numbers: BTreeSet<u32> =
            self.views().iter().filter(|(_, view)| view.pid.is_some()).map(|(number, _)| *number).collect();
        let mut answers = Answers { listed: BTreeMap::new(), silent: numbers };
        let (sender, mut receiver) = mpsc::channel(ANSWERS);
        let id = self.ids.fetch_add(1, Ordering::Relaxed);
        let asked = Asked { question: Question { id, service, limit }, answers: sender };
        if self.questions.send(asked).is_err() {
            return answers;
        }
        let end = Instant::now() + PATIENCE;
        while !answers.silent.is_empty()
            && let Ok(Some((worker, listed))) = timeout_at(end, receiver.recv()).await
        {
            answers.silent.remove(&worker);
            answers.listed.insert(worker, listed);
        }
        answers
    }
}

/// For workers to answer a question.
const PATIENCE: Duration = Duration::from_secs(1);
/// As many as there are workers at most.
const ANSWERS: usize = 64;

#[cfg(test)]
impl Observer {
    /// Looks at what never changes; nobody answers questions.
    pub(crate) fn fixed(views: BTreeMap<u32, WorkerView>, snapshot: Snapshot, ledger: Ledger) -> Self {
        let published = Arc::new(ToWorker::Snapshot(Box::new(snapshot)));
        Self {
            views: Arc::new(watch::channel(views).0),
            snapshot: watch::channel(Some(published)).1,
            books: Books(Arc::new(Mutex::new(ledger))),
            questions: broadcast::channel(1).0,
            ids: Arc::default(),
        }
    }
}
