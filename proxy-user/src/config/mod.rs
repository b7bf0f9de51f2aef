//! The configuration of `weir run`: file and flags in, checked model out. Nothing here touches the kernel.
//!
//! text → [`toml`] → `shape` (keys, types, ranges, by the schema) → `raw` (serde) → `check` (texts into values) →
//! `flags` → `semantic` (what objects must be to each other) → [`Loaded`]. Findings of every step are [`Diagnostic`]s.

mod at;
mod bounds;
mod check;
mod diagnostic;
mod flags;
mod json;
mod l7;
mod list_file;
mod load;
mod mask;
pub mod parse;
mod problem;
mod raw;
mod raw_l7;
mod raw_registry;
mod raw_route;
mod report;
mod schema;
mod semantic;
mod settings;
mod shape;
mod source;
mod text_or;
mod written;

pub(crate) use source::{Outcome, read_bytes};

pub use diagnostic::{Diagnostic, Diagnostics};
pub use flags::Flags;
pub use json::{Once, once, read_json};
pub use l7::{L7Finding, L7Refused, ReadL7, l7_schema, read_l7_json, read_l7_toml};
pub use load::{Loaded, load, load_text};
pub use problem::{Code, Locus, Problem, Severity};
pub use schema::schema;
pub use semantic::{semantic_check, semantic_check_within};
pub use settings::{AttachMode, Interface, Limits, Part, RegistryChanges, Settings};
pub use written::{l7_text, shown, unsafe_to_show};
