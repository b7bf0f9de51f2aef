//! Placeholder on this branch only: the lead's `demo/` replaces this file.

use crate::cli::{Failure, Output};

/// Runs the demo.
///
/// # Errors
///
/// Always, on this branch.
pub fn run(output: &Output) -> anyhow::Result<()> {
    let _unused = output;
    Err(Failure::Failed("this build has no demo".into()).into())
}
