//! The codecs, through their contract: bytes of others, hostile requests, cuts and joins, and any bytes.

mod any_bytes;
mod golden;
mod hostile;
mod matrix;
