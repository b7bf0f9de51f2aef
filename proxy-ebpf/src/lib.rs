//! weir's packet decision: one source, compiled for the kernel (the bin of this crate), for tests and for `explain`.
//!
//! The path of a packet, in the order in which it happens:
//! [`pipeline`] → [`parse`] → `acl` → `service` (is it ours?) → `flow` or `flow_error` (known NAT flows) → `service` →
//! `nat` (new NAT flow) or `pick` with `cache` (stateless modes) → `next_hop` → `rewrite` → [`Outcome`].
//!
//! It sees the packet through [`Frame`], the maps through [`Tables`] and [`Memory`]. It never loops over more than a
//! fixed number, never allocates, and has no unsafe code.
#![cfg_attr(not(any(test, feature = "host")), no_std)]
#![forbid(unsafe_code)]

mod acl;
mod cache;
pub mod checksum;
mod flow;
mod flow_error;
pub mod frame;
pub mod hash;
#[cfg(any(test, feature = "host"))]
pub mod memory;
mod nat;
mod next_hop;
mod outcome;
pub mod packet;
pub mod parse;
mod pick;
pub mod pipeline;
mod rewrite;
mod service;
pub mod tables;
mod work;

pub use acl::may_connect;
pub use frame::Frame;
pub use outcome::Outcome;
pub use pipeline::decide;
pub use tables::{ClaimError, FibHop, Memory, Switches, Tables};
pub use work::{AlignedMac, Scratch};
