//! `weir check`: the configuration, then this machine. Changes nothing.

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use super::environment;
use super::failure::{Exit, Failure};
use super::output::{Colour, Output};
use super::run::{Places, Setup};
use super::table::printable;
use super::{Global, reach::Daemon};
use crate::config::{Diagnostic, Loaded, Severity};

/// Arguments of `weir check`.
#[derive(Clone, Debug, Args)]
pub struct CheckArgs {
    /// What to check: as for `weir run`.
    #[command(flatten)]
    pub setup: Setup,
    /// Runtime directory of the weir that may run here, whose own programs are no strangers [default: /run/weir]
    #[arg(long, value_name = "DIR")]
    pub run_dir: Option<PathBuf>,
    /// Only the configuration, not this machine's interfaces, addresses and ports
    #[arg(long)]
    pub no_env: bool,
}

/// Checks.
///
/// # Errors
///
/// [`Failure::Reported`] when there are errors; they have been printed.
pub fn check(args: &CheckArgs, global: &Global, output: &Output) -> Result<(), Failure> {
    if args.setup.is_empty() {
        return Err(Failure::Usage(
            "nothing to check: give --config FILE, or the flags of `weir run` (see `weir check --help`)"
                .into(),
        ));
    }
    let mut report = match args.setup.load() {
        Ok(loaded) => {
            let mut report = Report::new(&loaded);
            if !args.no_env {
                let places = Places { run_dir: args.run_dir.clone(), ..Places::default() };
                let daemon = Daemon::at(global, &places)?;
                report.environment = environment::check(&loaded, &daemon);
            }
            report
        }
        Err(refused) => Report { configuration: refused.all().to_vec(), ..Report::default() },
    };
    report.count();
    output.data(&report, |report| text(report, output))?;
    if report.ok { Ok(()) } else { Err(Failure::Reported(Exit::Failed)) }
}

/// What was found.
#[derive(Debug, Default, Serialize)]
struct Report {
    ok: bool,
    errors: usize,
    warnings: usize,
    /// How much the configuration holds, where it was accepted.
    summary: Option<Summary>,
    /// Findings in the configuration.
    configuration: Vec<Diagnostic>,
    /// Findings about this machine.
    environment: Vec<Finding>,
}

#[derive(Debug, Serialize)]
struct Summary {
    interfaces: usize,
    services: usize,
    backends: usize,
    lists: usize,
    entries: usize,
}

/// A finding about this machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    /// Stable code.
    pub(super) code: &'static str,
    /// Whether weir would not start.
    pub(super) severity: Severity,
    /// What was seen.
    pub(super) message: String,
    /// How to mend it.
    pub(super) hint: String,
}

impl Report {
    fn new(loaded: &Loaded) -> Self {
        let desired = &loaded.desired;
        let summary = Summary {
            interfaces: loaded.settings.interfaces.len(),
            services: desired.services.len(),
            backends: desired.services.values().map(|service| service.backends.len()).sum(),
            lists: desired.acl.lists.len(),
            entries: desired.acl.lists.values().map(|list| list.entries.len()).sum(),
        };
        Self { summary: Some(summary), configuration: loaded.warnings.clone(), ..Self::default() }
    }

    fn count(&mut self) {
        let severities = self.configuration.iter().map(|found| found.severity);
        let all = severities.chain(self.environment.iter().map(|found| found.severity));
        let (errors, warnings): (Vec<_>, Vec<_>) = all.partition(|severity| *severity == Severity::Error);
        self.errors = errors.len();
        self.warnings = warnings.len();
        self.ok = self.errors == 0;
    }
}

fn text(report: &Report, output: &Output) -> String {
    let mut text: String = report.configuration.iter().map(|found| format!("{found}\n\n")).collect();
    for found in &report.environment {
        let severity = match found.severity {
            Severity::Error => output.paint(Colour::Red, "error"),
            Severity::Warning => output.paint(Colour::Yellow, "warning"),
        };
        let Finding { code, message, hint, .. } = found;
        text.push_str(&format!(
            "{severity}[{code}]: {}\n  = help: {}\n\n",
            printable(message),
            printable(hint)
        ));
    }
    let held = report.summary.as_ref().map(|summary| {
        let Summary { interfaces, services, backends, lists, entries } = summary;
        format!(
            ": {interfaces} interfaces, {services} services with {backends} backends, {lists} lists with {entries} \
             entries"
        )
    });
    let verdict =
        if report.ok { output.paint(Colour::Green, "ok") } else { output.paint(Colour::Red, "NOT OK") };
    text.push_str(&format!(
        "{verdict}, {} errors, {} warnings{}\n",
        report.errors,
        report.warnings,
        held.unwrap_or_default()
    ));
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::output::Format;

    #[test]
    fn errors_decide_and_are_counted() {
        let finding = |severity| Finding {
            code: "env.interface",
            severity,
            message: "eth9 is not here".into(),
            hint: "see `ip link`".into(),
        };
        let mut report = Report { environment: vec![finding(Severity::Warning)], ..Report::default() };
        report.count();
        assert!(report.ok);
        report.environment.push(finding(Severity::Error));
        report.count();
        let output =
            Output { format: Format::Table, quiet: false, verbose: false, colour: false, terminal: false };
        assert_eq!(
            text(&report, &output),
            "\
warning[env.interface]: eth9 is not here
  = help: see `ip link`

error[env.interface]: eth9 is not here
  = help: see `ip link`

NOT OK, 1 errors, 1 warnings
"
        );
    }
}
