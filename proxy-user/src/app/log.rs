//! The daemon's own log: text for people on a terminal, JSON lines otherwise.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;

/// Starts logging to standard error. `WEIR_LOG` overrides the level (`debug`, `proxy_user::net=trace`).
pub(super) fn init(verbose: bool, quiet: bool) {
    let level = match (verbose, quiet) {
        (true, _) => "debug",
        (_, true) => "warn",
        _ => "info",
    };
    let filter = EnvFilter::try_from_env("WEIR_LOG").unwrap_or_else(|_| EnvFilter::new(level));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // A logger that is already there (tests) is as good.
    let _ = if std::io::stderr().is_terminal() {
        builder.with_target(false).try_init()
    } else {
        builder.json().try_init()
    };
}
