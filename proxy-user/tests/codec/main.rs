//! The codecs, through their contract: bytes of others, hostile requests, cuts and joins, and any bytes.

#[cfg(test)]
mod any_bytes;
#[cfg(test)]
mod golden;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod matrix;
#[cfg(test)]
#[path = "../l7/table.rs"]
mod table;
