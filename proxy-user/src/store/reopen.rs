//! The state file after a fault of the disk: the database takes nothing more until it is opened again.

use jiff::Timestamp;

use super::{Store, StoreError, rows};
use crate::catalog::ApiState;

impl Store {
    /// After a fault: opens the file again, if it still is the one that was open, and answers what it has. That is what is in
    /// force, or the change whose last write failed: it may be there all the same.
    pub(super) fn reopen(&mut self, in_force: &ApiState) -> Result<Option<ApiState>, StoreError> {
        let Some(refused) = self.refused.get() else { return Ok(None) };
        // It has the file locked.
        self.database = None;
        let opened = Self::existing(&self.path)?;
        let stored = opened.load()?;
        let known = same(&stored, in_force) || same(&stored, refused);
        if opened.identity != self.identity || !known {
            return Err(StoreError::Replaced { path: self.path.clone() });
        }
        tracing::info!(path = %self.path.display(), "the state file is open again after a fault");
        *self = opened;
        Ok(Some(stored))
    }
}

/// Whether two states are stored alike, but for what has expired: where that could not be taken out, it is still there.
fn same(one: &ApiState, other: &ApiState) -> bool {
    let now = Timestamp::now();
    let mut states = [one.clone(), other.clone()];
    for state in &mut states {
        state.prune(now);
        state.lists.retain(|_, list| list.definition.is_some() || !list.entries.is_empty());
    }
    let [one, other] = states;
    let services = one.services.len() == other.services.len()
        && one.services.iter().zip(&other.services).all(|((name, one), (other_name, other))| {
            name == other_name && matches!((rows::service_row(one), rows::service_row(other)), (Ok(one), Ok(other)) if one == other)
        });
    services && one.lists == other.lists
}
