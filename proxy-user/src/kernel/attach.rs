//! Attaching a loaded program to an interface by a pinned bpf_link, and what each refusal of the kernel means.

use std::fmt;
use std::io;
use std::path::PathBuf;

use aya::programs::links::FdLink;
use aya::programs::{ProgramError, XdpMode};
use thiserror::Error;

use super::bpffs::{BpffsError, PinDir};
use super::capability::Missing;
use super::errno::{errno_of, words};
use super::links::{self, LinksError};
use super::load::{self, LoadError, Loaded};
use super::xdp_state;

/// How a program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mode {
    /// In the driver, before the kernel has made a socket buffer.
    Native,
    /// In the kernel's stack, on a socket buffer: works everywhere and is slow.
    Generic,
    /// On the network card. weir never asks for it.
    Offload,
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Native => "native",
            Self::Generic => "generic",
            Self::Offload => "offload",
        })
    }
}

/// Which modes the operator allows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Policy {
    /// Native, or not at all.
    #[default]
    NativeOnly,
    /// Native where the driver has it, else generic.
    GenericAllowed,
}

/// An interface by index and name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Index.
    pub ifindex: u32,
    /// Name.
    pub name: String,
}

/// Why weir is not attached, or not by the new program. Where another program of weir was attached before, that one
/// stays in force.
#[derive(Debug, Error)]
pub enum AttachError {
    /// Somebody else's program is there.
    #[error(
        "{interface} already runs an XDP program that is not this weir's: {program}. weir never evicts another's \
         program: stop the service that owns it, or detach it yourself (`ip link set dev {interface} xdp off`; a \
         program held by a bpf_link goes only with its owner), then start weir again"
    )]
    Foreign {
        /// The interface.
        interface: String,
        /// Id, name and mode of the program, as far as they can be told.
        program: String,
    },
    /// The MTU needs multi-buffer support.
    #[error(
        "{interface} refuses: its MTU is too large for {variant}; lower it (`ip link set dev {interface} mtu 1500` \
         always fits), turn off receive offloads that merge packets (LRO), or use a kernel from 5.18 and a driver that has XDP \
         multi-buffer"
    )]
    MtuTooLarge {
        /// The interface.
        interface: String,
        /// The variant of the program.
        variant: &'static str,
    },
    /// The driver has no native XDP.
    #[error(
        "the driver of {interface} has no native XDP: use another card or driver, attach to the physical interface \
         below it, or allow the slow generic mode (`mode = \"auto\"` in [interface.{interface}])"
    )]
    NoNativeMode {
        /// The interface.
        interface: String,
    },
    /// Generic mode is in force and no longer allowed.
    #[error(
        "weir is attached to {interface} in generic mode, which the configuration no longer allows: the old program \
         stays in force. Run `weir detach` (traffic then passes unfiltered) and start again, or allow generic mode"
    )]
    GenericInForce {
        /// The interface.
        interface: String,
    },
    /// Not permitted.
    #[error("the kernel does not let weir attach to {interface}: {missing}")]
    NotPermitted {
        /// The interface.
        interface: String,
        /// What is missing.
        missing: Missing,
    },
    /// No such interface.
    #[error(
        "there is no interface {interface} (index {ifindex}) in this network namespace: check the name with `ip \
         link`; weir attaches by itself when it appears"
    )]
    NoInterface {
        /// The interface.
        interface: String,
        /// Its index.
        ifindex: u32,
    },
    /// The interface of a pinned link is gone.
    #[error(
        "the link to {interface} is dead, since the interface was removed: weir attaches anew when it is back"
    )]
    LinkDead {
        /// The interface.
        interface: String,
    },
    /// The kernel cannot attach by link.
    #[error(
        "the kernel attaches to {interface} only without a bpf_link, so that the data path could not outlive the \
         daemon; weir has detached again. It needs Linux 5.9 or newer"
    )]
    NoLink {
        /// The interface.
        interface: String,
    },
    /// No memory.
    #[error(
        "the driver of {interface} cannot get the memory that native XDP needs (rings of whole pages for each queue): free memory or lower the number of queues (`ethtool -L {interface} combined N`)"
    )]
    NoMemory {
        /// The interface.
        interface: String,
    },
    /// Any other refusal.
    #[error(
        "the kernel refuses to attach to {interface}: {reason}; the kernel log (`dmesg`) often says more"
    )]
    Refused {
        /// The interface.
        interface: String,
        /// Its reason.
        reason: String,
    },
    /// The link cannot be pinned.
    #[error("cannot pin the link to {interface} at {path}: {reason}; weir has detached again")]
    Pin {
        /// The interface.
        interface: String,
        /// The pin.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// After the change the kernel tells of another program.
    #[error(
        "{interface} runs program {found} after weir attached program {wanted}: another process changes the same \
         link; stop it"
    )]
    ReadBack {
        /// The interface.
        interface: String,
        /// Program that should run.
        wanted: u32,
        /// Program that runs.
        found: u32,
    },
    /// The interface's state cannot be read.
    #[error("cannot ask the kernel about {interface}: {source}")]
    State {
        /// The interface.
        interface: String,
        /// Why.
        source: io::Error,
    },
    /// The pins cannot be used.
    #[error(transparent)]
    Links(#[from] LinksError),
    /// The directory of pins cannot be used.
    #[error(transparent)]
    Directory(#[from] BpffsError),
    /// The program is not there.
    #[error(transparent)]
    Load(#[from] LoadError),
}

/// Attaches to an interface that has no link of weir's and pins the link at once. Returns the mode.
pub(super) fn attach(
    pins: &PinDir,
    loaded: &mut Loaded,
    interface: &Interface,
    policy: Policy,
) -> Result<Mode, AttachError> {
    match attach_in(pins, loaded, interface, Mode::Native) {
        Err(AttachError::NoNativeMode { .. }) if policy == Policy::GenericAllowed => {
            attach_in(pins, loaded, interface, Mode::Generic).map(|()| Mode::Generic)
        }
        other => other.map(|()| Mode::Native),
    }
}

fn attach_in(
    pins: &PinDir,
    loaded: &mut Loaded,
    interface: &Interface,
    mode: Mode,
) -> Result<(), AttachError> {
    let (slot, variant) = (loaded.slot(), loaded.variant());
    let explain = |error: ProgramError| explain(interface, variant, &error);
    let path = pins.pin(&links::pin_name(slot, interface.ifindex, &interface.name));
    let xdp = loaded.xdp_mut()?;
    let aya_mode = if mode == Mode::Native { XdpMode::Driver } else { XdpMode::Skb };
    let id = xdp.attach_to_if_index(interface.ifindex, aya_mode).map_err(explain)?;
    let link = xdp.take_link(id).map_err(explain)?;
    let Ok(link) = FdLink::try_from(link) else {
        // aya has fallen back to netlink, and dropping that link does not detach.
        let _detached = xdp_state::clear(interface.ifindex, mode);
        return Err(AttachError::NoLink { interface: interface.name.clone() });
    };
    match link.pin(&path) {
        Ok(_pinned) => Ok(()),
        Err(error) => {
            Err(AttachError::Pin { interface: interface.name.clone(), path, reason: words(errno_of(&error)) })
        }
    }
}

/// What a refusal means.
pub(super) fn explain(interface: &Interface, variant: &'static str, error: &ProgramError) -> AttachError {
    let code = errno_of(error);
    match code {
        Some(libc::EBUSY | libc::EEXIST) => AttachError::Foreign {
            interface: interface.name.clone(),
            program: foreign_program(interface.ifindex),
        },
        Some(code) => meaning(interface, variant, code),
        None => AttachError::Refused { interface: interface.name.clone(), reason: error.to_string() },
    }
}

/// What an errno of `BPF_LINK_CREATE` or `BPF_LINK_UPDATE` means, save for a foreign program.
fn meaning(interface: &Interface, variant: &'static str, code: i32) -> AttachError {
    let (name, ifindex) = (interface.name.clone(), interface.ifindex);
    match code {
        libc::ERANGE => AttachError::MtuTooLarge { interface: name, variant },
        libc::EOPNOTSUPP => AttachError::NoNativeMode { interface: name },
        libc::EPERM | libc::EACCES => AttachError::NotPermitted { interface: name, missing: Missing::now() },
        libc::ENODEV => AttachError::NoInterface { interface: name, ifindex },
        libc::ENOLINK => AttachError::LinkDead { interface: name },
        libc::ENOMEM => AttachError::NoMemory { interface: name },
        code => AttachError::Refused { interface: name, reason: words(Some(code)) },
    }
}

/// Names the program that is in the way, as far as this process may know it.
fn foreign_program(ifindex: u32) -> String {
    let Ok(Some(state)) = xdp_state::read(ifindex) else {
        return "one whose id the kernel does not tell".to_owned();
    };
    let name = load::name_of(state.program_id).map(|name| format!(" named `{name}`")).unwrap_or_default();
    format!("id {}{name}, {} mode", state.program_id, state.mode)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meaning_of(code: i32) -> AttachError {
        meaning(&Interface { ifindex: 7, name: "eth9".into() }, "a program without frags", code)
    }

    #[test]
    fn each_errno_has_its_cause_and_cure() {
        for (code, words) in [
            (libc::ERANGE, "lower it"),
            (libc::EOPNOTSUPP, "generic mode"),
            (libc::ENODEV, "ip link"),
            (libc::ENOLINK, "attaches anew"),
            (libc::ENOMEM, "free memory"),
            (libc::EINVAL, "dmesg"),
        ] {
            let text = meaning_of(code).to_string();
            assert!(text.contains("eth9") && text.contains(words), "{code}: {text}");
        }
        assert!(matches!(meaning_of(libc::EPERM), AttachError::NotPermitted { .. }));
        assert!(matches!(meaning_of(libc::EACCES), AttachError::NotPermitted { .. }));
    }
}
