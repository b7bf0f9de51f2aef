//! Requests of the API: each is answered with what is in force afterwards, or with why nothing has changed.

use std::collections::BTreeSet;

use jiff::Timestamp;
use tokio::sync::oneshot;

use super::apply::Acl;
use super::daemon::{Daemon, Next, Number};
use super::endpoints::Laid;
use super::{addresses, l7, start};
use crate::catalog::pool::Pool;
use crate::catalog::{self, ApiState, Change, Merged, Refusal};
use crate::control::door::Request;
use crate::control::types::{Applied, Code, ExplainAnswer, ExplainQuery, Peer, ReloadAnswer, Warning};
use crate::explain::{self, Scene};
use crate::model::{Desired, Origin};

/// What a change replaces, to be put back whole: discovery has forgotten the endpoints of services that it drops.
struct Before {
    laid: Laid,
    pool: Pool,
    edited: u64,
    /// Whether every L7 worker serves by what has replaced it.
    followed: bool,
}

/// How long a change waits for the ways to its new backends.
const NEW_WAYS: std::time::Duration = std::time::Duration::from_millis(500);

impl Daemon {
    /// Answers one request.
    pub(super) async fn answer(&mut self, request: Request) -> Next {
        match request {
            Request::Change { change, if_match, dry_run, by, reply } => {
                respond(reply, self.change(change, if_match, dry_run, by).await);
            }
            Request::Reload { by, reply } => respond(reply, self.reload(Some(by)).await),
            Request::Explain { query, reply } => respond(reply, self.explain(&query)),
            Request::Stats { reply } => {
                self.discovery.count_checks();
                respond(reply, self.stats());
            }
            Request::Sync { registry, by, reply } => {
                tracing::info!(uid = by.uid, ?registry, "registries are to be asked again");
                respond(reply, self.resync(registry));
            }
            Request::Accept { service, hold, by, reply } => {
                tracing::info!(uid = by.uid, service, "held removals are accepted");
                let answer = self.accept(service, hold).await;
                respond(reply, answer);
            }
            Request::Detach { by, reply } => {
                tracing::info!(uid = by.uid, "detach asked for");
                let answer = self.detach().await;
                let done = answer.left.is_empty();
                respond(reply, Ok(answer));
                // The answer must have left the socket before the process ends.
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                return if done { Next::End } else { Next::Continue };
            }
        }
        Next::Continue
    }

    async fn change(
        &mut self,
        change: Change,
        if_match: Option<u64>,
        dry_run: bool,
        by: Peer,
    ) -> Result<Applied, Refusal> {
        if let Some(wanted) = if_match
            && !(self.state.edited..=self.state.generation).contains(&wanted)
        {
            return Err(Refusal::stale(wanted, self.state.generation));
        }
        let what = summary(&change);
        let known = self.discovery.snapshot();
        catalog::check_change(&change, &self.state.base, &self.state.api, &known)?;
        let (changed, merged) =
            self.state.api.evolve(&self.state.base, change, Timestamp::now(), self.settings.limits)?;
        self.refuse_local_backends(&merged).await?;
        let mut applied = Applied {
            generation: self.state.generation,
            changed: changed.changed,
            dry_run,
            counts: changed.counts,
            items: changed.items,
            // What stood before is told by `status`, not with every change.
            warnings: merged
                .warnings
                .iter()
                .filter(|warning| !self.state.laid.merged.warnings.contains(warning))
                .cloned()
                .collect(),
        };
        if dry_run || !changed.changed {
            let ways = self.follower.ways().borrow().clone();
            let laid = Laid::new(merged, &self.discovery.snapshot(), &changed.api);
            self.kernel.plan(&laid.merged.desired, &ways, &self.ports, self.state.generation, Acl::New)?;
            return Ok(applied);
        }
        let prepared = match self.store.prepare(&self.state.api, &changed.api) {
            Ok(prepared) => prepared,
            Err(error) => return Err(self.store_failed(&error)),
        };
        let before = self.put(merged, &changed.api, Number::Next).await?;
        let followed = before.followed;
        if let Err(error) = prepared.commit() {
            self.put_back(before).await;
            self.follow_l7().await;
            return Err(self.store_failed(&error));
        }
        self.problems.store = None;
        self.state.api = changed.api;
        for (list, count) in changed.expired {
            *self.state.expired.entry(list).or_default() += count;
        }
        self.record(Origin::Api, Some(by), what);
        self.follow_addresses().await;
        self.follow_l7().await;
        self.want_endpoints();
        self.publish();
        applied.generation = self.state.generation;
        applied.warnings.extend((!followed).then(behind));
        Ok(applied)
    }

    /// Puts another merged state in force and answers the one before; on failure that one is put back.
    async fn put(&mut self, merged: Merged, api: &ApiState, number: Number) -> Result<Before, Refusal> {
        self.make_way(&merged, api).await?;
        let pool = self.discovery.pool.clone();
        let laid = self.lay_over(merged, api);
        self.learn_ways(&laid.merged, Default::default(), NEW_WAYS, NEW_WAYS).await;
        let wanted = l7::snapshot(&laid.merged.desired, self.state.generation + 1);
        let edited = self.state.edited;
        let laid = std::mem::replace(&mut self.state.laid, laid);
        let mut before = Before { laid, pool, edited, followed: true };
        match self.prepare_l7(wanted).await {
            Ok(followed) => before.followed = followed,
            Err(error) => {
                self.put_back(before).await;
                self.follow_l7().await;
                return Err(Refusal::new(Code::KernelRefused, format!("{error:#}")));
            }
        }
        match self.apply_desired(number).await {
            Ok(_) => {
                self.discovery.show();
                self.discovery.publications.revive();
                Ok(before)
            }
            Err(refusal) => {
                self.put_back(before).await;
                self.follow_l7().await;
                Err(refusal)
            }
        }
    }

    /// Lets the VIPs go that another merged state has no more. One that does not fit the maps ends none.
    async fn make_way(&mut self, merged: &Merged, api: &ApiState) -> Result<(), Refusal> {
        let vips =
            |desired: &Desired| desired.services.values().map(|service| service.vip).collect::<BTreeSet<_>>();
        let (now, next) = (vips(&self.state.laid.merged.desired), vips(&merged.desired));
        if now.is_subset(&next) {
            return Ok(());
        }
        let ways = self.follower.ways().borrow().clone();
        let laid = Laid::new(merged.clone(), &self.discovery.snapshot(), api);
        self.kernel.plan(&laid.merged.desired, &ways, &self.ports, self.state.generation, Acl::New)?;
        self.retire(Some(&merged.desired)).await;
        Ok(())
    }

    async fn put_back(&mut self, before: Before) {
        self.state.laid = before.laid;
        // Nothing is edited: who has read the state before may still change it.
        self.state.edited = before.edited;
        self.discovery.pool = before.pool;
        self.discovery.show();
        self.kernel.forget_acl();
        self.revive();
        self.reapply().await;
    }

    async fn refuse_local_backends(&self, merged: &Merged) -> Result<(), Refusal> {
        match addresses::local_backends(&self.netlink, &merged.desired).await {
            Ok(None) => Ok(()),
            Ok(Some(detail)) => Err(Refusal::new(Code::InvalidState, detail)),
            Err(error) => Err(Refusal::new(Code::Internal, error.to_string())),
        }
    }

    /// Reads the configuration again. `by` is none for SIGHUP.
    pub(super) async fn reload(&mut self, by: Option<Peer>) -> Result<ReloadAnswer, Refusal> {
        let result = self.try_reload(by).await;
        let now = Timestamp::now();
        let last = &mut self.state.last_reload;
        last.at = now;
        match &result {
            Ok(answer) => {
                tracing::info!(generation = answer.generation, changed = answer.changed, "reloaded");
                // Who sends SIGHUP gets no answer.
                for warning in &answer.warnings {
                    tracing::warn!(code = warning.code, "{}", warning.detail);
                }
                last.error = None;
                last.last_success = Some(now);
            }
            Err(refusal) => {
                tracing::error!(%refusal, "reload refused; the state before it is in force");
                last.error = Some(refusal.to_string());
            }
        }
        self.publish();
        result
    }

    async fn try_reload(&mut self, by: Option<Peer>) -> Result<ReloadAnswer, Refusal> {
        let invalid = |detail: String| Refusal::new(Code::InvalidConfig, detail);
        let loaded = self.args.setup.load().map_err(|diagnostics| invalid(diagnostics.to_string()))?;
        let ports =
            start::check_ports(loaded.desired.snat_ports).map_err(|error| invalid(format!("{error:#}")))?;
        let base = loaded.desired.into_desired(ports, self.store.identity().seed);
        let merged = catalog::merge(&base, &self.state.api, Timestamp::now(), self.settings.limits)?;
        merged.may_follow(&self.state.laid.merged)?;
        self.refuse_local_backends(&merged).await?;

        let mut warnings = merged.warnings.clone();
        warnings.extend(catalog::covered_l7(&base, &merged, &self.state.api));
        warnings.extend(self.needs_restart(&loaded.settings));
        let wanted_before = self.ports.wanted().clone();
        self.ports.want(loaded.settings.interfaces.clone());
        let pins = self.kernel.pins_owned();
        if let Err(error) = self.ports.load(&self.netlink, &pins).await {
            // What was loaded before the one that failed must not be attached at the next look.
            self.ports.want(wanted_before);
            let _ = self.ports.release_unwanted(&pins);
            return Err(invalid(format!("{error:#}")));
        }
        let generation = self.state.generation;
        let api = self.state.api.clone();
        let other = !self.state.laid.is_of(&merged.desired);
        let number = if other { Number::Next } else { Number::NextIfWritten };
        let zone = self.discovery.set_zone(loaded.settings.zone.clone());
        match self.put(merged, &api, number).await {
            Ok(before) => warnings.extend((!before.followed).then(behind)),
            Err(refusal) => {
                self.discovery.set_zone(zone);
                self.ports.want(wanted_before);
                let _ = self.ports.release_unwanted(&pins);
                return Err(refusal);
            }
        }
        self.state.base = base;
        self.state.config_warnings = loaded.warnings;
        let registries = loaded.settings.registry_changes(&self.settings);
        self.settings.interfaces = loaded.settings.interfaces;
        self.settings.registries = loaded.settings.registries;
        self.settings.zone = loaded.settings.zone;
        self.ports.bring_up(&self.netlink, &pins).await;
        warnings.extend(
            self.ports
                .errors()
                .map(|error| Warning { code: "not_attached".into(), detail: error.to_owned() }),
        );
        let released = self.ports.release_unwanted(&pins);
        match released {
            Ok(names) => names
                .iter()
                .for_each(|name| tracing::info!(interface = name, "detached: no longer configured")),
            Err(error) => {
                warnings.push(Warning { code: "detach_failed".into(), detail: format!("{error:#}") })
            }
        }
        self.reapply().await;
        self.follow_addresses().await;
        self.follow_l7().await;
        // Now, and no sooner: a VIP that is new is registered when clients reach it.
        self.discovery.configure(&self.settings).await;
        self.want_endpoints();
        let changed = self.state.generation != generation
            || *self.ports.wanted() != wanted_before
            || !registries.is_empty();
        if changed {
            self.record(Origin::File, by, "configuration reloaded".into());
        }
        Ok(ReloadAnswer {
            generation: self.state.generation,
            changed,
            registries: registries.texts(),
            warnings,
        })
    }

    /// What a reload cannot change.
    fn needs_restart(&self, new: &crate::config::Settings) -> Option<Warning> {
        let keys = new.need_restart(&self.settings);
        let limits = keys.iter().any(|key| key.starts_with("[limits]"));
        let first = if limits { ", and changed limits need `weir detach` before it" } else { "" };
        (!keys.is_empty()).then(|| Warning {
            code: "restart_needed".into(),
            detail: format!("changed, and in force from the next start only: {}{first}", keys.join(", ")),
        })
    }

    fn explain(&self, query: &ExplainQuery) -> Result<ExplainAnswer, Refusal> {
        let key = explain::flow_key(query);
        let failed =
            |error: crate::kernel::maps::MapsError| Refusal::new(Code::KernelRefused, error.to_string());
        let mut flows = Vec::new();
        if let Some(flow) = self.kernel.maps.flow(&key).map_err(failed)? {
            let peer = flow.peer_key(key.proto);
            flows.push((key, flow));
            flows.extend(self.kernel.maps.flow(&peer).map_err(failed)?.map(|value| (peer, value)));
        }
        let interfaces = self.interface_names();
        let first = self.ports.ports.values().find_map(|port| port.attached.as_ref());
        let scene = Scene {
            installed: &self.kernel.installed,
            desired: &self.state.laid.merged.desired,
            interfaces: &interfaces,
            default_interface: first.map(|attached| attached.interface.ifindex),
            flows: &flows,
            now: self.kernel.now(&self.ports),
        };
        explain::explain(&scene, query).map_err(|error| Refusal::new(Code::InvalidRequest, error.to_string()))
    }

    /// Names of the attached interfaces by index.
    pub(super) fn interface_names(&self) -> std::collections::BTreeMap<u32, String> {
        self.ports
            .ports
            .iter()
            .filter_map(|(name, port)| {
                port.attached.as_ref().map(|attached| (attached.interface.ifindex, name.clone()))
            })
            .collect()
    }
}

fn respond<T>(reply: oneshot::Sender<T>, answer: T) {
    // The asker may have gone away; what was done is done.
    let _ = reply.send(answer);
}

/// Some L7 worker serves by the state before.
fn behind() -> Warning {
    Warning {
        code: "workers_behind".into(),
        detail: "not every L7 worker serves by this state yet: `weir l7 status` says which, and why".into(),
    }
}

/// A change in a few words, for the record.
fn summary(change: &Change) -> String {
    match change {
        Change::PutList { list, entries, .. } => format!("list {list} replaced ({} entries)", entries.len()),
        Change::PatchList { list, add, remove, .. } => {
            format!("list {list}: {} added, {} removed", add.len(), remove.len())
        }
        Change::DeleteList { list } => format!("list {list} deleted"),
        Change::PutService { service, .. } => format!("service {service} put"),
        Change::DeleteService { service } => format!("service {service} deleted"),
        Change::PutBackend { service, backend, .. } => format!("service {service}: backend {backend} put"),
        Change::DeleteBackend { service, backend } => format!("service {service}: backend {backend} deleted"),
        Change::SetBackend { service, backend, .. } => format!("service {service}: backend {backend} set"),
        Change::SetL7 { service, l7: Some(_) } => format!("service {service}: L7 settings set"),
        Change::SetL7 { service, l7: None } => format!("service {service}: L7 settings of the API dropped"),
        Change::SetWithdrawn { service, withdrawn: true } => format!("service {service}: VIP withdrawn"),
        Change::SetWithdrawn { service, withdrawn: false } => format!("service {service}: VIP published"),
    }
}
