//! Wire formats that more than one part of weir speaks. Bytes in, values out: no sockets, no state.

pub mod bolt;
