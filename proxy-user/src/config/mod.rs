//! The configuration of `weir run`: file and flags in, checked model out. Nothing here touches the kernel.

pub mod parse;
mod settings;

pub use settings::{AttachMode, Interface, Limits, Part, Settings};
