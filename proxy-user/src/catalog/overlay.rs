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
            match found {
                Some(found) if !of_api => Err(Refusal::new(
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
