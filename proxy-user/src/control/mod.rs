//! The control API: HTTP over a Unix socket. The server translates requests into [`crate::catalog::Change`]s and hands
//! them through the [`door`] to the daemon's loop, which alone applies them.

pub mod client;
pub mod door;
pub mod types;
