//! `weir run`: its flags. The daemon itself is `app`.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::Global;
use super::failure::Failure;
use crate::config::{self, Diagnostics, Flags, Loaded};
use crate::model::Origin;

/// Arguments of `weir run`.
#[derive(Clone, Debug, Args)]
pub struct RunArgs {
    /// What to run; also taken by `weir check`.
    #[command(flatten)]
    pub setup: Setup,
    /// Where state, sockets and pins live.
    #[command(flatten)]
    pub places: Places,
    /// Serve Prometheus metrics here; a loopback address unless you know better
    #[arg(long, value_name = "ADDR:PORT")]
    pub metrics: Option<SocketAddr>,
    /// Detach when stopped; otherwise the data path stays in force without the daemon
    #[arg(long)]
    pub detach_on_exit: bool,
    /// Take over from the daemon that runs in this --run-dir, which then ends: VIPs stay registered meanwhile
    #[arg(long)]
    pub replace: bool,
    /// The control socket, from the global `--socket`; `None` is `weir.sock` in the runtime directory.
    #[arg(skip)]
    pub socket: Option<PathBuf>,
    /// Whether `-v` asks for debug logs.
    #[arg(skip)]
    pub verbose: bool,
    /// Whether `-q` asks for warnings only.
    #[arg(skip)]
    pub quiet: bool,
}

/// What to run: a file, flags, or both.
#[derive(Clone, Debug, Default, Args)]
pub struct Setup {
    /// Configuration file
    #[arg(short, long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Interface to attach to; may be repeated
    #[arg(short, long = "iface", value_name = "IF")]
    pub ifaces: Vec<String>,
    /// Service without a file: tcp/198.51.100.10:80=10.0.0.11:8080,10.0.0.12:8080; may be repeated
    #[arg(long = "vip", value_name = "VIP=BACKENDS")]
    pub vips: Vec<String>,
    /// File of prefixes to drop, one a line; may be repeated
    #[arg(long, value_name = "FILE")]
    pub deny: Vec<PathBuf>,
    /// File of prefixes to let pass, before those dropped; may be repeated
    #[arg(long, value_name = "FILE")]
    pub pass: Vec<PathBuf>,
    /// How to attach to the interfaces of --iface
    #[arg(long, value_enum, value_name = "MODE")]
    pub mode: Option<AttachMode>,
}

/// Where state, sockets and pins live.
#[derive(Clone, Debug, Default, Args)]
pub struct Places {
    /// Directory of what the API has set [default: /var/lib/weir]
    #[arg(long, value_name = "DIR")]
    pub state_dir: Option<PathBuf>,
    /// Directory of the lock, the socket and weir's own bpffs [default: /run/weir]
    #[arg(long, value_name = "DIR")]
    pub run_dir: Option<PathBuf>,
    /// bpffs to pin in [default: one that weir mounts in the runtime directory]
    #[arg(long, value_name = "DIR")]
    pub bpffs: Option<PathBuf>,
}

/// How to attach.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum AttachMode {
    /// In the driver, or not at all
    Native,
    /// In the driver where it can, else generic, with a warning in `weir status`
    Auto,
}

impl Setup {
    /// Reads file and flags into one checked configuration. Reads nothing but files.
    ///
    /// # Errors
    ///
    /// Every reason why it is refused.
    pub fn load(&self) -> Result<Loaded, Diagnostics> {
        let flags = Flags {
            interfaces: self.ifaces.clone(),
            vips: self.vips.clone(),
            deny: self.deny.clone(),
            pass: self.pass.clone(),
        };
        let mut loaded = config::load(self.config.as_deref(), &flags)?;
        if let Some(mode) = self.mode {
            let flagged = loaded.settings.interfaces.values_mut();
            flagged.filter(|interface| interface.origin == Origin::Flag).for_each(|interface| {
                interface.mode = match mode {
                    AttachMode::Native => config::AttachMode::Native,
                    AttachMode::Auto => config::AttachMode::Auto,
                };
            });
        }
        Ok(loaded)
    }

    /// Whether nothing says what to run.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.config.is_none()
            && self.ifaces.is_empty()
            && self.vips.is_empty()
            && self.deny.is_empty()
            && self.pass.is_empty()
    }
}

impl Places {
    /// The runtime directory.
    #[must_use]
    pub fn run_dir(&self) -> PathBuf {
        self.run_dir.clone().unwrap_or_else(|| RUN_DIR.into())
    }

    /// The state directory.
    #[must_use]
    pub fn state_dir(&self) -> PathBuf {
        self.state_dir.clone().unwrap_or_else(|| STATE_DIR.into())
    }

    /// The control socket, if `socket` does not name another.
    #[must_use]
    pub fn socket(&self, socket: Option<&PathBuf>) -> PathBuf {
        socket.cloned().unwrap_or_else(|| self.run_dir().join(SOCKET))
    }
}

/// Runs the daemon until it is stopped.
///
/// # Errors
///
/// [`Failure::Usage`] when nothing says what to run; what the daemon ends with.
pub fn run(mut args: RunArgs, global: &Global) -> Result<(), Failure> {
    if args.setup.is_empty() {
        return Err(Failure::Usage(
            "nothing to run: give --config FILE, or --iface IF with --vip or --deny (see `weir run --help`)"
                .into(),
        ));
    }
    args.socket.clone_from(&global.socket);
    args.verbose = global.verbose;
    args.quiet = global.quiet;
    crate::app::run(args).map_err(failure)
}

/// A failure that the daemon chose itself; else, with the whole chain of causes, exit code 5 where the kernel did not
/// permit something, or 1.
pub(super) fn failure(error: anyhow::Error) -> Failure {
    let denied = |cause: &(dyn std::error::Error + 'static)| {
        let cause = cause.downcast_ref::<io::Error>();
        cause.is_some_and(|cause| cause.kind() == io::ErrorKind::PermissionDenied)
    };
    error.downcast::<Failure>().unwrap_or_else(|error| {
        let text = chain(&error);
        if error.chain().any(denied) { Failure::NotPermitted(text) } else { Failure::Failed(text) }
    })
}

/// The chain of causes, without those that the text before them has already told.
fn chain(error: &anyhow::Error) -> String {
    error.chain().skip(1).fold(error.to_string(), |text, cause| {
        let cause = cause.to_string();
        if text.contains(&cause) { text } else { format!("{text}: {cause}") }
    })
}

const RUN_DIR: &str = "/run/weir";
const STATE_DIR: &str = "/var/lib/weir";
const SOCKET: &str = "weir.sock";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_socket_lies_in_the_runtime_directory_unless_named() {
        let places = Places { run_dir: Some("/tmp/w".into()), ..Places::default() };
        assert_eq!(places.socket(None), PathBuf::from("/tmp/w/weir.sock"));
        assert_eq!(places.socket(Some(&"/tmp/s".into())), PathBuf::from("/tmp/s"));
        assert_eq!(Places::default().socket(None), PathBuf::from("/run/weir/weir.sock"));
    }

    #[test]
    fn the_mode_holds_for_interfaces_of_flags() {
        let setup = Setup { ifaces: vec!["eth0".into()], mode: Some(AttachMode::Auto), ..Setup::default() };
        let loaded = setup.load().unwrap();
        assert!(loaded.settings.interfaces.values().all(|found| found.mode == config::AttachMode::Auto));
    }

    #[test]
    fn a_failure_keeps_its_exit_code() {
        let error = anyhow::Error::new(Failure::NotPermitted("no CAP_BPF".into()));
        assert!(matches!(failure(error), Failure::NotPermitted(_)));
        let error = anyhow::anyhow!("inner").context("outer");
        assert_eq!(failure(error).to_string(), "outer: inner");
        let denied = || io::Error::from(io::ErrorKind::PermissionDenied);
        let error = anyhow::Error::new(denied()).context(format!("mounting: {}; run as root", denied()));
        let found = failure(error);
        assert!(matches!(found, Failure::NotPermitted(_)));
        assert_eq!(found.to_string().matches("permission denied").count(), 1, "{found}");
    }
}
