//! Rates between two readings of the counters: over the daemon's own timestamps, and never across a restart of the
//! counters.

use serde::Serialize;

use super::units::rate;
use crate::control::types::{InterfaceStats, L7Traffic, StatsSnapshot, Traffic};

/// Two readings, the second the newer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Readings<'a> {
    before: Option<&'a StatsSnapshot>,
    /// The newer.
    pub(crate) now: &'a StatsSnapshot,
}

/// Per second: new connections, packets and bits towards the backend; requests, where workers count them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Rates {
    /// Connections.
    pub(crate) connections: Option<f64>,
    /// Packets.
    pub(crate) packets: Option<f64>,
    /// Bits.
    pub(crate) bits: Option<f64>,
    /// Requests of an `l7` service.
    pub(crate) requests: Option<f64>,
}

impl<'a> Readings<'a> {
    /// From two readings; only the newer where the counters have been made anew in between.
    pub(crate) fn new(before: Option<&'a StatsSnapshot>, now: &'a StatsSnapshot) -> Self {
        Self { before: before.filter(|before| before.epoch == now.epoch), now }
    }

    /// Rates of a service, or of one of its backends.
    pub(crate) fn traffic(&self, service: &str, backend: Option<&str>) -> Rates {
        let find = |snapshot: &StatsSnapshot| traffic(snapshot, service, backend);
        let Some((before, now)) = self.before.and_then(find).zip(find(self.now)) else {
            return Rates::default();
        };
        let seconds = self.seconds();
        let requests = |found: Found| found.1.map(|l7| l7.requests);
        let requests = requests(before).zip(requests(now));
        let (before, now) = (before.0, now.0);
        Rates {
            connections: rate(before.connections, now.connections, seconds),
            packets: rate(before.packets, now.packets, seconds),
            bits: rate(before.bytes, now.bytes, seconds).map(|bytes| bytes * 8.0),
            requests: requests.and_then(|(before, now)| rate(before, now, seconds)),
        }
    }

    /// Packets and bits per second of what `sum` adds up over an interface.
    pub(crate) fn interface(
        &self,
        interface: &str,
        sum: impl Fn(&InterfaceStats) -> (u64, u64),
    ) -> (Option<f64>, Option<f64>) {
        let find = |snapshot: &StatsSnapshot| {
            snapshot.interfaces.iter().find(|stats| stats.interface == interface).map(&sum)
        };
        let Some((before, now)) = self.before.and_then(find).zip(find(self.now)) else {
            return (None, None);
        };
        let seconds = self.seconds();
        (rate(before.0, now.0, seconds), rate(before.1, now.1, seconds).map(|bytes| bytes * 8.0))
    }

    /// Hits per second of a list.
    pub(crate) fn list(&self, list: &str) -> Option<f64> {
        let hits = |snapshot: &StatsSnapshot| {
            snapshot.lists.iter().find(|stats| stats.list == list).map(|stats| stats.hits)
        };
        rate(self.before.and_then(hits)?, hits(self.now)?, self.seconds())
    }

    fn seconds(&self) -> f64 {
        self.before.map_or(0.0, |before| self.now.at.duration_since(before.at).as_secs_f64())
    }
}

/// What XDP has counted, and the workers, where there are any.
type Found = (Traffic, Option<L7Traffic>);

fn traffic(snapshot: &StatsSnapshot, service: &str, backend: Option<&str>) -> Option<Found> {
    let stats = snapshot.services.iter().find(|stats| stats.service == service)?;
    match backend {
        None => Some((stats.traffic, stats.l7_traffic)),
        Some(address) => {
            let found = stats.backends.iter().find(|stats| stats.address == address)?;
            Some((found.traffic, found.l7_traffic))
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::control::types::{BackendStats, ReasonCount, ServiceStats};
    use crate::model::{AdminState, Forward};

    /// A reading: a service `web` of one backend, an interface `eth0`.
    pub(crate) fn reading(at: &str, epoch: &str, connections: u64, packets: u64) -> StatsSnapshot {
        let traffic = Traffic { packets, bytes: packets * 100, connections, ..Traffic::default() };
        let reason = |reason: &str, verdict: &str, packets: u64| ReasonCount {
            reason: reason.into(),
            verdict: verdict.into(),
            packets,
            bytes: packets * 100,
        };
        StatsSnapshot {
            at: at.parse().unwrap(),
            generation: 1,
            epoch: epoch.into(),
            interfaces: vec![InterfaceStats {
                interface: "eth0".into(),
                reasons: vec![
                    reason("not_ours", "pass", 0),
                    reason("acl_drop", "drop", packets * 2),
                    reason("nat", "steer", packets),
                ],
            }],
            lists: Vec::new(),
            services: vec![ServiceStats {
                service: "web".into(),
                vip: "tcp/198.51.100.10:80".into(),
                forward: Forward::Nat,
                traffic,
                flows: Some(3),
                l7_traffic: None,
                backends: vec![BackendStats {
                    address: "10.0.0.11:8080".into(),
                    traffic,
                    flows: Some(3),
                    l7_traffic: None,
                    weight: 100,
                    state: AdminState::Active,
                    up: true,
                }],
            }],
            maps: Vec::new(),
            snat: Vec::new(),
        }
    }

    #[test]
    fn rates_use_the_daemons_clock() {
        let before = reading("2026-01-01T00:00:00Z", "a", 10, 1_000);
        let now = reading("2026-01-01T00:00:02Z", "a", 30, 3_000);
        let rates = Readings::new(Some(&before), &now).traffic("web", Some("10.0.0.11:8080"));
        let wanted =
            Rates { connections: Some(10.0), packets: Some(1_000.0), bits: Some(800_000.0), requests: None };
        assert_eq!(rates, wanted);
        assert_eq!(Readings::new(Some(&before), &now).traffic("other", None), Rates::default());
    }

    #[test]
    fn no_rate_across_a_restart_of_the_counters() {
        let before = reading("2026-01-01T00:00:00Z", "a", 10, 1_000);
        let now = reading("2026-01-01T00:00:02Z", "b", 30, 3_000);
        assert_eq!(Readings::new(Some(&before), &now).traffic("web", None), Rates::default());
    }
}
