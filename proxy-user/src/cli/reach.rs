//! The way to the daemon: a client of the control API, its calls made one after the other, its errors as [`Failure`]s.

use std::future::Future;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};

use super::Global;
use super::failure::{Exit, Failure};
use super::output::Output;
use super::run::Places;
use crate::control::client::{ChangeOptions, Client, ClientError};
use crate::control::types::{Applied, Code, Item, Outcome, Problem, StatsSnapshot};

/// A daemon that is spoken to.
pub(crate) struct Daemon {
    /// Its API.
    pub(crate) client: Client,
    runtime: Runtime,
    if_match: Option<u64>,
}

impl Daemon {
    /// The daemon of `--socket`. Nothing is connected yet.
    pub(crate) fn reach(global: &Global) -> Result<Self, Failure> {
        Self::at(global, &Places::default())
    }

    /// The daemon of `--socket`, else of `--run-dir`.
    pub(crate) fn at(global: &Global, places: &Places) -> Result<Self, Failure> {
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| Failure::Failed(format!("cannot start the client's event loop: {error}")))?;
        let client = Client::new(places.socket(global.socket.as_ref()));
        Ok(Self { client, runtime, if_match: global.if_gen })
    }

    /// Runs something that waits, beside calls to the daemon.
    pub(crate) fn run<T>(&self, task: impl Future<Output = T>) -> T {
        self.runtime.block_on(task)
    }

    /// Makes a call and waits for its answer.
    pub(crate) fn ask<T>(&self, call: impl Future<Output = Result<T, ClientError>>) -> Result<T, Failure> {
        self.runtime.block_on(call).map_err(failure)
    }

    /// As [`Self::ask`]; `None` where the daemon refuses with this code: there is no such object.
    pub(crate) fn look<T>(
        &self,
        missing: Code,
        call: impl Future<Output = Result<T, ClientError>>,
    ) -> Result<Option<T>, Failure> {
        match self.runtime.block_on(call) {
            Ok(answer) => Ok(Some(answer)),
            Err(ClientError::Refused(problem)) if problem.code == missing => Ok(None),
            Err(error) => Err(failure(error)),
        }
    }

    /// How changes are asked for: under `--if-gen`, if given.
    pub(crate) fn options(&self) -> ChangeOptions {
        ChangeOptions { if_match: self.if_match, dry_run: false }
    }

    /// Two readings of the counters, at least a second apart: what rates are made of.
    pub(crate) fn two_readings(&self) -> Result<(StatsSnapshot, StatsSnapshot), Failure> {
        let before = self.ask(self.client.stats())?.value;
        Ok((before, self.reading_after(READING_APART)?))
    }

    /// A reading of the counters after a pause.
    pub(crate) fn reading_after(&self, pause: Duration) -> Result<StatsSnapshot, Failure> {
        // Made inside: a timer needs the running event loop.
        self.runtime.block_on(async { tokio::time::sleep(pause).await });
        Ok(self.ask(self.client.stats())?.value)
    }
}

/// Says what a change came to: on stderr what needs a word, on stdout the answer (with `-o json`).
///
/// # Errors
///
/// [`Failure::Partly`] when items were refused.
pub(crate) fn report(applied: &Applied, done: &str, output: &Output) -> Result<(), Failure> {
    for item in &applied.items {
        if let Some(line) = item_line(item) {
            output.say(&line);
        }
    }
    for warning in &applied.warnings {
        output.say(&format!("warning {}: {}", warning.code, warning.detail));
    }
    let verb = if applied.changed { done } else { "nothing to change" };
    if output.quiet {
        output.json_only(applied)?;
    } else {
        output.data(applied, |applied| format!("{verb} (generation {})\n", applied.generation))?;
    }
    match applied.counts.refused {
        0 => Ok(()),
        refused => Err(Failure::Partly(format!("{refused} items were refused, see above"))),
    }
}

fn item_line(item: &Item) -> Option<String> {
    let what = match item.outcome {
        Outcome::Exists => "is there already",
        Outcome::Absent => "is not there",
        Outcome::Refused => "refused",
        Outcome::Added | Outcome::Updated | Outcome::Removed => "",
    };
    let note = item.note.as_deref().unwrap_or_default();
    match (what, note) {
        ("", "") => None,
        (what, "") => Some(format!("{}: {what}", item.item)),
        ("", note) => Some(format!("{}: {note}", item.item)),
        (what, note) => Some(format!("{}: {what}: {note}", item.item)),
    }
}

fn failure(error: ClientError) -> Failure {
    match error {
        ClientError::Unreachable { path, source } => {
            Failure::Unreachable { socket: path, cause: source.to_string() }
        }
        ClientError::NotPermitted { .. } => Failure::NotPermitted(error.to_string()),
        ClientError::Refused(problem) => refused(&problem),
        ClientError::Protocol { .. } => Failure::Failed(error.to_string()),
    }
}

fn refused(problem: &Problem) -> Failure {
    let exit = match problem.code {
        Code::StaleGeneration => Exit::Stale,
        Code::NotPermitted => Exit::NotPermitted,
        _ => Exit::Failed,
    };
    let mut message = format!("{} [{}]", problem.detail, problem.code.label());
    for error in &problem.errors {
        message.push_str(&format!("\n  {}: {}", error.pointer, error.message));
    }
    if let Some(generation) = problem.generation {
        message.push_str(&format!("\n  generation in force: {generation}"));
    }
    if let Some(hint) = &problem.hint {
        message.push_str(&format!("\n  hint: {hint}"));
    }
    Failure::Refused { exit, code: problem.code.label().to_owned(), message }
}

/// The daemon reads its counters at most once a second.
const READING_APART: Duration = Duration::from_millis(1_050);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::types::{FieldError, Operation};

    #[test]
    fn a_problem_is_told_with_its_code_and_hint() {
        let problem = Problem {
            kind: "about:blank".into(),
            title: "x".into(),
            status: 412,
            code: Code::StaleGeneration,
            detail: "generation 7 is in force, not 6".into(),
            hint: Some("read the list again".into()),
            errors: vec![FieldError { pointer: "/add/0".into(), message: "bad".into() }],
            generation: Some(7),
        };
        let failure = refused(&problem);
        assert_eq!(failure.exit(), Exit::Stale);
        assert_eq!(
            failure.to_string(),
            "generation 7 is in force, not 6 [stale_generation]\n  /add/0: bad\n  generation in force: 7\n  \
             hint: read the list again"
        );
    }

    #[test]
    fn items_speak_only_when_there_is_something_to_say() {
        let item = |outcome, note: Option<&str>| Item {
            item: "10.0.0.0/8".into(),
            operation: Operation::Add,
            outcome,
            code: None,
            note: note.map(ToOwned::to_owned),
        };
        assert_eq!(item_line(&item(Outcome::Added, None)), None);
        assert_eq!(
            item_line(&item(Outcome::Added, Some("host bits cleared"))).as_deref(),
            Some("10.0.0.0/8: host bits cleared")
        );
        assert_eq!(item_line(&item(Outcome::Exists, None)).as_deref(), Some("10.0.0.0/8: is there already"));
    }
}
