//! The configuration of `weir run`: file and flags in, checked model out. Nothing here touches the kernel.

mod at;
mod bounds;
mod diagnostic;
pub mod parse;
mod problem;
mod raw;
mod schema;
mod settings;
mod source;

pub use diagnostic::{Diagnostic, Diagnostics};
pub use problem::{Code, Locus, Problem, Severity};
pub use schema::schema;
pub use settings::{AttachMode, Interface, Limits, Part, Settings};
