//! x
use super::failure::Failure;
use super::output::Output;
/// x
#[derive(Clone, Debug, clap::Args)]
pub struct CheckArgs {}
/// x
/// # Errors
/// x
pub fn check(_a: &CheckArgs, _o: &Output) -> Result<(), Failure> {
    Ok(())
}
