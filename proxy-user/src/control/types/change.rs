//! The answer to a change.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::problem::Code;

/// A change that was applied, or with `dry_run` one that would have been.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Applied {
    /// Generation in force after it.
    pub generation: u64,
    /// Whether it changed anything: adding what exists and removing what is absent succeed without a change.
    pub changed: bool,
    /// Whether it was only planned.
    pub dry_run: bool,
    /// How many items had which outcome.
    pub counts: Counts,
    /// The outcome of each item of a PATCH; for a whole list, only of the items that need a word.
    #[serde(default)]
    pub items: Vec<Item>,
    /// What the operator should know.
    #[serde(default)]
    pub warnings: Vec<Warning>,
}

/// Items by outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Counts {
    /// New.
    pub added: u64,
    /// Existed and changed.
    pub updated: u64,
    /// Existed (or were absent) already.
    pub unchanged: u64,
    /// Gone.
    pub removed: u64,
    /// Not done; only with `atomic=false`.
    pub refused: u64,
}

impl Counts {
    /// Counts one more item.
    pub fn add(&mut self, outcome: Outcome) {
        let field = match outcome {
            Outcome::Added => &mut self.added,
            Outcome::Updated => &mut self.updated,
            Outcome::Exists | Outcome::Absent => &mut self.unchanged,
            Outcome::Removed => &mut self.removed,
            Outcome::Refused => &mut self.refused,
        };
        *field = field.saturating_add(1);
    }
}

/// One item of a change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Item {
    /// The prefix, backend, service or list.
    pub item: String,
    /// What was asked.
    pub operation: Operation,
    /// What came of it.
    pub outcome: Outcome,
    /// Why it was refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<Code>,
    /// A word to it: what was masked, who set it, why it was refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// What was asked for an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Operation {
    /// Add or change it.
    Add,
    /// Take it out.
    Remove,
}

/// What came of an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It is new.
    Added,
    /// It existed and has changed.
    Updated,
    /// It existed just so.
    Exists,
    /// It is gone.
    Removed,
    /// It was not there.
    Absent,
    /// It was not done.
    Refused,
}

/// A warning with a stable code.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
pub struct Warning {
    /// Stable code, such as `generic_mode` or `orphaned_entries`.
    pub code: String,
    /// What, where and how to mend it.
    pub detail: String,
}
