//! Other proxies: where they are, and their configurations for one backend.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use serde_json::{Value, json};

use super::proxies::Which;
use super::wire::Speech;

const HAPROXY: &str = "/usr/sbin/haproxy";
const NGINX: &str = "/usr/sbin/nginx";
const NGINX_STREAM: &str = "/usr/lib/nginx/modules/ngx_stream_module.so";

/// The program of a peer; why it is not there, and how to get it.
pub(super) fn program(which: Which) -> Result<PathBuf, String> {
    static MOSN: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let debian = |path: &str, packages: &str| match Path::new(path).exists() {
        true => Ok(path.into()),
        false => Err(format!("{path} is not there (apt-get install {packages})")),
    };
    match which {
        Which::Floor | Which::Weir => std::env::current_exe().map_err(|error| error.to_string()),
        Which::Haproxy => debian(HAPROXY, "haproxy"),
        Which::Nginx => debian(NGINX, "nginx libnginx-mod-stream"),
        Which::Mosn => MOSN.get_or_init(build_mosn).clone(),
    }
}

/// Whether nginx can do plain TCP.
pub(super) fn nginx_streams() -> bool {
    Path::new(NGINX_STREAM).exists()
}

/// It takes a minute or two once, then it is in the user's cache.
fn build_mosn() -> Result<PathBuf, String> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/peers/mosn/build");
    let output = Command::new("timeout").arg("600").arg(&script).output();
    let output = output.map_err(|error| format!("cannot run {}: {error}", script.display()))?;
    if output.status.success() {
        return Ok(PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()));
    }
    let text = String::from_utf8_lossy(&output.stderr);
    let last = text.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("it says nothing");
    Err(format!("it cannot be built: {last} (try `tests/peers/mosn/build`)"))
}

pub(super) fn haproxy(speech: Speech, at: SocketAddr, backend: SocketAddr) -> String {
    let (mode, more) = match speech {
        Speech::Http1 => ("http", "http-reuse always"),
        Speech::Bulk => ("tcp", "option splice-request\n  option splice-response"),
        Speech::Echo | Speech::Bolt => ("tcp", ""),
    };
    format!(
        "global\n  nbthread 1\n  maxconn 6000\ndefaults\n  mode {mode}\n  {more}\n  timeout connect 5s\n  timeout client 1h\n  timeout server 1h\nlisten bench\n  bind {at}\n  server s {backend} pool-max-conn 512\n"
    )
}

pub(super) fn nginx(speech: Speech, at: SocketAddr, backend: SocketAddr, dir: &Path) -> String {
    let dir = dir.display();
    let load = match nginx_streams() {
        true => format!("load_module {NGINX_STREAM};"),
        false => String::new(),
    };
    let top = format!(
        "{load}\nuser root;\ndaemon off;\nworker_processes 1;\nworker_rlimit_nofile 20000;\npid {dir}/pid;\nerror_log /dev/null;\nevents {{ worker_connections 6000; }}\n"
    );
    if speech == Speech::Http1 {
        return format!(
            "{top}http {{ access_log off; client_body_temp_path {dir}/b; proxy_temp_path {dir}/p; fastcgi_temp_path {dir}/f; uwsgi_temp_path {dir}/u; scgi_temp_path {dir}/s; keepalive_requests 1000000000; upstream s {{ server {backend}; keepalive 512; keepalive_requests 1000000000; }} server {{ listen {at}; location / {{ proxy_http_version 1.1; proxy_set_header Connection \"\"; proxy_pass http://s; }} }} }}\n"
        );
    }
    let size = if speech == Speech::Bulk { "64k" } else { "16k" };
    format!(
        "{top}stream {{ upstream s {{ server {backend}; }} server {{ listen {at}; proxy_buffer_size {size}; proxy_pass s; tcp_nodelay on; }} }}\n"
    )
}

/// One processor, no limit on requests of a connection.
pub(super) fn mosn(speech: Speech, at: SocketAddr, backend: SocketAddr, dir: &Path) -> String {
    let proxy = |protocol: &str| {
        json!({"type": "proxy", "config": {
            "downstream_protocol": protocol, "upstream_protocol": protocol, "router_config_name": "routes",
        }})
    };
    let (filter, matches) = match speech {
        Speech::Http1 => (proxy("Http1"), json!({"prefix": "/"})),
        Speech::Bolt => (proxy("bolt"), json!({"headers": [{"name": "service", "value": ".*"}]})),
        Speech::Echo | Speech::Bulk => (
            json!({"type": "tcp_proxy", "config": {"cluster": "backend", "routes": [{"cluster": "backend"}]}}),
            Value::Null,
        ),
    };
    let route = json!({"match": matches, "route": {"cluster_name": "backend"}});
    let routers = match matches {
        Value::Null => json!([]),
        _ => json!([{"router_config_name": "routes", "virtual_hosts": [
            {"name": "all", "domains": ["*"], "routers": [route]},
        ]}]),
    };
    json!({
        "servers": [{
            "default_log_path": dir.join("log"), "default_log_level": "ERROR", "global_log_level": "ERROR",
            "processor": 1, "routers": routers,
            "listeners": [{
                "name": "bench", "address": at, "bind_port": true, "filter_chains": [{"filters": [filter]}],
            }],
        }],
        "cluster_manager": {"clusters": [{
            "name": "backend", "type": "SIMPLE", "lb_type": "LB_RANDOM", "max_request_per_conn": 1_000_000_000,
            "conn_buffer_limit_bytes": 262_144, "hosts": [{"address": backend}],
        }]},
    })
    .to_string()
}
