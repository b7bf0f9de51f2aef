//! What the API set and the base leaves no place for: kept, not in force, and told.

use super::merge::Merged;
use super::stepped_back::SteppedBack;
use super::{ApiList, ApiService, ListDefinition, Refusal, ServiceDefinition};
use crate::control::types::{Code, L7Holds, Warning};
use crate::model::Desired;

/// The other list of the base that has a list's order.
pub(super) fn taker_of_order<'a>(base: &'a Desired, name: &str, own: &ListDefinition) -> Option<&'a String> {
    let same = base.acl.lists.iter().find(|(other, list)| *other != name && list.order == own.order);
    same.map(|(other, _)| other)
}

/// The other service of the base that has a service's VIP.
pub(super) fn taker_of_vip<'a>(base: &'a Desired, name: &str, own: &ServiceDefinition) -> Option<&'a String> {
    let same = base.services.iter().find(|(other, service)| *other != name && service.vip == own.vip);
    same.map(|(other, _)| other)
}

impl Merged {
    /// Why this state of an edited base may not follow `before`: a list or service of the API that was in force would lose
    /// its order or VIP, L7 settings of the API that were in force would step back, or a service would refuse everybody for
    /// those that it has no more.
    ///
    /// # Errors
    /// Names the first such list or service.
    pub fn may_follow(&self, before: &Self) -> Result<(), Refusal> {
        let refused =
            |message: String, hint: String| Err(Refusal::new(Code::InvalidConfig, message).hint(hint));
        if let Some((name, by)) =
            self.taken_orders.iter().find(|(name, _)| !before.orphaned_lists.contains(name))
        {
            return refused(
                format!("list {by} has the order of list {name} of the API, which would no longer hold"),
                format!("give {by} another order, or drop the other with DELETE /v1/acl/lists/{name}"),
            );
        }
        if let Some((name, by)) =
            self.taken_vips.iter().find(|(name, _)| !before.orphaned_services.contains(name))
        {
            return refused(
                format!(
                    "service {by} has the VIP of service {name} of the API, which would no longer be served"
                ),
                format!("give {by} another VIP, or drop the other with DELETE /v1/services/{name}"),
            );
        }
        let worse = |(name, now): &(&String, &SteppedBack)| {
            let was = before.stepped_back.get(*name).map_or(L7Holds::Nothing, |was| was.holds);
            now.holds > was.max(L7Holds::Nothing)
                || self.aside.contains_key(*name) && !before.aside.contains_key(*name)
        };
        let Some((name, SteppedBack { why, .. })) = self.stepped_back.iter().find(worse) else {
            return Ok(());
        };
        refused(
            format!(
                "the L7 settings that the API set for service {name} do not fit the configuration: {why}"
            ),
            format!(
                "correct the file, set others with `weir l7 set {name}`, or drop them with `weir l7 unset {name}`"
            ),
        )
    }

    /// Why a service's L7 settings of the API are not in force, whatever becomes of the service.
    pub(super) fn unfit(&self, name: &str, part: &ApiService) -> Option<SteppedBack> {
        part.l7.as_ref()?;
        match &part.l7_fault {
            Some(fault) => Some(SteppedBack::unread(fault.clone())),
            None => self.aside.get(name).cloned(),
        }
    }

    pub(super) fn displace_list(&mut self, name: &str, part: &ApiList, by: &str) {
        self.taken_orders.insert(name.to_owned(), by.to_owned());
        self.orphan_list(name, part, &format!("the configuration has list {by} of the same order now"));
    }

    /// Whom the settings of a service denied is not let in by the one that has its VIP now: the clients are the same.
    pub(super) fn displace_service(&mut self, name: &str, part: &ApiService, by: &str) {
        let why = format!("the configuration has service {by} of the same VIP now");
        let unfit = self.unfit(name, part);
        if let Some((l7, service)) = part.l7.as_ref().zip(self.desired.services.get_mut(by)) {
            let mut stepped = unfit.unwrap_or_else(|| SteppedBack::of(l7, why.clone()));
            let own = service.l7.as_ref().filter(|own| own.rules.access.is_some());
            let differs = |own: &&std::sync::Arc<crate::model::L7>| {
                (&own.rules.access, &own.access_lists) != (&l7.rules.access, &l7.access_lists)
            };
            // A service has one `access`: of two, either would let in whom the other denies.
            if stepped.holds == L7Holds::Access && own.is_some_and(|own| differs(&own)) {
                stepped.holds = L7Holds::Refusal;
            }
            stepped.lay_over(service, l7);
            self.warnings.push(stepped.warning(name, false));
            self.stepped_back.insert(name.to_owned(), stepped);
        }
        self.orphan_service(name, part, &why);
    }

    pub(super) fn orphan_list(&mut self, name: &str, part: &ApiList, why: &str) {
        self.orphaned_lists.push(name.to_owned());
        self.warnings.push(Warning {
            code: "orphaned_entries".into(),
            detail: format!(
                "{} entries that the API added to list {name} are kept but not in force: {why}; give the list back, or \
                 drop them with DELETE /v1/acl/lists/{name}",
                part.entries.len()
            ),
        });
    }

    pub(super) fn orphan_service(&mut self, name: &str, part: &ApiService, why: &str) {
        if part.l7.is_some() {
            let orphaned = || SteppedBack { why: why.to_owned(), holds: L7Holds::Orphaned };
            self.stepped_back.entry(name.to_owned()).or_insert_with(orphaned);
        }
        self.orphaned_services.push(name.to_owned());
        self.warnings.push(Warning {
            code: "orphaned_service".into(),
            detail: format!(
                "what the API set for service {name} is kept but not in force: {why}; give the service back, or drop it \
                 with DELETE /v1/services/{name}"
            ),
        });
    }
}
