//! The L7 path as the daemon keeps it: socket look-up, workers, and local routes to the VIPs of `l7` services.
//!
//! Before a change is written, whatever it needs is there: look-up, listeners, and workers that know the new services.
//! After it was written, routes follow: a VIP gets its route last and loses it first.

mod snapshot;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context as _, Result};
use proxy_common::limits;

use super::apply::capacity;
use super::daemon::Daemon;
use crate::control::types::{Condition, DetachAnswer};
use crate::kernel::bpffs::PinDir;
use crate::kernel::load::OBJECT;
use crate::kernel::lookup::{self, Family, Listeners};
use crate::l7::process::observer::Observer;
use crate::l7::process::workers::{self, WorkerView, Workers};
use crate::l7::snapshot::Snapshot;
use crate::model::{self, Desired};
use crate::net::local::{self, Owner};
use crate::net::netlink::Netlink;

pub(super) use snapshot::snapshot;

/// How long a change waits for the workers to know its services.
const KNOWN: Duration = Duration::from_secs(1);
/// How long connections may go on once no service is `l7` any more.
const UNUSED: Duration = Duration::from_secs(30);
/// How long they may when weir is detached, which somebody waits for.
const DETACHED: Duration = Duration::from_secs(3);

/// What there is of the L7 path.
#[derive(Default)]
pub(super) struct L7 {
    workers: Option<Workers>,
    /// Program of socket look-up.
    program: Option<u32>,
    /// VIPs that weir has a local route to; not known before the first look.
    routes: Option<BTreeSet<IpAddr>>,
    trouble: Option<String>,
}

impl Daemon {
    /// Makes sure that the services of a snapshot can be served once the data path knows them. Whether every worker serves
    /// by it already; where it was no news, nobody is waited for.
    pub(super) async fn prepare_l7(&mut self, snapshot: Snapshot) -> Result<bool> {
        let (wanted, generation) = (!snapshot.services.is_empty(), snapshot.generation);
        if wanted {
            self.bring_up_lookup()?;
        }
        if wanted && self.l7.workers.is_none() {
            let started = Workers::start(&self.args.places.run_dir(), self.worker_count()).await?;
            listen(self.kernel.pins(), &started)?;
            self.l7.workers = Some(started);
        }
        if let Some(workers) = &mut self.l7.workers
            && workers.publish(snapshot)
            && !workers.settled(KNOWN).await
        {
            tracing::warn!(generation, "not every L7 worker knows the new state yet");
            return Ok(false);
        }
        Ok(true)
    }

    /// Tells workers the state that has come in force, if it is news to them.
    pub(super) fn publish_l7(&mut self) {
        if let Some(workers) = &mut self.l7.workers {
            workers.publish(snapshot(&self.state.laid.merged.desired, self.state.generation));
        }
    }

    /// Follows the state in force: workers, routes; and takes away what no service needs any more.
    pub(super) async fn follow_l7(&mut self) {
        let followed = self.try_follow_l7().await;
        self.l7.trouble = followed.as_ref().err().map(|error| format!("{error:#}"));
        if let Err(error) = followed {
            tracing::error!(error = format!("{error:#}"), "the L7 path could not follow; weir keeps trying");
        }
    }

    async fn try_follow_l7(&mut self) -> Result<()> {
        let wanted = vips(&self.state.laid.merged.desired);
        self.prepare_l7(snapshot(&self.state.laid.merged.desired, self.state.generation)).await?;
        let owner = Owner::of(&self.args.places.run_dir());
        let own = match self.l7.routes.take() {
            Some(known) => known,
            None => {
                self.stop_left_behind(&wanted);
                local::own(&self.netlink, owner).await?
            }
        };
        // What is wanted is added also where it was: somebody may have taken it away.
        for addr in &wanted {
            if local::add(&self.netlink, owner, *addr).await? && !own.contains(addr) {
                tracing::info!(%addr, "local route to a VIP added");
            }
        }
        for addr in own.difference(&wanted) {
            local::remove(&self.netlink, owner, *addr).await?;
            tracing::info!(%addr, "local route to a VIP removed");
        }
        if wanted.is_empty() && lookup::take_down(self.kernel.pins())? {
            tracing::info!("socket look-up detached: no service needs it");
            self.l7.program = None;
        }
        self.l7.routes = Some(wanted);
        Ok(())
    }

    /// Workers of an earlier daemon, whose configuration had `l7` services, where this one's has none. Workers that this
    /// daemon has stay, once it has some: a service may come back while their connections drain.
    fn stop_left_behind(&mut self, wanted: &BTreeSet<IpAddr>) {
        if !wanted.is_empty() || self.l7.workers.is_some() {
            return;
        }
        let run_dir = self.args.places.run_dir();
        self.tasks.spawn(async move {
            if let Err(error) = workers::stop_left_behind(&run_dir, UNUSED).await {
                tracing::warn!(%error, "L7 workers of an earlier daemon stay");
            }
        });
    }

    /// Looks whether socket look-up and routes are still there: the kernel tells nobody who takes them away.
    pub(super) async fn verify_l7(&mut self) {
        if self.l7.workers.is_none() && self.l7.trouble.is_none() {
            return;
        }
        if self.l7.program.is_some() && lookup::program_in_force(self.kernel.pins()) != self.l7.program {
            tracing::error!("weir's socket look-up is no longer attached; attaching again");
            self.l7.program = None;
        }
        self.follow_l7().await;
    }

    fn bring_up_lookup(&mut self) -> Result<()> {
        if self.l7.program.is_some() {
            return Ok(());
        }
        let capacity = capacity(&self.settings.limits);
        let (how, program) =
            tokio::task::block_in_place(|| lookup::bring_up(OBJECT, self.kernel.pins(), &capacity))?;
        tracing::info!(program, how = how.label(), "socket look-up attached");
        self.l7.program = Some(program);
        Ok(())
    }

    /// As many as are configured, else one worker for each CPU that weir may use.
    fn worker_count(&self) -> u32 {
        let cpus = || std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let count = self.settings.l7_workers.or_else(|| u32::try_from(cpus()).ok());
        count.unwrap_or(1).min(limits::LISTENERS)
    }

    /// Whether the L7 path works; nothing where no service needs it.
    pub(super) fn l7_condition(&self) -> Option<Condition> {
        if self.l7.trouble.is_none() && vips(&self.state.laid.merged.desired).is_empty() {
            return None;
        }
        let detail = self.l7.trouble.clone().or_else(|| self.l7_views().values().find_map(trouble));
        Some(Condition { name: "l7".into(), ok: detail.is_none(), detail })
    }

    /// What others may look at; none where no service has needed workers.
    pub(super) fn l7_observer(&self) -> Option<Observer> {
        self.l7.workers.as_ref().map(Workers::observer)
    }

    /// What is known of each worker.
    pub(super) fn l7_views(&self) -> BTreeMap<u32, WorkerView> {
        self.l7.workers.as_ref().map(Workers::views).unwrap_or_default()
    }

    /// Ends workers and takes the routes away; the pins are gone already.
    pub(super) async fn detach_l7(&mut self, answer: &mut DetachAnswer) {
        self.l7.program = None;
        if let Some(workers) = self.l7.workers.take() {
            workers.stop(DETACHED).await;
        }
        detach(&self.args.places.run_dir(), &self.netlink, answer).await;
        self.l7.routes = None;
    }
}

/// Ends the workers that a daemon has left, and takes its local routes away.
pub(super) async fn detach(run_dir: &std::path::Path, netlink: &Netlink, answer: &mut DetachAnswer) {
    match workers::stop_left_behind(run_dir, DETACHED).await {
        Ok(0) => {}
        Ok(count) => answer.removed.push(format!("{count} L7 workers")),
        Err(error) => answer.left.push(error.to_string()),
    }
    let owner = Owner::of(run_dir);
    match local::own(netlink, owner).await {
        Ok(own) => {
            for addr in own {
                match local::remove(netlink, owner, addr).await {
                    Ok(_) => answer.removed.push(format!("local route to {addr}")),
                    Err(error) => answer.left.push(error.to_string()),
                }
            }
        }
        Err(error) => answer.left.push(error.to_string()),
    }
}

/// Gives socket look-up the listeners, and takes out those of workers that there no longer are.
fn listen(pins: &PinDir, workers: &Workers) -> Result<()> {
    let mut map = Listeners::open(pins)?;
    for worker in 0..limits::LISTENERS {
        let pair = usize::try_from(worker).ok().and_then(|worker| workers.listeners().get(worker));
        for family in [Family::V4, Family::V6] {
            let socket = pair.and_then(|pair| match family {
                Family::V4 => pair.v4.as_ref(),
                Family::V6 => pair.v6.as_ref(),
            });
            match socket {
                Some(socket) => map.set(family, worker, std::os::fd::AsFd::as_fd(socket)),
                None => map.clear(family, worker),
            }
            .context("giving socket look-up its listeners")?;
        }
    }
    Ok(())
}

fn trouble(view: &WorkerView) -> Option<String> {
    let refused =
        view.refused.as_ref().map(|(generation, why)| format!("generation {generation} refused: {why}"));
    view.trouble.clone().or(refused)
}

/// Addresses of the `l7` services.
fn vips(desired: &Desired) -> BTreeSet<IpAddr> {
    l7_services(desired).map(|(_, service)| service.vip.addr).collect()
}

fn l7_services(desired: &Desired) -> impl Iterator<Item = (&String, &model::Service)> {
    desired.services.iter().filter(|(_, service)| !service.is_forwarded())
}
