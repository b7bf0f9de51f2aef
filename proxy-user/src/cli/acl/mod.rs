//! `weir acl`: lists of sources.

mod change;
mod lines;
mod lookup;
mod show;
mod transfer;

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::Global;
use super::failure::Failure;
use super::output::Output;
use super::reach::Daemon;
use super::units::parse_duration;
use crate::model::{Action, Scope};

/// Commands on lists.
#[derive(Clone, Debug, Subcommand)]
pub enum AclCommand {
    /// Add addresses or prefixes to a list
    Add(AddArgs),
    /// Take addresses or prefixes out of a list
    Del(DelArgs),
    /// A list's entries; without a name, all lists
    List(ListArgs),
    /// All lists in the order in which they are asked
    Lists,
    /// What becomes of a source, and by which entry
    Test(TestArgs),
    /// Add the entries of a file: a plain list, CSV, `ipset save`, or the JSON of `weir acl list`
    Import(ImportArgs),
    /// A list's entries in a form that `import` reads
    Export(ExportArgs),
}

/// Arguments of `weir acl add`.
#[derive(Clone, Debug, Args)]
pub struct AddArgs {
    /// Addresses or prefixes
    #[arg(required = true, value_name = "CIDR")]
    pub prefixes: Vec<String>,
    /// The list; `deny` is created if there is none
    #[arg(short, long, default_value = DENY)]
    pub list: String,
    /// How long they hold: 90s, 30m, 4h, 7d; for ever without it
    #[arg(long, value_name = "DURATION", value_parser = duration_text)]
    pub ttl: Option<String>,
    /// Why, for people
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
    /// The list's form, if it has to be made.
    #[command(flatten)]
    pub create: CreateArgs,
}

/// How a list that does not exist is made.
#[derive(Clone, Debug, Args)]
pub struct CreateArgs {
    /// Make the list if there is none
    #[arg(long)]
    pub create: bool,
    /// What a new list does [default: drop]
    #[arg(long, value_enum, requires = "create")]
    pub action: Option<ActionArg>,
    /// Place of a new list, lower is asked first [default: ten after the last]
    #[arg(long, value_name = "N", requires = "create")]
    pub order: Option<u32>,
    /// What a new list acts on [default: all]
    #[arg(long, value_enum, requires = "create")]
    pub scope: Option<ScopeArg>,
}

/// Arguments of `weir acl del`.
#[derive(Clone, Debug, Args)]
pub struct DelArgs {
    /// Addresses or prefixes, as they were added
    #[arg(required = true, value_name = "CIDR")]
    pub prefixes: Vec<String>,
    /// The list
    #[arg(short, long, default_value = DENY)]
    pub list: String,
}

/// Arguments of `weir acl list`.
#[derive(Clone, Debug, Args)]
pub struct ListArgs {
    /// The list
    pub list: Option<String>,
    /// All entries, not only the first 50
    #[arg(long, requires = "list")]
    pub all: bool,
}

/// Arguments of `weir acl test`.
#[derive(Clone, Debug, Args)]
pub struct TestArgs {
    /// The source
    #[arg(value_name = "ADDR")]
    pub address: IpAddr,
}

/// Arguments of `weir acl import`.
#[derive(Clone, Debug, Args)]
pub struct ImportArgs {
    /// The file, or - for standard input
    pub file: PathBuf,
    /// The list
    #[arg(short, long)]
    pub list: String,
    /// Replace what the API has set in the list, instead of adding to it
    #[arg(long)]
    pub replace: bool,
    /// Leave out lines that are not understood (exit 6) instead of refusing the file
    #[arg(long)]
    pub skip_bad: bool,
    /// The list's form, if it has to be made.
    #[command(flatten)]
    pub create: CreateArgs,
}

/// Arguments of `weir acl export`.
#[derive(Clone, Debug, Args)]
pub struct ExportArgs {
    /// The list
    pub list: String,
}

/// An action on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ActionArg {
    /// Let them through
    Pass,
    /// Drop them
    Drop,
}

/// A scope on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ScopeArg {
    /// Everything that enters an interface
    All,
    /// Packets to a VIP
    Services,
}

/// Carries out a command.
///
/// # Errors
///
/// What the daemon refuses, and [`Failure::Unreachable`] where there is none.
pub fn acl(command: AclCommand, global: &Global, output: &Output) -> Result<(), Failure> {
    match command {
        AclCommand::Add(args) => change::add(args, &Daemon::reach(global)?, output),
        AclCommand::Del(args) => change::del(args, &Daemon::reach(global)?, output),
        AclCommand::List(ListArgs { list: None, .. }) | AclCommand::Lists => {
            show::lists(&Daemon::reach(global)?, output)
        }
        AclCommand::List(ListArgs { list: Some(list), all }) => {
            show::list(&list, all, &Daemon::reach(global)?, output)
        }
        AclCommand::Test(args) => lookup::test(args.address, &Daemon::reach(global)?, output),
        AclCommand::Import(args) => transfer::import(&args, global, output),
        AclCommand::Export(args) => transfer::export(&args.list, &Daemon::reach(global)?, output),
    }
}

impl From<ActionArg> for Action {
    fn from(action: ActionArg) -> Self {
        match action {
            ActionArg::Pass => Self::Pass,
            ActionArg::Drop => Self::Drop,
        }
    }
}

impl From<ScopeArg> for Scope {
    fn from(scope: ScopeArg) -> Self {
        match scope {
            ScopeArg::All => Self::All,
            ScopeArg::Services => Self::Services,
        }
    }
}

/// The list of people who name none.
const DENY: &str = "deny";

fn duration_text(text: &str) -> Result<String, String> {
    parse_duration(text).map(|_duration| text.to_owned())
}

fn action_word(action: Action) -> &'static str {
    match action {
        Action::Pass => "pass",
        Action::Drop => "drop",
    }
}

fn scope_word(scope: Scope) -> &'static str {
    match scope {
        Scope::All => "all",
        Scope::Services => "services",
    }
}
