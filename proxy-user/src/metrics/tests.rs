//! Names are a contract, and the text passes the linter.

use std::collections::BTreeSet;
use std::io::Write;
use std::process::{Command, Stdio};

use super::*;
use crate::control::fake;

async fn text() -> String {
    let (door, _) = fake::start();
    let metrics = Metrics::default();
    metrics.observe_apply(Duration::from_millis(3));
    metrics.count_request("/v1/status", 200);
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
async fn the_listener_serves_metrics_on_loopback_and_nothing_else() {
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
    weir_apply_duration_seconds weir_api_requests_total";
