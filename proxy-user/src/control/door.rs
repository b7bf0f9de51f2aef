//! The one door between the API and the daemon's loop. Requests go in and are answered one by one; reads are served
//! from the last published [`View`] and never wait for the loop.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use jiff::Timestamp;
use tokio::sync::{Mutex, mpsc, oneshot};

use super::registry::RegistrySession;
use super::types::{
    AcceptAnswer, Applied, BackendHealth, ChangeRecord, Code, Condition, DetachAnswer, ExplainAnswer,
    ExplainQuery, InterfaceStatus, Peer, ReloadAnswer, ReloadRecord, StatsSnapshot, SyncAnswer, Warning,
};
use crate::catalog::snapshot::Snapshot;
use crate::catalog::{ApiState, Change, Refusal, SteppedBack};
use crate::l7::process::observer::Observer;
use crate::model::{BackendAddr, Desired};

/// The API's side of the door. Clones share it.
#[derive(Clone, Debug)]
pub struct Door {
    requests: mpsc::Sender<Request>,
    view: Arc<ArcSwap<View>>,
    stats: Arc<Mutex<Option<Sample>>>,
}

/// Counters and when they were read.
type Sample = (Instant, Arc<StatsSnapshot>);

/// The loop's side of the door.
#[derive(Debug)]
pub struct DoorEnd {
    requests: mpsc::Receiver<Request>,
    view: Arc<ArcSwap<View>>,
}

/// What is asked of the loop. It answers each; a dropped `reply` reads as "the daemon is ending".
#[derive(Debug)]
pub enum Request {
    /// Apply a change whole, or not at all.
    Change {
        /// What to change.
        change: Change,
        /// Refuse unless this generation is in force.
        if_match: Option<u64>,
        /// Plan it and say what would come of it, but apply nothing.
        dry_run: bool,
        /// Who asks.
        by: Peer,
        /// Answer.
        reply: oneshot::Sender<Result<Applied, Refusal>>,
    },
    /// Read the configuration file again.
    Reload {
        /// Who asks.
        by: Peer,
        /// Answer.
        reply: oneshot::Sender<Result<ReloadAnswer, Refusal>>,
    },
    /// Run the decision on the installed state.
    Explain {
        /// The packet.
        query: ExplainQuery,
        /// Answer.
        reply: oneshot::Sender<Result<ExplainAnswer, Refusal>>,
    },
    /// Remove everything from the kernel and end.
    Detach {
        /// Who asks.
        by: Peer,
        /// Answer.
        reply: oneshot::Sender<Result<DetachAnswer, Refusal>>,
    },
    /// Ask registries again, without remembered positions.
    Sync {
        /// Which; none for all.
        registry: Option<String>,
        /// Who asks.
        by: Peer,
        /// Answer.
        reply: oneshot::Sender<Result<SyncAnswer, Refusal>>,
    },
    /// Carry out the removals of a service that are held.
    Accept {
        /// Service.
        service: String,
        /// Number of the hold that was shown, if it counts.
        hold: Option<u32>,
        /// Who asks.
        by: Peer,
        /// Answer.
        reply: oneshot::Sender<Result<AcceptAnswer, Refusal>>,
    },
    /// Read all counters.
    Stats {
        /// Answer.
        reply: oneshot::Sender<Result<StatsSnapshot, Refusal>>,
    },
}

/// What the API shows: published by the loop after each change of anything in it, always whole.
#[derive(Clone, Debug)]
pub struct View {
    /// Generation in force.
    pub generation: u64,
    /// Desired state in force: the base and the API's part, merged.
    pub desired: Arc<Desired>,
    /// The API's part of it.
    pub api: Arc<ApiState>,
    /// Lists of `api` that are not in force, because the base has none of that name or one that differs.
    pub orphaned_lists: Vec<String>,
    /// The same for services.
    pub orphaned_services: Vec<String>,
    /// Services whose L7 settings of `api` are not in force.
    pub stepped_back: BTreeMap<String, SteppedBack>,
    /// When the daemon started.
    pub started_at: Timestamp,
    /// What readiness asks for, in a fixed order.
    pub conditions: Vec<Condition>,
    /// Interfaces of the configuration; their `packets` are filled from the counters when they are shown.
    pub interfaces: Vec<InterfaceStatus>,
    /// What the operator should know.
    pub warnings: Vec<Warning>,
    /// The last change of the desired state.
    pub last_change: Option<ChangeRecord>,
    /// The last reload; at the start, the first reading of the file.
    pub last_reload: Option<ReloadRecord>,
    /// State of the way to each backend, by service. A backend that is missing here counts as not up yet.
    pub backends: BTreeMap<(String, BackendAddr), BackendHealth>,
    /// What discovery and health checks say.
    pub pool: Arc<Snapshot>,
    /// Sessions with registries, by name.
    pub registries: BTreeMap<String, RegistrySession>,
    /// What may be looked at of the L7 workers; none where there are none.
    pub l7: Option<Observer>,
}

impl View {
    /// A view of a daemon that has not applied anything yet.
    #[must_use]
    pub fn starting(desired: Arc<Desired>, started_at: Timestamp) -> Self {
        Self {
            generation: 0,
            desired,
            api: Arc::default(),
            orphaned_lists: Vec::new(),
            orphaned_services: Vec::new(),
            stepped_back: BTreeMap::new(),
            started_at,
            conditions: vec![Condition {
                name: "applied".into(),
                ok: false,
                detail: Some("the daemon is starting".into()),
            }],
            interfaces: Vec::new(),
            warnings: Vec::new(),
            last_change: None,
            last_reload: None,
            backends: BTreeMap::new(),
            pool: Arc::default(),
            registries: BTreeMap::new(),
            l7: None,
        }
    }

    /// Whether every condition holds.
    #[must_use]
    pub fn ready(&self) -> bool {
        self.conditions.iter().all(|condition| condition.ok)
    }
}

/// Makes the two sides of a door.
#[must_use]
pub fn door(view: View) -> (Door, DoorEnd) {
    let (sender, requests) = mpsc::channel(WAITING);
    let view = Arc::new(ArcSwap::from_pointee(view));
    (Door { requests: sender, view: view.clone(), stats: Arc::default() }, DoorEnd { requests, view })
}

impl Door {
    /// The state as last published.
    #[must_use]
    pub fn view(&self) -> Arc<View> {
        self.view.load_full()
    }

    /// Whether the daemon's loop lives.
    #[must_use]
    pub fn alive(&self) -> bool {
        !self.requests.is_closed()
    }

    /// Asks for a change. `if_match` is checked again by the loop, so that of two writers one is refused.
    ///
    /// # Errors
    /// Why it was not made; the old state is in force then.
    pub async fn change(
        &self,
        change: Change,
        if_match: Option<u64>,
        dry_run: bool,
        by: Peer,
    ) -> Result<Applied, Refusal> {
        self.ask(|reply| Request::Change { change, if_match, dry_run, by, reply }).await
    }

    /// Asks for the configuration file to be read again.
    ///
    /// # Errors
    /// Why the file was not taken over; the old state is in force then.
    pub async fn reload(&self, by: Peer) -> Result<ReloadAnswer, Refusal> {
        self.ask(|reply| Request::Reload { by, reply }).await
    }

    /// Asks what would become of a packet.
    ///
    /// # Errors
    /// Why it cannot be said.
    pub async fn explain(&self, query: ExplainQuery) -> Result<ExplainAnswer, Refusal> {
        self.ask(|reply| Request::Explain { query, reply }).await
    }

    /// Asks for everything to be removed from the kernel.
    ///
    /// # Errors
    /// Why it was not done.
    pub async fn detach(&self, by: Peer) -> Result<DetachAnswer, Refusal> {
        self.ask(|reply| Request::Detach { by, reply }).await
    }

    /// Asks for registries to be asked again.
    ///
    /// # Errors
    /// When there is no such registry.
    pub async fn sync(&self, registry: Option<String>, by: Peer) -> Result<SyncAnswer, Refusal> {
        self.ask(|reply| Request::Sync { registry, by, reply }).await
    }

    /// Asks for held removals to be carried out.
    ///
    /// # Errors
    /// When there is no such service, or nothing of it is held.
    pub async fn accept(
        &self,
        service: String,
        hold: Option<u32>,
        by: Peer,
    ) -> Result<AcceptAnswer, Refusal> {
        self.ask(|reply| Request::Accept { service, hold, by, reply }).await
    }

    /// The counters, at most a second old: callers at the same time share one walk over the maps.
    ///
    /// # Errors
    /// Why they cannot be read.
    pub async fn stats(&self) -> Result<Arc<StatsSnapshot>, Refusal> {
        let mut cached = self.stats.lock().await;
        if let Some((read, stats)) = cached.as_ref()
            && read.elapsed() < STATS_AGE
        {
            return Ok(stats.clone());
        }
        let stats = Arc::new(self.ask(|reply| Request::Stats { reply }).await?);
        *cached = Some((Instant::now(), stats.clone()));
        Ok(stats)
    }

    async fn ask<T>(
        &self,
        request: impl FnOnce(oneshot::Sender<Result<T, Refusal>>) -> Request,
    ) -> Result<T, Refusal> {
        let ending = || {
            Refusal::new(Code::ShuttingDown, "the daemon is ending and takes no more requests")
                .hint("the data path stays in force; try again once the daemon runs again")
        };
        let (reply, answer) = oneshot::channel();
        self.requests.send(request(reply)).await.map_err(|_| ending())?;
        answer.await.map_err(|_| ending())?
    }
}

impl DoorEnd {
    /// The next request; none once every [`Door`] is gone.
    pub async fn next(&mut self) -> Option<Request> {
        self.requests.recv().await
    }

    /// Publishes a new view.
    pub fn publish(&self, view: View) {
        self.view.store(Arc::new(view));
    }

    /// The view as last published.
    #[must_use]
    pub fn view(&self) -> Arc<View> {
        self.view.load_full()
    }
}

/// Requests that wait for the loop before their senders wait, too.
const WAITING: usize = 64;
/// Age up to which counters are served again.
const STATS_AGE: Duration = Duration::from_secs(1);
