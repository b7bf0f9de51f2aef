//! What the kernel knows about the network, by netlink: links, addresses, routes, neighbours.

pub(crate) mod convert;
pub mod netlink;
pub mod packet;
