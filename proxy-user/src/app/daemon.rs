//! The daemon's state and its loop: one thing at a time, in the order in which it comes.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use jiff::Timestamp;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::apply::{Acl, Kernel};
use super::discovery::Discovery;
use super::endpoints::Laid;
use super::handover::Offer;
use super::interfaces::Ports;
use super::l7::L7;
use super::memory::Planned;
use super::start;
use crate::catalog::{ApiState, Refusal};
use crate::cli::run::RunArgs;
use crate::config::{Diagnostic, Settings};
use crate::control::door::DoorEnd;
use crate::control::types::{ChangeRecord, ReloadRecord};
use crate::kernel::lock::Lock;
use crate::kernel::write::Written;
use crate::metrics::Metrics;
use crate::model::{Desired, Origin};
use crate::net::announce::Announcer;
use crate::net::follow::NextHops;
use crate::net::netlink::Netlink;
use crate::net::watch::{Change, Watch};
use crate::store::Store;

/// Least time between two sweeps of the flow table.
const SWEEP: Duration = Duration::from_secs(5);
/// After a failure, and while an interface is away.
const RETRY: Duration = Duration::from_secs(1);
/// A clock may be set while weir sleeps: look at it at least this often.
const LONGEST_SLEEP: Duration = Duration::from_secs(30);
/// Lets a burst of link changes pass before they are looked at.
const SETTLE_LINKS: Duration = Duration::from_millis(20);

/// What is wanted.
#[derive(Debug)]
pub(super) struct State {
    /// From file and flags.
    pub(super) base: Desired,
    /// From the API.
    pub(super) api: ApiState,
    /// Both together, without what has expired, and what discovery says on top.
    pub(super) laid: Laid,
    pub(super) generation: u64,
    /// The generation that the operator's last change made: later ones are of endpoints only.
    pub(super) edited: u64,
    pub(super) last_change: Option<ChangeRecord>,
    pub(super) last_reload: ReloadRecord,
    /// Entries that have ended, by list.
    pub(super) expired: BTreeMap<String, u64>,
    pub(super) config_warnings: Vec<Diagnostic>,
}

/// What went wrong last, until it goes right.
#[derive(Debug, Default)]
pub(super) struct Problems {
    pub(super) apply: Option<String>,
    /// Of the state file, until something is written.
    pub(super) store: Option<String>,
    /// When that is tried next.
    pub(super) store_at: Option<Instant>,
    /// VIPs that are addresses of the host itself, whose other ports weir drops.
    pub(super) host_vips: BTreeSet<IpAddr>,
}

/// The daemon.
pub(super) struct Daemon {
    pub(super) state: State,
    pub(super) kernel: Kernel,
    pub(super) ports: Ports,
    pub(super) backends: watch::Sender<BTreeSet<IpAddr>>,
    pub(super) follower: NextHops,
    pub(super) announcer: Announcer,
    pub(super) changes: Watch,
    pub(super) netlink: Netlink,
    pub(super) store: Store,
    pub(super) settings: Settings,
    pub(super) args: RunArgs,
    pub(super) end: DoorEnd,
    pub(super) metrics: Arc<Metrics>,
    pub(super) started_at: Timestamp,
    pub(super) problems: Problems,
    /// Addresses of this host, VIPs that are announced among them.
    pub(super) host: BTreeSet<IpAddr>,
    pub(super) discovery: Discovery,
    /// Services whose endpoints did not fit the maps, and why.
    pub(super) set_back: BTreeMap<String, String>,
    pub(super) offer: Offer,
    pub(super) tasks: JoinSet<()>,
    pub(super) l7: L7,
    pub(super) _lock: Lock,
}

/// The generation after an apply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Number {
    /// The desired state is another: the next one, whether or not the maps show the difference (an entry that another
    /// covers, a time to live), or an ETag would stand for two states.
    Next,
    /// The desired state may be another: the next one if anything has to be written.
    NextIfWritten,
    /// Backends are others, the ACL is the same: the next one.
    Endpoints,
    /// What has changed is around weir.
    Same,
}

impl Number {
    /// For two changes at once.
    fn with(self, other: Self) -> Self {
        match (self, other) {
            (one, Self::Same) => one,
            (Self::Same, other) => other,
            (one, other) if one == other => one,
            _ => Self::Next,
        }
    }
}

/// The signals that weir answers; those that come during the start wait for its end.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    pub(super) fn catch() -> Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }
}

/// Why the loop goes on or ends.
pub(super) enum Next {
    Continue,
    End,
}

impl Daemon {
    /// Until a signal or a detach.
    pub(super) async fn run(&mut self, signals: Signals) -> Result<()> {
        let Signals { mut terminate, mut interrupt, mut hangup } = signals;
        let mut ways = self.follower.ways();
        let mut next_sweep = Instant::now() + SWEEP;
        let mut settle_at = self.settle_at();
        let (mut detach, mut handed_over) = (false, false);
        let mut planned = Planned::default();
        self.spare_memory(&mut planned);
        loop {
            let wake = self.wake(next_sweep, settle_at);
            tokio::select! {
                request = self.end.next() => match request {
                    Some(request) => {
                        if matches!(self.answer(request).await, Next::End) { break }
                        settle_at = self.settle_at();
                    }
                    None => break,
                },
                heard = self.discovery.next() => {
                    self.heard(heard).await;
                    settle_at = self.settle_at();
                }
                successor = self.offer.successor() => {
                    if self.hand_over(successor).await { handed_over = true; break }
                }
                changed = ways.changed() => {
                    if changed.is_err() { anyhow::bail!("following the ways to backends has ended: a fault of weir") }
                    self.reapply().await;
                    settle_at = self.settle_at();
                }
                change = self.changes.next() => {
                    match change {
                        Change::Link(_) | Change::LinkGone { .. } => self.links_changed().await,
                        Change::Resync => { self.links_changed().await; self.follow_own().await; }
                        Change::Address { addr, present, .. } => {
                            // Somebody has taken a VIP's address away.
                            if !present && self.announces(addr) { self.follow_addresses().await; }
                            self.follow_own().await;
                        }
                        _ => {}
                    }
                }
                _ = hangup.recv() => { let _ = self.reload(None).await; settle_at = self.settle_at(); }
                _ = terminate.recv() => { detach = self.args.detach_on_exit; break }
                _ = interrupt.recv() => { detach = self.args.detach_on_exit; break }
                () = tokio::time::sleep_until(wake.into()) => {
                    if Instant::now() >= next_sweep {
                        let took = self.kernel.sweep(&self.ports);
                        // A large table is not walked all the time.
                        next_sweep = Instant::now() + SWEEP.max(took * 20);
                        self.ports.verify();
                        self.verify_l7().await;
                        self.store_again();
                        self.spare_memory(&mut planned);
                    }
                    self.times_up(settle_at).await;
                    settle_at = self.settle_at();
                }
            }
        }
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
        if handed_over {
            tracing::info!("stopped: a successor has taken over");
        } else if detach {
            let answer = self.detach().await;
            tracing::info!(removed = answer.removed.join(", "), left = answer.left.join(", "), "detached");
        } else if self.kernel.pins().path().exists() {
            tracing::info!(
                "stopped; the data path stays in force: start weir again to take it over, or remove it with `weir detach`"
            );
        }
        if !detach && !handed_over {
            self.leave().await;
        }
        self.discovery.close().await;
        self.tasks.shutdown().await;
        Ok(())
    }

    fn wake(&self, next_sweep: Instant, settle_at: Option<Instant>) -> Instant {
        let now = Instant::now();
        let mut wake = next_sweep.min(now + LONGEST_SLEEP);
        if let Some(at) = self.state.laid.merged.next_expiry {
            let until = Duration::try_from(at.duration_since(Timestamp::now())).unwrap_or_default();
            wake = wake.min(now + until);
        }
        wake = [settle_at, self.discovery.next_wake()].into_iter().flatten().fold(wake, Instant::min);
        if self.problems.apply.is_some() || !self.ports.complete() {
            wake = wake.min(now + RETRY);
        }
        wake.max(now)
    }

    fn settle_at(&self) -> Option<Instant> {
        self.kernel.settles_in.map(|pause| Instant::now() + pause)
    }

    /// Entries that have ended, rings that have settled, failures to try again.
    async fn times_up(&mut self, settle_at: Option<Instant>) {
        if self.state.laid.merged.next_expiry.is_some_and(|at| at <= Timestamp::now()) {
            self.expire().await;
        }
        if self.discovery.next_wake().is_some_and(|at| at <= Instant::now()) {
            self.follow_endpoints().await;
        }
        if !self.ports.complete() {
            self.links_changed().await;
        }
        if self.problems.apply.is_some() || settle_at.is_some_and(|at| at <= Instant::now()) {
            self.reapply().await;
        }
    }

    /// Takes out entries that have ended.
    async fn expire(&mut self) {
        let mut api = self.state.api.clone();
        let ended = api.prune(Timestamp::now());
        match crate::catalog::merge(&self.state.base, &api, Timestamp::now(), self.settings.limits) {
            Ok(merged) => self.state.laid = self.lay_over(merged, &api),
            Err(error) => {
                tracing::error!(%error, "the state without what has expired is refused");
                // Looked at again with the next change, not at once and for ever.
                self.state.laid.merged.next_expiry = None;
                return;
            }
        }
        match self.apply_desired(Number::Next).await {
            Ok(_) => {
                // Stored only to save space: an entry that has ended never comes back, stored or not.
                if let Err(error) =
                    self.store.prepare(&self.state.api, &api).and_then(|prepared| prepared.commit())
                {
                    self.store_failed(&error);
                }
                self.state.api = api;
                for (list, count) in ended {
                    tracing::info!(list, count, "entries have expired");
                    *self.state.expired.entry(list).or_default() += count;
                }
            }
            Err(error) => tracing::error!(%error, "expired entries are still in force; weir tries again"),
        }
        self.publish();
    }

    /// Interfaces came, went or changed.
    async fn links_changed(&mut self) {
        tokio::time::sleep(SETTLE_LINKS).await;
        let before = self.ports.attached_indices();
        self.ports.bring_up(&self.netlink, &self.kernel.pins_owned()).await;
        // By index: an interface that was made anew under its name has lost its addresses.
        if before != self.ports.attached_indices() {
            self.reapply().await;
            self.follow_addresses().await;
        }
        self.want_endpoints();
        self.publish();
    }

    /// Plans and writes again with what has changed around weir.
    pub(super) async fn reapply(&mut self) {
        if let Err(refusal) = self.apply_desired(Number::Same).await {
            tracing::error!(%refusal, "the state could not be applied again; weir keeps trying");
        }
        self.publish();
    }

    /// Puts the merged state into the kernel. What fails is still owed: the next try, whatever it is made for, numbers the
    /// state as this one would have.
    pub(super) async fn apply_desired(&mut self, number: Number) -> Result<Written, Refusal> {
        let begun = Instant::now();
        let number = number.with(self.state.laid.owed);
        let applied = self.try_apply(number);
        self.problems.apply = applied.as_ref().err().map(ToString::to_string);
        self.state.laid.owed = if applied.is_ok() { Number::Same } else { number };
        let written = applied?;
        if written.steps > 0 {
            self.metrics.observe_apply(begun.elapsed());
        }
        let _ = self.backends.send_if_modified(|addresses| {
            let wanted = start::backend_addresses(&self.state.laid.merged.desired);
            let changed = *addresses != wanted;
            *addresses = wanted;
            changed
        });
        self.publish_l7();
        Ok(written)
    }

    fn try_apply(&mut self, number: Number) -> Result<Written, Refusal> {
        self.kernel
            .read_again()
            .map_err(|error| Refusal::new(crate::control::types::Code::KernelRefused, error))?;
        let ways = self.follower.ways().borrow().clone();
        let desired = &self.state.laid.merged.desired;
        let acl = if matches!(number, Number::Same | Number::Endpoints) { Acl::Same } else { Acl::New };
        if acl == Acl::New {
            self.kernel.forget_acl();
        }
        let (now, next) = (self.state.generation, self.state.generation + 1);
        let always = matches!(number, Number::Next | Number::Endpoints);
        let first = if always || now == 0 { next } else { now };
        let mut generation = first;
        let mut plan = self.kernel.plan(desired, &ways, &self.ports, first, acl)?;
        if number == Number::NextIfWritten && first == now && !plan.steps.is_empty() {
            generation = next;
            plan = self.kernel.plan(desired, &ways, &self.ports, next, acl)?;
        }
        let written = self.kernel.write(plan)?;
        self.state.generation = generation;
        if self.state.edited == 0 || !matches!(number, Number::Same | Number::Endpoints) {
            self.state.edited = generation;
        }
        Ok(written)
    }

    /// Notes a change of the desired state.
    pub(super) fn record(&mut self, origin: Origin, by: Option<crate::control::types::Peer>, what: String) {
        tracing::info!(generation = self.state.generation, ?origin, what, "changed");
        self.state.last_change =
            Some(ChangeRecord { at: Timestamp::now(), origin, by, what, generation: self.state.generation });
    }
}

#[cfg(test)]
mod tests {
    use super::Number;

    #[test]
    fn what_has_failed_is_still_owed_when_something_else_is_applied() {
        use Number::{Endpoints, Next, NextIfWritten, Same};
        for (one, other, both) in [
            (Same, Same, Same),
            (Same, Endpoints, Endpoints),
            (Endpoints, Same, Endpoints),
            (Endpoints, Endpoints, Endpoints),
            (Endpoints, NextIfWritten, Next),
            (Next, Endpoints, Next),
        ] {
            assert_eq!(one.with(other), both, "{one:?} {other:?}");
        }
    }
}
