//! The API over a real socket, with a daemon without a kernel behind it.

use std::path::PathBuf;
use std::sync::atomic::Ordering;

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;

use super::*;
use crate::control::client::{ChangeOptions, Client, ClientError};
use crate::control::fake::{self, Walks};
use crate::control::types::{
    BackendPut, Code, EntryAdd, ExplainQuery, HoldCause, ListPatch, ListPut, Outcome, Problem, ServicePut,
    StandingState,
};
use crate::model::{Action, AdminState, Origin, Protocol};

#[path = "l7_tests.rs"]
mod l7;
#[path = "l7_settings_tests.rs"]
mod l7_settings;

struct Server {
    client: Client,
    path: PathBuf,
    walks: Walks,
    task: tokio::task::JoinHandle<()>,
    _dir: tempfile::TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn server() -> Server {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("weir.sock");
    let (door, walks) = fake::start();
    let socket = Socket::bind(&path, None).unwrap();
    let task = tokio::spawn(serve(socket, door, Metrics::shared()));
    Server { client: Client::new(&path), path, walks, task, _dir: dir }
}

fn options(if_match: Option<u64>) -> ChangeOptions {
    ChangeOptions { if_match, dry_run: false }
}

fn add(prefixes: &[&str]) -> ListPatch {
    let entry = |prefix: &&str| EntryAdd { prefix: (*prefix).into(), ..EntryAdd::default() };
    ListPatch { add: prefixes.iter().map(entry).collect(), ..ListPatch::default() }
}

fn code<T: std::fmt::Debug>(result: Result<T, ClientError>) -> Code {
    result.unwrap_err().code().unwrap()
}

/// A raw request: method, target, headers, body.
async fn raw(
    server: &Server,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    body: impl Into<Bytes>,
) -> (StatusCode, hyper::HeaderMap, Bytes) {
    let stream = UnixStream::connect(&server.path).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let mut request = Request::builder().method(method).uri(target).header("host", "x");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let answer = sender.send_request(request.body(Full::new(body.into())).unwrap()).await.unwrap();
    let (head, body) = answer.into_parts();
    (head.status, head.headers, body.collect().await.unwrap().to_bytes())
}

async fn problem(
    server: &Server,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Problem {
    let (status, head, body) = raw(server, method, target, headers, body.to_owned()).await;
    assert_eq!(head["content-type"], "application/problem+json", "{method} {target}");
    let problem: Problem = serde_json::from_slice(&body).unwrap();
    assert_eq!(status.as_u16(), problem.status);
    assert_eq!(problem.code.status(), problem.status);
    assert!(problem.kind.ends_with(problem.code.label()));
    problem
}

#[tokio::test]
async fn registries_are_shown_synced_and_accepted() {
    let server = server();
    let client = &server.client;
    let prod = &client.registries().await.unwrap().value.registries[0];
    assert_eq!((prod.name.as_str(), prod.kind.as_str(), prod.queries[0].seen), ("prod", "sofa", 3));
    assert_eq!(prod.queries[0].examples[0].reason, "a host name");
    assert_eq!(client.registry("prod").await.unwrap().value.peer.as_deref(), Some("127.0.0.1:9600"));
    assert_eq!(code(client.registry("lab").await), Code::UnknownRegistry);
    assert_eq!(client.status().await.unwrap().value.registries[0].queries, 1);

    let dump = client.endpoints("web").await.unwrap().value;
    let standings: Vec<_> = dump.candidates.iter().map(|one| one.standing).collect();
    assert_eq!(standings, [StandingState::Held, StandingState::Down, StandingState::Refused]);
    assert_eq!(dump.candidates[1].detail.as_deref(), Some("the health checks fail: connection refused"));
    assert_eq!(code(client.endpoints("none").await), Code::UnknownService);
    let web = client.service("web").await.unwrap().value;
    assert_eq!((web.backends[0].sources[0].as_str(), web.backends[0].zone.as_deref()), ("prod", Some("a")));
    assert_eq!((web.hold.unwrap().reason, web.publications.len()), (HoldCause::Share, 1));

    assert_eq!(client.sync(None).await.unwrap().registries, ["prod"]);
    assert_eq!(client.sync(Some("prod")).await.unwrap().registries, ["prod"]);
    assert_eq!(code(client.sync(Some("lab")).await), Code::UnknownRegistry);
    let shown = client.endpoints("web").await.unwrap().value.hold.unwrap().number;
    assert_eq!(code(client.accept("web", Some(shown ^ 1)).await), Code::StaleGeneration);
    for hold in [Some(shown), None] {
        assert_eq!(client.accept("web", hold).await.unwrap().removed, ["10.0.0.11:8080"]);
    }
    assert_eq!(code(client.accept("none", None).await), Code::UnknownService);
}

#[tokio::test]
async fn a_vip_is_withdrawn_and_put_back() {
    let server = server();
    let client = &server.client;
    let applied = client.set_withdrawn("web", true, options(Some(1))).await.unwrap();
    assert!(applied.changed && applied.generation == 2);
    assert!(client.service("web").await.unwrap().value.withdrawn);
    assert!(!client.set_withdrawn("web", true, options(None)).await.unwrap().changed);
    assert_eq!(code(client.set_withdrawn("web", false, options(Some(1))).await), Code::StaleGeneration);
    assert!(client.set_withdrawn("web", false, options(None)).await.unwrap().changed);
    assert!(!client.service("web").await.unwrap().value.withdrawn);
    assert_eq!(code(client.set_withdrawn("none", true, options(None)).await), Code::UnknownService);
}

#[tokio::test]
async fn lists_are_patched_replaced_looked_up_and_deleted() {
    let server = server();
    let client = &server.client;
    let lists = client.lists().await.unwrap();
    assert_eq!((lists.generation, lists.value.lists[0].name.as_str()), (Some(1), "file"));

    let mut body = add(&["192.0.2.1/24", "203.0.113.0/24"]);
    body.add[0].ttl = Some("4h".into());
    body.add[0].reason = Some("scan".into());
    body.remove = vec!["192.0.2.99".into()];
    let applied = client.patch_list("file", &body, true, options(None)).await.unwrap();
    let outcomes: Vec<_> = applied.items.iter().map(|item| item.outcome).collect();
    assert_eq!(outcomes, [Outcome::Added, Outcome::Exists, Outcome::Absent]);
    assert!(applied.items[0].note.as_ref().unwrap().contains("host bits"));
    assert!(applied.changed && applied.generation == 2);

    let found = client.lookup("192.0.2.7".parse().unwrap()).await.unwrap().value;
    assert_eq!(found.services.action, Action::Drop);
    assert_eq!(
        (found.matches[0].entry.prefix.as_str(), found.matches[0].entry.origin),
        ("192.0.2.0/24", Origin::Api)
    );
    assert!(matches!(found.matches[0].ttl_seconds, Some(14_300..=14_400)));
    assert!(client.lookup("8.8.8.8".parse().unwrap()).await.unwrap().value.traffic.by_default);

    let taken = ListPatch { remove: vec!["203.0.113.0/24".into()], ..add(&["192.0.2.77"]) };
    assert_eq!(code(client.patch_list("file", &taken, true, options(None)).await), Code::OriginConflict);
    let partly = client.patch_list("file", &taken, false, options(None)).await.unwrap();
    assert_eq!((partly.counts.added, partly.counts.refused), (1, 1));

    assert_eq!(
        code(client.put_list_text("file", "1.2.3.4\n", options(None)).await),
        Code::PreconditionRequired
    );
    let generation = client.list("file", None, None).await.unwrap().generation;
    let applied = client.put_list_text("file", "1.2.3.4 # why\n\n2001:db8::/32\n", options(generation)).await;
    assert_eq!(applied.unwrap().counts.removed, 2);
    let page = client.list("file", Some(2), None).await.unwrap().value;
    assert_eq!((page.entries.len(), page.next.as_deref()), (2, Some("203.0.113.0/24")));
    assert_eq!(client.whole_list("file").await.unwrap().value.entries.len(), 3);

    let own = ListPut { action: Some(Action::Pass), entries: add(&["5.6.7.8"]).add, ..ListPut::default() };
    client.put_list("own", &own, options(None)).await.unwrap();
    let own = client.list("own", None, None).await.unwrap().value.list;
    assert_eq!((own.order, own.action, own.origin), (Some(20), Some(Action::Pass), Origin::Api));
    let tie = ListPatch { order: Some(10), ..ListPatch::default() };
    assert_eq!(code(client.patch_list("own", &tie, true, options(None)).await), Code::Conflict);
    assert!(client.delete_list("own", options(None)).await.unwrap().changed);
    assert!(!client.delete_list("own", options(None)).await.unwrap().changed, "idempotent");
    assert_eq!(code(client.list("own", None, None).await), Code::UnknownList);
}

#[tokio::test]
async fn services_and_backends_are_put_weighted_drained_and_deleted() {
    let server = server();
    let client = &server.client;
    assert_eq!(client.services().await.unwrap().value.services.len(), 1);
    client.drain("web", "10.0.0.11:8080", options(None)).await.unwrap();
    client.set_weight("web", "10.0.0.11:8080", 7, options(None)).await.unwrap();
    let backend = client.backend("web", "10.0.0.11:8080").await.unwrap().value;
    assert!(backend.overridden && backend.health.up);
    assert_eq!((backend.weight, backend.state), (7, AdminState::Drain));
    assert_eq!(client.status().await.unwrap().value.overrides, ["web/10.0.0.11:8080"]);
    client.undrain("web", "10.0.0.11:8080", options(None)).await.unwrap();
    client.set_weight("web", "10.0.0.11:8080", 100, options(None)).await.unwrap();
    assert!(!client.backend("web", "10.0.0.11:8080").await.unwrap().value.overridden);
    assert_eq!(
        code(client.delete_backend("web", "10.0.0.11:8080", options(None)).await),
        Code::OriginConflict
    );
    let body = BackendPut { weight: Some(5), ..BackendPut::default() };
    assert_eq!(
        code(client.put_backend("web", "10.0.0.11:8080", &body, options(None)).await),
        Code::OriginConflict
    );
    assert!(client.put_backend("web", "10.0.0.13:8080", &body, options(None)).await.unwrap().changed);
    assert!(client.delete_backend("web", "10.0.0.13:8080", options(None)).await.unwrap().changed);

    let mut dns = ServicePut {
        vip: "udp/[2001:db8::1]:53".into(),
        forward: Default::default(),
        announce: Default::default(),
        unknown_port: Default::default(),
        syn_budget: None,
        codec: None,
        l7: None,
        host: None,
        route: None,
        backends: vec![BackendPut { address: Some("[2001:db8::2]:53".into()), ..BackendPut::default() }],
    };
    let planned = ChangeOptions { if_match: None, dry_run: true };
    assert!(client.put_service("dns", &dns, planned).await.unwrap().changed);
    assert_eq!(code(client.service("dns").await), Code::UnknownService, "a dry run changes nothing");
    client.put_service("dns", &dns, options(None)).await.unwrap();
    assert_eq!(client.service("dns").await.unwrap().value.backends[0].weight, 100);
    dns.backends[0].address = Some("10.0.0.1:53".into());
    assert_eq!(
        code(client.put_service("dns", &dns, options(None)).await),
        Code::InvalidState,
        "other family"
    );
    assert_eq!(code(client.put_service("web", &dns, options(None)).await), Code::OriginConflict);
    assert_eq!(code(client.delete_service("web", options(None)).await), Code::OriginConflict);
    assert!(client.delete_service("dns", options(None)).await.unwrap().changed);
    assert_eq!(code(client.set_weight("web", "10.0.0.99:1", 1, options(None)).await), Code::UnknownBackend);
    assert_eq!(
        code(client.set_weight("web", "10.0.0.11:8080", 1_001, options(None)).await),
        Code::InvalidState
    );
}

#[tokio::test]
async fn the_daemon_is_described_and_ten_readers_cost_one_walk() {
    let server = server();
    let client = &server.client;
    let status = client.status().await.unwrap().value;
    assert_eq!(status.packets.seen, 10 * u64::from(proxy_common::Reason::COUNT));
    assert_eq!((status.counts.backends, status.counts.backends_up), (2, 1));
    for _ in 0..10 {
        client.stats().await.unwrap();
    }
    assert_eq!(server.walks.load(Ordering::Relaxed), 1);
    assert!(
        client
            .metrics()
            .await
            .unwrap()
            .contains("weir_api_requests_total{route=\"/v1/stats\",code=\"200\"} 10")
    );
    assert!(client.ready().await.unwrap().ok);
    assert_eq!(client.config().await.unwrap().value["services"][0]["name"], "web");
    assert!(client.config_toml().await.unwrap().contains("[acl]"));
    assert_eq!(client.openapi().await.unwrap()["openapi"], "3.1.0");
    assert_eq!(client.reload().await.unwrap().generation, 1);
    let query = ExplainQuery {
        source: "192.0.2.1".parse().unwrap(),
        destination: "198.51.100.10".parse().unwrap(),
        protocol: Protocol::Tcp,
        port: 80,
        source_port: None,
        interface: None,
        established: false,
    };
    assert_eq!(client.explain(&query).await.unwrap().reason, "nat");
    let query = ExplainQuery { source: "2001:db8::1".parse().unwrap(), ..query };
    assert_eq!(code(client.explain(&query).await), Code::InvalidState);
    assert_eq!(client.detach().await.unwrap().removed, ["eth0"]);
    assert_eq!(code(client.reload().await), Code::ShuttingDown);
}

#[tokio::test]
async fn of_two_writers_one_is_stale() {
    let server = server();
    let generation = server.client.lists().await.unwrap().generation;
    let (one, two) = (add(&["192.0.2.1"]), add(&["192.0.2.2"]));
    let (one, two) = tokio::join!(
        server.client.patch_list("file", &one, true, options(generation)),
        server.client.patch_list("file", &two, true, options(generation)),
    );
    let (good, bad): (Vec<_>, Vec<_>) = [one, two].into_iter().partition(Result::is_ok);
    assert_eq!((good.len(), bad.len()), (1, 1));
    let Err(ClientError::Refused(problem)) = bad.into_iter().next().unwrap() else { panic!("refused") };
    assert_eq!((problem.code, problem.status, problem.generation), (Code::StaleGeneration, 412, Some(2)));
}

#[tokio::test]
async fn every_error_is_a_problem() {
    let server = server();
    let json = [("content-type", "application/json")];
    for (method, target, headers, body, code) in [
        ("GET", "/nowhere", &[][..], "", Code::UnknownRoute),
        ("POST", "/v1/status", &[], "", Code::MethodNotAllowed),
        ("GET", "/v1/acl/lookup", &[], "", Code::InvalidRequest),
        ("GET", "/v1/acl/lookup?ip=x", &[], "", Code::InvalidRequest),
        ("GET", "/v1/acl/lists/file?limit=x", &[], "", Code::InvalidRequest),
        ("GET", "/v1/acl/lists/%ff", &[], "", Code::InvalidRequest),
        ("PATCH", "/v1/acl/lists/file", &[], "{}", Code::UnsupportedMediaType),
        ("PATCH", "/v1/acl/lists/file", &json, "{", Code::InvalidRequest),
        ("PATCH", "/v1/acl/lists/file?what=1", &json, "{}", Code::InvalidRequest),
        ("PATCH", "/v1/acl/lists/none", &json, "{}", Code::UnknownList),
        ("PUT", "/v1/acl/lists/A", &json, "{\"entries\":[]}", Code::InvalidRequest),
        ("PUT", "/v1/acl/lists/new", &[("content-type", "text/plain")], "1.2.3\n", Code::InvalidRequest),
        ("DELETE", "/v1/acl/lists/file", &[("if-match", "soon")], "", Code::InvalidRequest),
        ("DELETE", "/v1/acl/lists/file", &[("if-match", "\"9\"")], "", Code::StaleGeneration),
        ("DELETE", "/v1/acl/lists/file", &[], "", Code::OriginConflict),
        ("DELETE", "/v1/acl/lists/kernel-says-no", &[], "", Code::KernelRefused),
        ("GET", "/v1/services/none", &[], "", Code::UnknownService),
        ("GET", "/v1/services/web/backends/x", &[], "", Code::InvalidRequest),
        ("PUT", "/v1/services/none/backends/10.0.0.1:1", &json, "{}", Code::UnknownService),
    ] {
        assert_eq!(problem(&server, method, target, headers, body).await.code, code, "{method} {target}");
    }
    let body = "{\"add\":[{\"prefix\":\"1.2.3.4\"},{\"prefix\":7}]}";
    let found = problem(&server, "PATCH", "/v1/acl/lists/file", &json, body).await;
    assert_eq!(found.errors[0].pointer, "/add/1/prefix");
    let body = "{\"add\":[{\"prefix\":\"1.2.3.4\"},{\"prefix\":\"1.2.3.4/40\"}]}";
    let found = problem(&server, "PATCH", "/v1/acl/lists/file", &json, body).await;
    assert_eq!(found.errors[0].pointer, "/add/1");
    let large = format!("{{\"x\":\"{}\"}}", "x".repeat(9 << 20));
    let found = problem(&server, "PUT", "/v1/services/new", &json, &large).await;
    assert_eq!(found.code, Code::BodyTooLarge);
    let (_, head, _) = raw(&server, "GET", "/v1/services/web", &[], "").await;
    assert_eq!(head["etag"], "\"1\"");
    let entries = vec!["{\"prefix\":\"192.0.2.1\",\"reason\":\"an import is one call\"}"; 40_000].join(",");
    let large = format!("{{\"add\":[{entries}]}}");
    let (status, _, _) = raw(&server, "PATCH", "/v1/acl/lists/file", &json, large).await;
    assert_eq!(status, 200);
}

#[tokio::test]
async fn a_peer_outside_the_group_may_only_read() {
    let (door, _) = fake::start();
    let writers = Writers { user: 700, group: 4_000_000 };
    let app = router(Api { door, metrics: Metrics::shared(), writers });
    let call = |method: &str, target: &str, uid| {
        let mut request = Request::builder().method(method).uri(target).body(Body::empty()).unwrap();
        request.extensions_mut().insert(Peer { uid, gid: uid, pid: None });
        app.clone().oneshot(request)
    };
    assert_eq!(call("GET", "/v1/status", 1_000).await.unwrap().status(), StatusCode::OK);
    assert_eq!(call("POST", "/v1/reload", 1_000).await.unwrap().status(), StatusCode::FORBIDDEN);
    assert_eq!(call("POST", "/v1/reload", 700).await.unwrap().status(), StatusCode::OK);
}

#[tokio::test]
async fn the_kernel_names_the_peer_of_a_change() {
    let server = server();
    server.client.patch_list("file", &add(&["192.0.2.1"]), true, options(None)).await.unwrap();
    let by = server.client.status().await.unwrap().value.last_change.unwrap().by.unwrap();
    assert_eq!(by.uid, rustix::process::geteuid().as_raw());
    assert_eq!(by.pid, i32::try_from(std::process::id()).ok());
    let nobody = Client::new(server.path.with_extension("none"));
    assert!(matches!(nobody.status().await, Err(ClientError::Unreachable { .. })));
}

#[test]
fn the_committed_description_is_what_the_code_says() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/openapi.json");
    let wanted = openapi().to_pretty_json().unwrap() + "\n";
    if std::env::var_os("WEIR_BLESS").is_some() {
        std::fs::write(path, &wanted).unwrap();
    }
    let found = std::fs::read_to_string(path).unwrap_or_default();
    assert!(found == wanted, "docs/openapi.json is out of date: run the test with WEIR_BLESS=1");
}
