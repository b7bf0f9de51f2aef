//! Placeholder on this branch only: the lead's `app.rs` replaces this file.

use crate::cli::Failure;
use crate::cli::run::{Places, RunArgs};
use crate::control::types::DetachAnswer;

/// Runs the daemon until it is stopped.
///
/// # Errors
///
/// Always, on this branch.
pub fn run(args: RunArgs) -> anyhow::Result<()> {
    drop(args);
    Err(Failure::Failed("this build has no daemon".into()).into())
}

/// Removes links and pins when no daemon runs.
///
/// # Errors
///
/// Always, on this branch.
pub fn detach(places: &Places) -> anyhow::Result<DetachAnswer> {
    let _unused = places;
    Err(Failure::Failed("this build has no daemon".into()).into())
}
