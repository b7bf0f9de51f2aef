//! weir: source-IP ACL and load balancer in XDP. The daemon and CLI.
//!
//! Data flows one way: doors (`config`, `control`) → `catalog` → [`model::Desired`] → [`plan`] → `kernel` → maps.

pub mod app;
pub mod catalog;
pub mod cli;
pub mod config;
pub mod control;
pub mod demo;
pub mod explain;
pub mod health;
pub mod kernel;
pub mod l7;
pub mod lab;
pub mod metrics;
pub mod model;
pub mod net;
pub mod plan;
pub mod registry;
pub mod store;
pub mod wire;
