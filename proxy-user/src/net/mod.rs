//! What the kernel knows about the network, by netlink: links, addresses, routes, neighbours.

pub mod announce;
mod batch;
pub(crate) mod convert;
pub mod follow;
pub mod gratuitous;
pub mod host;
pub mod link;
pub mod local;
pub mod neighbour;
pub mod netlink;
pub mod nexthop;
pub mod packet;
pub mod ports;
mod prober;
pub mod watch;

#[cfg(test)]
mod announce_tests;
#[cfg(test)]
mod follow_tests;
#[cfg(test)]
mod nexthop_tests;
