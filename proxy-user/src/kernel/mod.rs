//! The kernel side: the only code that uses aya. Loads the object, keeps its pins, attaches it, reads the maps for the
//! planner and writes the planner's steps. It decides nothing about traffic.
//!
//! Start-up: [`lock::acquire`] → [`bpffs::PinDir::prepare`] → [`load::load`] for each interface → [`maps::Maps::open`] →
//! [`read::installed`] → plan → [`write::apply`] → [`adopt::bring_up`] for each interface. Until the last step whatever
//! was attached before stays in force.

pub mod adopt;
pub mod attach;
mod batch;
pub mod bpffs;
mod bulk;
pub mod capability;
pub mod clock;
mod errno;
pub mod flows;
pub mod grace;
pub mod links;
pub mod load;
pub mod lock;
pub mod lookup;
pub mod maps;
pub mod read;
pub mod schema;
pub mod stats;
pub(crate) mod sys;
pub mod testrun;
pub mod write;
pub mod xdp_state;
