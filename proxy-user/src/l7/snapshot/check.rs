//! What of a snapshot no worker would serve by.

use super::{
    Action, ClientAddress, HeaderChange, Location, PathChange, Route, Service, Snapshot, TextMatch, Url,
};
use crate::l7::codec::{self, http1};

/// The first fault, with its place.
pub(super) fn check(snapshot: &Snapshot) -> Result<(), String> {
    for (name, service) in &snapshot.services {
        codecs(service)
            .and_then(|()| client_address(service))
            .map_err(|what| format!("service {name}: {what}"))?;
    }
    for (name, hosts) in &snapshot.routes.services {
        for host in hosts {
            for route in &host.routes {
                check_route(route)
                    .map_err(|what| format!("service {name}, route {}/{}: {what}", host.name, route.name))?;
            }
        }
    }
    Ok(())
}

fn codecs(service: &Service) -> Result<(), String> {
    let unknown = |name: &&String| codec::by_name(name).is_none();
    match std::iter::once(&service.codec).chain(&service.rules.detect).find(unknown) {
        Some(codec) => Err(format!("codec {codec} is not one that this build has")),
        None => Ok(()),
    }
}

/// A way to tell the client's address that none of the service's codecs has would tell nothing.
fn client_address(service: &Service) -> Result<(), String> {
    let rules = &service.rules;
    let named: &[String] =
        if rules.detect.is_empty() { std::slice::from_ref(&service.codec) } else { &rules.detect };
    let fallback = rules.fallback.then_some(codec::FALLBACK);
    let codecs = named.iter().map(String::as_str).chain(fallback).filter_map(codec::by_name);
    let speaks = |has: fn(&codec::Abilities) -> bool| codecs.clone().any(|codec| has(&codec.abilities()));
    let (what, told) = match &service.client_address {
        ClientAddress::None => return Ok(()),
        ClientAddress::ProxyV2 => ("the PROXY protocol's header", speaks(|has| has.proxy)),
        ClientAddress::XForwardedFor => ("X-Forwarded-For", speaks(|has| has.http)),
        ClientAddress::Forwarded => ("Forwarded", speaks(|has| has.http)),
        ClientAddress::Header(name) => {
            header(name)?;
            ("a header", speaks(|has| has.headers))
        }
    };
    if told {
        return Ok(());
    }
    Err(format!("codec {} cannot tell the client's address by {what}", service.codec))
}

fn check_route(route: &Route) -> Result<(), String> {
    for change in route.request_headers.iter().chain(&route.response_headers) {
        let (HeaderChange::Set(name, _) | HeaderChange::Add(name, _) | HeaderChange::Remove(name)) = change;
        header(name)?;
        if let HeaderChange::Set(_, value) | HeaderChange::Add(_, value) = change
            && value.bytes().any(|byte| byte.is_ascii_control() && byte != b'\t')
        {
            return Err(format!("the value of header {name} has a control character"));
        }
    }
    if let Some(status) = route.retry.statuses.iter().find(|status| !(400..=599).contains(*status)) {
        return Err(format!("status {status} is no failure: those tried again are 400 to 599"));
    }
    target(route)?;
    match &route.action {
        Action::Redirect { status, .. } if !matches!(status, 301 | 302 | 303 | 307 | 308) => {
            return Err(format!("status {status} is no redirect: 301, 302, 303, 307 or 308"));
        }
        Action::Direct { status, .. } if !(200..=599).contains(status) => {
            return Err(format!("status {status} is no answer: 200 to 599"));
        }
        _ => {}
    }
    match &route.mirror {
        Some(mirror) if mirror.percent > 100 => {
            Err(format!("{} percent of requests cannot be mirrored", mirror.percent))
        }
        _ => Ok(()),
    }
}

/// Another target must be one, whatever of the request's own is kept beside it.
fn target(route: &Route) -> Result<(), String> {
    let mut host = route.rewrite.host.as_ref();
    if let Action::Redirect { location: Location::Url(url), .. } = &route.action {
        if *url == Url::default() {
            return Err("a redirect that changes nothing".to_owned());
        }
        host = host.or(url.host.as_ref());
    }
    if let Some(host) = host.filter(|host| !http1::is_host(host.as_bytes())) {
        return Err(format!("{host:?} is no host (RFC 9110, 7.2)"));
    }
    for change in route.rewrite.path.iter().chain(route.path_change()) {
        let (PathChange::Prefix(path) | PathChange::Whole(path)) = change;
        let prefix = matches!(change, PathChange::Prefix(_));
        if prefix && !matches!(route.matches.path, Some(TextMatch::Prefix(_))) {
            return Err(format!("no prefix is matched that {path:?} could take the place of"));
        }
        let plain = path.starts_with('/')
            && path.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'?' | b'#'))
            && !http1::path_is_odd(path);
        if !(plain || prefix && path.is_empty()) {
            return Err(format!("{path:?} is not a path alone, or can be read as another"));
        }
    }
    Ok(())
}

/// A header that may be edited: a token (RFC 9110, 5.6.2) that neither frames the message nor rules the connection.
fn header(name: &str) -> Result<(), String> {
    let mark = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if name.is_empty() || !name.bytes().all(mark) {
        return Err(format!("{name:?} is no header's name (RFC 9110, 5.1)"));
    }
    if FRAMING.iter().any(|framing| name.eq_ignore_ascii_case(framing)) {
        return Err(format!("header {name} frames the message or rules the connection: it is weir's"));
    }
    Ok(())
}

/// Headers that frame a message or are of one connection: a codec writes these itself, and no edit touches them.
pub const FRAMING: [&str; 11] = [
    "connection",
    "content-length",
    "expect",
    "host",
    "http2-settings",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

#[cfg(test)]
mod tests {
    use super::super::{Mirror, Rewrite, VirtualHost};
    use super::*;

    fn service(codec: &str, client_address: ClientAddress) -> Service {
        Service { client_address, ..Service::new("10.0.0.1:80".parse().unwrap(), codec, Vec::new()) }
    }

    #[test]
    fn a_service_tells_the_client_by_what_its_codec_has() {
        let named = |name: &str| ClientAddress::Header(name.into());
        for (codec, client_address, detect, fault) in [
            ("http1", ClientAddress::XForwardedFor, None, None),
            ("http1", ClientAddress::Forwarded, None, None),
            ("http1", named("X-Client"), None, None),
            ("bolt", named("rpc_client.ip"), None, None),
            ("tcp", ClientAddress::ProxyV2, None, None),
            ("tcp", ClientAddress::ProxyV2, Some("http1"), Some("PROXY")),
            ("bolt", ClientAddress::XForwardedFor, None, Some("X-Forwarded-For")),
            ("bolt", ClientAddress::Forwarded, Some("http1"), None),
            ("http1", ClientAddress::ProxyV2, None, Some("PROXY")),
            ("tcp", named("x"), None, Some("a header")),
            ("http1", named("Content-Length"), None, Some("frames")),
            ("http1", named("X: y\r\nHost"), None, Some("no header")),
            ("http1", named(""), None, Some("no header")),
            ("ftp", ClientAddress::None, None, Some("codec ftp")),
            ("tcp", ClientAddress::None, Some("ftp"), Some("codec ftp")),
        ] {
            let mut service = service(codec, client_address.clone());
            service.rules.detect = detect.map(str::to_owned).into_iter().collect();
            let snapshot = Snapshot { services: [("web".to_owned(), service)].into(), ..Snapshot::default() };
            let found = snapshot.check();
            match fault {
                None => assert_eq!(found, Ok(()), "{codec} {client_address:?}"),
                Some(fault) => assert!(found.as_ref().is_err_and(|text| text.contains(fault)), "{found:?}"),
            }
        }
    }

    #[test]
    fn a_route_says_what_can_be_done() {
        let change = |name: &str, value: &str| HeaderChange::Set(name.into(), value.into());
        let mut faulty = vec![
            Route { request_headers: vec![change("host", "x")], ..Route::default() },
            Route { response_headers: vec![change("x", "a\r\nb: c")], ..Route::default() },
            Route { response_headers: vec![HeaderChange::Remove("a b".into())], ..Route::default() },
            Route { action: Action::Direct { status: 101, body: String::new() }, ..Route::default() },
            Route { action: Action::Redirect { status: 200, location: "/".into() }, ..Route::default() },
            Route { mirror: Some(Mirror { service: "a".into(), percent: 101 }), ..Route::default() },
        ];
        let to = |path| Rewrite { path: Some(path), host: None };
        let prefix = |path: &str| to(PathChange::Prefix(path.into()));
        let whole = |path: &str| to(PathChange::Whole(path.into()));
        let host = Rewrite { host: Some("a b".into()), path: None };
        for rewrite in [prefix("/a"), whole("a"), whole(""), whole("//a"), whole("/a?b"), whole("/ "), host] {
            faulty.push(Route { rewrite, ..Route::default() });
        }
        let url = |url| Action::Redirect { status: 301, location: Location::Url(url) };
        let host = Some("a\r\nb: c".to_owned());
        for url in [url(Url::default()), url(Url { host, ..Url::default() })] {
            faulty.push(Route { action: url, ..Route::default() });
        }
        let mut retry = Route::default();
        retry.retry.statuses = vec![503, 200];
        faulty.push(retry);
        let check = |route: Route| {
            let host = VirtualHost { name: "h".into(), hosts: vec!["*".into()], routes: vec![route] };
            let mut snapshot = Snapshot::default();
            snapshot.routes.services.insert("web".into(), vec![host]);
            snapshot.check()
        };
        for route in faulty {
            let text = check(route.clone());
            assert!(text.as_ref().is_err_and(|text| text.starts_with("service web, route h/")), "{route:?}");
        }
        let many = (0..100).map(|n| change(&format!("x-{n}"), "v")).collect();
        assert_eq!(check(Route { request_headers: many, ..Route::default() }), Ok(()));
    }
}
