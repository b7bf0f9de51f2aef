//! The command line: `weir OBJECT VERB`. Each command is a file; all but `run`, `demo`, `check`, `config`,
//! `completion`, `version` and the last resort of `detach` speak the control API and nothing else.

pub mod acl;
pub mod backend;
pub mod check;
pub mod completion;
pub mod config;
pub mod daemon;
pub mod demo;
pub mod detach;
mod environment;
pub mod explain;
mod failure;
pub mod l7;
mod l7_settings;
mod output;
mod rates;
mod reach;
pub mod registry;
pub mod run;
pub mod service;
pub mod stats;
pub mod status;
mod table;
mod units;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory, Parser, Subcommand};

use crate::l7::process::SUBCOMMAND;
use crate::model::Origin;
pub use failure::{Exit, Failure};
pub use output::{Colour, Format, Output};

/// Source-IP ACL and load balancer in XDP.
///
/// Without a command: the status of the running daemon, or this help.
#[derive(Debug, Parser)]
#[command(name = "weir", version, disable_version_flag = true, max_term_width = 110, after_help = EXIT_CODES)]
pub struct Cli {
    /// Flags that every command takes.
    #[command(flatten)]
    pub global: Global,
    /// The command.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// Flags that every command takes.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Flags of every command")]
pub struct Global {
    /// Form of the output
    #[arg(short, long, global = true, value_enum, default_value_t, value_name = "FORM")]
    pub output: Format,
    /// Control socket [default: RUN_DIR/weir.sock, that is /run/weir/weir.sock]
    #[arg(long, global = true, value_name = "PATH")]
    pub socket: Option<PathBuf>,
    /// Change only if the state is still of this generation, else exit 4
    #[arg(long, global = true, value_name = "N")]
    pub if_gen: Option<u64>,
    /// Say nothing but data and errors
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
    /// Say more; of `weir run`: log more
    #[arg(short, long, global = true)]
    pub verbose: bool,
}

/// Commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the daemon: attach, apply the configuration, serve the API
    Run(Box<run::RunArgs>),
    /// See it work: real connections through XDP in namespaces of its own (root, a few seconds)
    Demo(demo::DemoArgs),
    /// Check a configuration and this machine, changing nothing
    Check(check::CheckArgs),
    /// Read the configuration again; answers with the generation applied or the error
    Reload,
    /// Take weir off its interfaces and remove its maps; with or without a running daemon
    Detach(detach::DetachArgs),
    /// What the daemon does now, on one screen
    Status,
    /// The counters: by interface and reason, list, service
    Stats(stats::StatsArgs),
    /// What would happen to a packet, or to a request, and why; changes nothing
    Explain(explain::ExplainArgs),
    /// Source lists: who is dropped, who passes
    #[command(subcommand)]
    Acl(acl::AclCommand),
    /// Services: VIPs and how they are forwarded
    #[command(subcommand)]
    Service(service::ServiceCommand),
    /// Backends of a service
    #[command(subcommand)]
    Backend(backend::BackendCommand),
    /// Registries: sessions, what is known, where backends come from
    #[command(subcommand)]
    Registry(registry::RegistryCommand),
    /// The L7 path: workers, connections, routes
    #[command(subcommand)]
    L7(l7::L7Command),
    /// The configuration's form and content
    #[command(subcommand)]
    Config(config::ConfigCommand),
    /// The counters as Prometheus text
    Metrics,
    /// Completion script for a shell, to stdout
    Completion(completion::CompletionArgs),
    /// Version of this binary
    Version,
    /// A worker of the L7 path; started by the daemon, never by hand
    #[command(name = "l7-worker", hide = true)]
    L7Worker,
}

/// Runs the command line of this process.
#[must_use]
pub fn main() -> ExitCode {
    // A worker needs nothing of the command line, and making that takes more memory than its work.
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next().is_some_and(|first| first == SUBCOMMAND) && arguments.next().is_none() {
        return finish(l7_worker(), &Output::new(Format::default(), false, false));
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let _ignored = error.print();
            return if error.use_stderr() { Exit::Usage.into() } else { Exit::Done.into() };
        }
    };
    let output = Output::new(cli.global.output, cli.global.quiet, cli.global.verbose);
    finish(dispatch(cli, &output), &output)
}

fn finish(result: Result<(), Failure>, output: &Output) -> ExitCode {
    match result {
        Ok(()) => Exit::Done.into(),
        Err(failure) => {
            output.failure(&failure);
            failure.exit().into()
        }
    }
}

fn dispatch(cli: Cli, output: &Output) -> Result<(), Failure> {
    let global = &cli.global;
    match cli.command {
        None => status::or_help(global, output),
        Some(Command::Run(args)) => run::run(*args, global),
        Some(Command::Demo(args)) => demo::demo(&args, output),
        Some(Command::Check(args)) => check::check(&args, global, output),
        Some(Command::Reload) => daemon::reload(global, output),
        Some(Command::Detach(args)) => detach::detach(&args, global, output),
        Some(Command::Status) => status::status(global, output),
        Some(Command::Stats(args)) => stats::stats(&args, global, output),
        Some(Command::Explain(args)) => explain::explain(&args, global, output),
        Some(Command::Acl(command)) => acl::acl(command, global, output),
        Some(Command::Service(command)) => service::service(command, global, output),
        Some(Command::Backend(command)) => backend::backend(command, global, output),
        Some(Command::Registry(command)) => registry::registry(command, global, output),
        Some(Command::L7(command)) => l7::l7(command, global, output),
        Some(Command::Config(command)) => config::config(command, global, output),
        Some(Command::Metrics) => daemon::metrics(global, output),
        Some(Command::Completion(args)) => completion::completion(&args, &mut Cli::command(), output),
        Some(Command::Version) => daemon::version(output),
        Some(Command::L7Worker) => l7_worker(),
    }
}

fn l7_worker() -> Result<(), Failure> {
    crate::app::log_as_worker();
    crate::l7::process::entry::run().map_err(|error| Failure::Failed(error.to_string()))
}

fn origin_word(origin: Origin) -> &'static str {
    match origin {
        Origin::File => "file",
        Origin::Flag => "flag",
        Origin::Api => "api",
        Origin::Registry => "registry",
    }
}

const EXIT_CODES: &str = "\
Exit codes: 0 done, 1 failed, 2 usage, 3 daemon unreachable, 4 stale generation, 5 not permitted, 6 partly applied";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tree_is_sound() {
        Cli::command().debug_assert();
    }
}
