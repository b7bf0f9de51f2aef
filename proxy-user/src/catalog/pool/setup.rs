//! What the pool is told by others: the time, the services, the health checks' verdicts.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use crate::catalog::ApiState;
use crate::model::{AdminState, BackendAddr, Desired, Discovery, Forward, HealthCheck, Service, Vip};

/// The time, by both clocks: spans are measured by the steady one, people read the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// The steady clock.
    pub instant: Instant,
    /// The wall clock.
    pub wall: Timestamp,
}

impl Now {
    /// What the clocks say.
    #[must_use]
    pub fn clock() -> Self {
        Self { instant: Instant::now(), wall: Timestamp::now() }
    }

    /// The wall clock's time at an instant that is not past.
    pub(super) fn wall_at(&self, at: Instant) -> Timestamp {
        self.wall.saturating_add(at.saturating_duration_since(self.instant)).unwrap_or(Timestamp::MAX)
    }

    /// The instant of a time of the wall clock; of one that is past, now. At most a day ahead: a clock that was set must
    /// not keep an endpoint for years.
    pub(super) fn instant_at(&self, wall: Timestamp) -> Instant {
        let ahead = Duration::try_from(wall.duration_since(self.wall)).unwrap_or_default();
        self.instant + ahead.min(Duration::from_secs(86_400))
    }
}

/// All that the pool has to know of the configuration and the API's state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Setup {
    /// Services with discovery or health checks, by name.
    pub services: BTreeMap<String, Spec>,
    /// Backends of the other services: not new to them if they get checks later.
    pub unwatched: BTreeMap<String, BTreeSet<BackendAddr>>,
    /// Addresses that are VIPs: never backends.
    pub vips: BTreeSet<IpAddr>,
    /// Addresses of this host: no backends unless a service's guard allows them.
    pub own: BTreeSet<IpAddr>,
    /// Zone of this weir.
    pub zone: Option<Arc<str>>,
}

impl Setup {
    /// From the merged desired state (before [`crate::catalog::overlay`]) and what the API laid on backends.
    #[must_use]
    pub fn of(desired: &Desired, api: &ApiState, own: BTreeSet<IpAddr>, zone: Option<Arc<str>>) -> Self {
        let mut setup = Self { own, zone, ..Self::default() };
        for (name, service) in &desired.services {
            setup.vips.insert(service.vip.addr);
            if service.discovery.is_some() || service.health.is_some() {
                setup.services.insert(name.clone(), Spec::of(name, service, api));
            } else {
                setup.unwatched.insert(name.clone(), service.backends.keys().copied().collect());
            }
        }
        setup
    }
}

/// What the pool has to know of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spec {
    /// Its VIP; backends are of its family.
    pub vip: Vip,
    /// Its mode; `dsr-l2` changes no ports.
    pub forward: Forward,
    /// Where backends come from.
    pub discovery: Option<Arc<Discovery>>,
    /// How they are checked.
    pub health: Option<Arc<HealthCheck>>,
    /// Backends of the configuration and the API, with their weights.
    pub fixed: BTreeMap<BackendAddr, u16>,
    /// Backends and endpoints, here or not, that the operator drains.
    pub drained: BTreeSet<BackendAddr>,
}

impl Spec {
    fn of(name: &str, service: &Service, api: &ApiState) -> Self {
        let mut drained: BTreeSet<_> = service
            .backends
            .iter()
            .filter(|(_, backend)| backend.state == AdminState::Drain || backend.weight == 0)
            .map(|(addr, _)| *addr)
            .collect();
        if let Some(part) = api.services.get(name) {
            let drains = part.overrides.iter().filter(|(addr, over)| {
                !service.backends.contains_key(addr)
                    && (over.state == Some(AdminState::Drain) || over.weight == Some(0))
            });
            drained.extend(drains.map(|(addr, _)| *addr));
        }
        Self {
            vip: service.vip,
            forward: service.forward,
            discovery: service.discovery.clone(),
            health: service.health.clone(),
            fixed: service.backends.iter().map(|(addr, backend)| (*addr, backend.weight)).collect(),
            drained,
        }
    }
}

/// What the health checks found: a backend has come up or gone down, or stays so for another reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Service.
    pub service: Arc<str>,
    /// Backend.
    pub backend: BackendAddr,
    /// Whether it is up, after rise and fall.
    pub up: bool,
    /// What the last check saw, for people.
    pub detail: String,
}
