//! A step's effect on the installed state, as reading the maps again would show it.

use proxy_common::{AclClass, BackendState, ServiceKey, ServiceValue, SnatValue};

use super::blocks::covered;
use super::{Installed, Step};

impl Installed {
    /// Carries out a step on this copy.
    pub fn apply(&mut self, step: &Step) {
        match step {
            Step::NameList { slot, name } if name.is_empty() => drop(self.lists.remove(slot)),
            Step::NameList { slot, name } => drop(self.lists.insert(*slot, name.clone())),
            Step::SetClass { class, value } if *value == AclClass::default() => {
                self.classes.remove(class);
            }
            Step::SetClass { class, value } => {
                self.classes.insert(*class, *value);
            }
            Step::SetPrefix { table, prefix, class } => {
                self.acl.get_mut(*table).map(|table| table.insert(*prefix, *class));
            }
            Step::DeletePrefix { table, prefix } => {
                self.acl.get_mut(*table).map(|table| table.remove(prefix));
            }
            Step::SetSnat { index, value } if *value == SnatValue::default() => {
                self.snat.remove(index);
            }
            Step::SetSnat { index, value } => {
                self.snat.insert(*index, *value);
            }
            Step::SetBackend { slot, value } => {
                if BackendState::from_byte(value.state) == BackendState::Free {
                    self.backends.remove(slot);
                    self.retired.insert(*slot, value.generation);
                } else {
                    self.retired.remove(slot);
                    self.backends.insert(*slot, *value);
                }
            }
            Step::SetRing { first, blocks } => {
                self.rings.insert(*first, blocks.clone());
            }
            Step::SetFilter { word, value: 0 } => {
                self.filter.remove(word);
            }
            Step::SetFilter { word, value } => {
                self.filter.insert(*word, *value);
            }
            Step::SetDestination { addr, value } => {
                self.destinations.insert(*addr, *value);
            }
            Step::DeleteDestination { addr } => {
                self.destinations.remove(addr);
            }
            Step::SetService { key, value } => self.switch(key, Some(*value)),
            Step::DeleteService { key } => self.switch(key, None),
            Step::SetConfig { value } => self.config = *value,
            Step::Grace => {}
        }
    }

    /// The table that is in force.
    #[must_use]
    pub fn active_table(&self) -> &std::collections::BTreeMap<ipnet::IpNet, u32> {
        let [a, b] = &self.acl;
        if self.config.acl_table == 1 { b } else { a }
    }

    /// Replaces a service; the ring that it leaves is covered no longer.
    fn switch(&mut self, key: &ServiceKey, value: Option<ServiceValue>) {
        let old = match value {
            Some(value) => self.services.insert(*key, value),
            None => self.services.remove(key),
        };
        let Some(old) = old.filter(|old| value.is_none_or(|value| value.ring != old.ring)) else { return };
        if let Some((first, _)) = covered(&old) {
            self.rings.remove(&first);
        }
    }
}
