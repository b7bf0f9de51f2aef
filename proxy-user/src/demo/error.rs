//! What can go wrong in the demo.

use std::io;

use crate::control::client::ClientError;
use crate::kernel::bpffs::BpffsError;
use crate::kernel::capability::Missing;
use crate::kernel::testrun::TestRunError;
use crate::lab::LabError;

/// Why the demo did not run to its end, or not as it should.
#[derive(Debug, thiserror::Error)]
pub(super) enum DemoError {
    /// Not permitted.
    #[error(
        "the demo makes network and mount namespaces, links and XDP programs of its own, and this process lacks {}: \
         run it as root (sudo weir demo), or in a container with these capabilities",
        .0.names().join(", ")
    )]
    NotPermitted(Missing),
    /// A system call failed.
    #[error("cannot {what}: {source}")]
    System {
        /// What was tried, as a verb phrase.
        what: String,
        /// The errno.
        source: io::Error,
    },
    /// The namespaces, links or peers.
    #[error(transparent)]
    Lab(#[from] LabError),
    /// The daemon did not do its part.
    #[error("{what}; the end of its log:\n{log}")]
    Daemon {
        /// What it did.
        what: String,
        /// The last lines that it wrote.
        log: String,
    },
    /// The daemon left something behind.
    #[error("the daemon could not remove all of its own on detach: {0}; it ends with the demo's namespaces")]
    Left(String),
    /// A call of the API.
    #[error(transparent)]
    Api(#[from] ClientError),
    /// The pins.
    #[error(transparent)]
    Pins(#[from] BpffsError),
    /// The measurement.
    #[error("cannot measure the time of a packet: {0}")]
    Measure(#[from] TestRunError),
    /// The measured packet met another end.
    #[error(
        "the measured packet was not dropped (XDP action {0}): the daemon's maps are not those that its program uses"
    )]
    Measured(u32),
    /// The output.
    #[error(transparent)]
    Output(#[from] crate::cli::Failure),
    /// Counts.
    #[error("the demo is not as it should be: {}", .0.join("; "))]
    Wrong(Vec<String>),
}

impl DemoError {
    /// For `map_err`: names what was tried.
    pub(super) fn at(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::System { what, source }
    }
}
