//! The VIPs that weir registers: which are wanted, and what the registries said.
//!
//! A VIP is registered while it is served here (it is in the maps, weir is attached, its address is announced), a backend of
//! its service takes new flows, and the operator has not withdrawn it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use crate::catalog::snapshot::{Snapshot, Standing};
use crate::catalog::{ApiState, backend_text};
use crate::control::types::{PublicationState, PublicationStatus};
use crate::model::{AdminState, Desired, Service};
use crate::registry::source::Publication;

/// A registry's name, and what is registered there.
type Key = (String, Arc<Publication>);

/// All VIPs to register.
#[derive(Debug, Default)]
pub(super) struct Publications {
    known: BTreeMap<Key, Published>,
    /// What ends although the state in force still names it: whatever serves it is about to go.
    retired: BTreeSet<Key>,
    /// When to look again: the end of the first rest.
    due: Option<Instant>,
}

/// What decides whether a VIP is to be registered.
#[derive(Debug)]
pub(super) struct Scene<'a> {
    /// The state in force.
    pub(super) desired: &'a Desired,
    /// What the API has set.
    pub(super) api: &'a ApiState,
    /// What is known of the endpoints.
    pub(super) pool: &'a Snapshot,
    /// Services whose VIP does not reach its backends through this host now, and why.
    pub(super) unserved: &'a BTreeMap<String, &'static str>,
    /// Registries that a daemon before this one has left with what it had registered, in this moment.
    pub(super) resumed: &'a BTreeSet<String>,
}

/// What is to become of a registration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Want {
    /// It is to be there.
    There,
    /// It may stay if it is there, and does not begin, for this reason.
    AsItIs(&'static str),
    /// It is not to be there, for this reason.
    Gone(&'static str),
}

/// A VIP at one registry.
#[derive(Clone, Debug)]
pub(super) struct Published {
    /// Name of the service.
    pub(super) service: String,
    /// Where it is.
    pub(super) state: State,
    /// Since when.
    pub(super) since: Timestamp,
    /// No backend took flows lately: not registered again before this time, so that one that comes and goes does not take
    /// the VIP in and out of the registry each time.
    rests: Option<Instant>,
}

/// Where a registration is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Asked for, not yet answered.
    Asked,
    /// The registry has it.
    Registered,
    /// The registry refuses it, for this reason.
    Refused(String),
    /// To be ended, not yet answered.
    Ending,
    /// Not wanted now, for this reason.
    Idle(&'static str),
}

impl Published {
    fn turn(&mut self, state: State) {
        if self.state != state {
            tracing::info!(service = self.service, state = ?state, "registration of the VIP");
            self.state = state;
            self.since = Timestamp::now();
        }
    }
}

impl Publications {
    /// Takes over what is wanted.
    pub(super) fn want(&mut self, scene: &Scene<'_>) {
        let now = Instant::now();
        self.due = None;
        // Services of two protocols may share a VIP's port, and a name: what is registered is there for either.
        let mut named: BTreeMap<Key, (Want, &String)> = BTreeMap::new();
        for (name, service) in &scene.desired.services {
            for publish in &service.publish {
                let key = (publish.registry.clone(), publish.publication.clone());
                let retired = self.retired.contains(&key);
                let want = if retired {
                    Want::Gone("its service is about to end")
                } else {
                    scene.want(name, service)
                };
                let both = named.entry(key).or_insert((want, name));
                *both = (*both).min((want, name));
            }
        }
        for (key, (want, service)) in &named {
            let published = self.known.entry(key.clone()).or_insert_with(|| Published {
                service: (*service).clone(),
                // What may stay as it is is there already, on a connection that was taken over.
                state: match want {
                    Want::AsItIs(_) if scene.resumed.contains(&key.0) => State::Asked,
                    _ => State::Idle("not asked for yet"),
                },
                since: Timestamp::now(),
                rests: None,
            });
            published.service.clone_from(service);
            match (&published.state, *want) {
                (State::Idle(_) | State::Ending, Want::There) => match published.rests {
                    Some(end) if end > now => self.due = Some(self.due.map_or(end, |due| due.min(end))),
                    _ => published.turn(State::Asked),
                },
                (_, Want::There) => {}
                (State::Idle(_), Want::AsItIs(reason) | Want::Gone(reason))
                | (State::Refused(_), Want::Gone(reason)) => published.turn(State::Idle(reason)),
                (State::Ending, _) | (_, Want::AsItIs(_)) => {}
                (_, Want::Gone(reason)) => {
                    published.turn(State::Ending);
                    published.rests = (reason == NO_BACKEND).then_some(now + REST);
                }
            }
        }
        self.known.retain(|key, published| match published.state {
            _ if named.contains_key(key) => true,
            State::Idle(_) | State::Refused(_) => false,
            _ => {
                published.turn(State::Ending);
                true
            }
        });
    }

    /// When to say again what is wanted, if nothing happens before.
    pub(super) const fn next_wake(&self) -> Option<Instant> {
        self.due
    }

    /// What a registry is to have.
    pub(super) fn wanted(&self, registry: &str) -> BTreeSet<Arc<Publication>> {
        let wanted = |state: &State| !matches!(state, State::Ending | State::Idle(_));
        self.known
            .iter()
            .filter(|((at, _), published)| at == registry && wanted(&published.state))
            .map(|((_, publication), _)| publication.clone())
            .collect()
    }

    /// A registry has answered a registration.
    pub(super) fn answered(
        &mut self,
        registry: &str,
        publication: &Arc<Publication>,
        result: &Result<(), String>,
    ) {
        if let Some(published) = self.known.get_mut(&(registry.to_owned(), publication.clone()))
            && !matches!(published.state, State::Ending | State::Idle(_))
        {
            published.turn(match result {
                Ok(()) => State::Registered,
                Err(why) => State::Refused(why.clone()),
            });
        }
    }

    /// A registration has ended as asked.
    pub(super) fn ended(&mut self, registry: &str, publication: &Arc<Publication>) {
        if let Some(published) = self.known.get_mut(&(registry.to_owned(), publication.clone()))
            && published.state == State::Ending
        {
            published.turn(State::Idle("withdrawn"));
        }
    }

    /// The session with a registry is lost, and its registrations with it, unless they have a lease of their own. What is
    /// still wanted is asked for again in the next session.
    pub(super) fn lost(&mut self, registry: &str, leased: bool) {
        let own = self.known.iter_mut().filter(|((at, _), _)| at == registry);
        own.for_each(|(_, published)| match published.state {
            State::Idle(_) => {}
            State::Ending if leased => published.turn(State::Idle("it ends there with its lease")),
            State::Ending => published.turn(State::Idle("withdrawn")),
            _ => published.turn(State::Asked),
        });
    }

    /// Ends, from the next time on that it is said what is wanted, every registration but those that stay. Answers whether
    /// some registry has one of them, or may have it.
    pub(super) fn retire(&mut self, stays: impl Fn(&str, &Arc<Publication>) -> bool) -> bool {
        let there = |state: &State| !matches!(state, State::Idle(_) | State::Refused(_));
        let mut any = false;
        for (key, published) in self.known.iter().filter(|((at, publication), _)| !stays(at, publication)) {
            any |= there(&published.state);
            self.retired.insert(key.clone());
        }
        any
    }

    /// Whether some registry may still have what is to end.
    pub(super) fn retiring(&self) -> bool {
        self.retired.iter().filter_map(|key| self.known.get(key)).any(|found| found.state == State::Ending)
    }

    /// What the state in force names counts again.
    pub(super) fn revive(&mut self) {
        self.retired.clear();
    }

    /// Those of one registry, to be shown.
    pub(super) fn statuses(&self, registry: &str) -> Vec<PublicationStatus> {
        let status = |publication: &Publication, published: &Published| {
            let (state, detail) = match &published.state {
                State::Asked => (PublicationState::Pending, None),
                State::Registered => (PublicationState::Published, None),
                State::Refused(why) => (PublicationState::Refused, Some(why.clone())),
                State::Ending => (PublicationState::Pending, Some("being withdrawn".to_owned())),
                State::Idle(why) => (PublicationState::Withdrawn, Some((*why).to_owned())),
            };
            PublicationStatus {
                service: published.service.clone(),
                registry: registry.to_owned(),
                name: publication.service.clone(),
                options: publication.options.clone(),
                address: backend_text(&publication.address),
                state,
                detail,
                since: published.since,
            }
        };
        let own = self.known.iter().filter(|((at, _), _)| at == registry);
        own.map(|((_, publication), published)| status(publication, published)).collect()
    }
}

impl Scene<'_> {
    /// What is to become of a service's registrations.
    fn want(&self, name: &str, service: &Service) -> Want {
        if let Some(reason) = self.unserved.get(name) {
            return Want::Gone(reason);
        }
        if self.api.services.get(name).is_some_and(|service| service.withdrawn) {
            return Want::Gone("withdrawn by the operator");
        }
        if service.backends.values().any(|found| found.weight > 0 && found.state == AdminState::Active) {
            return Want::There;
        }
        let candidates =
            self.pool.services.get(name).into_iter().flat_map(|pooled| pooled.candidates.values());
        if candidates.into_iter().any(|found| found.standing == Standing::Unchecked) {
            return Want::AsItIs("its backends have not been checked yet");
        }
        Want::Gone(NO_BACKEND)
    }
}

const NO_BACKEND: &str = "no backend takes new flows";
/// Least time between the end of a registration for want of backends and the next.
const REST: Duration = Duration::from_secs(5);

#[cfg(test)]
#[path = "publications_tests.rs"]
mod tests;
