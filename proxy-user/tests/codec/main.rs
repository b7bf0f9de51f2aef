//! The codecs, through their contract: hostile requests, the matrix of cuts and joins, and properties of any bytes.

mod any_bytes;
mod hostile;
mod matrix;
