//! Support for weir's tests: packets, the naive oracle, tables, rows, the loaded object.

pub mod engine;
pub mod host;
pub mod object;
pub mod oracle;
pub mod packet;
pub mod random;
pub mod rng;
pub mod rows;
pub mod trial;
pub mod world;
