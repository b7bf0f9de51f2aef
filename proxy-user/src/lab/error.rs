//! What can go wrong in a laboratory.

use std::io;

use crate::net::netlink::NetlinkError;

/// Why the laboratory could not be built or used.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    /// A system call failed.
    #[error("cannot {what}: {source}{}", cure(source))]
    System {
        /// What was tried, as a verb phrase.
        what: String,
        /// The errno.
        source: io::Error,
    },
    /// A netlink request failed.
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
    /// A peer's answer is not what the protocol allows.
    #[error("{peer} answered with {what}, which is not HTTP/1.1 as the laboratory's server speaks it")]
    Protocol {
        /// Who answered.
        peer: String,
        /// The start of the answer.
        what: String,
    },
    /// An interface name is not usable.
    #[error("interface name {0:?} is not 1 to 15 bytes without NUL, '/' and blanks; use a shorter name")]
    Name(String),
}

impl LabError {
    /// For `map_err`: names what was tried.
    pub(crate) fn at(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::System { what, source }
    }
}

fn cure(source: &io::Error) -> &'static str {
    match source.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => "; run as root (CAP_SYS_ADMIN and CAP_NET_ADMIN)",
        _ => "",
    }
}
