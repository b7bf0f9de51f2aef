//! Support for weir's tests: packets, the naive oracle, tables, rows, the loaded object.

pub mod engine;
pub mod object;
pub mod oracle;
pub mod packet;
pub mod rng;
pub mod world;
