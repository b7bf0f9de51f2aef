//! What the operator sees of the L7 path, with real workers.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::bed::{Family, bed};
use crate::daemon::Daemon;
use crate::l7_bed::{Leftovers, services};
use crate::traffic::wait_for;

/// Requests of a service, of all workers that there have been.
fn requests(daemon: &Daemon, name: &str) -> u64 {
    let status = daemon.json(&["l7", "status"]);
    let all = status["services"].as_array().unwrap().clone();
    let found = all.into_iter().find(|service| service["service"] == name);
    found.map_or(0, |service| service["requests"].as_u64().unwrap())
}

fn metric(daemon: &Daemon, series: &str) -> Option<f64> {
    let text = daemon.done(&["metrics"]).out;
    let line = text.lines().find_map(|line| line.strip_prefix(series))?;
    line.trim().parse().ok()
}

fn serving(status: &Value) -> usize {
    let workers = status["workers"].as_array().unwrap();
    workers.iter().filter(|worker| worker["state"] == "serving").count()
}

#[test]
fn l7_workers_connections_and_routes_are_seen_and_counters_outlive_workers() {
    bed(1, |bed| {
        let _leftovers = Leftovers(bed.places());
        let daemon = bed.start(&services(bed));
        let pids = daemon.wait_workers();
        let family = Family::V4;
        let _http = bed.http(family, 80);
        wait_for("all workers to serve", || serving(&daemon.json(&["l7", "status"])) == pids.len());
        bed.gets(family.client(), family.vip_at(80), 20);
        wait_for("the counters", || requests(&daemon, "l7-4-80") == 20);

        let mut talk = bed.talk(family.vip_at(80));
        talk.ask().unwrap();
        let found = daemon.json(&["l7", "connections", "--service", "l7-4-80"]);
        let open = found["connections"].as_array().unwrap();
        let client = Value::from(talk.name().to_string());
        let mine = open.iter().find(|one| one["client"] == client).unwrap();
        assert_eq!(mine["upstream"], family.backend_at(1, 80).to_string(), "{mine:#}");
        assert_eq!(
            (&mine["local"], &found["silent"]),
            (&family.vip_at(80).to_string().into(), &Value::Array(vec![]))
        );
        assert!(mine["bytes_up"].as_u64().unwrap() > 0 && mine["bytes_down"].as_u64().unwrap() > 0);
        let other = daemon.json(&["l7", "connections", "--service", "l7-4-8080"]);
        assert_eq!(other["connections"], Value::Array(vec![]));

        let routes = daemon.json(&["l7", "routes", "--service", "l7-4-80"]);
        assert_eq!((&routes["acknowledged"], &routes["workers"]), (&pids.len().into(), &pids.len().into()));
        assert_eq!(routes["services"][0]["vip"], family.vip_at(80).to_string());

        wait_for("the counters", || requests(&daemon, "l7-4-80") == 21);
        for pid in &pids {
            kill(Pid::from_raw(*pid), Signal::SIGKILL).unwrap();
        }
        wait_for("their successors", || {
            let workers = daemon.workers();
            workers.len() == pids.len() && workers.iter().all(|pid| !pids.contains(pid))
        });
        assert_eq!(requests(&daemon, "l7-4-80"), 21, "nothing is forgotten");
        bed.gets(family.client(), family.vip_at(80), 5);
        wait_for("the counters of the successors", || requests(&daemon, "l7-4-80") == 26);
        assert_eq!(metric(&daemon, "weir_l7_requests_total{service=\"l7-4-80\"}"), Some(26.0));
        let upstream = family.backend_at(1, 80);
        let series =
            format!("weir_l7_upstream_requests_total{{service=\"l7-4-80\",upstream=\"{upstream}\"}}");
        assert_eq!(metric(&daemon, &series), Some(26.0));
        let shown = daemon.json(&["service", "show", "l7-4-80", "--no-rates"])["services"][0].clone();
        assert_eq!(shown["l7_traffic"]["requests"], 26, "{shown:#}");
        assert_eq!(shown["backends"][0]["l7_traffic"]["requests"], 26, "{shown:#}");
        let shown = daemon.done(&["service", "show", "l7-4-80", "--no-rates"]).out;
        assert!(shown.contains("over this host's own routes") && !shown.contains("unknown next"), "{shown}");
        let restarts = daemon.json(&["l7", "status"])["workers"][0]["restarts"].clone();
        assert_eq!(restarts, 1);

        let driver = daemon.json(&["status"])["interfaces"][0]["driver"].clone();
        assert_eq!(driver, "veth", "of the daemon's namespace, whatever /sys shows");

        let mut talk = bed.talk(family.vip_at(80));
        talk.ask().unwrap();
        let backend = upstream.to_string();
        let drain = |wait| daemon.weir(&["backend", "drain", "l7-4-80", &backend, "--wait", wait]);
        let waited = drain("1s");
        assert!(waited.exit == 1 && waited.err.contains("still has 1 request"), "{waited:?}");
        drop(talk);
        let waited = drain("20s");
        assert_eq!(waited.exit, 0, "{waited:?}");

        // These speak no protocol that has requests.
        let refused = daemon.weir(&["explain", "--bolt", "com.example.X", "say"]);
        assert_ne!(refused.exit, 0, "{refused:?}");
    });
}
