//! Names are a contract, and the text passes the linter.

use std::collections::BTreeSet;
use std::io::Write;
use std::process::{Command, Stdio};

use super::*;
use crate::catalog::pool::{Change, What};
use crate::catalog::snapshot::{HoldReason, Standing};
use crate::control::fake;
use crate::registry::source::{Event, Query, Set};

async fn text() -> String {
    let (door, _) = fake::start();
    let metrics = Metrics::default();
    metrics.observe_apply(Duration::from_millis(3));
    metrics.count_request("/v1/status", 200);
    let counters = metrics.discovery();
    metrics.observe_push(Duration::from_millis(7));
    counters.event("prod", &Event::Connected { peer: "127.0.0.1:9600".into() });
    let query = Arc::new(Query { service: "web".into(), options: Default::default() });
    let set = Set {
        endpoints: Vec::new(),
        rejected: Vec::new(),
        rejected_count: 4,
        version: None,
        received: std::time::Instant::now(),
    };
    counters.event("prod", &Event::Reset { query, set });
    counters.lost("prod");
    counters.hold("web", HoldReason::Share);
    let never = What::Backends {
        from: None,
        to: Some(Standing::Refused { why: "it is a loopback address".into() }),
        addrs: vec!["127.0.0.1:8080".parse().unwrap()],
    };
    counters.change(&Change { at: fake::then(), service: "web".into(), what: never }, &fake::pool());
    counters.checked("good", 3);
    let stats = door.stats().await.unwrap();
    metrics.text(&door.view(), Some(&stats))
}

#[tokio::test]
async fn names_are_pinned() {
    let text = text().await;
    let names: BTreeSet<_> = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' ').map(|(name, _)| name))
        .collect();
    let wanted: BTreeSet<_> = NAMES.split_whitespace().collect();
    assert_eq!(names, wanted);
    assert!(text.contains("weir_packets_total{interface=\"eth0\",verdict=\"drop\",reason=\"acl_drop\"} 10"));
    assert!(
        text.contains("weir_backend_state{service=\"web\",backend=\"10.0.0.11:8080\",state=\"active\"} 1")
    );
    assert!(text.contains("weir_apply_duration_seconds_bucket{le=\"0.005\"} 1"));
    for line in [
        "weir_registry_up{registry=\"prod\"} 1",
        "weir_registry_endpoints{registry=\"prod\",service=\"web\"} 2",
        "weir_registry_guard_holds{service=\"web\",reason=\"share\"} 1",
        "weir_registry_guard_holds{service=\"web\",reason=\"minimum\"} 0",
        "weir_registry_guard_holds_total{service=\"web\",reason=\"share\"} 1",
        "weir_registry_events_total{registry=\"prod\",event=\"connected\"} 1",
        "weir_registry_events_total{registry=\"prod\",event=\"lost\"} 1",
        "weir_registry_entries_refused_total{registry=\"prod\"} 5",
        "weir_registry_sessions_total{registry=\"prod\"} 3",
        "weir_registry_apply_seconds_bucket{le=\"0.01\"} 1",
        "weir_health_checks_total{result=\"good\"} 3",
        "weir_service_endpoints{service=\"web\",standing=\"held\"} 1",
        "weir_publication_up{service=\"web\",registry=\"prod\"} 1",
        "weir_l7_worker_up{worker=\"0\"} 1",
        "weir_l7_worker_up{worker=\"1\"} 0",
        "weir_l7_worker_restarts_total{worker=\"1\"} 2",
        "weir_l7_worker_hangs_total{worker=\"1\"} 1",
        "weir_l7_connections_active{service=\"shop\"} 5",
        "weir_l7_requests_total{service=\"shop\"} 40",
        "weir_l7_responses_total{service=\"shop\",class=\"4xx\"} 2",
        "weir_l7_local_responses_total{service=\"shop\",reason=\"denied\"} 1",
        "weir_l7_refused_total{service=\"shop\",kind=\"host\"} 1",
        "weir_l7_request_duration_seconds_bucket{le=\"0.00025\",service=\"shop\"} 0",
        "weir_l7_request_duration_seconds_bucket{le=\"0.0005\",service=\"shop\"} 39",
        "weir_l7_request_duration_seconds_count{service=\"shop\"} 39",
        "weir_l7_request_duration_seconds_sum{service=\"shop\"} 0.012",
        "weir_l7_route_requests_total{service=\"shop\",route=\"front/lane\"} 40",
        "weir_l7_upstream_requests_total{service=\"shop\",upstream=\"10.0.0.21:8080\"} 40",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
    assert!(!text.contains("EOF"));
}

#[tokio::test]
async fn promtool_finds_nothing() {
    let promtool = Command::new("promtool").args(["check", "metrics"]).stdin(Stdio::piped()).spawn();
    let Ok(mut promtool) = promtool else {
        eprintln!("promtool is not installed: the metrics were not linted");
        return;
    };
    promtool.stdin.take().unwrap().write_all(text().await.as_bytes()).unwrap();
    assert!(promtool.wait().unwrap().success());
}

#[tokio::test]
async fn the_listener_serves_metrics_and_health_on_loopback_and_nothing_else() {
    let refused = listen("192.0.2.1:0".parse().unwrap()).await;
    assert!(matches!(refused, Err(ListenerError::NotLoopback(_))));
    let listener = listen("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let address = listener.local_addr().unwrap();
    let (door, _) = fake::start();
    let server = tokio::spawn(serve(listener, door, Metrics::shared()));
    for (request, wanted) in [
        ("GET /metrics", "HTTP/1.1 200"),
        ("POST /metrics", "HTTP/1.1 405"),
        ("GET /v1/status", "HTTP/1.1 404"),
        ("GET /livez", "HTTP/1.1 200"),
        ("GET /readyz", "HTTP/1.1 200"),
        ("POST /readyz", "HTTP/1.1 405"),
        ("GET /actuator/health/liveness", "HTTP/1.1 200"),
        ("GET /actuator/health/readiness", "HTTP/1.1 200"),
        ("GET /actuator/info", "HTTP/1.1 200"),
    ] {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let head = format!("{request} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with(wanted), "{request}: {answer}");
    }
    server.abort();
}

const NAMES: &str = "
    weir_build_info weir_xdp_attached weir_packets_total weir_bytes_total
    weir_acl_entries weir_acl_hits_total weir_acl_hit_bytes_total weir_acl_expired_total weir_acl_enforced_ratio
    weir_service_packets_total weir_service_bytes_total weir_service_connections_total
    weir_service_reply_packets_total weir_service_reply_bytes_total weir_service_flows
    weir_backend_packets_total weir_backend_bytes_total weir_backend_connections_total
    weir_backend_reply_packets_total weir_backend_reply_bytes_total
    weir_backend_up weir_backend_weight_ratio weir_backend_state
    weir_map_entries weir_map_capacity weir_snat_ports_used weir_snat_ports_capacity
    weir_config_generation weir_config_last_reload_successful weir_config_last_reload_success_timestamp_seconds
    weir_apply_duration_seconds weir_api_requests_total weir_backends_without_series
    weir_registry_up weir_registry_last_success_timestamp_seconds weir_registry_endpoints
    weir_registry_entries_refused_total weir_registry_guard_holds weir_registry_guard_holds_total
    weir_registry_sessions_total weir_registry_failures_total weir_registry_events_total weir_registry_apply_seconds
    weir_health_checks_total weir_health_panic weir_service_endpoints weir_publication_up
    weir_l7_worker_up weir_l7_worker_generation weir_l7_worker_restarts_total weir_l7_worker_hangs_total weir_l7_stray_connections_total
    weir_l7_access_log_lost_total weir_l7_tunnels_active
    weir_l7_connections_active weir_l7_connections_total weir_l7_connections_failed_total weir_l7_bytes_total
    weir_l7_requests_total weir_l7_requests_active weir_l7_requests_pending weir_l7_responses_total
    weir_l7_local_responses_total weir_l7_mirrored_total weir_l7_mirrors_lost_total weir_l7_refused_total weir_l7_request_duration_seconds weir_l7_resets_total weir_l7_retries_total
    weir_l7_pool_hits_total weir_l7_panics_total weir_l7_route_requests_total weir_l7_route_responses_total
    weir_l7_route_request_duration_seconds weir_l7_routes_without_series
    weir_l7_upstream_requests_total weir_l7_upstream_responses_total weir_l7_upstream_request_duration_seconds
    weir_l7_upstream_failures_total weir_l7_upstream_requests_active weir_l7_upstream_requests_pending
    weir_l7_upstream_connections_active weir_l7_upstream_connects_total weir_l7_upstream_connect_failures_total
    weir_l7_upstream_pool_hits_total weir_l7_upstream_resets_total weir_l7_upstream_retries_total
    weir_l7_upstream_ejections_total weir_l7_upstream_ejected weir_l7_upstreams_without_series";
