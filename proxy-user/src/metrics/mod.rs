//! Metrics in Prometheus text, made when they are asked for: from the counters' snapshot, the published view, and the few
//! numbers that the daemon itself counts.
//!
//! Names are a contract (a test pins them): prefix `weir_`, base units, `_total` on counters. No client address, no list
//! entry and no flow is ever a label.

mod actuator;
mod classic;
mod discovery;
mod families;
mod listener;

use std::sync::Arc;
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family as Labelled;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

pub use self::discovery::Counters;
use self::families::{Family, Kind};
pub use self::listener::{ListenerError, listen, serve};
use crate::control::door::View;
use crate::control::types::StatsSnapshot;

/// Media type of the text.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What the daemon counts about itself. Clones share it.
#[derive(Clone, Debug)]
pub struct Metrics {
    apply: Histogram,
    push: Histogram,
    requests: Labelled<Vec<(&'static str, String)>, Counter>,
    discovery: Counters,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            apply: Histogram::new(APPLY_SECONDS),
            push: Histogram::new(APPLY_SECONDS),
            requests: Labelled::default(),
            discovery: Counters::default(),
        }
    }
}

impl Metrics {
    /// Counts one change and the time it took from being asked for to being in the kernel.
    pub fn observe_apply(&self, took: Duration) {
        self.apply.observe(took.as_secs_f64());
    }

    /// Counts one push that changed the maps, and the time from its last byte to their being written.
    pub fn observe_push(&self, took: Duration) {
        self.push.observe(took.as_secs_f64());
    }

    /// Counts one call of the API; `route` is the call's pattern, never its path.
    pub fn count_request(&self, route: &str, code: u16) {
        let labels = vec![("route", route.to_owned()), ("code", code.to_string())];
        self.requests.get_or_create(&labels).inc();
    }

    /// What is counted of registries and health checks.
    #[must_use]
    pub fn discovery(&self) -> &Counters {
        &self.discovery
    }

    /// Everything as text. Without `stats` (they could not be read) the counters of the data path are missing, rather
    /// than zero.
    #[must_use]
    pub fn text(&self, view: &View, stats: Option<&StatsSnapshot>) -> String {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Sample(families::families(view, stats))));
        registry.register(
            "weir_apply_duration_seconds",
            "Time from a change being asked for to its being in the kernel",
            self.apply.clone(),
        );
        registry.register(
            "weir_registry_apply_seconds",
            "Time from the last byte of a registry's push being read to the maps being written, without grace periods",
            self.push.clone(),
        );
        self.discovery.register(&mut registry);
        registry.register("weir_api_requests", "Calls of the control API", self.requests.clone());
        let mut text = String::new();
        if let Err(error) = prometheus_client::encoding::text::encode(&mut text, &registry) {
            tracing::error!(%error, "metrics cannot be written");
        }
        classic::from_openmetrics(&text)
    }

    /// Shares it with a server.
    #[must_use]
    pub fn shared() -> Arc<Self> {
        Arc::default()
    }
}

#[derive(Debug)]
struct Sample(Vec<Family>);

impl Collector for Sample {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        for family in &self.0 {
            let kind = match family.kind {
                Kind::Counter => MetricType::Counter,
                Kind::Gauge => MetricType::Gauge,
                Kind::Histogram => MetricType::Histogram,
            };
            let mut metric = encoder.encode_descriptor(family.name, family.help, None, kind)?;
            for (labels, value) in &family.samples {
                let one = metric.encode_family(labels)?;
                match family.kind {
                    Kind::Counter => ConstCounter::new(value.whole()).encode(one)?,
                    Kind::Gauge => ConstGauge::new(value.float()).encode(one)?,
                    Kind::Histogram => {}
                }
            }
            for (labels, buckets) in &family.histograms {
                let count = buckets.counts.iter().map(|(_, count)| count).sum();
                let mut one = metric.encode_family(labels)?;
                one.encode_histogram::<NoLabelSet>(buckets.sum, count, &buckets.counts, None)?;
            }
        }
        Ok(())
    }
}

/// Buckets of the apply time, seconds.
const APPLY_SECONDS: [f64; 10] = [0.001, 0.002_5, 0.005, 0.01, 0.025, 0.1, 0.25, 1.0, 2.5, 10.0];

#[cfg(test)]
mod tests;
