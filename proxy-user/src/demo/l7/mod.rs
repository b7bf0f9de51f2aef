//! `weir demo --l7`: XDP in front, HTTP and Bolt through worker processes, a route by header, a source that is denied in
//! XDP and once more by what a trusted hop says. Every count is checked.

mod config;
mod report;
mod traffic;

use std::time::Instant;

use super::daemon::Daemon;
use super::error::DemoError;
use super::place::Place;
use super::story::Story;
use super::topology::{self, CLIENTS, Topology, VIP};
use super::{deny, privilege};
use crate::cli::Output;
use crate::lab::bolt::BoltServer;
use config::{BOLT_PORT, DENIED, HOP};
use report::Report;

pub(super) fn perform(output: &Output) -> Result<Report, DemoError> {
    let started = Instant::now();
    privilege::check()?;
    let place = Place::enter()?;
    let mut story = Story::new(output, 5);

    let lab = Topology::build(true)?;
    for addr in [HOP, DENIED] {
        lab.client_port.add_address(topology::net(addr, CLIENTS.prefix_len()))?;
    }
    let bolt = bolt_servers(&lab)?;
    story.tell("topology", &lab.describe())?;

    config::write(&place)?;
    let args = vec!["--config".into(), place.config().into()];
    // Workers outlive their daemon: here they end with it, also when the demo is killed.
    let daemon = Daemon::start(&lab, &place, args, true)?;
    let attached = daemon.wait_ready()?;
    story.tell("attach", &attached.describe("--config weir.toml"))?;

    let http = traffic::http(&lab)?;
    let served = lab.backends.iter().map(|backend| backend.server.requests());
    let http_served = topology::backends().into_iter().map(|(name, _)| name.to_owned()).zip(served).collect();
    story.tell("http", &http.describe())?;

    let rpc = traffic::rpc(&lab)?;
    let served = bolt.iter().map(BoltServer::requests);
    let rpc_served = topology::backends().into_iter().map(|(name, _)| name.to_owned()).zip(served).collect();
    let shared = bolt.iter().map(BoltServer::connections).sum();
    story
        .tell("bolt", &format!("{}\n{shared} connections to backends carried all of them", rpc.describe()))?;

    let hop = traffic::by_hop(&lab)?;
    let accepted = accepted(&lab, &bolt);
    deny::send_frames(&lab, &[DENIED])?;
    let answered = deny::attempt_connections(&lab, Some(DENIED.into()))?;
    let stats = deny::wait_for_drops(&daemon, deny::SENT)?;
    let dropped = deny::dropped(&stats);
    let denied_reached = answered.max(self::accepted(&lab, &bolt) - accepted);
    let text = format!(
        "{DENIED} -> {VIP} : {} packets sent, {dropped} dropped in XDP\n{HOP} forwards for {DENIED} : {} of {} requests denied by status 403",
        deny::SENT,
        hop.denied,
        hop.asked_for_denied
    );
    story.tell("deny", &text)?;

    let connections = |name: &str| {
        let found = stats.services.iter().find(|found| found.service == name);
        found.map_or(0, |found| found.traffic.connections)
    };
    let report = Report {
        http,
        http_served,
        http_connections_counted: connections("shop"),
        rpc,
        rpc_served,
        rpc_connections_counted: connections("orders"),
        rpc_upstream_connections: shared,
        hop,
        denied_sent: deny::SENT,
        denied_dropped_in_xdp: dropped,
        denied_reached_backend: denied_reached,
        xdp_mode: attached.mode,
        elapsed_ms: 0,
    };
    daemon.detach()?;
    if output.verbose {
        output.say(&format!("the daemon's log:\n{}", daemon.words()));
    }
    Ok(Report { elapsed_ms: u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX), ..report })
}

fn bolt_servers(lab: &Topology) -> Result<Vec<BoltServer>, DemoError> {
    let start = |(backend, (name, addr)): (&topology::Backend, (&str, _))| {
        BoltServer::start(&backend.host, std::net::SocketAddr::new(addr, BOLT_PORT), name)
    };
    let places = topology::backends().map(|(name, addr)| (name, std::net::IpAddr::V4(addr)));
    Ok(lab.backends.iter().zip(places).map(start).collect::<Result<_, _>>()?)
}

/// Connections that backends have accepted.
fn accepted(lab: &Topology, bolt: &[BoltServer]) -> u64 {
    let http: u64 = lab.backends.iter().map(|backend| backend.server.connections()).sum();
    http + bolt.iter().map(BoltServer::connections).sum::<u64>()
}
