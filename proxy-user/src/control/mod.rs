//! The control API: HTTP over a Unix socket. The server translates requests into [`crate::catalog::Change`]s and hands
//! them through the [`door`] to the daemon's loop, which alone applies them.

pub mod client;
pub mod door;
#[cfg(test)]
pub(crate) mod fake;
pub mod l7;
pub mod registry;
pub mod server;
pub mod types;
