use serde_json::json;

use super::*;
use crate::l7::snapshot::{Action, Location, PathChange, Rewrite, Scheme, Url};

fn pointers(refused: &L7Refused) -> Vec<&str> {
    refused.0.iter().map(|one| one.pointer.as_str()).collect()
}

#[test]
fn toml_and_json_and_the_file_say_the_same() {
    let settings = "codec = \"http1\"\n[service.l7]\ntrusted = [\"10.1.0.0/24\"]\nlimits = { connections = 10 }\n\
                    [[service.route]]\nname = \"a\"\npath = { prefix = \"/x\" }\nto = [{ service = \"web\", weight = 3 }]\n\
                    [[service.host]]\nhosts = [\"b.example\"]\n";
    let file = format!(
        "version = 1\n[interface.eth0]\n[[service]]\nname = \"web\"\nvip = \"tcp/198.51.100.10:80\"\nforward = \"l7\"\n{settings}"
    );
    let loaded = super::super::load_text("weir.toml", &file, std::path::Path::new(""), &Default::default());
    let of_file = loaded.unwrap().desired.services["web"].l7.clone().unwrap();
    let under_service = read_l7_toml("web", "routes.toml", settings).unwrap();
    let bare = settings.replace("service.", "");
    let bare = read_l7_toml("web", "routes.toml", &bare).unwrap();
    let written = Value::Object((*of_file.written).clone());
    assert_eq!(written["route"][0]["to"], json!([{ "service": "web", "weight": 3 }]));
    let of_json = read_l7_json("web", &written).unwrap();
    assert_eq!((&under_service.l7, &bare.l7, &of_json.l7), (&*of_file, &*of_file, &*of_file));
    assert!(under_service.warnings.is_empty());
}

#[test]
fn other_targets_are_read() {
    let read = |route: &str| {
        let text = format!("codec = \"http1\"\n[[route]]\npath = {{ prefix = \"/api/\" }}\n{route}\n");
        read_l7_toml("web", "x", &text).map(|read| read.l7.hosts[0].routes[0].clone())
    };
    let prefix = |path: &str| Some(PathChange::Prefix(path.into()));
    for (text, path, host) in [
        ("rewrite = { prefix = \"\" }", prefix(""), None),
        ("rewrite = { prefix = \"/\" }", prefix("/"), None),
        ("rewrite = { prefix = \"/v2/\", host = \"[fd00::1]:80\" }", prefix("/v2/"), Some("[fd00::1]:80")),
        ("rewrite = { path = \"/a%20b\" }", Some(PathChange::Whole("/a%20b".into())), None),
    ] {
        let wanted = Rewrite { path, host: host.map(str::to_owned) };
        assert_eq!(read(text).unwrap().rewrite, wanted, "{text}");
    }
    let https = Url { scheme: Some(Scheme::Https), ..Url::default() };
    let host = |host: &str| Some(host.to_owned());
    for (text, wanted) in [
        ("redirect = { scheme = \"https\" }", https.clone()),
        ("redirect = { scheme = \"https\", port = 8443 }", Url { port: Some(8443), ..https }),
        (
            "redirect = { host = \"[::1]\", port = 1 }",
            Url { host: host("[::1]"), port: Some(1), ..Url::default() },
        ),
        ("redirect = { prefix = \"/v2\" }", Url { path: prefix("/v2"), ..Url::default() }),
    ] {
        let wanted = Action::Redirect { status: 302, location: Location::Url(wanted) };
        assert_eq!(read(text).unwrap().action, wanted, "{text}");
    }
    for (text, pointer) in [
        ("redirect = { host = \"a:1\", port = 1 }", "/route/0/redirect/port"),
        ("redirect = { host = \"[::1]:1\", port = 1 }", "/route/0/redirect/port"),
        ("redirect = { port = 0 }", "/route/0/redirect/port"),
        ("redirect = { scheme = \"ftp\" }", "/route/0/redirect/scheme"),
        ("redirect = { location = \"/\", host = \"a\" }", "/route/0/redirect/host"),
        ("redirect = {}", "/route/0/redirect"),
        ("rewrite = {}", "/route/0/rewrite"),
        ("rewrite = { host = \"u@a\" }", "/route/0/rewrite/host"),
    ] {
        assert_eq!(pointers(&read(text).unwrap_err()), [pointer], "{text}");
    }
}

/// A route by a query has no requests but those of HTTP, and may send them where nobody speaks another protocol.
#[test]
fn only_http_has_a_query() {
    let load = |query: &str| {
        let service = |name: &str, port: u16, codec: &str| {
            let vip = format!(
                "vip = \"tcp/198.51.100.10:{port}\"\nforward = \"l7\"\nbackends = [\"10.0.0.1:1\"]\n"
            );
            format!("[[service]]\nname = \"{name}\"\n{vip}codec = {codec}\n")
        };
        let both = service("both", 80, "[\"bolt\", \"http1\"]");
        let file = format!(
            "version = 1\n[interface.eth0]\n{both}[[service.route]]\nquery = {{ lane = {query} }}\nto = \"web\"\n{}",
            service("web", 81, "\"http1\"")
        );
        super::super::load_text("weir.toml", &file, std::path::Path::new(""), &Default::default()).is_ok()
    };
    assert!(load("\"b\"") && load("{ present = true }"));
    assert!(!load("{ present = false }"), "what has no query has no such parameter");
}

#[test]
fn who_says_nothing_takes_nothing_away() {
    for read in [
        read_l7_toml("web", "x", ""),
        read_l7_toml("web", "x", "# codec = \"http1\"\n"),
        read_l7_toml("web", "x", "[service]\n"),
        read_l7_json("web", &json!({})),
    ] {
        let refused = read.unwrap_err();
        let hint = &refused.0[0].diagnostic.hint;
        assert!(hint.contains("weir l7 unset") && refused.0.len() == 1, "{refused}");
    }
    let l7 = read_l7_json("web", &json!({ "codec": "tcp" })).unwrap().l7;
    assert_eq!((&l7, &l7.written), (&L7::default(), &L7::default().written));
}

#[test]
fn a_name_is_not_that_of_another_without_one() {
    for (text, wanted) in [
        ("[[route]]\nname = \"2\"\n[[route]]\n", &["/route/0/name"][..]),
        ("[[route]]\n[[route]]\nname = \"2\"\n", &[]),
        ("[[route]]\n[[route]]\nname = \"02\"\n", &[]),
        ("[[host]]\nhosts = [\"b.x\"]\nname = \"a.x\"\n[[host]]\nhosts = [\"A.x.\"]\n", &["/host/0/name"]),
        ("[[host]]\nhosts = [\"a.x\"]\nname = \"a.x\"\n", &[]),
        ("[[host]]\nhosts = [\"a.x\"]\nname = \"*\"\n[[route]]\n", &["/host/0/name"]),
        ("[[host]]\nhosts = [\"a.x\"]\n[[host]]\nhosts = [\"b.x\", \"A.X.\"]\n", &["/host/1/hosts/1"]),
        ("[[host]]\nhosts = [\"2001:DB8::0:1\", \"2001:db8::1\"]\n", &["/host/0/hosts/1"]),
        ("[[route]]\npath = \"/%61\"\n", &["/route/0/path"]),
    ] {
        // Tables of the service's own come before those of its hosts.
        let read = read_l7_toml("web", "x", &format!("codec = \"http1\"\n{text}"));
        match read {
            Ok(_) => assert!(wanted.is_empty(), "{text}"),
            Err(refused) => assert_eq!(pointers(&refused), wanted, "{text}: {refused}"),
        }
    }
    let read = read_l7_toml(
        "web",
        "x",
        "codec = \"http1\"\n[[host]]\nhosts = [\"A.Example.\", \"2001:DB8::0:1\"]\n",
    );
    let hosts = read.unwrap().l7.hosts;
    assert_eq!(
        (hosts[0].name.as_str(), &hosts[0].hosts[..]),
        ("a.example", &["a.example".to_owned(), "2001:db8::1".to_owned()][..])
    );
}

#[test]
fn what_a_terminal_would_obey_is_escaped_and_read_back() {
    let odd = "a\"b'\\ \u{1b}[2J \u{9b}1m \u{7f} \u{202e}x \n\té";
    let value = json!({ "codec": "http1", "route": [
        { "answer": { "status": 200, "body": odd } },
        { "name": "b", "path": "/", "request_headers": { "set": { "x-a": "q\u{200f}" } } }
    ] });
    let l7 = read_l7_json("web", &value).unwrap().l7;
    let text = crate::config::l7_text(&l7.written).unwrap();
    assert!(text.contains("\\u009B1m") && !text.contains(crate::config::unsafe_to_show), "{text}");
    let again = read_l7_toml("web", "x", &text).unwrap().l7;
    assert_eq!((&again, &again.written), (&l7, &l7.written));
}

#[test]
fn empty_lists_say_nothing() {
    let value = json!({ "codec": "http1", "host": [], "route": [] });
    let l7 = read_l7_json("web", &value).unwrap().l7;
    assert_eq!(*l7.written, *json!({ "codec": "http1" }).as_object().unwrap());
    let value = json!({ "codec": "http1", "host": [{ "hosts": ["a"], "route": [] }] });
    let l7 = read_l7_json("web", &value).unwrap().l7;
    assert_eq!(l7.written["host"], json!([{ "hosts": ["a"] }]));
}

#[test]
fn the_example_survives_its_own_written_form() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/l7.toml");
    let loaded = super::super::load(Some(&path), &Default::default()).unwrap();
    for (name, service) in &loaded.desired.services {
        let l7 = service.l7.clone().unwrap();
        let again = read_l7_json(name, &Value::Object((*l7.written).clone())).unwrap().l7;
        assert_eq!((&again, &again.written), (&*l7, &l7.written), "{name}");
        let text = crate::config::l7_text(&l7.written).unwrap();
        assert_eq!(read_l7_toml(name, "x", &text).unwrap().l7, *l7, "{text}");
    }
}

#[test]
fn faults_are_named_by_their_keys() {
    for (body, wanted) in [
        (json!([]), &[""][..]),
        (json!({ "codec": "http2" }), &["/codec"]),
        (json!({ "codec": null }), &["/codec"]),
        (
            json!({ "l7": { "limits": { "requests": 18_446_744_073_709_551_615_u64 } } }),
            &["/l7/limits/requests"],
        ),
        (json!({ "l7": { "limits": { "requests": 0.5 } } }), &["/l7/limits/requests"]),
        (json!({ "codec": "http1", "vip": "tcp/1.2.3.4:5" }), &["/vip"]),
        (json!({ "codec": "http1", "l7": { "trusted": ["10.0.0.1", "x"] } }), &["/l7/trusted/1"]),
        (
            json!({ "codec": "http1", "route": [{}, { "to": "a", "answer": { "status": 999 } }] }),
            &["/route/1/answer/status"],
        ),
        (
            json!({ "codec": "http1", "route": [{ "to": [{ "service": "a", "weight": 0 }] }] }),
            &["/route/0/to"],
        ),
        (json!({ "codec": "bolt", "route": [{ "answer": { "status": 200 } }] }), &["/route/0/answer"]),
        (
            json!({ "codec": "http1", "route": [{ "request_headers": { "set": { "a/b": "x" } } }] }),
            &["/route/0/request_headers/set/a~1b"],
        ),
        (json!({ "route": [{}] }), &["/route/0"]),
        (
            json!({ "codec": "http1", "host": [{ "route": [{ "pat": "/" }] }] }),
            &["/host/0", "/host/0/route/0/pat"],
        ),
    ] {
        let refused = read_l7_json("web", &body).unwrap_err();
        let mut found = pointers(&refused);
        found.sort_unstable();
        assert_eq!(found, wanted, "{body}: {refused}");
        assert!(refused.0.iter().all(|one| !one.diagnostic.hint.is_empty()), "{refused}");
    }
}

#[test]
fn text_that_is_no_toml_says_where() {
    let refused = read_l7_toml("web", "routes.toml", "codec = \"http1\"\n[[route]\n").unwrap_err();
    let first = &refused.0[0].diagnostic;
    assert_eq!((first.code, first.line, first.file.as_deref()), (Code::Syntax, Some(2), Some("routes.toml")));
    let twice = read_l7_toml("web", "x", "codec = \"tcp\"\n[service]\ncodec = \"http1\"\n").unwrap_err();
    assert_eq!((pointers(&twice), twice.0[0].diagnostic.code), (vec!["/service/codec"], Code::Duplicate));
}

#[test]
fn what_may_stand_is_told_and_nothing_else_is_a_key() {
    let refused = read_l7_toml("web", "x", "rout = []\n").unwrap_err();
    let hint = &refused.0[0].diagnostic.hint;
    assert_eq!(hint, "did you mean `route`? Possible: `codec`, `host`, `l7`, `route`");
}

#[test]
fn host_bits_are_a_warning() {
    let text = "codec = \"http1\"\nl7 = { trusted = [\"10.1.0.7/24\"] }\n";
    let read = read_l7_toml("web", "x", text).unwrap();
    assert_eq!(read.warnings[0].code, Code::HostBits);
    assert_eq!(read.l7.rules.trusted, ["10.1.0.0/24".parse().unwrap()]);
    let long = read_l7_json(
        "web",
        &json!({ "codec": "http1", "route": [{ "answer": { "status": 200, "body": "\u{0}\n\"'\u{7f}" } }] }),
    );
    let l7 = long.unwrap().l7;
    assert_eq!(l7.hosts[0].routes[0].action, Action::Direct { status: 200, body: "\u{0}\n\"'\u{7f}".into() });
}

/// So many virtual hosts of as many routes and names each.
fn hosts(count: usize, routes: usize, names: usize) -> Value {
    let host = |at: usize| {
        let names: Vec<_> = (0..names).map(|name| format!("h{name}.{at}.x")).collect();
        json!({ "hosts": names, "route": vec![json!({}); routes] })
    };
    json!({ "codec": "http1", "host": (0..count).map(host).collect::<Vec<_>>() })
}

#[test]
fn routes_and_hosts_of_a_service_have_a_bound() {
    use super::super::bounds::L7_SERVICE_ROUTES as MOST;
    assert!(read_l7_json("web", &hosts(8, MOST / 8, 1)).is_ok());
    assert!(read_l7_json("web", &hosts(8, 1, MOST / 8)).is_ok());
    for (mut value, what) in [(hosts(8, MOST / 8, 1), "routes"), (hosts(8, 1, MOST / 8), "names of hosts")] {
        value["host"].as_array_mut().unwrap().push(json!({ "hosts": ["last.x"] }));
        let refused = read_l7_json("web", &value).unwrap_err();
        assert_eq!((pointers(&refused), refused.0[0].diagnostic.code), (vec!["/host/8"], Code::TooMany));
        let message = &refused.0[0].diagnostic.message;
        assert!(message.contains(&format!("more than 4096 {what}")), "{message}");
    }
}

#[test]
fn all_services_together_have_a_bound() {
    use super::super::bounds::{L7_ALL_ROUTES, L7_SERVICE_ROUTES};
    let of = |services: usize, more: &str| {
        let mut text = "version = 1\n[interface.eth0]\n".to_owned();
        for service in 0..services {
            let routes = "[[service.host.route]]\n".repeat(L7_SERVICE_ROUTES / 8);
            let hosts: String =
                (0..8).map(|host| format!("[[service.host]]\nhosts = [\"h{host}\"]\n{routes}")).collect();
            text += &format!(
                "[[service]]\nname = \"s{service}\"\nvip = \"tcp/198.51.100.10:{}\"\nforward = \"l7\"\ncodec = \"http1\"\nbackends = [\"10.0.0.1\"]\n{hosts}",
                100 + service
            );
        }
        super::super::load_text("weir.toml", &(text + more), std::path::Path::new(""), &Default::default())
    };
    let full = L7_ALL_ROUTES / L7_SERVICE_ROUTES;
    assert!(of(full, "").is_ok());
    let one = "[[service]]\nname = \"x\"\nvip = \"tcp/198.51.100.10:80\"\nforward = \"l7\"\ncodec = \"http1\"\n[[service.route]]\n";
    let refused = of(full, one).unwrap_err().to_string();
    assert!(
        refused.contains("services have 16385 routes") && refused.contains("config.too_many"),
        "{refused}"
    );
}

#[test]
fn settings_of_any_spelling_have_one_bound_and_come_back() {
    use super::super::bounds::L7_SETTINGS_BYTES as MOST;
    // A letter of one byte that is escaped in six.
    let of = |bytes: usize| {
        let answers = bytes / 60_000;
        let mut routes: Vec<_> = (0..answers)
            .map(|_| json!({ "answer": { "status": 200, "body": "\u{7f}".repeat(60_000) } }))
            .collect();
        let length = |routes: &[Value]| json!({ "codec": "http1", "route": routes }).to_string().len();
        let rest = bytes - length(&routes) - r#",{"answer":{"body":"","status":200}}"#.len();
        routes.push(json!({ "answer": { "status": 200, "body": "\u{7f}".repeat(rest) } }));
        assert_eq!(length(&routes), bytes);
        json!({ "codec": "http1", "route": routes })
    };
    let l7 = read_l7_json("web", &of(MOST)).unwrap().l7;
    let text = crate::config::l7_text(&l7.written).unwrap();
    assert!(text.len() > 5 * MOST, "{}", text.len());
    assert_eq!(read_l7_toml("web", "x", &text).unwrap().l7, l7);
    let refused = read_l7_json("web", &of(MOST + 1)).unwrap_err();
    assert!(refused.0[0].diagnostic.message.contains("too large"), "{refused}");
}

#[test]
fn many_keys_that_nobody_knows_are_refused_before_anything_is_built_of_them() {
    let keys = |count: u32| -> Value {
        (0..count).map(|n| (format!("k{n}"), json!(1))).collect::<serde_json::Map<_, _>>().into()
    };
    let refused = read_l7_json("web", &keys(200_000)).unwrap_err();
    assert_eq!(refused.0.len(), 1);
    assert!(refused.0[0].diagnostic.message.contains("too large"), "{refused}");
    // In TOML, what is found ends the search.
    let text: String = (0..5_000).map(|n| format!("k{n} = 1\n")).collect();
    let refused = read_l7_toml("web", "x", &text).unwrap_err().to_string();
    assert!(refused.contains("990 more of"), "{refused}");
}

#[test]
fn keys_that_need_a_codec_name_it() {
    for (text, wanted) in [
        ("[[route]]\n", "add codec = \"http1\" or codec = \"bolt\" to the service"),
        ("[[route]]\npath = \"/\"\n", "add codec = \"http1\" to the service"),
        ("[[host]]\nhosts = [\"a.x\"]\n", "add codec = \"http1\" to the service"),
        ("[[route]]\nservice = \"a\"\n", "add codec = \"bolt\" to the service"),
        ("l7 = { limits = { requests = 1 } }\n", "add codec = \"http1\" or codec = \"bolt\" to"),
        ("l7 = { goaway = true }\n", "add codec = \"bolt\" to the service"),
        ("l7 = { connect = true }\n", "add codec = \"http1\" to the service"),
        ("codec = \"http1\"\nl7 = { goaway = true }\n", "leave it out; it is for codec = \"bolt\""),
    ] {
        let refused = read_l7_toml("web", "x", text).unwrap_err();
        let hint = &refused.0[0].diagnostic.hint;
        assert!(hint.starts_with(wanted), "{text}: {hint}");
    }
}
