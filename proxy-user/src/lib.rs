//! weir: source-IP ACL and load balancer in XDP. The daemon and CLI.
//!
//! Data flows one way: doors (`config`, `control`) → `catalog` → [`model::Desired`] → [`plan`] → `kernel` → maps.

pub mod app;
pub mod cli;
pub mod demo;
pub mod explain;
pub mod model;
pub mod plan;
