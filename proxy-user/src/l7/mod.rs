//! The L7 path: what happens to a connection that XDP left to the daemon.

pub mod codec;
