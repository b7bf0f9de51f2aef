//! `cargo xtask bench l7`: CPU microseconds that a proxy spends on a request, as a ratio to a bare epoll byte forwarder.
//!
//! The proxy is alone on core 0; clients and backend are one thread on core 1 that never sleeps. The machine's speed swings
//! from second to second, so proxies take turns within each round, a ratio is always to the forwarder of the same round,
//! and the median of the rounds counts. Each proxy is a fresh process each time. Loopback, no XDP in the path.

pub(crate) mod floor;
mod load;
mod proxies;
mod wire;

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::json;

use load::{Load, Shape};
use proxies::{Proxy, Which};
use wire::Speech;

/// What is measured, by the names that it has in the output.
const CASES: [(&str, Shape); 5] = [
    ("http1-1k", Shape { speech: Speech::Http1, connections: 64, depth: 1 }),
    ("bolt-1k-8x32", Shape { speech: Speech::Bolt, connections: 8, depth: 32 }),
    ("bolt-1k-64x1", Shape { speech: Speech::Bolt, connections: 64, depth: 1 }),
    ("tcp-1k", Shape { speech: Speech::Echo, connections: 64, depth: 1 }),
    ("tcp-bulk", Shape { speech: Speech::Bulk, connections: 4, depth: 1 }),
];

/// How long to measure.
struct Effort {
    rounds: usize,
    warm: Duration,
    full: Duration,
    half: Duration,
}

/// One proxy's figures of one round.
#[derive(Clone, Copy, Debug, Default)]
struct Figures {
    /// CPU microseconds for a request; of bulk, for a megabyte.
    cpu: f64,
    /// Requests, or bytes, a second.
    rate: f64,
    p50_half: f64,
    cpu_half: f64,
    resident_mb: f64,
}

/// Measures and prints.
pub(crate) fn run(json: bool, quick: bool) -> Result<()> {
    ensure!(
        std::thread::available_parallelism()?.get() >= 2,
        "bench l7 needs two cores: one for the proxy, one for its clients and backend"
    );
    let second = Duration::from_secs(1);
    let effort = if quick {
        Effort { rounds: 3, warm: second / 2, full: second, half: second / 2 }
    } else {
        Effort { rounds: 5, warm: second, full: 4 * second, half: 2 * second }
    };
    let only = std::env::var("WEIR_BENCH_ONLY").ok();
    for (name, shape) in CASES {
        if only.as_deref().is_some_and(|only| !name.contains(only)) {
            continue;
        }
        let mut rounds: Vec<BTreeMap<Which, Figures>> = Vec::new();
        for number in 0..effort.rounds {
            let mut figures = BTreeMap::new();
            for step in 0..Which::ALL.len() {
                let Some(which) = Which::ALL.get((number + step) % Which::ALL.len()) else { continue };
                if which.can(shape.speech) {
                    figures.insert(*which, measure(*which, shape, &effort)?);
                }
            }
            rounds.push(figures);
        }
        report(name, shape, &rounds, json);
    }
    Ok(())
}

fn measure(which: Which, shape: Shape, effort: &Effort) -> Result<Figures> {
    let mut load = Load::new(shape)?;
    let proxy = Proxy::start(which, shape.speech, load.backend()?)?;
    load.connect(proxy.at)?;
    load.run(effort.warm, None)?;
    let before = proxy.cpu()?;
    let full = load.run(effort.full, None)?;
    let cpu = proxy.cpu()?.saturating_sub(before);
    ensure!(full.done > 0, "nothing came through {}", which.label());
    let unit = if shape.speech == Speech::Bulk { 1e6 } else { 1.0 };
    let mut figures = Figures {
        cpu: micros(cpu) / (count(full.done) / unit),
        rate: count(full.done) / full.elapsed.as_secs_f64(),
        ..Figures::default()
    };
    if shape.speech != Speech::Bulk {
        load.settle()?;
        let before = proxy.cpu()?;
        let mut half = load.run(effort.half, Some(figures.rate / 2.0))?;
        let cpu = proxy.cpu()?.saturating_sub(before);
        figures.cpu_half = micros(cpu) / count(half.done.max(1));
        half.latencies.sort_unstable();
        figures.p50_half =
            half.latencies.get(half.latencies.len() / 2).map_or(0.0, |micros| f64::from(*micros));
    }
    figures.resident_mb = count(proxy.resident()?) / 1e6;
    Ok(figures)
}

fn report(name: &str, shape: Shape, rounds: &[BTreeMap<Which, Figures>], json: bool) {
    let of = |which: Which, part: fn(&Figures) -> f64| {
        median(rounds.iter().filter_map(|round| round.get(&which)).map(part))
    };
    let ratio = |which: Which| {
        median(rounds.iter().filter_map(|round| Some(round.get(&Which::Weir)?.cpu / round.get(&which)?.cpu)))
    };
    let bulk = shape.speech == Speech::Bulk;
    if json {
        let mut line = json!({
            "name": name,
            "cpu_us": of(Which::Weir, |f| f.cpu),
            "p50_us_half_load": if bulk { None } else { of(Which::Weir, |f| f.p50_half) },
            "ratio_floor": ratio(Which::Floor),
            "ratio_haproxy": ratio(Which::Haproxy),
            "ratio_nginx": ratio(Which::Nginx),
            "ratio_mosn": None::<f64>,
        });
        if let Some(line) = line.as_object_mut() {
            let rate = of(Which::Weir, |f| f.rate);
            if bulk {
                line.insert("gbps".into(), json!(rate.map(|rate| rate * 8.0 / 1e9)));
            } else {
                line.insert("rps".into(), json!(rate));
            }
        }
        println!("{line}");
        return;
    }
    println!("{name}");
    for which in Which::ALL {
        let (Some(cpu), Some(rate)) = (of(which, |f| f.cpu), of(which, |f| f.rate)) else { continue };
        let to_floor = median(
            rounds.iter().filter_map(|round| Some(round.get(&which)?.cpu / round.get(&Which::Floor)?.cpu)),
        );
        println!(
            "  {:8} {cpu:8.2} us CPU, {:.2} of the floor, {:.0} {}, half load: P50 {:.0} us, {:.2} us CPU, {:.1} MB resident",
            which.label(),
            to_floor.unwrap_or(0.0),
            if bulk { rate / 1e6 } else { rate },
            if bulk { "MB/s" } else { "/s" },
            of(which, |f| f.p50_half).unwrap_or(0.0),
            of(which, |f| f.cpu_half).unwrap_or(0.0),
            of(which, |f| f.resident_mb).unwrap_or(0.0),
        );
    }
}

fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut all: Vec<f64> = values.collect();
    all.sort_unstable_by(f64::total_cmp);
    all.get(all.len() / 2).copied()
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

#[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
fn count(number: u64) -> f64 {
    number as f64
}
