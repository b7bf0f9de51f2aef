//! The VIPs that weir registers: which are wanted, and what the registries said.
//!
//! A VIP is registered while the data path stands, a backend of its service takes new flows, and the operator has not
//! withdrawn it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;

use crate::catalog::{ApiState, backend_text};
use crate::control::types::{PublicationState, PublicationStatus};
use crate::model::{AdminState, Desired, Service};
use crate::registry::source::Publication;

/// All VIPs to register.
#[derive(Debug, Default)]
pub(super) struct Publications {
    /// By registry and what is registered there.
    known: BTreeMap<(String, Arc<Publication>), Published>,
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
    pub(super) fn want(&mut self, desired: &Desired, api: &ApiState, in_force: bool) {
        let mut named = BTreeSet::new();
        for (name, service) in &desired.services {
            let reason = idle(name, service, api, in_force);
            for publish in &service.publish {
                let key = (publish.registry.clone(), publish.publication.clone());
                named.insert(key.clone());
                let published = self.known.entry(key).or_insert_with(|| Published {
                    service: name.clone(),
                    state: State::Idle("not asked for yet"),
                    since: Timestamp::now(),
                });
                match (&published.state, reason) {
                    (State::Idle(_) | State::Ending, None) => published.turn(State::Asked),
                    (State::Idle(_), Some(reason)) => published.turn(State::Idle(reason)),
                    (State::Ending, Some(_)) => {}
                    (_, Some(_)) => published.turn(State::Ending),
                    (_, None) => {}
                }
            }
        }
        self.known.retain(|key, published| match published.state {
            _ if named.contains(key) => true,
            State::Idle(_) => false,
            _ => {
                published.turn(State::Ending);
                true
            }
        });
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

    /// The connection to a registry is lost, and its registrations with it.
    pub(super) fn lost(&mut self, registry: &str) {
        self.known
            .iter_mut()
            .filter(|((at, _), _)| at == registry)
            .for_each(|(_, published)| forget(published));
    }

    /// Nothing is wanted any more.
    pub(super) fn stop(&mut self) {
        for published in self.known.values_mut() {
            match published.state {
                State::Idle(_) => {}
                State::Refused(_) => published.turn(State::Idle("weir detaches")),
                _ => published.turn(State::Ending),
            }
        }
    }

    /// Whether some registry has a VIP, or may have it.
    pub(super) fn any(&self) -> bool {
        self.known.values().any(|published| !matches!(published.state, State::Idle(_) | State::Refused(_)))
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

/// A registration ends with its connection; one that is still wanted is asked for again on the next.
fn forget(published: &mut Published) {
    match published.state {
        State::Idle(_) => {}
        State::Ending => published.turn(State::Idle("withdrawn")),
        _ => published.turn(State::Asked),
    }
}

/// Why a service's VIP is not to be registered now.
fn idle(name: &str, service: &Service, api: &ApiState, in_force: bool) -> Option<&'static str> {
    let takes = service.backends.values().any(|found| found.weight > 0 && found.state == AdminState::Active);
    let withdrawn = api.services.get(name).is_some_and(|service| service.withdrawn);
    match (in_force, withdrawn, takes) {
        (false, _, _) => Some("the data path does not stand yet"),
        (_, true, _) => Some("withdrawn by the operator"),
        (_, _, false) => Some("no backend takes new flows"),
        (true, false, true) => None,
    }
}
