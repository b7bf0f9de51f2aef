//! How a command ends: the exit codes and the errors that carry them.

use std::path::PathBuf;
use std::process::ExitCode;

use thiserror::Error;

/// Exit codes of `weir`; part of the command's contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Done.
    Done = 0,
    /// The command failed, or a check found errors.
    Failed = 1,
    /// The command line is wrong. Of `weir run`: the configuration will not start, a restart does not help.
    Usage = 2,
    /// No daemon answers on the socket.
    Unreachable = 3,
    /// The state has changed since the generation that `--if-gen` names.
    Stale = 4,
    /// Not permitted, or a capability is missing.
    NotPermitted = 5,
    /// A bulk command was carried out in part.
    Partly = 6,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a command did not end with [`Exit::Done`]. The message says what, where, why, and how to mend it.
#[derive(Debug, Error)]
pub enum Failure {
    /// Everything without a code of its own.
    #[error("{0}")]
    Failed(String),
    /// The arguments contradict each other or cannot be read.
    #[error("{0}")]
    Usage(String),
    /// Nobody listens on the socket.
    #[error(
        "no daemon answers on {}: {cause}; start one with `weir run --config FILE` (or `weir run --iface IF ...`), \
         or name its socket with --socket",
        socket.display()
    )]
    Unreachable {
        /// The socket that was tried.
        socket: PathBuf,
        /// What the kernel said.
        cause: String,
    },
    /// Not permitted.
    #[error("{0}")]
    NotPermitted(String),
    /// The daemon refused.
    #[error("{message}")]
    Refused {
        /// Exit code that fits the refusal.
        exit: Exit,
        /// Code of the problem, stable.
        code: String,
        /// Detail and hint.
        message: String,
    },
    /// Carried out in part; the rest has been reported.
    #[error("{0}")]
    Partly(String),
    /// Everything there is to say has been printed.
    #[error("failed")]
    Reported(Exit),
}

impl Failure {
    /// The exit code.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            Self::Failed(_) => Exit::Failed,
            Self::Usage(_) => Exit::Usage,
            Self::Unreachable { .. } => Exit::Unreachable,
            Self::NotPermitted(_) => Exit::NotPermitted,
            Self::Partly(_) => Exit::Partly,
            Self::Refused { exit, .. } | Self::Reported(exit) => *exit,
        }
    }

    /// A word for scripts: the problem's code where the daemon gave one.
    #[must_use]
    pub fn code(&self) -> &str {
        match self {
            Self::Failed(_) | Self::Reported(_) => "failed",
            Self::Usage(_) => "usage",
            Self::Unreachable { .. } => "unreachable",
            Self::NotPermitted(_) => "not-permitted",
            Self::Partly(_) => "partly-applied",
            Self::Refused { code, .. } => code,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unreachable_says_how_to_start_the_daemon() {
        let failure =
            Failure::Unreachable { socket: "/run/weir/weir.sock".into(), cause: "no such file".into() };
        assert_eq!(failure.exit(), Exit::Unreachable);
        let text = failure.to_string();
        assert!(text.contains("/run/weir/weir.sock") && text.contains("weir run"), "{text}");
    }

    #[test]
    fn a_refusal_keeps_its_own_exit_code() {
        let refused =
            Failure::Refused { exit: Exit::Stale, code: "stale-generation".into(), message: "x".into() };
        assert_eq!(refused.exit() as u8, 4);
        assert_eq!(refused.code(), "stale-generation");
    }
}
