//! `cargo xtask fuzz TARGET`: a long run of the fuzz test, which says what there is and how it works.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

/// Runs one target, or all.
pub(crate) fn run(root: &Path, target: &str, seconds: u64, seed: Option<u64>) -> Result<()> {
    let mut command = Command::new(env!("CARGO"));
    command
        .args(["test", "--profile", "fuzz", "--package", "proxy-user", "--test", "fuzz"])
        .current_dir(root);
    command.args(["--", "--nocapture"]).env("WEIR_FUZZ_SECONDS", seconds.to_string());
    if target != "all" {
        command.env("WEIR_FUZZ_TARGET", target);
    }
    if let Some(seed) = seed {
        command.env("WEIR_FUZZ_SEED", seed.to_string());
    }
    let status = command.status().context("starting cargo")?;
    ensure!(status.success(), "a fault was found; its seed and input are above");
    Ok(())
}
