//! The families of metrics and their samples.

#[path = "l7.rs"]
mod l7;
#[path = "registries.rs"]
mod registries;

use crate::control::door::View;
use crate::control::types::{ServiceStats, StatsSnapshot, Traffic};
use crate::model::AdminState;

/// A family: what it is called, what it means, and its samples.
#[derive(Debug)]
pub(super) struct Family {
    /// Without the `_total` of counters.
    pub(super) name: &'static str,
    pub(super) help: &'static str,
    pub(super) kind: Kind,
    pub(super) samples: Vec<(Labels, Value)>,
    /// Of a histogram, instead of samples.
    pub(super) histograms: Vec<(Labels, Buckets)>,
}

/// A histogram: how many are up to each bound and above the one before it. The last bound is infinite.
#[derive(Debug)]
pub(super) struct Buckets {
    pub(super) sum: f64,
    pub(super) counts: Vec<(f64, u64)>,
}

pub(super) type Labels = Vec<(&'static str, String)>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Counter,
    Gauge,
    Histogram,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Value {
    Whole(u64),
    Float(f64),
}

impl Value {
    /// For counters, which are always whole.
    pub(super) fn whole(self) -> u64 {
        match self {
            Self::Whole(value) => value,
            Self::Float(_) => 0,
        }
    }

    pub(super) fn float(self) -> f64 {
        match self {
            Self::Whole(value) => float(value),
            Self::Float(value) => value,
        }
    }
}

pub(super) fn families(view: &View, stats: Option<&StatsSnapshot>) -> Vec<Family> {
    let mut families = of_view(view);
    families.extend(registries::families(view));
    families.extend(view.l7.iter().flat_map(l7::families));
    if let Some(stats) = stats {
        families.extend(of_interfaces(stats));
        families.extend(of_lists(stats));
        families.extend(of_services(stats));
        families.extend(of_backends(stats));
        families.extend(of_maps(stats));
    }
    families
}

fn of_view(view: &View) -> Vec<Family> {
    let version = env!("CARGO_PKG_VERSION").to_owned();
    let attached = view.interfaces.iter().map(|one| {
        let mode = one.mode.map_or("none", crate::control::types::XdpMode::label);
        let labels = vec![("interface", one.name.clone()), ("mode", mode.to_owned())];
        (labels, Value::Whole(one.attached.into()))
    });
    let mut families = vec![
        gauge(
            "weir_build_info",
            "Version of weir; always 1",
            [(vec![("version", version)], Value::Whole(1))],
        ),
        gauge("weir_xdp_attached", "Whether weir's program is attached to the interface", attached),
        gauge("weir_config_generation", "Generation in force", [(Vec::new(), Value::Whole(view.generation))]),
    ];
    if let Some(reload) = &view.last_reload {
        let good = Value::Whole(reload.error.is_none().into());
        families.push(gauge(
            "weir_config_last_reload_successful",
            "Whether the last reload succeeded",
            [(Vec::new(), good)],
        ));
        let time = reload.last_success.map(|time| (Vec::new(), Value::Float(seconds(time))));
        families.push(gauge(
            "weir_config_last_reload_success_timestamp_seconds",
            "When a reload last succeeded",
            time,
        ));
    }
    families
}

fn of_interfaces(stats: &StatsSnapshot) -> Vec<Family> {
    let (mut packets, mut bytes) = (Vec::new(), Vec::new());
    for one in &stats.interfaces {
        for reason in &one.reasons {
            let labels = vec![
                ("interface", one.interface.clone()),
                ("verdict", reason.verdict.clone()),
                ("reason", reason.reason.clone()),
            ];
            packets.push((labels.clone(), Value::Whole(reason.packets)));
            bytes.push((labels, Value::Whole(reason.bytes)));
        }
    }
    vec![
        counter("weir_packets", "Packets by what became of them and why", packets),
        counter("weir_bytes", "Bytes of these packets, from the Ethernet header on", bytes),
    ]
}

fn of_lists(stats: &StatsSnapshot) -> Vec<Family> {
    let of = |value: fn(&crate::control::types::ListStats) -> Value| {
        stats.lists.iter().map(move |one| (vec![("list", one.list.clone())], value(one)))
    };
    let entries = stats.lists.iter().flat_map(|one| {
        [("ipv4", one.entries_v4), ("ipv6", one.entries_v6)].map(|(family, count)| {
            (vec![("list", one.list.clone()), ("family", family.to_owned())], Value::Whole(count))
        })
    });
    vec![
        gauge("weir_acl_entries", "Entries declared", entries),
        counter("weir_acl_hits", "Packets that the list decided", of(|one| Value::Whole(one.hits))),
        counter("weir_acl_hit_bytes", "Bytes of these packets", of(|one| Value::Whole(one.hit_bytes))),
        counter("weir_acl_expired", "Entries that ended by themselves", of(|one| Value::Whole(one.expired))),
        gauge(
            "weir_acl_enforced_ratio",
            "Entries that the kernel has, of those declared; alert below 1",
            of(|one| ratio(one.enforced, one.entries_v4.saturating_add(one.entries_v6))),
        ),
    ]
}

fn of_services(stats: &StatsSnapshot) -> Vec<Family> {
    let label = |one: &ServiceStats| vec![("service", one.service.clone())];
    let of = |value: fn(&Traffic) -> u64| {
        stats.services.iter().map(move |one| (label(one), Value::Whole(value(&one.traffic))))
    };
    let flows = stats.services.iter().filter_map(|one| Some((label(one), Value::Whole(one.flows?))));
    vec![
        counter("weir_service_packets", "Packets towards the service's backends", of(|t| t.packets)),
        counter("weir_service_bytes", "Bytes of these packets", of(|t| t.bytes)),
        counter("weir_service_connections", "Flows begun", of(|t| t.connections)),
        counter(
            "weir_service_reply_packets",
            "Packets of answers that came back through weir",
            of(|t| t.reply_packets),
        ),
        counter("weir_service_reply_bytes", "Bytes of these packets", of(|t| t.reply_bytes)),
        gauge("weir_service_flows", "Flows now, in modes that keep exact ones", flows),
    ]
}

fn of_backends(stats: &StatsSnapshot) -> Vec<Family> {
    // Ten series each: a monitoring system would rather do without than with a hundred thousand of them.
    let count = stats.services.iter().map(|service| service.backends.len()).sum::<usize>();
    let shown = if count > MAX_BACKENDS { &[][..] } else { &stats.services };
    let left_out = if shown.is_empty() { u64::try_from(count).unwrap_or(u64::MAX) } else { 0 };
    let all = || {
        shown.iter().flat_map(|service| {
            service.backends.iter().map(move |one| {
                let labels = vec![("service", service.service.clone()), ("backend", one.address.clone())];
                let sum = service.backends.iter().map(|one| u64::from(one.weight)).sum();
                (labels, sum, one)
            })
        })
    };
    let of = |value: fn(&Traffic) -> u64| {
        all().map(move |(labels, _, one)| (labels, Value::Whole(value(&one.traffic))))
    };
    let states = all().flat_map(|(labels, _, one)| {
        [(AdminState::Active, "active"), (AdminState::Drain, "drain")].map(|(state, text)| {
            let labels = [labels.clone(), vec![("state", text.to_owned())]].concat();
            (labels, Value::Whole((one.state == state).into()))
        })
    });
    let weights = all().map(|(labels, sum, one)| {
        let share = if sum == 0 { Value::Float(0.0) } else { ratio(one.weight.into(), sum) };
        (labels, share)
    });
    vec![
        counter("weir_backend_packets", "Packets towards the backend", of(|t| t.packets)),
        counter("weir_backend_bytes", "Bytes of these packets", of(|t| t.bytes)),
        counter("weir_backend_connections", "Flows begun", of(|t| t.connections)),
        counter(
            "weir_backend_reply_packets",
            "Packets of answers that came back through weir",
            of(|t| t.reply_packets),
        ),
        counter("weir_backend_reply_bytes", "Bytes of these packets", of(|t| t.reply_bytes)),
        gauge(
            "weir_backend_up",
            "Whether the backend takes packets",
            all().map(|(labels, _, one)| (labels, Value::Whole(one.up.into()))),
        ),
        gauge("weir_backend_weight_ratio", "The backend's share of its service's weights", weights),
        gauge(
            "weir_backends_without_series",
            "Backends that have no series of their own, because there are more than 2,000",
            [(Vec::new(), Value::Whole(left_out))],
        ),
        gauge("weir_backend_state", "1 at the state that the operator wants, 0 at the others", states),
    ]
}

fn of_maps(stats: &StatsSnapshot) -> Vec<Family> {
    let map = |value: fn(&crate::control::types::MapStats) -> u64| {
        stats.maps.iter().map(move |one| (vec![("map", one.map.clone())], Value::Whole(value(one))))
    };
    let snat = |value: fn(&crate::control::types::SnatStats) -> u64| {
        stats.snat.iter().map(move |one| (vec![("address", one.address.clone())], Value::Whole(value(one))))
    };
    vec![
        gauge("weir_map_entries", "Entries in use", map(|one| one.entries)),
        gauge("weir_map_capacity", "Entries that the map can hold", map(|one| one.capacity)),
        gauge(
            "weir_snat_ports_used",
            "Flows that hold a port of this pool address, towards all backends",
            snat(|one| one.ports_used),
        ),
        gauge(
            "weir_snat_ports_capacity",
            "Ports that this pool address has towards one backend",
            snat(|one| one.ports_capacity),
        ),
    ]
}

fn gauge(
    name: &'static str,
    help: &'static str,
    samples: impl IntoIterator<Item = (Labels, Value)>,
) -> Family {
    let samples = samples.into_iter().collect();
    Family { name, help, kind: Kind::Gauge, samples, histograms: Vec::new() }
}

fn counter(
    name: &'static str,
    help: &'static str,
    samples: impl IntoIterator<Item = (Labels, Value)>,
) -> Family {
    let samples = samples.into_iter().collect();
    Family { name, help, kind: Kind::Counter, samples, histograms: Vec::new() }
}

fn histogram(
    name: &'static str,
    help: &'static str,
    histograms: impl IntoIterator<Item = (Labels, Buckets)>,
) -> Family {
    let histograms = histograms.into_iter().collect();
    Family { name, help, kind: Kind::Histogram, samples: Vec::new(), histograms }
}

/// Most backends that have series of their own.
const MAX_BACKENDS: usize = 2_000;

/// 1 where there is nothing to be had.
fn ratio(part: u64, whole: u64) -> Value {
    Value::Float(if whole == 0 { 1.0 } else { float(part) / float(whole) })
}

#[expect(clippy::cast_precision_loss, reason = "samples of Prometheus are floats")]
fn float(value: u64) -> f64 {
    value as f64
}

fn seconds(time: jiff::Timestamp) -> f64 {
    time.as_duration().as_secs_f64()
}
