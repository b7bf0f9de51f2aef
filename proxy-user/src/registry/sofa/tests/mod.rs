//! Tests of the client: recorded bytes, sets and versions, and a server that misbehaves as no real one can be made to.

mod double;
mod hostile;
mod knowledge;
mod recorded;
mod trouble;
