use serde_json::{Value, json};

use super::*;
use crate::control::types::{L7Settings, Outcome};

const JSON: [(&str, &str); 1] = [("content-type", "application/json")];
const TOML: [(&str, &str); 1] = [("content-type", "application/toml")];

fn settings(value: Value) -> L7Settings {
    serde_json::from_value(value).unwrap()
}

/// Puts a service of mode `l7` with these keys.
async fn put(server: &Server, name: &str, port: u16, more: Value) -> (StatusCode, Bytes) {
    let mut body = json!({
        "vip": format!("tcp/198.51.100.30:{port}"), "forward": "l7", "backends": [{ "address": "10.0.0.31:80" }]
    });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let target = format!("/v1/services/{name}");
    let (status, _, answer) = raw(server, "PUT", &target, &JSON, body.to_string()).await;
    (status, answer)
}

#[tokio::test]
async fn settings_are_put_with_the_service_and_on_their_own_and_shown_everywhere() {
    let server = server();
    let client = &server.client;
    assert_eq!(put(&server, "next", 81, json!({ "codec": "http1" })).await.0, 200);
    let routes = json!([{ "name": "a", "path": { "prefix": "/x" }, "to": "next" }]);
    assert_eq!(put(&server, "shop", 80, json!({ "codec": "http1", "route": routes })).await.0, 200);
    let found = client.l7_settings("shop").await.unwrap();
    assert_eq!(found.value.settings, settings(json!({ "codec": "http1", "route": routes })));
    assert_eq!((found.value.origin, found.value.overridden), (Origin::Api, false));
    let shop = client.service("shop").await.unwrap().value;
    assert_eq!((shop.codec, shop.route, shop.l7_overridden), (Some("http1".into()), Some(routes), false));
    assert_eq!(client.service("web").await.unwrap().value.codec, None, "of a nat service");

    let more = settings(
        json!({ "codec": "http1", "l7": { "timeouts": { "request": "3s" } }, "route": [{ "name": "b" }] }),
    );
    let planned = ChangeOptions { if_match: found.generation, dry_run: true };
    let applied = client.put_l7_settings("shop", &more, planned).await.unwrap();
    let items: Vec<_> = applied.items.iter().map(|item| (item.item.as_str(), item.outcome)).collect();
    let wanted =
        [("l7.timeouts", Outcome::Added), ("route */a", Outcome::Removed), ("route */b", Outcome::Added)];
    assert_eq!((items.as_slice(), applied.changed, applied.dry_run), (&wanted[..], true, true));
    assert_eq!(client.l7_settings("shop").await.unwrap(), found, "a dry run changes nothing");
    client.put_l7_settings("shop", &more, options(found.generation)).await.unwrap();
    assert_eq!(
        code(client.put_l7_settings("shop", &more, options(found.generation)).await),
        Code::StaleGeneration
    );
    assert!(!client.put_l7_settings("shop", &more, options(None)).await.unwrap().changed);
    let config = client.config().await.unwrap().value;
    let shown =
        config["services"].as_array().unwrap().iter().find(|one| one["name"] == "shop").unwrap().clone();
    assert_eq!(
        (&shown["l7"]["timeouts"]["request"], &shown["route"][0]["name"]),
        (&"3s".into(), &"b".into())
    );
    let config = client.config_toml().await.unwrap();
    assert!(config.contains("[services.l7.timeouts]\nrequest = \"3s\""), "{config}");

    // A put of the service without them leaves them.
    assert_eq!(put(&server, "shop", 80, json!({})).await.0, 200);
    assert_eq!(client.l7_settings("shop").await.unwrap().value.settings, more);
    assert!(client.delete_l7_settings("shop", options(None)).await.unwrap().changed);
    assert_eq!(client.l7_settings("shop").await.unwrap().value.settings, settings(json!({ "codec": "tcp" })));
    assert!(!client.delete_l7_settings("shop", options(None)).await.unwrap().changed, "idempotent");
}

#[tokio::test]
async fn toml_goes_in_and_comes_out_as_under_the_service_in_the_file() {
    let server = server();
    put(&server, "shop", 80, json!({})).await;
    let text = "codec = \"http1\"\n\n[service.l7]\naccess_log = 10\n\n[[service.route]]\nheaders = { x-a = \"b\" }\nname = \"a\"\n";
    let (status, _, body) = raw(&server, "PUT", "/v1/services/shop/l7", &TOML, text).await;
    assert_eq!(status, 200, "{body:?}");
    let accept = [("accept", "application/toml")];
    let (_, head, body) = raw(&server, "GET", "/v1/services/shop/l7", &accept, "").await;
    assert!(head["content-type"] == "application/toml" && head["etag"] == "\"3\"", "{head:?}");
    assert_eq!(String::from_utf8(body.to_vec()).unwrap(), text);
    let masked = "codec = \"http1\"\nl7 = { trusted = [\"10.0.0.1/8\"] }\n";
    let (_, _, body) = raw(&server, "PUT", "/v1/services/shop/l7", &TOML, masked).await;
    let applied: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(applied["warnings"][0]["code"], "config.host_bits");
}

#[tokio::test]
async fn faults_are_problems_that_name_keys_and_nothing_changes() {
    let server = server();
    put(&server, "shop", 80, json!({ "codec": "http1" })).await;
    let before = server.client.l7_settings("shop").await.unwrap();
    let at = "/v1/services/shop/l7";
    for (method, target, headers, body, code, pointer) in [
        ("PUT", at, &JSON[..], "{", Code::InvalidRequest, Some("")),
        ("PUT", at, &[], "{}", Code::UnsupportedMediaType, None),
        ("PUT", at, &JSON, "[]", Code::InvalidRequest, Some("")),
        ("PUT", at, &JSON, r#"{"codec":"http9"}"#, Code::InvalidRequest, Some("/codec")),
        ("PUT", at, &JSON, r#"{"codec":"http1","routes":[]}"#, Code::InvalidRequest, Some("/routes")),
        (
            "PUT",
            at,
            &JSON,
            r#"{"codec":"http1","l7":{"timeouts":{"request":"soon"}}}"#,
            Code::InvalidState,
            Some("/l7/timeouts/request"),
        ),
        (
            "PUT",
            at,
            &JSON,
            r#"{"codec":"http1","route":[{},{"to":"nowhere"}]}"#,
            Code::InvalidState,
            Some("/route/1/to"),
        ),
        (
            "PUT",
            at,
            &TOML,
            "codec = \"http1\"\n[[route]]\nto = 7\n",
            Code::InvalidRequest,
            Some("/route/0/to"),
        ),
        ("PUT", at, &TOML, "codec = \n", Code::InvalidRequest, Some("")),
        ("PUT", at, &[JSON[0], ("if-match", "\"1\"")], r#"{"codec":"http1"}"#, Code::StaleGeneration, None),
        ("PUT", at, &JSON, "{}", Code::InvalidState, Some("")),
        ("PUT", at, &TOML, "# nothing\n", Code::InvalidState, Some("")),
        ("PUT", at, &JSON, r#"{"codec":"http1","codec":"tcp"}"#, Code::InvalidRequest, Some("/codec")),
        (
            "PUT",
            at,
            &JSON,
            r#"{"codec":"http1","route":[{"path":"/a","path":"/b"}]}"#,
            Code::InvalidRequest,
            Some("/route/0/path"),
        ),
        (
            "PUT",
            "/v1/services/shop",
            &JSON,
            r#"{"vip":"tcp/198.51.100.30:80","l7":{"access_log":1,"access_log":2}}"#,
            Code::InvalidRequest,
            Some("/l7/access_log"),
        ),
        ("PUT", "/v1/services/none/l7", &JSON, r#"{"codec":"tcp"}"#, Code::UnknownService, None),
        ("DELETE", "/v1/services/none/l7", &[], "", Code::UnknownService, None),
        ("GET", "/v1/services/none/l7", &[], "", Code::UnknownService, None),
        ("PUT", "/v1/services/web/l7", &JSON, r#"{"codec":"tcp"}"#, Code::InvalidState, None),
        ("GET", "/v1/services/web/l7", &[], "", Code::InvalidState, None),
        ("POST", at, &JSON, "{}", Code::MethodNotAllowed, None),
    ] {
        let found = problem(&server, method, target, headers, body).await;
        let first = found.errors.first().map(|error| error.pointer.as_str());
        assert_eq!((found.code, first), (code, pointer), "{method} {target} {body}: {found:?}");
    }
    let line = problem(&server, "PUT", at, &TOML, "codec = \"http1\"\n[[route]]\nto = 7\n").await;
    assert!(line.errors[0].message.starts_with("line 3: `to` takes no integer; write"), "{line:?}");
    let large = format!("{{\"codec\":\"{}\"}}", "x".repeat(9 << 20));
    assert_eq!(problem(&server, "PUT", at, &JSON, &large).await.code, Code::BodyTooLarge);
    let (status, body) =
        put(&server, "shop", 80, json!({ "codec": "http1", "route": [{ "to": "lost" }] })).await;
    let found: Problem = serde_json::from_slice(&body).unwrap();
    assert_eq!((status.as_u16(), found.errors[0].pointer.as_str()), (422, "/route/0/to"));
    let nat = json!({ "forward": "nat", "codec": "http1" });
    assert_eq!(put(&server, "shop", 80, nat).await.0, 422);
    assert_eq!(server.client.l7_settings("shop").await.unwrap(), before);
}

#[test]
fn what_is_not_in_force_is_shown_with_why() {
    use crate::catalog::{ApiService, SteppedBack};
    use crate::control::types::L7Holds;
    let base = Arc::new(fake::base());
    let mut view = crate::control::door::View::starting(base, fake::then());
    let l7 = Arc::new(crate::config::read_l7_toml("shop", "x", "codec = \"bolt\"\n").unwrap().l7);
    let part = ApiService { l7: Some(l7), ..ApiService::default() };
    Arc::make_mut(&mut view.api).services.insert("shop".into(), part);
    assert_eq!(render::l7_set_aside(&view, "shop"), None);
    let stepped = SteppedBack { why: "gone".into(), holds: L7Holds::Access };
    view.stepped_back.insert("shop".into(), stepped);
    let found = render::l7_set_aside(&view, "shop").unwrap();
    assert_eq!((found.why.as_str(), found.holds), ("gone", L7Holds::Access));
    assert_eq!(found.settings, settings(json!({ "codec": "bolt" })));
    view.stepped_back.clear();
    view.orphaned_services.push("shop".into());
    assert_eq!(render::l7_set_aside(&view, "shop"), None, "the merge says why and what holds");
}

#[tokio::test]
async fn a_body_may_be_longer_than_the_settings_in_it() {
    let server = server();
    put(&server, "shop", 80, json!({})).await;
    let blanks = " ".repeat(2 << 20);
    let (status, _, body) =
        raw(&server, "PUT", "/v1/services/shop/l7", &JSON, format!("{blanks}{{\"codec\":\"http1\"}}")).await;
    assert_eq!(status, 200, "{body:?}");
}

#[test]
fn the_description_has_the_files_own_schema() {
    let text = serde_json::to_value(openapi()).unwrap();
    let schemas = &text["components"]["schemas"];
    let settings = &schemas["L7Settings"];
    let keys: Vec<_> = settings["properties"].as_object().unwrap().keys().collect();
    assert_eq!(keys, ["codec", "host", "l7", "route"]);
    assert_eq!(settings["additionalProperties"], false);
    assert_eq!(settings["properties"]["l7"]["$ref"], "#/components/schemas/L7SettingsTable");
    let file = crate::config::schema();
    for (ours, theirs) in
        [("L7SettingsTable", "RawL7"), ("L7SettingsRoute", "RawRoute"), ("L7SettingsHost", "RawHost")]
    {
        let keys =
            |schema: &Value| schema["properties"].as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        assert_eq!(keys(&schemas[ours]), keys(&file["$defs"][theirs]), "{ours}");
    }
    let mut whole = text.to_string();
    whole = whole.replace("#/components/schemas/", "");
    assert!(!whole.contains("#/$defs/"), "every reference leads somewhere");
    let retry = &schemas["L7SettingsRetry"]["properties"]["tries"];
    assert_eq!((&retry["maximum"], &retry["default"]), (&10.into(), &2.into()), "{retry}");
}
