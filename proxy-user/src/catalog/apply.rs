//! A change of what the API has set. Idempotent: adding what exists and removing what is absent succeed and say so.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::merge::merge_after;
use super::{ApiState, Change, Merged, Refusal};
use crate::config::Limits;
use crate::control::types::{Code, Counts, Item, Operation, Outcome};
use crate::model::Desired;

/// What the API has set after a change, and what the change did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changed {
    /// The new state.
    pub api: ApiState,
    /// Whether it differs from the old.
    pub changed: bool,
    /// Items by outcome.
    pub counts: Counts,
    /// The items that are worth telling.
    pub items: Vec<Item>,
    /// Entries that had ended by then and were taken out with it, by list.
    pub expired: BTreeMap<String, u64>,
}

impl ApiState {
    /// This state after a change. What the base has set is not altered.
    ///
    /// # Errors
    /// Why nothing of the change can be done.
    pub fn change(&self, base: &Desired, change: Change, now: Timestamp) -> Result<Changed, Refusal> {
        let mut result = Changed { api: self.clone(), ..Changed::default() };
        result.expired = result.api.prune(now);
        match change {
            Change::PutList { list, order, action, scope, entries } => {
                result.put_list(base, &list, (order, action, scope), entries, now)?;
            }
            Change::PatchList { list, order, action, scope, add, remove, atomic } => {
                result.patch_list(base, &list, (order, action, scope), add, &remove, atomic, now)?;
            }
            Change::DeleteList { list } => result.delete_list(base, &list)?,
            Change::PutService { service, definition, backends, l7 } => {
                result.put_service(base, &service, definition, &backends, l7)?;
            }
            Change::DeleteService { service } => result.delete_service(base, &service)?,
            Change::PutBackend { service, backend, new } => {
                result.put_backend(base, &service, backend, new)?;
            }
            Change::DeleteBackend { service, backend } => result.delete_backend(base, &service, backend)?,
            Change::SetBackend { service, backend, new } => {
                result.set_backend(base, &service, backend, new)?;
            }
            Change::SetL7 { service, l7 } => result.set_l7(base, &service, l7)?,
            Change::SetWithdrawn { service, withdrawn } => result.set_withdrawn(base, &service, withdrawn)?,
        }
        result.api.tidy();
        result.changed = result.api != *self;
        Ok(result)
    }

    /// This state after a change, merged with the base and checked.
    ///
    /// # Errors
    /// Why nothing of the change can be done.
    pub fn evolve(
        &self,
        base: &Desired,
        change: Change,
        now: Timestamp,
        limits: Limits,
    ) -> Result<(Changed, Merged), Refusal> {
        let subject = match &change {
            Change::PutService { service, l7, .. } | Change::SetL7 { service, l7 } => {
                l7.clone().map(|l7| (service.clone(), l7))
            }
            _ => None,
        };
        let changed = self.change(base, change, now)?;
        let subject = subject.as_ref().map(|(name, l7)| (name.as_str(), &**l7));
        let merged = merge_after(base, &changed.api, self, subject, now, limits)?;
        Ok((changed, merged))
    }

    /// Takes out what has ended, and says how many entries of which list.
    pub fn prune(&mut self, now: Timestamp) -> BTreeMap<String, u64> {
        let mut ended = BTreeMap::new();
        for (name, list) in &mut self.lists {
            let count = list.entries.values().filter(|entry| !entry.holds(now)).count();
            if count > 0 {
                std::sync::Arc::make_mut(&mut list.entries).retain(|_, entry| entry.holds(now));
                ended.insert(name.clone(), u64::try_from(count).unwrap_or(u64::MAX));
            }
        }
        if !ended.is_empty() {
            self.tidy();
        }
        ended
    }

    /// Drops parts that say nothing.
    fn tidy(&mut self) {
        self.lists.retain(|_, list| list.definition.is_some() || !list.entries.is_empty());
        self.services.retain(|_, service| {
            service.overrides.retain(|_, over| over.weight.is_some() || over.state.is_some());
            let own = service.definition.is_some() || service.withdrawn || service.l7.is_some();
            own || !service.backends.is_empty() || !service.overrides.is_empty()
        });
    }
}

impl Changed {
    pub(super) fn note(
        &mut self,
        item: impl Into<String>,
        operation: Operation,
        outcome: Outcome,
        note: Option<String>,
    ) {
        self.counts.add(outcome);
        self.items.push(Item { item: item.into(), operation, outcome, code: None, note });
    }
}

pub(super) fn check_name(kind: &str, name: &str) -> Result<(), Refusal> {
    if super::valid_name(name) {
        return Ok(());
    }
    Err(Refusal::new(Code::InvalidRequest, format!("{name:?} cannot be the name of a {kind}"))
        .hint("1 to 63 of a-z, 0-9, _, . and -"))
}
