//! What discovery finds, put in force: laid over the merged state, planned, written, and asked for again.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::daemon::{Daemon, Number};
use super::discovery::Heard;
use super::start;
use crate::catalog::pool::Now;
use crate::catalog::snapshot::Snapshot;
use crate::catalog::{ApiState, LeftOut, Merged, Refusal, backend_text, overlay};
use crate::control::types::{AcceptAnswer, Code, SyncAnswer};
use crate::kernel::write::Written;
use crate::model::{Desired, Service};

/// How long a change waits for the routes to backends that a registry has just named,
const FOUND_WAYS: Duration = Duration::from_millis(100);
/// and for their MAC addresses: where one is missing the ring is right all the same, and one dead neighbour must not hold up
/// the others.
const FOUND_NEIGHBOURS: Duration = Duration::from_millis(20);
/// Services that are left as they were, at most, to make room for the others.
const MOST_SET_BACK: usize = 64;

/// A merged state with what discovery says on top of it.
#[derive(Debug)]
pub(super) struct Laid {
    /// With it.
    pub(super) merged: Merged,
    /// The services without it.
    pub(super) fixed: BTreeMap<String, Service>,
    /// Services whose endpoints do not all fit the maps.
    pub(super) left_out: Vec<LeftOut>,
    /// How the state is to be numbered, where that has failed so far.
    pub(super) owed: Number,
}

impl Laid {
    /// Lays what is known over a merged state.
    pub(super) fn new(mut merged: Merged, snapshot: &Snapshot, api: &ApiState) -> Self {
        let fixed = merged.desired.services.clone();
        let left_out = overlay(&mut merged.desired, snapshot, api);
        Self { merged, fixed, left_out, owed: Number::Same }
    }

    /// Whether this is a desired state with what discovery says on top.
    pub(super) fn is_of(&self, desired: &Desired) -> bool {
        let Desired { acl, services, snat, timeouts, reply_route, seed } = desired;
        let own = &self.merged.desired;
        (acl, services, snat, timeouts, reply_route, seed)
            == (&own.acl, &self.fixed, &own.snat, &own.timeouts, &own.reply_route, &own.seed)
    }

    /// Lays anew what is known now; answers the services as they were.
    pub(super) fn again(&mut self, snapshot: &Snapshot, api: &ApiState) -> BTreeMap<String, Service> {
        let before = std::mem::replace(&mut self.merged.desired.services, self.fixed.clone());
        self.left_out = overlay(&mut self.merged.desired, snapshot, api);
        before
    }
}

impl Daemon {
    /// A registry or a health check has said something.
    pub(super) async fn heard(&mut self, heard: Heard) {
        let mut fresh = BTreeSet::new();
        self.discovery.absorb(heard, |named| {
            // The ways to them are looked up while they are being judged.
            self.backends.send_if_modified(|tracked| {
                let before = fresh.len();
                fresh.extend(named.into_iter().filter(|addr| tracked.insert(*addr)));
                fresh.len() != before
            });
        });
        self.follow(fresh).await;
    }

    /// Puts in force what discovery knows now, if that is new.
    pub(super) async fn follow_endpoints(&mut self) {
        self.follow(BTreeSet::new()).await;
    }

    /// Puts in force what discovery knows now, if that is new. The ways to `asked` are being looked up.
    async fn follow(&mut self, asked: BTreeSet<IpAddr>) {
        if let Some(snapshot) = self.discovery.tick() {
            let before = self.state.laid.again(&snapshot, &self.state.api);
            if before != self.state.laid.merged.desired.services {
                self.learn_ways(&self.state.laid.merged, asked, FOUND_WAYS, FOUND_NEIGHBOURS).await;
                let begun = snapshot.received;
                match self.apply_apart(&before).await {
                    Ok(written) => self.measure(begun, written),
                    Err(refusal) => {
                        tracing::error!(%refusal, "what the registries say is not in force; weir tries again");
                    }
                }
            }
        }
        self.discovery.record();
        self.want_endpoints();
        self.publish();
    }

    /// Applies the new services. One that does not fit the maps keeps what it had, and the others go on.
    async fn apply_apart(&mut self, before: &BTreeMap<String, Service>) -> Result<Written, Refusal> {
        self.set_back.clear();
        let mut refused = match self.apply_desired(Number::Endpoints).await {
            Ok(written) => return Ok(written),
            Err(refusal) => refusal,
        };
        let services = &self.state.laid.merged.desired.services;
        let growth = |name: &String| {
            let now = services.get(name).map_or(0, |service| service.backends.len());
            now.saturating_sub(before.get(name).map_or(0, |service| service.backends.len()))
        };
        let mut grown: Vec<(usize, String)> = services
            .iter()
            .filter(|(name, service)| before.get(*name) != Some(*service))
            .map(|(name, _)| (growth(name), name.clone()))
            .collect();
        grown.sort_unstable_by(|a, b| b.cmp(a));
        for (_, name) in grown.into_iter().take(MOST_SET_BACK) {
            if refused.code == Code::KernelRefused {
                break;
            }
            tracing::error!(service = name, reason = %refused, "its endpoints do not fit the maps: it keeps those it had");
            match before.get(&name) {
                Some(service) => {
                    self.state.laid.merged.desired.services.insert(name.clone(), service.clone());
                }
                None => {
                    self.state.laid.merged.desired.services.remove(&name);
                }
            }
            self.set_back.insert(name, refused.to_string());
            match self.apply_desired(Number::Endpoints).await {
                Ok(written) => return Ok(written),
                Err(refusal) => refused = refusal,
            }
        }
        Err(refused)
    }

    /// Observes the time from the last byte of the oldest push in a change to the maps, without grace periods.
    fn measure(&self, received: Option<Instant>, written: Written) {
        if let Some(received) = received.filter(|_| written.steps > 0) {
            self.metrics.observe_push(received.elapsed().saturating_sub(written.waited));
        }
    }

    /// Learns the ways to backends that are new: a ring made without them would be made again a moment later, and flows
    /// begun in between would have to be remembered one by one.
    pub(super) async fn learn_ways(
        &self,
        merged: &Merged,
        asked: BTreeSet<IpAddr>,
        routes: Duration,
        neighbours: Duration,
    ) {
        let mut fresh = start::backend_addresses(&merged.desired);
        self.backends.send_if_modified(|tracked| {
            fresh.retain(|addr| !tracked.contains(addr) || asked.contains(addr));
            let before = tracked.len();
            tracked.extend(&fresh);
            tracked.len() != before
        });
        if !fresh.is_empty() {
            start::wait_for_ways(&self.follower, &fresh, routes, neighbours).await;
        }
    }

    /// Asks a registry, or all, for everything again.
    pub(super) fn resync(&self, registry: Option<String>) -> Result<SyncAnswer, Refusal> {
        let registries = self.discovery.resync(registry.as_deref());
        match registry {
            Some(name) if registries.is_empty() => {
                Err(Refusal::new(Code::UnknownRegistry, format!("there is no registry {name}"))
                    .hint("`weir registry list` names them all"))
            }
            _ => Ok(SyncAnswer { registries }),
        }
    }

    /// Carries out the removals of a service that wait, if they are those that were shown.
    pub(super) async fn accept(
        &mut self,
        service: String,
        shown: Option<u32>,
    ) -> Result<AcceptAnswer, Refusal> {
        let pool = self.discovery.pool.snapshot();
        let hold = pool.services.get(&service).and_then(|pooled| pooled.hold.as_ref());
        if let (Some(shown), Some(hold)) = (shown, hold)
            && shown != hold.number()
        {
            return Err(Refusal::other_hold(&service));
        }
        let released = self.discovery.pool.accept(&service, Now::clock());
        let removed = released.map_err(|error| Refusal::new(Code::NothingHeld, error.to_string()))?;
        self.follow_endpoints().await;
        Ok(AcceptAnswer { service, removed: removed.iter().map(backend_text).collect() })
    }

    /// Lays what is known of endpoints over a new merged state, whose services discovery follows from now on.
    pub(super) fn lay_over(&mut self, merged: Merged, api: &ApiState) -> Laid {
        let snapshot: Arc<Snapshot> = self.discovery.adopt(&merged.desired, api);
        Laid::new(merged, &snapshot, api)
    }
}
