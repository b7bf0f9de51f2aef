//! Writes what is to be remembered, beside the daemon's loop: a moment after a change, and not too often.

use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use super::known::Known;
use crate::catalog::pool::Remembered;

/// Takes what is to be remembered. Dropping it ends the task after what it was given last is written.
#[derive(Debug)]
pub struct Keeper {
    wanted: watch::Sender<Remembered>,
    flush: mpsc::UnboundedSender<oneshot::Sender<()>>,
    problem: watch::Receiver<Option<String>>,
}

impl Keeper {
    /// Starts the task on the current runtime.
    #[must_use]
    pub fn spawn(known: Known) -> Self {
        let (wanted, wanted_end) = watch::channel(Remembered::new());
        let (flush, flush_end) = mpsc::unbounded_channel();
        let (problem, problem_end) = watch::channel(None);
        let task = Task { known, wanted: wanted_end, flush: flush_end, problem };
        tokio::spawn(task.run());
        Self { wanted, flush, problem: problem_end }
    }

    /// Remembers these sets, soon.
    pub fn keep(&self, remembered: Remembered) {
        self.wanted.send_replace(remembered);
    }

    /// Writes what was given last, now.
    pub async fn flush(&self) {
        let (done, answer) = oneshot::channel();
        if self.flush.send(done).is_ok() {
            let _ = answer.await;
        }
    }

    /// Why the last attempt to write failed, until one succeeds.
    #[must_use]
    pub fn problem(&self) -> Option<String> {
        self.problem.borrow().clone()
    }
}

struct Task {
    known: Known,
    wanted: watch::Receiver<Remembered>,
    flush: mpsc::UnboundedReceiver<oneshot::Sender<()>>,
    problem: watch::Sender<Option<String>>,
}

impl Task {
    async fn run(mut self) {
        let mut due: Option<Instant> = None;
        let mut next = Instant::now() + SPACING;
        loop {
            let wait = async {
                match due {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            let mut done = None;
            tokio::select! {
                changed = self.wanted.changed() => {
                    if changed.is_ok() {
                        due.get_or_insert_with(|| (Instant::now() + DEBOUNCE).max(next));
                        continue;
                    }
                    if due.is_some() {
                        self.write().await;
                    }
                    return;
                }
                flush = self.flush.recv() => match flush {
                    Some(reply) => done = Some(reply),
                    None => {
                        self.write().await;
                        return;
                    }
                },
                () = wait => {}
            }
            let begin = Instant::now();
            let good = self.write().await;
            // What takes long is done seldom.
            next = Instant::now() + SPACING.max(begin.elapsed() * SHARE);
            due = (!good).then(|| next.max(begin + RETRY));
            if let Some(done) = done {
                let _ = done.send(());
            }
        }
    }

    async fn write(&mut self) -> bool {
        let mut known = self.known.clone();
        let remembered = self.wanted.borrow_and_update().clone();
        let written = tokio::task::spawn_blocking(move || known.write(&remembered).map(|()| known)).await;
        let problem = match written {
            Ok(Ok(known)) => {
                self.known = known;
                None
            }
            Ok(Err(error)) => Some(error.to_string()),
            Err(error) => Some(format!("the sets' writer has failed: {error}")),
        };
        if let Some(problem) =
            problem.as_ref().filter(|problem| self.problem.borrow().as_ref() != Some(problem))
        {
            tracing::warn!("the sets of registries are not remembered: {problem}");
        }
        let good = problem.is_none();
        self.problem.send_replace(problem);
        good
    }
}

/// A burst of changes is written once.
const DEBOUNCE: Duration = Duration::from_secs(1);
/// Least time between two writes.
const SPACING: Duration = Duration::from_secs(3);
/// Of the time, a part of this size at most is spent on writing.
const SHARE: u32 = 20;
/// After a failure.
const RETRY: Duration = Duration::from_secs(10);
