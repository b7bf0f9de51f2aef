//! Keeps one worker's place filled: starts it or takes it over, tells it each snapshot, hears its answers, and starts
//! another when it ends. The listeners are the place's, not the process's.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{broadcast, watch};

use super::channel::{ChannelError, is_shortage};
use super::life::{AGAIN, Life, Published, published, told_to_stop};
use super::listeners::Pair;
use super::message::{FromWorker, Listed, Start, ToWorker};
use super::observer::{Asked, Books};
use super::places::Places;
use super::pulse::{HUNG, Pulse};

/// What the daemon knows of a worker.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WorkerView {
    /// Its process; none between two.
    pub pid: Option<i32>,
    /// Whether an earlier daemon has started it.
    pub adopted: bool,
    /// Times that it had to be started again.
    pub restarts: u64,
    /// Times that it gave no sign of life and was killed; these count as restarts, too, but for those in which it drained.
    pub hangs: u64,
    /// How the process before this one ended, if there was one.
    pub last_end: Option<String>,
    /// Generation of the snapshot that it serves by.
    pub generation: Option<u64>,
    /// The snapshot that it refused last, and why, until it takes one.
    pub refused: Option<(u64, String)>,
    /// Why it is not there.
    pub trouble: Option<String>,
}

/// Views by number.
pub(super) type Views = Arc<watch::Sender<BTreeMap<u32, WorkerView>>>;

/// What all places share.
#[derive(Clone)]
pub(super) struct Shared {
    pub(super) places: Places,
    pub(super) workers: u32,
    pub(super) identity: Option<(u32, u32)>,
    pub(super) snapshot: watch::Receiver<Published>,
    pub(super) stop: watch::Receiver<Option<Duration>>,
    pub(super) views: Views,
    pub(super) books: Books,
    pub(super) questions: broadcast::Sender<Asked>,
    /// Workers that drain; those who wait for all to end count these.
    pub(super) leaving: Arc<Mutex<tokio::task::JoinSet<()>>>,
}

/// One worker's place.
pub(super) struct Keeper {
    pub(super) worker: u32,
    pub(super) pair: Pair,
    pub(super) shared: Shared,
    /// A worker of another build, which goes on until its successor serves.
    pub(super) predecessor: Option<Life>,
}

/// Why a worker is no longer watched.
enum End {
    Died,
    /// It is there and does nothing.
    Hung,
    /// It drains, and was not told to by this daemon.
    Leaves,
    Stopped(Duration),
}

impl Shared {
    /// Lets a worker go.
    pub(super) fn let_go(&self, life: Life, patience: Duration) {
        let (stop, snapshot) = (self.stop.clone(), self.snapshot.clone());
        let (books, views) = (self.books.clone(), self.views.clone());
        let (pid, worker) = (life.number(), life.hello.worker);
        books.with(|ledger| ledger.listen(pid));
        let parting = async move {
            if life
                .part(patience, stop, snapshot, |stats| books.with(|ledger| ledger.report(pid, stats)))
                .await
            {
                views.send_if_modified(|views| views.get_mut(&worker).map(|view| view.hangs += 1).is_some());
            }
            books.with(|ledger| ledger.end(pid));
        };
        self.leaving.lock().unwrap_or_else(PoisonError::into_inner).spawn(parting);
    }
}

impl Keeper {
    /// Until it is told to stop. `current` is a worker that was found.
    pub(super) async fn keep(mut self, mut current: Option<Life>) {
        let mut failures = 0;
        loop {
            let adopted = current.is_some();
            let life = match current.take() {
                Some(life) => Ok(life),
                None => Life::start(&self.shared.places, self.start(), &self.pair).await,
            };
            match life {
                Ok(life) => {
                    tracing::info!(worker = self.worker, pid = life.number(), adopted, "L7 worker serves");
                    let begun = Instant::now();
                    if self.watch_over(life, adopted).await {
                        return;
                    }
                    if begun.elapsed() > STABLE {
                        failures = 0;
                    }
                }
                Err(error) => {
                    let trouble = format!("worker {} cannot be started: {error}", self.worker);
                    tracing::error!(worker = self.worker, %error, "an L7 worker cannot be started");
                    self.view(|view| view.trouble = Some(trouble));
                }
            }
            let pause = back_off(failures);
            failures += 1;
            let mut stop = self.shared.stop.clone();
            if tokio::time::timeout(pause, told_to_stop(&mut stop)).await.is_ok() {
                return;
            }
            self.view(|view| view.restarts += 1);
        }
    }

    /// Until the worker has ended (`false`) or is let go (`true`).
    async fn watch_over(&mut self, life: Life, adopted: bool) -> bool {
        let (pid, generation) = (life.number(), life.hello.generation);
        self.shared.books.with(|ledger| ledger.begin(pid));
        self.view(|view| {
            (view.pid, view.adopted, view.generation, view.trouble) = (Some(pid), adopted, generation, None);
        });
        let end = self.serve(&life).await;
        self.view(|view| view.pid = None);
        match end {
            End::Stopped(patience) => {
                self.predecessor.take().into_iter().for_each(|old| self.shared.let_go(old, patience));
                self.shared.let_go(life, patience);
                true
            }
            End::Leaves => {
                tracing::info!(
                    worker = self.worker,
                    pid,
                    "an L7 worker drains; its successor takes what waits"
                );
                self.view(|view| view.last_end = Some("was told to end".to_owned()));
                self.shared.let_go(life, REPLACED);
                false
            }
            End::Died | End::Hung => {
                let hung = matches!(end, End::Hung);
                if hung {
                    life.kill();
                }
                let ended = life.bury().await;
                let how = if hung { HUNG.to_owned() } else { ended };
                self.shared.books.with(|ledger| ledger.end(pid));
                tracing::error!(
                    worker = self.worker,
                    pid,
                    how,
                    "an L7 worker has ended; its successor takes what waits"
                );
                let trouble = format!("worker {} has ended ({how})", self.worker);
                self.view(|view| {
                    (view.trouble, view.last_end) = (Some(trouble), Some(how));
                    view.hangs += u64::from(hung);
                });
                false
            }
        }
    }

    async fn serve(&mut self, life: &Life) -> End {
        let (mut snapshot, mut stop) = (self.shared.snapshot.clone(), self.shared.stop.clone());
        snapshot.mark_changed();
        let mut questions = self.shared.questions.subscribe();
        let mut asked = VecDeque::new();
        let mut pulse = Pulse::of(life.pid);
        // A snapshot that there was no descriptor for is said again then.
        let mut again: Option<Instant> = None;
        loop {
            tokio::select! {
                message = life.receive() => {
                    pulse.heard();
                    match message {
                        Ok(FromWorker::Hello(hello)) if hello.draining => return End::Leaves,
                        Ok(FromWorker::Connections(listed)) => pass_on(self.worker, *listed, &mut asked),
                        // It lost one for want of descriptors, or its log.
                        Ok(FromWorker::Hello(_)) => {
                            life.hand_log().await;
                            snapshot.mark_changed();
                        }
                        Ok(message) => self.hear(life.number(), message),
                        // Only counters and connections have any.
                        Err(ChannelError::Shortage) => {}
                        Err(_) => return End::Died,
                    }
                }
                () = pulse.stops() => return End::Hung,
                message = published(&mut snapshot) => {
                    if let Err(error) = life.say(&message).await {
                        if is_shortage(&error) {
                            tracing::warn!(worker = self.worker, %error, "an L7 worker's snapshot waits");
                            again = Some(Instant::now() + AGAIN);
                            continue;
                        }
                        tracing::error!(worker = self.worker, %error, "an L7 worker takes no snapshot");
                        return if error.kind() == io::ErrorKind::TimedOut { End::Hung } else { End::Died };
                    }
                }
                () = tokio::time::sleep_until(again.unwrap_or_else(Instant::now).into()), if again.is_some() => {
                    again = None;
                    snapshot.mark_changed();
                }
                question = next(&mut questions) => {
                    // One that cannot be asked is silent.
                    if life.say(&ToWorker::Connections(question.question.clone())).await.is_ok() {
                        asked.truncate(MOST_QUESTIONS);
                        asked.push_front(question);
                    }
                }
                patience = told_to_stop(&mut stop) => return End::Stopped(patience),
            }
        }
    }

    fn hear(&mut self, pid: i32, message: FromWorker) {
        match message {
            FromWorker::Acknowledged { generation } => {
                self.view(|view| (view.generation, view.refused) = (Some(generation), None));
                if let Some(old) = self.predecessor.take() {
                    tracing::info!(worker = self.worker, "an L7 worker of another build drains");
                    self.shared.let_go(old, REPLACED);
                }
            }
            FromWorker::Refused { generation, mut reason } => {
                reason.truncate(reason.floor_char_boundary(LONGEST_REASON));
                tracing::error!(worker = self.worker, generation, reason, "an L7 worker refuses a snapshot");
                self.view(|view| view.refused = Some((generation, reason)));
            }
            FromWorker::Stats(stats) => self.shared.books.with(|ledger| ledger.report(pid, *stats)),
            FromWorker::Hello(_) | FromWorker::Connections(_) => {}
        }
    }

    fn start(&self) -> Start {
        Start {
            worker: self.worker,
            workers: self.shared.workers,
            identity: self.shared.identity,
            daemon: rustix::process::geteuid().as_raw(),
            families: self.pair.families(),
        }
    }

    fn view(&self, change: impl FnOnce(&mut WorkerView)) {
        self.shared.views.send_modify(|views| change(views.entry(self.worker).or_default()));
    }
}

/// Gives an answer to those who asked for it.
fn pass_on(worker: u32, mut listed: Listed, asked: &mut VecDeque<Asked>) {
    listed.connections.iter_mut().for_each(|connection| connection.worker = worker);
    if let Some(place) = asked.iter().position(|asked| asked.question.id == listed.id)
        && let Some(asked) = asked.remove(place)
    {
        let most = usize::try_from(asked.question.limit).unwrap_or(usize::MAX);
        listed.connections.truncate(most);
        // Who asked may have gone.
        let _ = asked.answers.try_send((worker, listed));
    }
}

/// The next question.
async fn next(questions: &mut broadcast::Receiver<Asked>) -> Asked {
    loop {
        match questions.recv().await {
            Ok(asked) => return asked,
            Err(broadcast::error::RecvError::Lagged(_)) => {}
            Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
        }
    }
}

/// The pause before a worker is started again: none at first, as its backlog waits.
fn back_off(failures: u32) -> Duration {
    match failures {
        0 => Duration::ZERO,
        more => FIRST_PAUSE.saturating_mul(1 << more.min(10)).min(LONGEST_PAUSE),
    }
}

const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// A worker that lived so long has not failed at its start.
const STABLE: Duration = Duration::from_secs(30);
/// How long a worker of another build drains.
const REPLACED: Duration = Duration::from_secs(600);
const LONGEST_REASON: usize = 1_000;
/// Questions that wait for one worker's answer.
const MOST_QUESTIONS: usize = 15;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_bound() {
        assert_eq!([0, 1, 2, 3].map(back_off), [0, 100, 200, 400].map(Duration::from_millis));
        assert_eq!(back_off(1_000), LONGEST_PAUSE);
    }
}
