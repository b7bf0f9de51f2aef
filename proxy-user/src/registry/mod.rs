//! Registries: where services say which endpoints they have.
//!
//! A registry's client ([`source::Client`]) turns its server's words into a stream of [`source::Event`]s and knows nothing
//! of weir's services. `driver` runs every client alike: back-off, resync, cancellation. `catalog::pool` decides what the
//! events mean for the backends. No client reaches the maps, and none decides that an endpoint goes away.
//!
//! Each registry has a folder: sans-IO wire code, the client, recorded bytes, tests. `list` names them all.

pub mod collect;
#[cfg(feature = "dns")]
pub mod dns;
pub mod driver;
pub mod endpoint;
#[cfg(feature = "etcd")]
pub mod etcd;
pub mod fault;
pub mod file;
pub mod list;
#[cfg(feature = "sofa")]
pub mod sofa;
pub mod source;
