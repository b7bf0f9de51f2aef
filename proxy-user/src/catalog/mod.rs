//! Merges what the file and flags say (the base) with what the API added into one [`crate::model::Desired`].
//!
//! Pure: the clock is an argument, nothing is stored here. Ownership is per entry and per backend:
//! - The base is never altered. The API may add entries to its lists and backends to its services, and may lay a weight
//!   or a state on its backends ([`Override`]), and L7 settings over its services; all of that survives a reload. Anything
//!   else is an `origin_conflict`.
//! - What the API added to a list or service that the base no longer has is *orphaned*: kept, not in force, reported,
//!   and in force again once the list or service is back.
//! - A list or service of the API whose name the base takes later steps back: the base's definition holds. The entries
//!   join if both lists do the same to the same packets, the backends if both services have the same VIP and mode; if
//!   not, they count as orphaned.
//! - L7 settings of the API that an edit of the base no longer allows (a destination is gone, the service is no longer
//!   `l7`) step back at a start: those of the base hold, and a service of the API is not in force at all, for it must not serve
//!   without its rules. Whom the settings denied is not let in by this ([`SteppedBack`]): their `access` holds on, and where
//!   it cannot, the service refuses everybody. A reload or a change that would bring this about is refused.
//! - An entry whose end has come is left out by [`merge`] at once, and taken out of the state by the next change.

mod apply;
mod apply_list;
mod apply_service;
mod change;
mod check;
mod l7;
#[cfg(test)]
mod l7_tests;
mod merge;
mod orphans;
#[cfg(test)]
mod orphans_tests;
mod overlay;
pub mod pool;
mod refusal;
pub mod snapshot;
mod state;
mod stepped_back;
#[cfg(test)]
mod stepped_back_tests;
#[cfg(test)]
mod tests;
mod text;
pub mod weight;

pub use apply::Changed;
pub use change::{Change, NewBackend, NewEntry};
pub use l7::covered_l7;
pub use merge::{Merged, merge};
pub use overlay::{LeftOut, check_change, overlay};
pub use refusal::Refusal;
pub use state::{
    ApiBackend, ApiEntry, ApiList, ApiService, ApiState, ListDefinition, Override, ServiceDefinition,
};
pub use stepped_back::SteppedBack;
pub use text::{backend_text, parse_backend, parse_prefix, parse_ttl, parse_vip, valid_name, vip_text};
