//! Bringing an interface under a loaded, warm program: the link that is there is updated in one step, so that no packet
//! meets none, or a new link is made. Then the kernel is asked what it runs.

use aya::programs::links::{FdLink, LinkError, PinnedLink};
use aya::programs::xdp::XdpLink;

use super::attach::{self, AttachError, Interface, Mode, Policy};
use super::bpffs::{BpffsError, PinDir};
use super::errno::{errno_of, words};
use super::links::{self, PinnedInterface};
use super::load::Loaded;
use super::xdp_state;

/// How an interface came under the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// It had no link of weir's.
    Attached,
    /// The link of an earlier run was updated.
    Adopted,
    /// The link of an earlier run was dead; a new one was made.
    Reattached,
}

impl How {
    /// The word for logs.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Attached => "attached",
            Self::Adopted => "adopted",
            Self::Reattached => "reattached",
        }
    }
}

/// An interface under a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attached {
    /// The interface.
    pub interface: Interface,
    /// Its slot of the counters by interface.
    pub slot: u32,
    /// Mode in force.
    pub mode: Mode,
    /// Id of the program.
    pub program_id: u32,
    /// How it came there.
    pub how: How,
}

/// Brings an interface under a loaded program. The maps should be filled before: from here on they act.
///
/// # Errors
/// See [`AttachError`]; a program of weir's that was attached stays in force.
pub fn bring_up(
    pins: &PinDir,
    loaded: &mut Loaded,
    interface: &Interface,
    policy: Policy,
) -> Result<Attached, AttachError> {
    // Before anything is touched: an interface that is away keeps its dead pin, and with it its counters' slot.
    state(interface)?;
    let pinned = links::list(pins)?;
    let alive = pinned.iter().find(|pin| pin.alive && pin.ifindex == interface.ifindex);
    let how = match alive {
        Some(pin) => match update(pins, loaded, interface, pin, policy) {
            Err(AttachError::LinkDead { .. }) => How::Reattached,
            other => other.map(|()| How::Adopted)?,
        },
        None => How::Attached,
    };
    let how =
        if how == How::Adopted { how } else { attach_anew(pins, loaded, interface, policy, &pinned, how)? };
    read_back(pins, loaded, interface, how)
}

/// Swaps the program of a live link. The pin stays, so a refusal leaves the old program in force, although aya takes the
/// link by value and drops it.
fn update(
    pins: &PinDir,
    loaded: &mut Loaded,
    interface: &Interface,
    pin: &PinnedInterface,
    policy: Policy,
) -> Result<(), AttachError> {
    let generic = state(interface)?.is_some_and(|state| state.mode == Mode::Generic);
    if generic && policy == Policy::NativeOnly {
        return Err(AttachError::GenericInForce { interface: interface.name.clone() });
    }
    let variant = loaded.variant();
    let unusable = |error: LinkError| AttachError::Refused {
        interface: interface.name.clone(),
        reason: errno_of(&error).map_or_else(|| error.to_string(), |code| words(Some(code))),
    };
    let link = FdLink::from(PinnedLink::from_pin(pins.pin(&pin.pin)).map_err(unusable)?);
    let link = XdpLink::try_from(link).map_err(unusable)?;
    loaded.xdp_mut()?.attach_to_link(link).map_err(|error| attach::explain(interface, variant, &error))?;
    rename(pins, loaded.slot(), interface, pin)
}

/// Keeps the pin's name in step with an interface that was renamed.
fn rename(pins: &PinDir, slot: u32, interface: &Interface, pin: &PinnedInterface) -> Result<(), AttachError> {
    let wanted = links::pin_name(slot, interface.ifindex, &interface.name);
    if wanted == pin.pin {
        return Ok(());
    }
    let path = pins.pin(&wanted);
    std::fs::rename(pins.pin(&pin.pin), &path)
        .map_err(|source| BpffsError::File { action: "rename a pin to", path, source }.into())
}

fn attach_anew(
    pins: &PinDir,
    loaded: &mut Loaded,
    interface: &Interface,
    policy: Policy,
    pinned: &[PinnedInterface],
    how: How,
) -> Result<How, AttachError> {
    // An update that met a dead link leaves its pin here too, whatever the list said a moment ago.
    let stale = |pin: &&PinnedInterface| {
        if pin.alive {
            pin.ifindex == interface.ifindex
        } else {
            pin.name == interface.name || pin.slot == loaded.slot()
        }
    };
    let stale: Vec<_> = pinned.iter().filter(stale).collect();
    for pin in &stale {
        pins.remove(&pin.pin)?;
    }
    attach::attach(pins, loaded, interface, policy)?;
    Ok(if stale.is_empty() { how } else { How::Reattached })
}

fn read_back(
    pins: &PinDir,
    loaded: &Loaded,
    interface: &Interface,
    how: How,
) -> Result<Attached, AttachError> {
    let wanted = loaded.program_id()?;
    let pin = links::list(pins)?.into_iter().find(|pin| pin.alive && pin.ifindex == interface.ifindex);
    let pin = pin.ok_or_else(|| AttachError::LinkDead { interface: interface.name.clone() })?;
    let state = state(interface)?;
    let seen = [pin.program_id, state.map_or(0, |state| state.program_id)];
    match (state, seen.into_iter().find(|id| *id != wanted)) {
        (Some(state), None) => Ok(Attached {
            interface: interface.clone(),
            slot: pin.slot,
            mode: state.mode,
            program_id: wanted,
            how,
        }),
        (_, found) => Err(AttachError::ReadBack {
            interface: interface.name.clone(),
            wanted,
            found: found.unwrap_or(0),
        }),
    }
}

fn state(interface: &Interface) -> Result<Option<xdp_state::XdpState>, AttachError> {
    xdp_state::read(interface.ifindex).map_err(|source| match source.raw_os_error() {
        Some(libc::ENODEV) => {
            AttachError::NoInterface { interface: interface.name.clone(), ifindex: interface.ifindex }
        }
        _ => AttachError::State { interface: interface.name.clone(), source },
    })
}
