//! The interfaces of the configuration: each has a loaded program with its own counter slot, and is attached while the
//! interface exists.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::config::{self, AttachMode};
use crate::kernel::adopt::{self, Attached, How};
use crate::kernel::attach::{Interface, Policy};
use crate::kernel::bpffs::PinDir;
use crate::kernel::links::{self, PinnedInterface};
use crate::kernel::load::{self, Loaded, OBJECT};
use crate::kernel::schema::Capacity;
use crate::kernel::stats;
use crate::kernel::xdp_state;
use crate::net::link::{self, Link};
use crate::net::netlink::Netlink;

/// How often the object's log is looked at; its records are few and none is urgent.
const LOG_PERIOD: Duration = Duration::from_secs(1);

/// One interface.
#[derive(Debug)]
pub(super) struct Port {
    pub(super) mode: AttachMode,
    loaded: Loaded,
    pub(super) attached: Option<Attached>,
    /// Why it is not attached.
    pub(super) error: Option<String>,
}

/// All interfaces, by name.
#[derive(Debug)]
pub(super) struct Ports {
    wanted: BTreeMap<String, config::Interface>,
    capacity: Capacity,
    pub(super) ports: BTreeMap<String, Port>,
}

impl Ports {
    pub(super) const fn new(wanted: BTreeMap<String, config::Interface>, capacity: Capacity) -> Self {
        Self { wanted, capacity, ports: BTreeMap::new() }
    }

    /// What the configuration wants.
    pub(super) const fn wanted(&self) -> &BTreeMap<String, config::Interface> {
        &self.wanted
    }

    /// Wants other interfaces.
    pub(super) fn want(&mut self, wanted: BTreeMap<String, config::Interface>) {
        for (name, port) in &mut self.ports {
            if let Some(interface) = wanted.get(name) {
                port.mode = interface.mode;
            }
        }
        self.wanted = wanted;
    }

    /// Loads a program for each interface that has none yet. All must exist: a name that is not there is an error of the
    /// configuration, while one that goes away later is waited for.
    pub(super) async fn load(&mut self, netlink: &Netlink, pins: &PinDir) -> Result<()> {
        let links = link::list(netlink).await?;
        for (name, interface) in &self.wanted {
            if self.ports.contains_key(name) {
                continue;
            }
            let found = named(&links, name)?;
            let taken: Vec<u32> = self.ports.values().map(|port| port.loaded.slot()).collect();
            let (slot, fresh) = links::slot_for(&links::list(pins)?, found.index, name, &taken)?;
            let mut loaded = tokio::task::block_in_place(|| load::load(OBJECT, pins, &self.capacity, slot))?;
            relay_log(&mut loaded);
            if fresh {
                let mut maps = crate::kernel::maps::Maps::open(pins)?;
                stats::zero_reasons(&mut maps, slot)?;
            }
            self.ports
                .insert(name.clone(), Port { mode: interface.mode, loaded, attached: None, error: None });
        }
        Ok(())
    }

    /// A loaded object, for its clock.
    pub(super) fn any_loaded(&self) -> Option<&Loaded> {
        self.ports.values().next().map(|port| &port.loaded)
    }

    /// Attaches whatever exists and is not attached. What does not work is noted; it is tried again.
    pub(super) async fn bring_up(&mut self, netlink: &Netlink, pins: &PinDir) {
        let links = match link::list(netlink).await {
            Ok(links) => links,
            Err(error) => {
                tracing::warn!(%error, "interfaces cannot be listed");
                return;
            }
        };
        for (name, port) in &mut self.ports {
            port.bring_up(name, links.iter().find(|link| link.name == *name), pins);
        }
    }

    /// Looks whether the interfaces still run what was attached: whoever removes a pin takes the program away with it,
    /// and the kernel tells nobody. What is missing is attached again at the next look.
    pub(super) fn verify(&mut self) {
        for (name, port) in &mut self.ports {
            let Some(attached) = &port.attached else { continue };
            // An interface that cannot be asked is gone, which netlink tells.
            let Ok(state) = xdp_state::read(attached.interface.ifindex) else { continue };
            if state.is_none_or(|state| state.program_id != attached.program_id) {
                tracing::error!(interface = name, "weir's program is no longer attached; attaching again");
                port.attached = None;
                port.error = Some(format!("weir's program was taken off {name}"));
            }
        }
    }

    /// Detaches interfaces that are not wanted, also those of an earlier run. Answers the names of those that were
    /// attached.
    pub(super) fn release_unwanted(&mut self, pins: &PinDir) -> Result<Vec<String>> {
        let wanted = &self.wanted;
        self.ports.retain(|name, _| wanted.contains_key(name));
        let in_use = |pin: &PinnedInterface| {
            wanted.contains_key(&pin.name)
                || self.attached().any(|attached| pin.alive && attached.interface.ifindex == pin.ifindex)
        };
        let mut released = Vec::new();
        for pin in links::list(pins)?.into_iter().filter(|pin| !in_use(pin)) {
            links::detach(pins, &pin)?;
            if pin.alive {
                released.push(pin.name);
            }
        }
        Ok(released)
    }

    /// Detaches what this start has attached, and leaves what it has taken over from an earlier run.
    pub(super) fn undo_start(&mut self, pins: &PinDir) -> Result<()> {
        let new: Vec<u32> = self
            .attached()
            .filter(|attached| attached.how != How::Adopted)
            .map(|attached| attached.interface.ifindex)
            .collect();
        for pin in links::list(pins)?.into_iter().filter(|pin| pin.alive && new.contains(&pin.ifindex)) {
            links::detach(pins, &pin)?;
        }
        Ok(())
    }

    fn attached(&self) -> impl Iterator<Item = &Attached> {
        self.ports.values().filter_map(|port| port.attached.as_ref())
    }

    /// The first reason why an interface is not attached.
    pub(super) fn first_error(&self) -> Option<&str> {
        self.ports.values().find_map(|port| port.error.as_deref())
    }

    /// Why interfaces are not attached.
    pub(super) fn errors(&self) -> impl Iterator<Item = &str> {
        self.ports.values().filter_map(|port| port.error.as_deref())
    }

    /// Whether every interface is attached.
    pub(super) fn complete(&self) -> bool {
        self.ports.values().all(|port| port.attached.is_some())
    }

    /// Whether weir is attached to the interface with this index.
    pub(super) fn covers(&self, ifindex: u32) -> bool {
        // Before the first attach nothing is attached yet, and everything is expected to be.
        let mut attached = self.ports.values().filter_map(|port| port.attached.as_ref()).peekable();
        attached.peek().is_none() || attached.any(|port| port.interface.ifindex == ifindex)
    }

    /// Indices of the attached interfaces by name.
    pub(super) fn attached_indices(&self) -> BTreeMap<String, u32> {
        let index = |port: &Port| Some(port.attached.as_ref()?.interface.ifindex);
        self.ports.iter().filter_map(|(name, port)| Some((name.clone(), index(port)?))).collect()
    }

    /// Names of the attached interfaces.
    pub(super) fn attached_names(&self) -> Vec<String> {
        self.ports.iter().filter(|(_, port)| port.attached.is_some()).map(|(name, _)| name.clone()).collect()
    }
}

/// Whether every interface that is wanted exists.
pub(super) async fn check(netlink: &Netlink, wanted: &BTreeMap<String, config::Interface>) -> Result<()> {
    let links = link::list(netlink).await?;
    wanted.keys().try_for_each(|name| named(&links, name).map(|_| ()))
}

/// That no interface runs a program, for a successor that sees no links of the daemon that runs.
pub(super) async fn check_unused(
    netlink: &Netlink,
    wanted: &BTreeMap<String, config::Interface>,
) -> Result<()> {
    let links = link::list(netlink).await?;
    for name in wanted.keys() {
        if xdp_state::read(named(&links, name)?.index)?.is_some() {
            bail!(
                "interface {name} runs an XDP program, and the pins of the running weir are not here: start its successor in \
                 its mount namespace (`nsenter --net=...`; `ip netns exec` makes another one) and with its --bpffs"
            );
        }
    }
    Ok(())
}

/// That no interface runs a program of weir's, for a start that sees no links of an earlier one: it must not touch the
/// workers of a data path that it cannot take over.
pub(super) async fn check_none_of_weir(
    netlink: &Netlink,
    wanted: &BTreeMap<String, config::Interface>,
) -> Result<()> {
    let links = link::list(netlink).await?;
    // One that does not exist is told of when it is brought up.
    for (name, link) in wanted.keys().filter_map(|name| Some((name, named(&links, name).ok()?))) {
        let Some(state) = xdp_state::read(link.index)? else { continue };
        if tokio::task::block_in_place(|| load::is_weir(state.program_id)) {
            bail!(
                "{name} already runs an XDP program that is not this weir's, but of a weir whose pins are not here. If it was \
                 started in another mount namespace (each `ip netns exec` makes one), start this one there: `nsenter \
                 --mount --net -t PID`, with the process id of that daemon or of one of its workers (`pgrep -f l7-worker`). \
                 If it has another --run-dir or --bpffs, use the same, or `weir detach` it. `ip link set dev {name} xdp off` \
                 would end its ACL"
            );
        }
    }
    Ok(())
}

fn named<'a>(links: &'a [Link], name: &str) -> Result<&'a Link> {
    links.iter().find(|link| link.name == name).with_context(|| {
        let known: Vec<_> = links.iter().map(|link| link.name.as_str()).collect();
        format!("there is no interface {name} here; there are: {}", known.join(", "))
    })
}

/// Brings what the object logs (that it is loaded, faults that cannot be) into the daemon's log.
fn relay_log(loaded: &mut Loaded) {
    let Some(mut log) = loaded.log() else { return };
    tokio::spawn(async move {
        let mut look = tokio::time::interval(LOG_PERIOD);
        loop {
            look.tick().await;
            log.flush();
        }
    });
    if let Err(error) = loaded.hello() {
        tracing::warn!(%error, "the object cannot log");
    }
}

impl Port {
    /// Slot of the interface's counters.
    pub(super) fn slot(&self) -> u32 {
        self.loaded.slot()
    }

    fn bring_up(&mut self, name: &str, link: Option<&Link>, pins: &PinDir) {
        let Some(link) = link else {
            if self.attached.take().is_some() {
                tracing::warn!(
                    interface = name,
                    "the interface is gone; weir attaches again when it returns"
                );
            }
            self.error = Some(format!("interface {name} is gone; weir attaches again when it returns"));
            return;
        };
        if self.attached.as_ref().is_some_and(|attached| attached.interface.ifindex == link.index) {
            return;
        }
        let interface = Interface { ifindex: link.index, name: name.to_owned() };
        let policy = match self.mode {
            AttachMode::Native => Policy::NativeOnly,
            AttachMode::Auto => Policy::GenericAllowed,
        };
        match tokio::task::block_in_place(|| adopt::bring_up(pins, &mut self.loaded, &interface, policy)) {
            Ok(attached) => {
                tracing::info!(interface = name, mode = %attached.mode, program = attached.program_id, how = attached.how.label(), "attached");
                self.attached = Some(attached);
                self.error = None;
            }
            Err(error) => {
                let error = error.to_string();
                // It is tried again each second, and told once.
                if self.error.as_ref() != Some(&error) {
                    tracing::error!(interface = name, error, "not attached");
                }
                self.attached = None;
                self.error = Some(error);
            }
        }
    }
}
