//! `cargo xtask bench registry`: the time from the last byte of a SOFARegistry push being read to the maps being written.
//!
//! A real daemon in a namespace speaks to a session server of this process, which pushes what a registry would: a service
//! of 1,000 endpoints, then 500 services of 20 endpoints each, back to back. All endpoints are new to the daemon and are
//! routed by a gateway. The time is the daemon's own metric `weir_registry_apply_seconds`, so it is the one that production
//! shows; grace periods of the plan are not in it.

mod daemon;
mod server;

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use proxy_user::lab::{Namespace, Route, Veth};
use serde_json::json;

use daemon::Daemon;
use server::Server;

/// Services of the second burst, and endpoints of each.
const SERVICES: usize = 500;
const EACH: usize = 20;
/// Endpoints of the service of the first push.
const LARGE: usize = 1_000;
/// Daemons started, one after the other.
const ROUNDS: usize = 5;

/// One round's figures.
struct Round {
    large: Duration,
    many: Duration,
    plans: u64,
    rss_mb: f64,
}

/// Measures and prints.
pub(crate) fn run(json: bool, quick: bool) -> Result<()> {
    ensure!(
        nix::unistd::geteuid().is_root(),
        "bench attaches a program in a network namespace: run it as root"
    );
    let binary = daemon::build()?;
    let rounds = if quick { 3 } else { ROUNDS };
    let mut done = Vec::new();
    for number in 1..=rounds {
        let round = one_round(&binary).with_context(|| format!("round {number} of {rounds}"))?;
        if !json {
            println!(
                "round {number}: {LARGE} endpoints {:.1} ms, {SERVICES} x {EACH} endpoints {:.1} ms in {} plans, {:.1} MB resident",
                ms(round.large),
                ms(round.many),
                round.plans,
                round.rss_mb
            );
        }
        done.push(round);
    }
    let rss = median(done.iter().map(|round| round.rss_mb));
    let rows = [
        ("push-1000", median(done.iter().map(|round| ms(round.large))), 10.0),
        ("push-500x20", median(done.iter().map(|round| ms(round.many))), 100.0),
    ];
    for (name, time, aim) in rows {
        if json {
            println!(
                "{}",
                json!({ "name": name, "ms": time, "rss_mb": rss, "aim_ms": aim, "rounds": rounds })
            );
        } else {
            println!("{name:<12} {time:>8.1} ms (median; aim {aim} ms)   {rss:.1} MB resident");
        }
    }
    Ok(())
}

fn one_round(binary: &std::path::Path) -> Result<Round> {
    let (weir, gateway) = (Namespace::new("bench-weir")?, Namespace::new("bench-gw")?);
    let (near, far) = Veth::pair((&weir, "eth0"), (&gateway, "eth0"))?;
    near.add_address("10.1.0.254/24".parse()?)?;
    far.add_address("10.1.0.1/24".parse()?)?;
    near.add_route(Route::via("10.128.0.0/9".parse()?, "10.1.0.1".parse()?))?;
    let server = Server::start(&weir)?;
    let daemon = Daemon::start(binary, &weir, &config(server.port()))?;
    server.wait_subscribed(SERVICES + 1)?;
    daemon.wait_ready()?;

    let before = daemon.applied()?;
    server.push(&[(large_name(), endpoints(0, LARGE))])?;
    daemon.wait_endpoints("large", LARGE)?;
    let between = daemon.applied()?;
    let many: Vec<_> = (0..SERVICES).map(|n| (many_name(n), endpoints(LARGE + n * EACH, EACH))).collect();
    server.push(&many)?;
    daemon.wait_endpoints(&format!("many{}", SERVICES - 1), EACH)?;
    // The last service's endpoints are in force; the others' are by the same plan or an earlier one.
    let after = daemon.applied()?;
    Ok(Round {
        large: between.0.saturating_sub(before.0),
        many: after.0.saturating_sub(between.0),
        plans: after.1.saturating_sub(between.1),
        rss_mb: daemon.rss_mb()?,
    })
}

fn large_name() -> String {
    "bench.Large:1.0@DEFAULT".to_owned()
}

fn many_name(number: usize) -> String {
    format!("bench.Many{number}:1.0@DEFAULT")
}

/// Endpoint texts as SOFARPC writes them, distinct for distinct `first`.
fn endpoints(first: usize, count: usize) -> Vec<String> {
    (first..first + count)
        .map(|n| {
            let (high, low) = (n / 250, n % 250 + 1);
            format!(
                "10.{}.{}.{low}:12200?rpcVer=51302&serialization=hessian2&weight=100&appName=bench&p=1&v=4.0&_SERIALIZETYPE=hessian2&_WEIGHT=100&app_name=bench&startTime=1795378918158",
                128 + high / 250, high % 250
            )
        })
        .collect()
}

fn config(port: u16) -> String {
    let service = |name: &str, number: usize, query: &str| {
        format!(
            "[[service]]\nname = \"{name}\"\nvip = \"tcp/198.{}.{}.{}:80\"\ndiscover = {{ registry = \"bench\", service = \"{query}\" }}\n",
            18 + number / 62_500,
            number / 250 % 250,
            number % 250 + 1
        )
    };
    let head = format!(
        "version = 1\n[interface.eth0]\n[registry.bench]\nkind = \"sofa\"\nservers = [\"127.0.0.1:{port}\"]\n"
    );
    let many = (0..SERVICES).map(|n| service(&format!("many{n}"), n + 1, &many_name(n)));
    std::iter::once(head).chain([service("large", 0, &large_name())]).chain(many).collect()
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
