//! Ranges and defaults of the configuration's numbers and durations, in one place.

use std::time::Duration;

use proxy_common::limits;

/// A duration's default and range, as written in the file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    pub(super) default: &'static str,
    pub(super) min: &'static str,
    pub(super) max: &'static str,
}

impl Span {
    pub(super) fn range(&self) -> String {
        format!("{} to {}", self.min, self.max)
    }
}

// The data path keeps time in 32 bits of ticks: a week stays below half of their span at 1000 ticks a second. The flow
// cache keeps 16 bits of 256 ticks each: two hours stay below half of that.
pub(super) const SYN: Span = Span { default: "10s", min: "1s", max: "5m" };
pub(super) const TCP: Span = Span { default: "2h4m", min: "1s", max: "7d" };
pub(super) const CLOSING: Span = Span { default: "4m", min: "1s", max: "1h" };
pub(super) const CLOSED: Span = Span { default: "10s", min: "1s", max: "1h" };
pub(super) const UDP: Span = Span { default: "5m", min: "1s", max: "1d" };
pub(super) const CACHE: Span = Span { default: "15m", min: "1s", max: "2h" };
pub(super) const SETTLE: Span = Span { default: "1h", min: "1s", max: "7d" };

pub(super) const DRAIN: Span = Span { default: "5m", min: "0s", max: "1d" };
pub(super) const GUARD_INTERVAL: Span = Span { default: "30s", min: "1s", max: "1h" };
pub(super) const GUARD_HOLD: Span = Span { default: "1m", min: "0s", max: "1d" };
pub(super) const GUARD_HOLD_MIN: Span = Span { default: "10m", min: "0s", max: "7d" };
pub(super) const GUARD_FIRST: Span = Span { default: "1m", min: "1s", max: "1h" };
pub(super) const HEALTH_INTERVAL: Span = Span { default: "5s", min: "100ms", max: "1h" };
pub(super) const HEALTH_TIMEOUT: Span = Span { default: "2s", min: "10ms", max: "1m" };

pub(super) const L7_CONNECT: Span = Span { default: "5s", min: "10ms", max: "5m" };
pub(super) const L7_IDLE: Span = Span { default: "1h", min: "1s", max: "7d" };
pub(super) const L7_HEAD: Span = Span { default: "30s", min: "100ms", max: "5m" };
/// Without a default: no bound.
pub(super) const L7_REQUEST: Span = Span { default: "", min: "1ms", max: "1d" };
pub(super) const L7_SLOW_START: Span = Span { default: "0s", min: "0s", max: "1h" };
pub(super) const L7_EJECTION: Span = Span { default: "30s", min: "1s", max: "1h" };
pub(super) const L7_EJECTION_MAX: Span = Span { default: "5m", min: "1s", max: "1d" };
pub(super) const L7_POOL_IDLE: Span = Span { default: "1m", min: "1s", max: "1d" };
pub(super) const L7_POOL_AGE: Span = Span { default: "0s", min: "0s", max: "7d" };
pub(super) const L7_HEARTBEAT: Span = Span { default: "15s", min: "0s", max: "1h" };

/// Most workers of the L7 path.
pub(super) const L7_WORKERS: u32 = limits::LISTENERS;
/// Most trusted hops: what a worker reads of a header's list.
pub(super) const L7_HOPS: u32 = 32;
/// Most rules of a service's `access`.
pub(super) const L7_RULES: u32 = 256;
/// Most prefixes of a service's `access`, with its lists: each worker is told all of them with each state.
pub(super) const L7_ACCESS_PREFIXES: usize = 16_384;
/// Most names of a virtual host.
pub(super) const L7_HOSTS: u32 = 1_024;
/// Most virtual hosts of a service.
pub(super) const L7_VIRTUAL_HOSTS: u32 = 1_024;
/// Most routes of a virtual host.
pub(super) const L7_ROUTES: u32 = 1_024;
/// Most routes of a service, over all its virtual hosts; as many names of hosts.
pub(super) const L7_SERVICE_ROUTES: usize = 4_096;
/// Most routes of all services, and as many names of hosts: each worker is told all of them with each state.
pub(super) const L7_ALL_ROUTES: usize = 16_384;
/// Longest that the settings of a service may be, bytes of JSON without blanks.
pub(super) const L7_SETTINGS_BYTES: usize = 1 << 20;
/// Most header changes of a route, of requests and of answers each.
pub(super) const L7_CHANGES: usize = 32;
/// Largest weight of a destination.
pub(super) const L7_WEIGHT: u32 = 10_000;
/// Largest `streams` of a pool.
pub(super) const L7_STREAMS_MAX: u32 = 1 << 20;

/// Default of `rise`.
pub(super) const RISE: u8 = 2;
/// Default of `fall`.
pub(super) const FALL: u8 = 3;
/// Most `discover` or `publish` tables of a service.
pub(super) const SOURCES: u32 = 16;
/// Most endpoints of a service: what the backend table holds.
pub(super) const ENDPOINTS: u32 = limits::BACKENDS - 1;

/// Default of `syn_budget`.
pub(super) const SYN_BUDGET: u32 = 4_096;
/// Largest `syn_budget`: a NAT flow takes two entries.
pub(super) const SYN_BUDGET_MAX: u32 = limits::FLOWS / 2;
/// Smallest ACL table.
pub(super) const ACL_PREFIXES_MIN: u32 = 16;
/// Smallest flow table.
pub(super) const FLOWS_MIN: u32 = 1_024;
/// Lists beside the default action and the management prefixes.
pub(super) const LISTS: u32 = limits::LISTS - 2;

/// Parses a duration like `10s`, `2h4m`, `1d`; a day has 24 hours.
pub(super) fn duration(text: &str) -> Option<Duration> {
    let span: jiff::Span = text.parse().ok()?;
    let signed = span.to_duration(jiff::SpanRelativeTo::days_are_24_hours()).ok()?;
    Duration::try_from(signed).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::l7::snapshot::{Outlier, Pool, Timeouts as L7Timeouts};
    use crate::model::{Guard, Timeouts};

    #[test]
    fn defaults_are_the_models_and_within_range() {
        let model = Timeouts::default();
        let guard = Guard::default();
        let l7 = L7Timeouts::default();
        let (outlier, pool) = (Outlier::default(), Pool::default());
        let all = [
            (SYN, model.syn),
            (TCP, model.tcp),
            (CLOSING, model.closing),
            (CLOSED, model.closed),
            (UDP, model.udp),
            (CACHE, model.cache),
            (SETTLE, model.settle),
            (GUARD_INTERVAL, guard.interval),
            (GUARD_HOLD, guard.hold),
            (GUARD_HOLD_MIN, guard.hold_min.unwrap()),
            (GUARD_FIRST, guard.first_sync),
            (L7_CONNECT, l7.connect),
            (L7_IDLE, l7.idle),
            (L7_EJECTION, outlier.base),
            (L7_EJECTION_MAX, outlier.longest),
            (L7_POOL_IDLE, pool.idle),
            (L7_POOL_AGE, pool.longest),
            (L7_HEARTBEAT, pool.heartbeat),
        ];
        for (span, default) in all {
            assert_eq!(duration(span.default), Some(default));
            assert!(duration(span.min).unwrap() <= default && default <= duration(span.max).unwrap());
        }
    }

    #[test]
    fn ticks_hold_the_longest_times() {
        let ticks = |span: Span| duration(span.max).unwrap().as_millis();
        assert!([SYN, TCP, CLOSING, CLOSED, UDP, SETTLE].into_iter().all(|s| ticks(s) < 1 << 31));
        assert!(ticks(CACHE) / 256 < 1 << 15);
    }

    #[test]
    fn durations_that_are_none() {
        for bad in ["", "10", "-10s", "1 month", "10x", "s"] {
            assert_eq!(duration(bad), None, "{bad}");
        }
        assert_eq!(duration("7d"), Some(Duration::from_secs(7 * 86_400)));
    }
}
