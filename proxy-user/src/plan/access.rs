//! The ACL as it shall be in the maps: list slots, classes, one table.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;
use proxy_common::{AclClass, DEFAULT_LIST, MANAGEMENT_LIST, limits};

use super::acl::flatten;
use super::problem::{PlanError, What};
use super::{Installed, Limits};
use crate::model::AclPolicy;

/// The target of the ACL maps.
#[derive(Debug)]
pub(super) struct Access {
    /// Name by slot.
    pub lists: BTreeMap<u16, String>,
    /// Classes that the table uses.
    pub classes: BTreeMap<u32, AclClass>,
    /// The table that shall be in force.
    pub table: BTreeMap<IpNet, u32>,
}

impl Access {
    pub(super) fn build(
        policy: &AclPolicy,
        installed: &Installed,
        limits: &Limits,
    ) -> Result<Self, PlanError> {
        let slots = list_slots(policy, installed)?;
        let flat = flatten(policy, &slots);
        for (what, limit, wanted) in [
            (What::PrefixesV4, limits.acl_v4, flat.keys().filter(|prefix| is_v4(prefix)).count()),
            (What::PrefixesV6, limits.acl_v6, flat.keys().filter(|prefix| !is_v4(prefix)).count()),
        ] {
            if wanted > limit as usize {
                let cure = ", or raise the limit in [limits] and restart weir";
                return Err(PlanError::TooMany { what, wanted, limit: limit as usize, cure });
            }
        }
        let ids = class_ids(&flat, installed)?;
        let table = flat.iter().filter_map(|(prefix, class)| Some((*prefix, *ids.get(class)?))).collect();
        let named = slots.into_iter().map(|(name, slot)| (slot, name));
        let fixed = [(DEFAULT_LIST, "default".into()), (MANAGEMENT_LIST, "management".into())];
        let classes = ids.into_iter().map(|(class, id)| (id, class)).collect();
        Ok(Self { lists: named.chain(fixed).collect(), classes, table })
    }
}

/// Whether a prefix is of IPv4.
pub(super) fn is_v4(prefix: &IpNet) -> bool {
    matches!(prefix, IpNet::V4(_))
}

/// Slots of the named lists: what a name has it keeps, new names get the lowest slot that nobody has or had until now.
fn list_slots(policy: &AclPolicy, installed: &Installed) -> Result<BTreeMap<String, u16>, PlanError> {
    let wanted = policy.lists.len();
    let limit = limits::LISTS as usize - NAMED_FROM as usize;
    if wanted > limit {
        return Err(PlanError::TooMany { what: What::Lists, wanted, limit, cure: " or join some" });
    }
    let mut slots: BTreeMap<String, u16> = installed
        .lists
        .range(NAMED_FROM..)
        .filter(|(_, name)| policy.lists.contains_key(*name))
        .map(|(slot, name)| (name.clone(), *slot))
        .collect();
    let mut free = (NAMED_FROM..).take(limit).filter(|slot| !installed.lists.contains_key(slot));
    for name in policy.lists.keys() {
        if !slots.contains_key(name) {
            let room =
                || PlanError::NoRoomBeside { what: What::Lists, wanted: wanted - slots.len(), free: 0 };
            slots.insert(name.clone(), free.next().ok_or_else(room)?);
        }
    }
    Ok(slots)
}

/// Ids of the classes: a class that is installed keeps its id, new ones get the lowest id that holds nothing, then one
/// that the table in force does not name.
fn class_ids(
    flat: &BTreeMap<IpNet, AclClass>,
    installed: &Installed,
) -> Result<BTreeMap<AclClass, u32>, PlanError> {
    let wanted: BTreeSet<AclClass> = flat.values().copied().collect();
    let limit = limits::ACL_CLASSES as usize - 1;
    if wanted.len() > limit {
        let cure = " or join lists that share entries";
        return Err(PlanError::TooMany { what: What::Classes, wanted: wanted.len(), limit, cure });
    }
    let known: BTreeMap<AclClass, u32> =
        installed.classes.iter().rev().filter(|(id, _)| **id != 0).map(|(id, class)| (*class, *id)).collect();
    let in_force: BTreeSet<u32> = installed.active_table().values().copied().collect();
    let kept: BTreeSet<u32> = wanted.iter().filter_map(|class| known.get(class)).copied().collect();
    let never =
        (1..limits::ACL_CLASSES).filter(|id| !installed.classes.contains_key(id) && !in_force.contains(id));
    let stale = installed
        .classes
        .keys()
        .copied()
        .filter(|id| *id != 0 && !in_force.contains(id) && !kept.contains(id));
    let mut free = never.chain(stale);
    let missing = wanted.len() - kept.len();
    wanted
        .into_iter()
        .map(|class| match known.get(&class) {
            Some(id) => Ok((class, *id)),
            None => free.next().map(|id| (class, id)).ok_or(PlanError::NoRoomBeside {
                what: What::Classes,
                wanted: missing,
                free: 0,
            }),
        })
        .collect()
}

/// First slot of a list with a name of its own.
const NAMED_FROM: u16 = MANAGEMENT_LIST + 1;
