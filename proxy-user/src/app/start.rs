//! Start-up, in the order in which nothing that is in force is touched before its successor is complete: lock → state →
//! pins → load → warm maps → attach or adopt → addresses → listeners → ready.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read as _;
use std::net::IpAddr;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use jiff::Timestamp;
use tokio::sync::watch;

use super::apply::Kernel;
use super::daemon::{Daemon, Number, State};
use super::discovery::Discovery;
use super::endpoints::Laid;
use super::handover::{self, Offer, Parcels};
use super::interfaces::Ports;
use super::l7::{self, L7};
use super::{addresses, apply, daemon, interfaces, serving};
use crate::catalog::{self, ApiState};
use crate::cli::Failure;
use crate::cli::run::RunArgs;
use crate::config::{Loaded, Part, Settings};
use crate::control::door::{View, door};
use crate::control::server::{self, Socket};
use crate::control::types::ReloadRecord;
use crate::kernel::bpffs::PinDir;
use crate::kernel::load::{self, OBJECT};
use crate::kernel::{clock, links, lock, maps::Maps, read};
use crate::metrics::{self, Metrics};
use crate::model::{Desired, Vip};
use crate::net::announce::Announcer;
use crate::net::follow::NextHops;
use crate::net::netlink::Netlink;
use crate::net::{ports, watch::Watch};
use crate::plan::{self, Installed};
use crate::store::{Identity, Store};

/// How long the first plan waits for the ways to backends.
const FIRST_WAYS: Duration = Duration::from_secs(2);
/// How long a daemon that has handed over may take to end.
const LAST_BREATH: Duration = Duration::from_secs(10);

/// Brings everything up.
pub(super) async fn start(args: RunArgs, loaded: Loaded) -> Result<Daemon> {
    let Loaded { settings, desired: part, warnings } = loaded;
    for warning in &warnings {
        tracing::warn!("{warning}");
    }
    let run_dir = args.places.run_dir();
    make_dir(&run_dir, 0o755)?;
    let state_dir = settings.state_dir.clone().unwrap_or_else(|| args.places.state_dir());
    make_dir(&state_dir, 0o700)?;
    if args.replace {
        rehearse(&args, &settings, &part).await.context("the daemon that runs is left alone")?;
    }
    let (lock, parcels) = take_over(&run_dir, args.replace).await?;
    let store = Store::open(&state_dir.join("state.redb"), fresh_identity()?)?;
    let api = store.load()?;

    let default_ports = check_ports(part.snat_ports)?;
    let base = part.into_desired(default_ports, store.identity().seed);
    let merged = catalog::merge(&base, &api, Timestamp::now(), settings.limits)
        .map_err(|refusal| Failure::Failed(format!("what the API has set does not fit the configuration: {refusal}; correct the file, or remove {} to forget what the API has set", state_dir.join("state.redb").display())))?;
    let netlink = Netlink::open()?;
    let local = addresses::local_backends(&netlink, &merged.desired).await?;
    if let Some(refusal) = local {
        return Err(Failure::Usage(refusal).into());
    }

    let pin_path = super::pin_path(&args.places);
    if !PinDir::open(&pin_path).is_ok_and(|pins| links::list(&pins).is_ok_and(|links| !links.is_empty())) {
        interfaces::check_none_of_weir(&netlink, &settings.interfaces).await?;
    }
    let pins = PinDir::prepare(&pin_path)?;
    // Before anything else that takes time: if the data path stands, the VIPs are registered as long as weir speaks to
    // the registries, and the process before may have been killed.
    let metrics = Metrics::shared();
    let host = addresses::own(&netlink).await?;
    let attached = links::list(&pins)?.iter().any(|link| link.alive);
    let found = found(&pins);
    let mut discovery = Discovery::open(&state_dir, host.clone(), parcels, metrics.clone());
    discovery.configure(&settings).await;
    let snapshot = discovery.adopt(&merged.desired, &api);
    let mut laid = Laid::new(merged, &snapshot, &api);
    if let Some((_, installed)) = &found {
        discovery.keep_installed(&laid.fixed, installed);
    }
    if let Some(snapshot) = discovery.tick() {
        laid.again(&snapshot, &api);
    }
    let in_maps = |vip: &Vip| found.as_ref().is_some_and(|(_, found)| plan::serves(found, vip));
    let unserved = serving::unserved(&laid.merged.desired, in_maps, attached, &host);
    discovery.want(&laid.merged.desired, &api, &unserved);

    let mut ports = Ports::new(settings.interfaces.clone(), apply::capacity(&settings.limits));
    ports.load(&netlink, &pins).await?;
    let clock_program = ports.any_loaded().context("no interface is configured")?;
    let hz = tokio::task::block_in_place(|| clock::ticks_per_second(clock_program))?;
    let (maps, installed) = match found {
        Some(found) => found,
        None => {
            let maps = Maps::open(&pins)?;
            let installed = read::installed(&maps)?;
            (maps, installed)
        }
    };
    let kernel = Kernel::new(pins, maps, hz, installed, store.identity().secret, &settings.limits);

    let (backends, tracked) = watch::channel(backend_addresses(&laid.merged.desired));
    let follower = NextHops::follow(tracked)?;
    wait_for_ways(&follower, &backend_addresses(&laid.merged.desired), FIRST_WAYS, FIRST_WAYS).await;

    let desired = Arc::new(laid.merged.desired.clone());
    let now = Timestamp::now();
    let (door, end) = door(View::starting(desired, now));
    let mut daemon = Daemon {
        state: State {
            base,
            api,
            laid,
            generation: 0,
            edited: 0,
            last_change: None,
            last_reload: ReloadRecord { at: now, error: None, last_success: Some(now) },
            expired: BTreeMap::new(),
            config_warnings: warnings,
        },
        kernel,
        ports,
        backends,
        follower,
        announcer: Announcer::new(Netlink::open()?),
        changes: Watch::open()?,
        netlink,
        store,
        settings,
        args,
        end,
        metrics: metrics.clone(),
        started_at: now,
        problems: daemon::Problems::default(),
        host,
        discovery,
        set_back: BTreeMap::new(),
        offer: Offer::open(&run_dir)?,
        tasks: tokio::task::JoinSet::new(),
        l7: L7::default(),
        _lock: lock,
    };
    // Opened before anything is applied: a start that cannot listen changes nothing in the kernel.
    let listeners = daemon.open().await?;
    daemon.first_apply().await?;
    daemon.want_endpoints();
    daemon.serve(listeners, door, metrics);
    Ok(daemon)
}

impl Daemon {
    /// Warm the maps, then bring the interfaces under the programs, then everything that follows.
    async fn first_apply(&mut self) -> Result<()> {
        self.state.generation = self.kernel.installed_generation();
        self.prepare_l7(l7::snapshot(&self.state.laid.merged.desired, self.state.generation)).await?;
        self.apply_desired(Number::NextIfWritten)
            .await
            .map_err(|refusal| Failure::Failed(refusal.to_string()))?;
        self.ports.bring_up(&self.netlink, self.kernel.pins()).await;
        if let Some(error) = self.ports.first_error() {
            // At the start a refusal ends weir: whatever was attached before stays in force, and nothing else.
            let error = error.to_owned();
            if let Err(undo) = self.ports.undo_start(self.kernel.pins()) {
                tracing::error!(
                    error = format!("{undo:#}"),
                    "what this start has attached stays; use `weir detach`"
                );
            }
            bail!("{error}");
        }
        for name in self.ports.release_unwanted(&self.kernel.pins_owned())? {
            tracing::info!(interface = name, "detached: no longer configured");
        }
        // Ways lead out of attached interfaces only, which are known now.
        self.apply_desired(Number::Same).await.map_err(|refusal| Failure::Failed(refusal.to_string()))?;
        self.follow_addresses().await;
        self.follow_l7().await;
        Ok(())
    }

    /// Opens the socket and the metrics listener, and says so.
    async fn open(&self) -> Result<Listeners> {
        let metrics = match self.args.metrics.or(self.settings.metrics_listen) {
            Some(address) => Some(metrics::listen(address).await?),
            None => None,
        };
        let path = self
            .settings
            .api_socket
            .clone()
            .unwrap_or_else(|| self.args.places.socket(self.args.socket.as_ref()));
        let group = self.settings.api_group.as_deref().map(group_id).transpose()?;
        Ok(Listeners { api: Socket::bind(&path, group)?, path, metrics })
    }

    /// Answers on the listeners, and says so.
    fn serve(&mut self, listeners: Listeners, door: crate::control::door::Door, metrics: Arc<Metrics>) {
        self.publish();
        self.tasks.spawn(server::serve(listeners.api, door.clone(), metrics.clone()));
        if let Some(listener) = listeners.metrics {
            self.tasks.spawn(metrics::serve(listener, door, metrics));
        }
        let interfaces = self.ports.attached_names().join(", ");
        tracing::info!(generation = self.state.generation, interfaces, socket = %listeners.path.display(), "ready");
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
    }
}

/// Whatever of a start can be tried while another daemon runs: what fails here must not end that one first.
async fn rehearse(args: &RunArgs, settings: &Settings, part: &Part) -> Result<()> {
    let base = part.clone().into_desired(check_ports(part.snat_ports)?, 0);
    let merged = catalog::merge(&base, &ApiState::default(), Timestamp::now(), settings.limits)
        .map_err(|refusal| Failure::Failed(refusal.to_string()))?;
    let netlink = Netlink::open()?;
    if let Some(refusal) = addresses::local_backends(&netlink, &merged.desired).await? {
        return Err(Failure::Usage(refusal).into());
    }
    interfaces::check(&netlink, &settings.interfaces).await?;
    settings.api_group.as_deref().map(group_id).transpose()?;
    let pins = PinDir::prepare(&super::pin_path(&args.places))?;
    if handover::is_offered(&args.places.run_dir()) && links::list(&pins)?.is_empty() {
        interfaces::check_unused(&netlink, &settings.interfaces).await?;
    }
    // As loaded for the first interface, and attached to none.
    tokio::task::block_in_place(|| load::load(OBJECT, &pins, &apply::capacity(&settings.limits), 0))?;
    Ok(())
}

/// What an earlier daemon has left in force; none where there is nothing that this one can read.
fn found(pins: &PinDir) -> Option<(Maps, Installed)> {
    let maps = Maps::open(pins).ok()?;
    let installed = tokio::task::block_in_place(|| read::installed(&maps)).ok()?;
    Some((maps, installed))
}

/// The lock, and the connections of the daemon before: of the one that runs, if it is to be replaced, or of one that has
/// left them with the service manager.
async fn take_over(run_dir: &Path, replace: bool) -> Result<(lock::Lock, Parcels)> {
    let stored = handover::stored_before();
    if !replace {
        return Ok((lock::acquire(run_dir)?, stored));
    }
    let taken = tokio::task::block_in_place(|| handover::take(run_dir))?;
    let end = tokio::time::Instant::now() + LAST_BREATH;
    loop {
        match lock::acquire(run_dir) {
            Err(lock::LockError::Taken { .. }) if tokio::time::Instant::now() < end => {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            lock => return Ok((lock?, taken.unwrap_or(stored))),
        }
    }
}

/// The API's socket and that of the metrics.
struct Listeners {
    api: Socket,
    path: std::path::PathBuf,
    metrics: Option<tokio::net::TcpListener>,
}

/// The addresses of all backends that the data path itself sends packets to.
pub(super) fn backend_addresses(desired: &Desired) -> BTreeSet<IpAddr> {
    desired
        .services
        .values()
        .filter(|service| service.is_forwarded())
        .flat_map(|service| service.backends.keys().map(|backend| backend.addr))
        .collect()
}

/// Waits until the way to every backend is known, or it is clear that it will not be soon: a restart must not make
/// backends unresolved that the data path already reaches.
pub(super) async fn wait_for_ways(
    follower: &NextHops,
    wanted: &BTreeSet<IpAddr>,
    routes: Duration,
    neighbours: Duration,
) {
    let mut ways = follower.ways();
    let routed = ways.wait_for(|ways| wanted.iter().all(|addr| ways.contains_key(addr)));
    if tokio::time::timeout(routes, routed).await.is_err() {
        return;
    }
    let known = ways.wait_for(|ways| {
        wanted.iter().all(|addr| !matches!(ways.get(addr), Some(Ok(hop)) if hop.dst_mac.is_none()))
    });
    let _ = tokio::time::timeout(neighbours, known).await;
}

/// The source-NAT ports to use where the configuration says nothing, after what it says has been checked.
pub(super) fn check_ports(configured: Option<(u16, u16)>) -> Result<(u16, u16)> {
    let ephemeral = ports::ephemeral()?;
    if let Some(range) = configured {
        ports::check(range, ephemeral).map_err(|error| Failure::Usage(error.to_string()))?;
        return Ok(range);
    }
    Ok(ports::default_range(ephemeral)?)
}

fn make_dir(path: &Path, mode: u32) -> Result<()> {
    let made = fs::DirBuilder::new().recursive(true).mode(mode).create(path);
    made.with_context(|| {
        format!("making the directory {} (another place: --run-dir, --state-dir)", path.display())
    })
}

fn fresh_identity() -> Result<Identity> {
    let mut bytes = [0u8; 16];
    fs::File::open("/dev/urandom")
        .and_then(|mut file| file.read_exact(&mut bytes))
        .context("reading /dev/urandom")?;
    let value = u128::from_ne_bytes(bytes);
    #[expect(clippy::cast_possible_truncation, reason = "the two halves")]
    Ok(Identity { seed: value as u64, secret: (value >> 64) as u64 })
}

fn group_id(name: &str) -> Result<u32> {
    if let Ok(id) = name.parse() {
        return Ok(id);
    }
    let group =
        nix::unistd::Group::from_name(name).with_context(|| format!("looking up the group {name}"))?;
    Ok(group
        .with_context(|| {
            format!("there is no group {name}: make it (`groupadd --system {name}`), or change `api.group`")
        })?
        .gid
        .as_raw())
}
