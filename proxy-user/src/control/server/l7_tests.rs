use super::*;
use crate::control::types::{L7Query, L7Request, L7WorkerState};

#[tokio::test]
async fn workers_and_routes_are_shown() {
    let server = server();
    let client = &server.client;
    let status = client.l7_status().await.unwrap().value;
    let states: Vec<_> = status.workers.iter().map(|one| (one.worker, one.state)).collect();
    let wanted =
        [(Some(0), L7WorkerState::Serving), (Some(1), L7WorkerState::Down), (None, L7WorkerState::Draining)];
    assert_eq!(states, wanted);
    assert_eq!((status.generation, status.connections, status.services[0].requests), (Some(1), 5, 40));
    let routes = client.l7_routes(None).await.unwrap().value;
    assert_eq!((routes.acknowledged, routes.workers, routes.services.len()), (1, 2, 1));
    assert_eq!(routes.services[0].virtual_hosts[0].routes[1].does.action, "redirect 301 to /new");
    assert_eq!(code(client.l7_routes(Some("none")).await), Code::UnknownService);
    let connections = client.l7_connections(None, 10).await.unwrap().value;
    assert_eq!((connections.connections.len(), connections.silent), (0, vec![0]));
    assert_eq!(code(client.l7_connections(Some("none"), 10).await), Code::UnknownService);
    assert_eq!(server.walks.load(Ordering::Relaxed), 0, "none of it asked the loop");
}

#[tokio::test]
async fn requests_are_explained_also_to_readers() {
    let server = server();
    let query = |url: &str| L7Query {
        request: L7Request::Http { method: "GET".into(), url: url.into() },
        headers: Vec::new(),
        source: None,
        service: None,
    };
    let answer = server.client.explain_l7(&query("http://shop.example/old/x")).await.unwrap();
    assert_eq!((answer.outcome.as_str(), answer.routes.len()), ("redirect", 2));
    assert_eq!(code(server.client.explain_l7(&query("ftp://x/")).await), Code::InvalidRequest);
    let bolt = L7Request::Bolt { service: "s".into(), method: "m".into() };
    let bolt = L7Query { request: bolt, ..query("") };
    assert_eq!(code(server.client.explain_l7(&bolt).await), Code::InvalidState);
    let json = [("content-type", "application/json")];
    let odd = problem(&server, "POST", "/v1/explain/l7", &json, "{\"request\":{\"ftp\":{}}}").await;
    assert_eq!(odd.code, Code::InvalidRequest);

    let (door, _) = fake::start();
    let writers = Writers { user: 700, group: 4_000_000 };
    let app = router(Api { door, metrics: Metrics::shared(), writers });
    let body = serde_json::to_vec(&query("http://shop.example/old")).unwrap();
    let mut request = Request::builder().method("POST").uri("/v1/explain/l7").header(json[0].0, json[0].1);
    request.extensions_mut().unwrap().insert(Peer { uid: 1_000, gid: 1_000, pid: None });
    assert_eq!(app.oneshot(request.body(Body::from(body)).unwrap()).await.unwrap().status(), StatusCode::OK);
}
