//! The L7 path: worker processes that end clients' connections and make their own to backends.
//!
//! The kernel's part is the hand-off: packets of a service with `forward = "l7"` pass the ACL in XDP and go to the host's
//! stack, a local route makes the host take them (`net::local`), and socket look-up (`kernel::lookup`) gives each new
//! connection to a listener of the workers. Nothing is bound to a VIP.
//!
//! [`process`] is what the daemon and its workers do to be several processes; [`snapshot`] is what goes out to workers,
//! [`stats`] what comes back; [`explain`] says what becomes of a request; [`worker`] is the body of a worker, with its [`codec`]s, [`route`]s and `pool`s.

pub mod codec;
pub mod explain;
mod pool;
pub mod process;
pub mod route;
pub mod snapshot;
pub mod stats;
pub mod worker;
