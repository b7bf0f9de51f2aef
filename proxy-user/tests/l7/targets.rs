//! Routes with other targets: curl asks, and nginx says what it has got.

use proxy_user::l7::snapshot::{
    Action, Location, Matches, PathChange, QueryMatch, Rewrite, Route, Scheme, TextMatch, Url,
};
use proxy_user::lab::left_out;

use crate::bed::Worker;
use crate::clients::run;
use crate::proxies::Proxy;

fn matching(prefix: &str) -> Matches {
    Matches { path: Some(TextMatch::Prefix(prefix.to_owned())), ..Matches::default() }
}

fn routes() -> Vec<Route> {
    let prefix = |with: &str| Some(PathChange::Prefix(with.to_owned()));
    let host = Some("in.example:81".to_owned());
    let url = |url| Action::Redirect { status: 308, location: Location::Url(url) };
    let lane = QueryMatch { name: "lane".to_owned(), value: TextMatch::Exact("b c".to_owned()) };
    let lane = Matches { query: vec![lane], ..matching("/api") };
    let other = Rewrite { path: None, host: Some("lane.example".to_owned()) };
    vec![
        Route { matches: lane, rewrite: other, ..Route::default() },
        Route {
            matches: matching("/api"),
            rewrite: Rewrite { path: prefix("/v2"), host },
            ..Route::default()
        },
        Route {
            matches: matching("/old"),
            action: url(Url { path: prefix("/api/new"), ..Url::default() }),
            ..Route::default()
        },
        Route {
            matches: matching("/"),
            action: url(Url { scheme: Some(Scheme::Https), ..Url::default() }),
            ..Route::default()
        },
    ]
}

#[test]
fn curl_asks_and_nginx_says_what_it_got() {
    let Some(nginx) = Proxy::echo() else { return left_out("nginx is not installed") };
    let worker = Worker::routed(nginx.at[0], routes());
    let url = |path: &str| format!("http://{}{path}", worker.at);
    let curl = |arguments: &[&str]| {
        let all: Vec<&str> = ["-sS", "--max-time", "20"].iter().chain(arguments).copied().collect();
        run("curl", &all, b"").map(|said| String::from_utf8(said).unwrap())
    };
    let Some(said) = curl(&[&url("/api/a%20b?c=/api")]) else { return };
    assert_eq!(said, "GET /v2/a%20b?c=/api in.example:81 ");
    assert_eq!(curl(&[&url("/api")]).unwrap(), "GET /v2 in.example:81 ");
    // The first parameter of the name decides.
    let said =
        curl(&["-G", "-d", "x", "--data-urlencode", "lane=b c", "-d", "lane=d", &url("/api")]).unwrap();
    assert!(said.starts_with("GET /api?x&lane=b") && said.ends_with(" lane.example "), "{said}");
    assert_eq!(curl(&[&url("/api?lane=d&lane=b+c")]).unwrap(), "GET /v2?lane=d&lane=b+c in.example:81 ");
    // In absolute form, with curl's own host.
    let proxy = format!("http://{}", worker.at);
    let said = curl(&["--proxy", &proxy, "http://shop.example/api/x?y"]).unwrap();
    assert_eq!(said, "GET /v2/x?y in.example:81 ");
    // A redirect that curl follows to the route in front.
    assert_eq!(curl(&["-L", &url("/old/x?y")]).unwrap(), "GET /v2/new/x?y in.example:81 ");
    let told = ["-o", "/dev/null", "-w", "%{http_code} %{redirect_url}"];
    let asked = curl(&[&told[..], &["-H", "Host: shop.example:80", &url("/a?b=c")]].concat()).unwrap();
    assert_eq!(asked, "308 https://shop.example/a?b=c");
    let refused = curl(&[&told[..], &["-H", "Host: u@evil.example", &url("/a")]].concat()).unwrap();
    assert_eq!(refused, "400 ");
}
