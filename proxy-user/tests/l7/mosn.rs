//! MOSN as a neighbour that speaks Bolt, before a worker and behind it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use proxy_user::lab::bolt::{Answered, BoltClient, BoltServer};
use proxy_user::lab::{Namespace, left_out};
use serde_json::json;

use crate::bed::{Program, Worker, free};
use crate::jars::Project;
use crate::sofarpc::{Peer, UNIQUE};

/// The program; none, and it is said why, if it cannot be had here. The first build takes a minute or two.
fn program() -> Option<&'static Path> {
    static FOUND: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    match FOUND.get_or_init(build) {
        Ok(path) => Some(path),
        Err(why) => {
            left_out(&format!("MOSN as a neighbour: {why}"));
            None
        }
    }
}

fn build() -> Result<PathBuf, String> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/peers/mosn/build");
    let output = Command::new("timeout").arg("300").arg(&script).output();
    let output = output.map_err(|error| format!("cannot run {}: {error}", script.display()))?;
    if output.status.success() {
        return Ok(PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()));
    }
    let text = String::from_utf8_lossy(&output.stderr);
    let last = text.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("it took more than 5 minutes");
    Err(format!("`tests/peers/mosn/build` failed (it needs Go 1.23 or newer): {last}"))
}

/// One that proxies Bolt. Dropping it ends it.
struct Mosn {
    at: SocketAddr,
    program: Program,
    _dir: tempfile::TempDir,
}

impl Mosn {
    fn start(backend: SocketAddr) -> Option<Self> {
        let path = program()?;
        let (at, dir) = (free(), tempfile::tempdir().unwrap());
        let proxy = json!({"type": "proxy", "config": {
            "downstream_protocol": "bolt", "upstream_protocol": "bolt", "router_config_name": "routes",
        }});
        let route = json!({
            "match": {"headers": [{"name": "service", "value": ".*", "regex": true}]},
            "route": {"cluster_name": "backend"},
        });
        let config = json!({
            "servers": [{
                "default_log_path": dir.path().join("log"), "default_log_level": "ERROR", "processor": 1,
                "routers": [{"router_config_name": "routes", "virtual_hosts": [
                    {"name": "all", "domains": ["*"], "routers": [route]},
                ]}],
                "listeners": [{
                    "name": "bolt", "address": at, "bind_port": true, "filter_chains": [{"filters": [proxy]}],
                }],
            }],
            "cluster_manager": {"clusters": [{
                "name": "backend", "type": "SIMPLE", "lb_type": "LB_RANDOM", "hosts": [{"address": backend}],
            }]},
        });
        let file = dir.path().join("mosn.json");
        std::fs::write(&file, config.to_string()).unwrap();
        let said = std::fs::File::create(dir.path().join("said")).unwrap();
        let mut command = Command::new(path);
        command.arg("-c").arg(&file).stdin(Stdio::null()).stdout(said.try_clone().unwrap()).stderr(said);
        let mut program = Program(command.spawn().unwrap());
        let end = Instant::now() + Duration::from_secs(20);
        while std::net::TcpStream::connect(at).is_err() {
            let ended = program.0.try_wait().unwrap().is_some();
            let log = || std::fs::read_to_string(dir.path().join("said")).unwrap_or_default();
            assert!(!ended && Instant::now() < end, "MOSN does not start: {}", log());
            std::thread::sleep(Duration::from_millis(10));
        }
        Some(Self { at, program, _dir: dir })
    }
}

fn server() -> BoltServer {
    BoltServer::start(&Namespace::current().unwrap(), "127.0.0.1:0".parse().unwrap(), "blue").unwrap()
}

fn call(at: SocketAddr, count: u32) -> Vec<Answered> {
    let mut client = BoltClient::connect(at, None, Duration::from_secs(10)).unwrap();
    client.call("com.example.Greeter:1.0", count).unwrap()
}

/// Many clients at once, each with many requests under way: each gets the answers to its own.
fn calls_pass(first: SocketAddr, server: &BoltServer) {
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let mut client = BoltClient::connect(first, None, Duration::from_secs(20)).unwrap();
                for _ in 0..5 {
                    let answers = client.call("com.example.Greeter:1.0", 50).unwrap();
                    assert_eq!(answers, vec![Answered { status: 0, content: "blue".into() }; 50]);
                }
            });
        }
    });
    assert_eq!(server.requests(), 8 * 5 * 50);
}

#[test]
fn mosn_behind_a_worker() {
    let server = server();
    let Some(mut mosn) = Mosn::start(server.addr()) else { return };
    let mut worker = Worker::new("bolt", mosn.at, |_| {});
    calls_pass(worker.at, &server);
    let web = worker.stats().services["web"].clone();
    assert_eq!((web.requests, web.answers.classes[1], web.requests_active), (2000, 2000, 0), "{web:?}");

    // Its server goes: what it says of that is passed on, and each request is answered.
    drop(server);
    assert!(call(worker.at, 20).iter().all(|answer| answer.status != 0));
    // It goes itself.
    mosn.program.0.kill().unwrap();
    mosn.program.0.wait().unwrap();
    assert!(call(worker.at, 20).iter().all(|answer| answer.status != 0));
    assert_eq!(worker.stats().services["web"].requests_active, 0);
}

#[test]
fn mosn_before_a_worker() {
    let server = server();
    let mut worker = Worker::new("bolt", server.addr(), |_| {});
    let Some(mosn) = Mosn::start(worker.at) else { return };
    calls_pass(mosn.at, &server);
    let web = worker.stats().services["web"].clone();
    assert_eq!((web.requests, web.answers.classes[1], web.requests_active), (2000, 2000, 0), "{web:?}");

    // The worker's own answers are ones that MOSN understands.
    drop(server);
    assert!(call(mosn.at, 20).iter().all(|answer| answer.status != 0));
}

#[test]
fn sofarpc_through_mosn_and_a_worker_in_either_order() {
    let Some(class_path) = Project::Rpc.class_path() else { return };
    if program().is_none() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let provider = free();
    let place = [format!("host={}", provider.ip()), format!("port={}", provider.port())];
    let args: Vec<String> = ["name=one".to_owned(), UNIQUE.to_owned()].into_iter().chain(place).collect();
    let _provider = Peer::start(&class_path, &dir.path().join("one"), "Provider", &args);
    let behind = Mosn::start(provider).unwrap();
    let (first, second) = (Worker::new("bolt", behind.at, |_| {}), Worker::new("bolt", provider, |_| {}));
    let before = Mosn::start(second.at).unwrap();
    let consumers: Vec<Peer> = [first.at, before.at]
        .iter()
        .enumerate()
        .map(|(number, at)| {
            let args = [format!("direct={at}"), UNIQUE.to_owned(), "period=5".to_owned()];
            Peer::start(&class_path, &dir.path().join(format!("consumer{number}")), "Consumer", &args)
        })
        .collect();
    std::thread::sleep(Duration::from_secs(3));
    for consumer in consumers {
        let summary = consumer.finish();
        assert_eq!(summary["failed"], 0, "{summary}");
        assert!(summary["by"]["one"].as_u64() > Some(50), "{summary}");
    }
}
