//! `cargo xtask bench l7`: CPU microseconds that a proxy spends on a request, as a ratio to a bare epoll byte forwarder.
//!
//! The proxy is alone on core 0; clients and backend are one thread on core 1 that never sleeps. The machine's speed swings
//! from second to second, so proxies take turns within each round, a ratio is always to a figure of the same round, and the
//! median of the rounds counts. Each proxy is a fresh process each time. A figure with a failed request counts for nothing.
//! Loopback, no XDP in the path; as root, in a network namespace of its own, where TCP does not pace what it sends.

pub(crate) mod floor;
mod load;
mod peers;
mod proxies;
mod report;
mod weir;
mod wire;

use std::time::Duration;

use anyhow::{Result, ensure};
use proxy_user::lab::{Namespace, Veth, run_in};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use load::{Load, Shape};
use proxies::{Proxy, Which};
use report::Results;
use wire::Speech;

/// What is measured.
#[derive(Clone, Copy)]
struct Case {
    /// Its name in the output.
    name: &'static str,
    shape: Shape,
    /// Whose CPU weir's is compared with, and the most that the ratio should be.
    aims: &'static [(Which, f64)],
    /// Memory is measured too.
    memory: bool,
}

const CASES: [Case; 5] = [
    Case {
        name: "http1-1k",
        shape: Shape { speech: Speech::Http1, connections: 64, depth: 1 },
        aims: &[(Which::Floor, 1.25), (Which::Nginx, 0.95), (Which::Haproxy, 0.75)],
        memory: true,
    },
    Case {
        name: "bolt-1k-8x32",
        shape: Shape { speech: Speech::Bolt, connections: 8, depth: 32 },
        aims: &[(Which::Floor, 3.0), (Which::Mosn, 0.05)],
        memory: false,
    },
    Case {
        name: "bolt-1k-64x1",
        shape: Shape { speech: Speech::Bolt, connections: 64, depth: 1 },
        aims: &[(Which::Floor, 0.8), (Which::Mosn, 0.2)],
        memory: true,
    },
    Case {
        name: "tcp-1k",
        shape: Shape { speech: Speech::Echo, connections: 64, depth: 1 },
        aims: &[(Which::Floor, 1.05), (Which::Haproxy, 1.0)],
        memory: true,
    },
    Case {
        name: "tcp-bulk",
        shape: Shape { speech: Speech::Bulk, connections: 4, depth: 1 },
        aims: &[(Which::Floor, 0.6), (Which::Haproxy, 1.0)],
        memory: false,
    },
];

/// How long to measure.
struct Effort {
    rounds: usize,
    warm: Duration,
    full: Duration,
    half: Duration,
    /// Rounds in which memory is measured.
    memory: usize,
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
}

/// One proxy's resident memory, of all its processes.
#[derive(Clone, Copy, Debug, Default)]
struct Memory {
    /// What each of [`IDLE`] connections added.
    idle_bytes: f64,
    /// All of it with these and the active ones, in millions of bytes.
    total_mb: f64,
    /// The same, but what its processes share counts once; not a number where the kernel does not tell.
    once_mb: f64,
}

/// Measures and prints.
pub(crate) fn run(json: bool, quick: bool) -> Result<()> {
    ensure!(
        std::thread::available_parallelism()?.get() >= 2,
        "bench l7 needs two cores: one for the proxy, one for its clients and backend"
    );
    let second = Duration::from_secs(1);
    let effort = if quick {
        Effort { rounds: 3, warm: second / 2, full: second, half: second / 2, memory: 1 }
    } else {
        Effort { rounds: 5, warm: second, full: 3 * second, half: 2 * second, memory: 3 }
    };
    // Before this thread leaves the host's network, over which one of them may be fetched.
    let mut who = Vec::new();
    for which in Which::ALL {
        match peers::program(which) {
            Ok(_) => who.push(which),
            Err(why) => eprintln!("left out: {}: {why}", which.label()),
        }
    }
    let now = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: now.maximum, maximum: now.maximum });
    if !rustix::process::geteuid().is_root() {
        return all(&who, &effort, json);
    }
    let namespace = Namespace::new("bench-l7")?;
    // Where the machine's default paces (BBR), timers for each segment cost more than all that a proxy does in bulk. Reno
    // is in every kernel, and may be chosen in any namespace.
    namespace.set_sysctl("net/ipv4/tcp_congestion_control", "reno")?;
    // For weir's daemon, which attaches to an interface.
    let (ours, _) = Veth::pair((&namespace, weir::INTERFACE), (&namespace, "weir1"))?;
    ours.add_address(ipnet::Ipv4Net::new(weir::BACKEND, 24)?.into())?;
    run_in(&namespace, || all(&who, &effort, json))?
}

fn all(who: &[Which], effort: &Effort, json: bool) -> Result<()> {
    let only = std::env::var("WEIR_BENCH_ONLY").ok();
    for case in CASES {
        if only.as_deref().is_none_or(|only| case.name.contains(only)) {
            let results = measure_case(who, case, effort);
            match json {
                true => println!("{}", results.json()),
                false => results.print(),
            }
        }
    }
    Ok(())
}

fn measure_case(who: &[Which], case: Case, effort: &Effort) -> Results {
    let who: Vec<Which> = who.iter().copied().filter(|which| which.speaks(case.shape.speech)).collect();
    let mut results =
        Results { case, rounds: Vec::new(), memory: Vec::new(), void: 0, wanted: effort.rounds };
    // A round more for each in which something failed, up to a bound.
    while results.rounds.len() < effort.rounds + results.void.min(MORE_ROUNDS) {
        let number = results.rounds.len();
        let (round, void) = turn(&who, number, case.name, |which| measure(which, case.shape, effort));
        results.rounds.push(round);
        results.void += void;
    }
    if case.memory {
        for number in 0..effort.memory {
            let (round, void) = turn(&who, number, case.name, |which| measure_memory(which, case.shape));
            results.memory.push(round);
            results.void += void;
        }
    }
    results
}

/// Each once, beginning with another one each time; and how many failed.
fn turn<T>(
    who: &[Which],
    number: usize,
    name: &str,
    measure: impl Fn(Which) -> Result<T>,
) -> (Vec<(Which, T)>, usize) {
    let mut round = Vec::new();
    for step in 0..who.len() {
        let Some(which) = who.get((number + step) % who.len()) else { continue };
        match measure(*which) {
            Ok(figures) => round.push((*which, figures)),
            Err(error) => eprintln!("void: {name}, {}, round {}: {error:#}", which.label(), number + 1),
        }
    }
    let void = who.len() - round.len();
    (round, void)
}

fn measure(which: Which, shape: Shape, effort: &Effort) -> Result<Figures> {
    let mut load = Load::new(shape)?;
    let proxy = Proxy::start(which, shape.speech, load.backend()?)?;
    load.connect(proxy.at)?;
    load.run(effort.warm, None)?;
    let before = proxy.cpu();
    let full = load.run(effort.full, None)?;
    let cpu = proxy.cpu().saturating_sub(before);
    ensure!(full.done > 0, "nothing came through");
    let unit = if shape.speech == Speech::Bulk { 1e6 } else { 1.0 };
    let mut figures = Figures {
        cpu: micros(cpu) / (count(full.done) / unit),
        rate: count(full.done) / full.elapsed.as_secs_f64(),
        ..Figures::default()
    };
    if shape.speech != Speech::Bulk {
        load.settle()?;
        let before = proxy.cpu();
        let mut half = load.run(effort.half, Some(figures.rate / 2.0))?;
        let cpu = proxy.cpu().saturating_sub(before);
        ensure!(half.done > 0, "nothing came through at half load");
        figures.cpu_half = micros(cpu) / count(half.done);
        half.latencies.sort_unstable();
        figures.p50_half =
            half.latencies.get(half.latencies.len() / 2).map_or(0.0, |micros| f64::from(*micros));
    }
    Ok(figures)
}

/// With the active connections at half load, before and after the idle ones came.
fn measure_memory(which: Which, shape: Shape) -> Result<Memory> {
    let mut load = if which == Which::Weir { Load::at(shape, weir::BACKEND)? } else { Load::new(shape)? };
    let proxy = Proxy::start_whole(which, shape.speech, load.backend()?)?;
    load.connect(proxy.at)?;
    let full = load.run(Duration::from_millis(500), None)?;
    let rate = count(full.done) / full.elapsed.as_secs_f64() / 2.0;
    load.settle()?;
    load.run(Duration::from_millis(500), Some(rate))?;
    let before = proxy.resident();
    load.connect_idle(proxy.at, IDLE)?;
    load.run(Duration::from_millis(500), Some(rate))?;
    let after = proxy.resident();
    // Of each by itself: a process that only stands by may give something back meanwhile.
    let grown = after.iter().map(|(pid, now)| now.saturating_sub(before.get(pid).copied().unwrap_or(0)));
    Ok(Memory {
        once_mb: proxy.proportional().map_or(f64::NAN, |bytes| count(bytes) / 1e6),
        idle_bytes: count(grown.sum()) / count(IDLE as u64),
        total_mb: count(after.values().sum()) / 1e6,
    })
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

#[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
fn count(number: u64) -> f64 {
    number as f64
}

/// Idle connections.
const IDLE: usize = 1000;
/// Rounds more at most for those in which something failed.
const MORE_ROUNDS: usize = 2;
