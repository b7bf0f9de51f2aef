//! Endpoints and the connections to them: of one worker, so that nothing here is shared.

mod balance;
mod endpoint;
mod ids;
#[cfg(test)]
mod tests;

pub(in crate::l7) use balance::{Chooser, Draw};
pub(in crate::l7) use endpoint::{Budget, Endpoint, Verdict, micros};
pub(in crate::l7) use ids::Ids;
