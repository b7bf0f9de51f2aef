//! The order of ACL writes. Verdicts change by single prefixes in the table in force, where a look-up sees the old or
//! the new verdict at each moment, or all at once by building the other table and switching.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use ipnet::IpNet;
use proxy_common::{AclClass, config_flag};

use super::access::{Access, is_v4};
use super::desired::Target;
use super::diff::{to_remove, to_set};
use super::settings::DEFAULT_DROPS;
use super::{Installed, Limits, Step};

/// The ACL's part of a plan.
#[derive(Debug, Default)]
pub(super) struct AclSteps {
    /// What comes before the switch.
    pub before: Vec<Step>,
    /// Whether the other table comes into force.
    pub switch: bool,
    /// What comes after the grace period.
    pub after: Vec<Step>,
}

/// Steps from the installed ACL to the target's.
pub(super) fn acl_steps(target: &Target, installed: &Installed, limits: &Limits) -> AclSteps {
    let Some(access) = &target.access else { return AclSteps::default() };
    let active = usize::from(installed.config.acl_table == 1);
    let table = Changes::between(installed.active_table(), &access.table);
    let switch = !changes_in_place(&table, access, target, installed, limits);

    let mut before = Vec::new();
    if switch && !other_table(installed).is_empty() || reuses_class(access, installed) {
        // Left by a plan that did not end: packets may still read it.
        before.push(Step::Grace);
    }
    for (slot, name) in to_set(&installed.lists, &access.lists) {
        before.push(Step::NameList { slot: *slot, name: name.clone() });
    }
    for (class, value) in to_set(&installed.classes, &access.classes) {
        before.push(Step::SetClass { class: *class, value: *value });
    }
    let mut after = Vec::new();
    if switch {
        let other = Changes::between(other_table(installed), &access.table);
        before.extend(
            other.deletes.iter().map(|prefix| Step::DeletePrefix { table: 1 - active, prefix: *prefix }),
        );
        before.extend(other.sets.iter().map(|(prefix, class)| set(1 - active, prefix, *class)));
        let old = installed.active_table().keys();
        after.extend(old.map(|prefix| Step::DeletePrefix { table: active, prefix: *prefix }));
    } else {
        before.extend(table.in_place(active));
        let left = other_table(installed).keys();
        after.extend(left.map(|prefix| Step::DeletePrefix { table: 1 - active, prefix: *prefix }));
    }
    for (class, _) in to_remove(&installed.classes, &access.classes) {
        after.push(Step::SetClass { class: *class, value: AclClass::default() });
    }
    for (slot, _) in to_remove(&installed.lists, &access.lists) {
        after.push(Step::NameList { slot: *slot, name: String::new() });
    }
    AclSteps { before, switch, after }
}

/// Differences of two tables.
struct Changes {
    sets: Vec<(IpNet, u32)>,
    deletes: Vec<IpNet>,
}

impl Changes {
    fn between(old: &BTreeMap<IpNet, u32>, new: &BTreeMap<IpNet, u32>) -> Self {
        Self {
            sets: to_set(old, new).map(|(prefix, class)| (*prefix, *class)).collect(),
            deletes: to_remove(old, new).map(|(prefix, _)| *prefix).collect(),
        }
    }

    /// Writes in an order in which each address sees its old verdict or its new one. Longest first: a new prefix is there
    /// before what it makes an exception of changes. Shortest deleted first: the longest one around an address
    /// decides until it goes itself, and then all that should no longer be seen below it is gone.
    fn in_place(mut self, table: usize) -> impl Iterator<Item = Step> {
        self.sets.sort_by_key(|(prefix, _)| Reverse(prefix.prefix_len()));
        self.deletes.sort_by_key(IpNet::prefix_len);
        let sets = self.sets.into_iter().map(move |(prefix, class)| set(table, &prefix, class));
        sets.chain(self.deletes.into_iter().map(move |prefix| Step::DeletePrefix { table, prefix }))
    }

    fn prefixes(&self) -> impl Iterator<Item = &IpNet> {
        self.sets.iter().map(|(prefix, _)| prefix).chain(&self.deletes)
    }
}

/// Whether the table in force can be changed as it is: both old and new entries fit, and either no look-up sees it yet, or
/// few entries change and the default action, which would have to change at the same moment, stays.
fn changes_in_place(
    table: &Changes,
    access: &Access,
    target: &Target,
    installed: &Installed,
    limits: &Limits,
) -> bool {
    let old = installed.active_table();
    let fits = [(true, limits.acl_v4), (false, limits.acl_v6)].into_iter().all(|(v4, limit)| {
        let kept = access.table.keys().filter(|prefix| is_v4(prefix) == v4).count();
        let doomed = table.deletes.iter().filter(|prefix| is_v4(prefix) == v4).count();
        kept + doomed <= limit as usize
    });
    let flags = installed.config.flags;
    let seen = table
        .prefixes()
        .any(|prefix| flags & if is_v4(prefix) { config_flag::ACL_V4 } else { config_flag::ACL_V6 } != 0);
    let defaults_stay = (flags ^ target.config.flags) & DEFAULT_DROPS == 0;
    let changes = table.sets.len() + table.deletes.len();
    let few = changes <= FEW || changes <= (old.len() + access.table.len()) / 8;
    fits && (!seen || defaults_stay && few)
}

/// Whether a class takes the id of another that no table in force names.
fn reuses_class(access: &Access, installed: &Installed) -> bool {
    to_set(&installed.classes, &access.classes).any(|(id, _)| installed.classes.contains_key(id))
}

fn other_table(installed: &Installed) -> &BTreeMap<IpNet, u32> {
    let [a, b] = &installed.acl;
    if installed.config.acl_table == 1 { a } else { b }
}

fn set(table: usize, prefix: &IpNet, class: u32) -> Step {
    Step::SetPrefix { table, prefix: *prefix, class }
}

/// So many changes are always made in place.
const FEW: usize = 64;
