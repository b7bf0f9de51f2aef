//! Which route a request takes: virtual hosts and ordered routes on a codec's neutral head. Compiled from a snapshot, and
//! pure.

pub mod access;
mod matches;
mod query;
mod ranges;
mod table;
mod target;
#[cfg(test)]
mod tests;
mod why;

pub use matches::Asking;
pub use ranges::Ranges;
pub use table::{Does, RouteCounters, Taken, Target, VirtualHosts, full_name};
pub(in crate::l7) use table::{with_edits, with_fields};
pub use target::{Elsewhere, OtherUrl, Rewriting};
pub use why::{conditions, why_not};
