//! What the kernel knows about the network, by netlink: links, addresses, routes, neighbours.

pub(crate) mod convert;
pub mod host;
pub mod link;
pub mod neighbour;
pub mod netlink;
pub mod nexthop;
pub mod packet;
pub mod watch;

#[cfg(test)]
mod nexthop_tests;
