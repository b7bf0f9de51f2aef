//! What discovery and health say, laid over the desired state; and what the operator set on backends of registries, over that.

use std::collections::btree_map::Entry;

use proxy_common::limits;

use super::apply_list::set_by;
use super::snapshot::{Pooled, Snapshot, Standing};
use super::{ApiState, Change, Refusal, backend_text};
use crate::control::types::Code;
use crate::model::{AdminState, Backend, Desired, Origin, Service};

/// Endpoints that the maps have no room for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftOut {
    /// Service.
    pub service: String,
    /// How many.
    pub endpoints: usize,
}

/// Puts the endpoints of registries into the services' backends, takes new flows from what is not to have them, and lays
/// the operator's weights and drains on endpoints. Where all together are more than the maps hold, the largest services
/// are cut; what was cut is answered.
pub fn overlay(desired: &mut Desired, snapshot: &Snapshot, api: &ApiState) -> Vec<LeftOut> {
    let fixed: usize = desired.services.values().map(|service| service.backends.len()).sum();
    let slots = usize::try_from(limits::BACKENDS).unwrap_or(usize::MAX).saturating_sub(1);
    let room = Room::new(slots.saturating_sub(fixed), desired, snapshot);
    for (name, pooled) in &snapshot.services {
        if let Some(service) = desired.services.get_mut(name) {
            let part = api.services.get(name).map(|part| &part.overrides);
            lay(service, pooled, room.of(name), |addr| part.and_then(|part| part.get(addr)).copied());
        }
    }
    room.left_out
}

fn lay(
    service: &mut Service,
    pooled: &Pooled,
    mut room: usize,
    over: impl Fn(&crate::model::BackendAddr) -> Option<super::Override>,
) {
    // What takes flows comes first: it is what may not be missing where room is short.
    let (first, second): (Vec<_>, Vec<_>) =
        pooled.candidates.iter().partition(|(_, candidate)| flows(&candidate.standing));
    for (addr, candidate) in first.into_iter().chain(second) {
        let open = flows(&candidate.standing);
        match service.backends.entry(*addr) {
            Entry::Occupied(mut fixed) => {
                if !open {
                    fixed.get_mut().state = AdminState::Drain;
                }
            }
            Entry::Vacant(free) => {
                if matches!(candidate.standing, Standing::Refused { .. }) || room == 0 {
                    continue;
                }
                room -= 1;
                let over = over(addr).unwrap_or_default();
                let state = if open { over.state.unwrap_or_default() } else { AdminState::Drain };
                let weight = over.weight.unwrap_or(candidate.weight);
                free.insert(Backend { weight, state, origin: Origin::Registry });
            }
        }
    }
}

/// Refuses a change that the state alone would allow, but not what is known of registries: an endpoint cannot be deleted,
/// and one that nobody knows cannot be set. To be asked before [`ApiState::change`].
///
/// # Errors
/// Says what to do instead.
pub fn check_change(
    change: &Change,
    base: &Desired,
    api: &ApiState,
    snapshot: &Snapshot,
) -> Result<(), Refusal> {
    let candidate = |service: &str, backend| snapshot.services.get(service)?.candidates.get(backend);
    let own = |service: &str| api.services.get(service);
    match change {
        Change::DeleteBackend { service, backend } => {
            let found = candidate(service, backend).filter(|found| !found.sources.is_empty());
            let of_api = own(service).is_some_and(|part| part.backends.contains_key(backend));
            let of_base =
                base.services.get(service).is_some_and(|of_base| of_base.backends.contains_key(backend));
            match found {
                Some(found) if !of_api && !of_base => Err(Refusal::new(
                    Code::OriginConflict,
                    format!(
                        "backend {} of {service} was {} ({})",
                        backend_text(backend),
                        set_by(Origin::Registry),
                        found.sources.join(", ")
                    ),
                )
                .hint("deregister it there, or drain it: weir backend drain")),
                _ => Ok(()),
            }
        }
        Change::SetBackend { service, backend, .. } => {
            let Some(pooled) = snapshot.services.get(service).filter(|pooled| !pooled.sources.is_empty())
            else {
                return Ok(());
            };
            let of_base =
                base.services.get(service).is_some_and(|of_base| of_base.backends.contains_key(backend));
            let of_api = own(service).is_some_and(|part| {
                part.backends.contains_key(backend) || part.overrides.contains_key(backend)
            });
            if of_base || of_api || pooled.candidates.contains_key(backend) {
                return Ok(());
            }
            Err(Refusal::new(
                Code::UnknownBackend,
                format!("service {service} has no backend {}", backend_text(backend)),
            )
            .hint("`weir service show` lists its backends"))
        }
        _ => Ok(()),
    }
}

fn flows(standing: &Standing) -> bool {
    matches!(standing, Standing::Used | Standing::Held)
}

/// Slots for endpoints, shared so that the smaller services have all of theirs.
struct Room {
    shares: std::collections::BTreeMap<String, usize>,
    left_out: Vec<LeftOut>,
}

impl Room {
    fn new(mut free: usize, desired: &Desired, snapshot: &Snapshot) -> Self {
        let mut wanted: Vec<(usize, &String)> = snapshot
            .services
            .iter()
            .filter_map(|(name, pooled)| {
                let service = desired.services.get(name)?;
                let new = pooled.candidates.iter().filter(|(addr, candidate)| {
                    !matches!(candidate.standing, Standing::Refused { .. })
                        && !service.backends.contains_key(addr)
                });
                Some((new.count(), name))
            })
            .collect();
        wanted.sort();
        let mut room = Self { shares: Default::default(), left_out: Vec::new() };
        for (count, name) in wanted {
            let share = count.min(free);
            free -= share;
            room.shares.insert(name.clone(), share);
            if share < count {
                room.left_out.push(LeftOut { service: name.clone(), endpoints: count - share });
            }
        }
        room
    }

    fn of(&self, name: &str) -> usize {
        self.shares.get(name).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::catalog::snapshot::Candidate;
    use crate::catalog::{NewBackend, parse_backend};
    use crate::control::fake::base;
    use crate::model::{BackendAddr, Combine, Discovery, Guard};

    /// The test's base, with discovery for `web`.
    fn discovered() -> Desired {
        let mut base = base();
        let discovery = Discovery {
            sources: Vec::new(),
            combine: Combine::Union,
            guard: Guard::default(),
            drain: std::time::Duration::ZERO,
        };
        base.services.get_mut("web").unwrap().discovery = Some(Arc::new(discovery));
        base
    }

    fn at(text: &str) -> BackendAddr {
        parse_backend(text).unwrap()
    }

    fn candidate(sources: &[&str], standing: Standing) -> Candidate {
        Candidate {
            weight: 7,
            sources: sources.iter().map(|name| Arc::from(*name)).collect(),
            zone: None,
            labels: Arc::default(),
            standing,
            since: jiff::Timestamp::UNIX_EPOCH,
            health: None,
        }
    }

    fn snapshot(candidates: impl IntoIterator<Item = (BackendAddr, Candidate)>) -> Snapshot {
        let query = crate::registry::source::Query { service: "web".into(), options: Default::default() };
        let source = crate::catalog::snapshot::SourceStatus {
            registry: "a".into(),
            query: Arc::new(query),
            state: crate::catalog::snapshot::Knowledge::Known,
            since: jiff::Timestamp::UNIX_EPOCH,
            last_success: None,
            version: None,
            endpoints: 0,
            rejected: 0,
            examples: Arc::default(),
        };
        let pooled = Pooled {
            candidates: candidates.into_iter().collect(),
            sources: vec![source],
            hold: None,
            panic: false,
        };
        Snapshot { services: [("web".into(), Arc::new(pooled))].into(), received: None }
    }

    fn set(backend: BackendAddr, weight: Option<u16>, state: Option<AdminState>) -> Change {
        Change::SetBackend { service: "web".into(), backend, new: NewBackend { weight, state } }
    }

    #[test]
    fn endpoints_join_and_only_what_may_take_flows_is_active() {
        let why = "loopback".to_owned();
        let snapshot = snapshot([
            (at("10.0.0.11:8080"), candidate(&[], Standing::Down)),
            (at("10.0.1.1:80"), candidate(&["a"], Standing::Used)),
            (at("10.0.1.2:80"), candidate(&["a"], Standing::Held)),
            (at("10.0.1.3:80"), candidate(&["a"], Standing::Disabled)),
            (at("10.0.1.4:80"), candidate(&["a"], Standing::Standby)),
            (at("127.0.0.1:80"), candidate(&["a"], Standing::Refused { why })),
        ]);
        let mut desired = discovered();
        assert!(overlay(&mut desired, &snapshot, &ApiState::default()).is_empty());
        let backends = &desired.services["web"].backends;
        let state = |text: &str| backends.get(&at(text)).map(|found| (found.state, found.origin));
        assert_eq!(state("10.0.0.11:8080"), Some((AdminState::Drain, Origin::File)));
        assert_eq!(state("10.0.0.12:8080"), Some((AdminState::Active, Origin::File)));
        assert_eq!(state("10.0.1.1:80"), Some((AdminState::Active, Origin::Registry)));
        assert_eq!(state("10.0.1.2:80"), Some((AdminState::Active, Origin::Registry)));
        assert_eq!(state("10.0.1.3:80"), Some((AdminState::Drain, Origin::Registry)));
        assert_eq!(state("10.0.1.4:80"), Some((AdminState::Drain, Origin::Registry)));
        assert_eq!(state("127.0.0.1:80"), None);
    }

    #[test]
    fn the_operators_word_lies_on_endpoints_and_outlives_their_absence() {
        let (base, one) = (discovered(), at("10.0.1.1:80"));
        let now = jiff::Timestamp::UNIX_EPOCH;
        let here = snapshot([(one, candidate(&["a"], Standing::Used))]);
        let away = snapshot([]);
        let change = |api: &ApiState, change: Change| {
            check_change(&change, &base, api, &here).and_then(|()| api.change(&base, change, now))
        };
        let drained = change(&ApiState::default(), set(one, Some(3), Some(AdminState::Drain))).unwrap().api;
        let laid = |snapshot: &Snapshot, api: &ApiState| {
            let mut desired = base.clone();
            overlay(&mut desired, snapshot, api);
            desired.services["web"].backends.get(&one).map(|found| (found.weight, found.state))
        };
        assert_eq!(laid(&here, &drained), Some((3, AdminState::Drain)));
        assert_eq!(laid(&away, &drained), None);
        let weighted = change(&drained, set(one, None, Some(AdminState::Active))).unwrap().api;
        assert_eq!(laid(&here, &weighted), Some((3, AdminState::Active)));
        assert_eq!(laid(&here, &ApiState::default()), Some((7, AdminState::Active)));
        // It can be taken back while the endpoint is away.
        assert!(check_change(&set(one, Some(9), None), &base, &drained, &away).is_ok());
    }

    #[test]
    fn an_endpoint_cannot_be_deleted_and_one_that_nobody_knows_cannot_be_set() {
        let (base, one, api) = (discovered(), at("10.0.1.1:80"), ApiState::default());
        let here = snapshot([(one, candidate(&["a"], Standing::Used))]);
        let delete = |backend| Change::DeleteBackend { service: "web".into(), backend };
        let refusal = check_change(&delete(one), &base, &api, &here).unwrap_err();
        assert_eq!(refusal.code, Code::OriginConflict);
        assert!(refusal.hint.unwrap().contains("drain"));
        assert!(check_change(&delete(at("10.9.9.9:1")), &base, &api, &here).is_ok(), "absent is no conflict");
        let unknown = set(at("10.9.9.9:1"), None, Some(AdminState::Drain));
        assert_eq!(check_change(&unknown, &base, &api, &here).unwrap_err().code, Code::UnknownBackend);
        let of_file = set(at("10.0.0.11:8080"), None, Some(AdminState::Drain));
        assert!(check_change(&of_file, &base, &api, &here).is_ok());
    }

    #[test]
    fn what_does_not_fit_is_cut_from_the_largest_service() {
        let many = (0..=u16::MAX).map(|number| {
            let [high, low] = number.to_be_bytes();
            let backend = BackendAddr { addr: [10, 7, high, low].into(), port: 80 };
            (backend, candidate(&["a"], Standing::Used))
        });
        let mut snapshot = snapshot(many);
        let few = snapshot_of_one();
        snapshot.services.insert("zzz".into(), few);
        let mut desired = discovered();
        let small = desired.services["web"].clone();
        desired.services.insert("zzz".into(), small);
        let left_out = overlay(&mut desired, &snapshot, &ApiState::default());
        assert_eq!(left_out.len(), 1);
        assert_eq!(left_out[0].service, "web");
        assert_eq!(desired.services["zzz"].backends.len(), 3);
        let all: usize = desired.services.values().map(|service| service.backends.len()).sum();
        assert_eq!(all, usize::try_from(limits::BACKENDS).unwrap() - 1);
    }

    fn snapshot_of_one() -> Arc<Pooled> {
        snapshot([(at("10.0.1.1:80"), candidate(&["a"], Standing::Used))]).services["web"].clone()
    }
}
