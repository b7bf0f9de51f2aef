//! Virtual hosts and routes: whom a route has, and what becomes of them. Whether the services that it names are there is
//! `semantic`'s.

use std::collections::BTreeMap;
use std::ops::Range;

use super::Checker;
use super::guard::set;
use super::l7_speaks::{Need, Speaks};
use crate::config::at::At;
use crate::config::bounds;
use crate::config::problem::{Code, Locus};
use crate::config::raw::RawService;
use crate::config::raw_route::{RawAnswer, RawHost, RawMirror, RawRoute};
use crate::config::text_or::TextOr;
use crate::l7::snapshot::{Action, Destination, Mirror, Retry, Route, VirtualHost};

/// Longest name of a virtual host or a route, bytes.
const MAX_NAME: usize = 255;
/// Longest body of a direct answer, bytes.
const MAX_BODY: usize = 65_536;

pub(super) const TO_NOBODY: &str = "this route sends its requests to nobody";

/// Where names stand that must not stand twice.
type Seen = BTreeMap<String, Range<usize>>;

impl Checker<'_> {
    /// The virtual hosts of a service; none where it has no routes.
    pub(super) fn hosts(&mut self, raw: &RawService, speaks: Speaks) -> Vec<VirtualHost> {
        let first = raw.host.first().map(|at| ("host", at.span.clone()));
        let first = first.or_else(|| raw.route.first().map(|at| ("route", at.span.clone())));
        if let Some((key, span)) = first.filter(|_| !speaks.requests) {
            self.unmet(key, span, speaks, wanted(raw));
            return Vec::new();
        }
        if !self.within_bounds(raw) {
            return Vec::new();
        }
        let (mut names, mut hosts) = (Seen::new(), Seen::new());
        // Automatic names first, so that no other takes one.
        for host in raw.host.iter().filter(|host| host.value.name.is_none()) {
            let first = host.value.hosts.value.first();
            names.extend(first.map(|at| (canonical(&at.value), at.span.clone())));
        }
        names.extend(raw.route.first().map(|at| ("*".to_owned(), at.span.clone())));
        let mut made: Vec<_> = raw
            .host
            .iter()
            .map(|host| self.host(&host.value, &raw.name.value, speaks, &mut names, &mut hosts))
            .collect();
        if let Some(route) = raw.route.first() {
            if let Some(span) = hosts.get("*") {
                let message = "`*` has the hosts that no other names, and so do the service's own routes";
                let hint = "move the routes of the one to the other";
                let places = [
                    self.source.place(span.clone(), ""),
                    self.source.place(route.span.clone(), "the routes"),
                ];
                let severity = crate::config::problem::Severity::Error;
                self.report.add(Code::Duplicate, severity, message, hint, &places);
            }
            let routes: Vec<_> = raw.route.iter().map(|at| &at.value).collect();
            let routes = self.routes(&routes, &raw.name.value, speaks);
            made.push(VirtualHost { name: "*".to_owned(), hosts: vec!["*".to_owned()], routes });
        }
        made
    }

    /// Whether a service has no more routes and names of hosts than one may; where not, that is reported where it is passed.
    fn within_bounds(&mut self, raw: &RawService) -> bool {
        let most = bounds::L7_SERVICE_ROUTES;
        let (mut routes, mut names) = (raw.route.len(), 0);
        let first = raw.host.first().map(|at| &at.span);
        let first = raw.route.first().map(|at| &at.span).or(first);
        if let Some(span) = first {
            self.out.spans.insert(Locus::Routes(raw.name.value.clone()), span.clone());
        }
        for host in &raw.host {
            routes += host.value.route.len().max(1);
            names += host.value.hosts.value.len();
            let what = match (routes > most, names > most) {
                (true, _) => "routes",
                (_, true) => "names of hosts",
                _ => continue,
            };
            let message = format!("with this host, service `{}` has more than {most} {what}", raw.name.value);
            let hint = "have fewer that take more (`prefix`, `*.example.com`), or split the service in two";
            self.report.error(Code::TooMany, message, hint, self.source.place(host.span.clone(), ""));
            return false;
        }
        true
    }

    fn host(
        &mut self,
        raw: &RawHost,
        service: &str,
        speaks: Speaks,
        names: &mut Seen,
        all: &mut Seen,
    ) -> VirtualHost {
        let list = &raw.hosts;
        if list.value.is_empty() {
            let (message, hint) = ("a virtual host without hosts has no requests", "name one, or \"*\"");
            self.report.error(Code::BadValue, message, hint, self.source.place(list.span.clone(), ""));
        } else if !speaks.http && list.value.iter().any(|at| at.value != "*") {
            self.unmet("hosts", list.span.clone(), speaks, Need::Http);
        }
        for at in &list.value {
            let lower = canonical(&at.value);
            if !is_host(&lower) {
                let message = format!("`{}` is not a host", at.value.escape_debug());
                let hint = "write a name or an address without port, *.example.com, or *";
                self.report.error(Code::BadValue, message, hint, self.source.place(at.span.clone(), ""));
            } else if let Some(first) = all.get(&lower).cloned() {
                self.twice(Code::Duplicate, format!("host `{lower}` is named twice"), &at.span, first);
            }
            all.entry(lower).or_insert_with(|| at.span.clone());
        }
        let name = match (&raw.name, list.value.first()) {
            (Some(name), _) => self.route_name(name, names),
            (None, first) => first.map(|at| canonical(&at.value)).unwrap_or_default(),
        };
        let routes = match raw.route.is_empty() {
            true => vec![Route { name: "all".to_owned(), ..Route::default() }],
            false => self.routes(&raw.route.iter().collect::<Vec<_>>(), service, speaks),
        };
        VirtualHost { name, hosts: list.value.iter().map(|at| canonical(&at.value)).collect(), routes }
    }

    fn routes(&mut self, all: &[&RawRoute], service: &str, speaks: Speaks) -> Vec<Route> {
        let mut names = Seen::new();
        let mut routes = Vec::new();
        for (number, raw) in all.iter().enumerate() {
            let name = raw.name.as_ref().map(|name| self.route_name(name, &mut names));
            let unnamed = |name: &str| {
                let of = name.parse::<usize>().ok().filter(|place| place.to_string() == name)?;
                all.get(of.checked_sub(1)?).filter(|other| other.name.is_none())
            };
            if let Some(at) = raw.name.as_ref().filter(|at| unnamed(&at.value).is_some()) {
                let message =
                    format!("`{0}` is what route {0} is called, which has no name of its own", at.value);
                let hint = "name both, or give this one another name";
                self.report.error(Code::DuplicateName, message, hint, self.source.place(at.span.clone(), ""));
            }
            let mut retry = Retry::default();
            if let Some(raw) = &raw.retry {
                if let Some(first) = raw.statuses.first().filter(|_| !speaks.http) {
                    self.unmet("statuses", first.span.clone(), speaks, Need::Http);
                }
                set(&mut retry.tries, raw.tries.as_ref());
                set(&mut retry.budget_percent, raw.budget.as_ref());
                retry.statuses = raw.statuses.iter().filter_map(|at| u16::try_from(at.value).ok()).collect();
            }
            routes.push(Route {
                name: name.unwrap_or_else(|| (number + 1).to_string()),
                matches: self.matches(raw, speaks),
                action: self.action(raw, service, speaks),
                rewrite: self.rewrite(raw, speaks),
                timeout: self.time(raw.timeout.as_ref(), bounds::L7_REQUEST),
                retry,
                request_headers: self.edits(raw.request_headers.as_ref()),
                response_headers: self.edits(raw.response_headers.as_ref()),
                mirror: raw.mirror.as_ref().map(|mirror| self.mirror(mirror, raw, service)),
            });
        }
        routes
    }

    fn action(&mut self, raw: &RawRoute, service: &str, speaks: Speaks) -> Action {
        let said = [
            ("to", raw.to.as_ref().map(|at| &at.span)),
            ("redirect", raw.redirect.as_ref().map(|at| &at.span)),
            ("answer", raw.answer.as_ref().map(|at| &at.span)),
        ];
        let mut said = said.into_iter().filter_map(|(key, span)| Some((key, span?)));
        if let (Some((first, _)), Some((second, span))) = (said.next(), said.next()) {
            let message = format!("a route has one end, and this has two: `{first}` and `{second}`");
            let hint = "leave one out, or make two routes";
            self.report.error(Code::NoEffect, message, hint, self.source.place(span.clone(), ""));
        }
        let http = [
            ("redirect", raw.redirect.as_ref().map(|at| &at.span)),
            ("answer", raw.answer.as_ref().map(|at| &at.span)),
        ];
        for (key, span) in http {
            if let Some(span) = span.filter(|_| !speaks.http) {
                self.unmet(key, span.clone(), speaks, Need::Http);
            }
        }
        match (&raw.to, &raw.redirect, &raw.answer) {
            (Some(to), ..) => Action::Forward(match &to.value {
                TextOr::Text(name) => {
                    self.destination_at(service, name, &to.span);
                    vec![Destination { service: name.clone(), weight: 1 }]
                }
                TextOr::Long(list) => {
                    let mut all: Vec<Destination> = Vec::new();
                    for one in list {
                        let name = &one.service;
                        self.destination_at(service, &name.value, &name.span);
                        if all.iter().any(|known| known.service == name.value) {
                            let message = format!("`{}` is a destination of this route twice", name.value);
                            let place = self.source.place(name.span.clone(), "");
                            self.report.error(Code::Duplicate, message, "add the weights up", place);
                        }
                        let mut weight = 1;
                        set(&mut weight, one.weight.as_ref());
                        all.push(Destination { service: name.value.clone(), weight });
                    }
                    if all.iter().all(|one| one.weight == 0) {
                        let message = "no destination of this route has a weight: nobody would get a request";
                        let hint = "give one of them a weight, or an `answer`";
                        let place = self.source.place(to.span.clone(), "");
                        self.report.error(Code::BadValue, message, hint, place);
                    }
                    all
                }
            }),
            (None, Some(redirect), _) => self.redirect(redirect, raw),
            (None, None, Some(answer)) => self.direct(&answer.value),
            (None, None, None) => Action::default(),
        }
    }

    fn mirror(&mut self, raw: &At<RawMirror>, route: &RawRoute, service: &str) -> Mirror {
        if route.redirect.is_some() || route.answer.is_some() {
            self.no_effect("mirror", raw.span.clone(), TO_NOBODY);
        }
        let name = &raw.value.to;
        self.destination_at(service, &name.value, &name.span);
        let mut mirror = Mirror { service: name.value.clone(), ..Mirror::default() };
        set(&mut mirror.percent, raw.value.percent.as_ref());
        mirror
    }

    fn destination_at(&mut self, service: &str, destination: &str, span: &Range<usize>) {
        let locus = Locus::Destination(service.to_owned(), destination.to_owned());
        self.out.spans.entry(locus).or_insert_with(|| span.clone());
    }

    fn direct(&mut self, raw: &RawAnswer) -> Action {
        let status = u16::try_from(raw.status.value).unwrap_or(200);
        let body = raw.body.as_ref().map(|at| at.value.clone()).unwrap_or_default();
        if let Some(at) = &raw.body {
            let place = self.source.place(at.span.clone(), "");
            if body.len() > MAX_BODY {
                let message = format!("a body of {} bytes is more than weir answers itself", body.len());
                let hint = format!("give at most {MAX_BODY} bytes, or serve it by a backend");
                self.report.error(Code::OutOfRange, message, hint, place);
            } else if !body.is_empty() && matches!(status, 204 | 205 | 304) {
                let message = format!("an answer of status {status} has no body");
                self.report.error(Code::BadValue, message, "leave `body` out", place);
            }
        }
        Action::Direct { status, body }
    }

    fn route_name(&mut self, at: &At<String>, seen: &mut Seen) -> String {
        let name = &at.value;
        let fits = (1..=MAX_NAME).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_graphic());
        if !fits || name.contains('/') {
            let message = format!("`{}` is not a name of a host or route", name.escape_debug());
            let hint = format!("a name has 1 to {MAX_NAME} visible ASCII characters, without /");
            self.report.error(Code::BadValue, message, hint, self.source.place(at.span.clone(), ""));
        } else if let Some(first) = seen.insert(name.clone(), at.span.clone()) {
            self.twice(Code::DuplicateName, format!("`{name}` is named twice"), &at.span, first);
        }
        name.clone()
    }
}

/// What the routes of a service need its codec to be able to do.
fn wanted(raw: &RawService) -> Need {
    let of_hosts = raw.host.iter().flat_map(|host| &host.value.route);
    let mut all = raw.route.iter().map(|at| &at.value).chain(of_hosts);
    let http = |route: &RawRoute| {
        let target = route.path.is_some() || !route.query.is_empty() || route.rewrite.is_some();
        target || route.redirect.is_some() || route.answer.is_some()
    };
    if !raw.host.is_empty() || all.clone().any(http) {
        return Need::Http;
    }
    if all.any(|route| route.service.is_some()) { Need::Rpc } else { Need::Requests }
}

/// A host as requests are compared with it: in lower case, without the root's dot, an IPv6 address in its shortest form.
fn canonical(host: &str) -> String {
    let lower = host.to_ascii_lowercase();
    match lower.parse::<std::net::Ipv6Addr>() {
        Ok(address) => address.to_string(),
        Err(_) => lower.strip_suffix('.').unwrap_or(&lower).to_owned(),
    }
}

/// A name or an address without port, in lower case; `*.` may stand in front of a name, and `*` for all.
fn is_host(host: &str) -> bool {
    let name = host.strip_prefix("*.").unwrap_or(host);
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
    let is_name = (1..=253).contains(&name.len()) && name.bytes().all(fits) && !name.starts_with('.');
    host == "*" || is_name || host.parse::<std::net::Ipv6Addr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::{canonical, is_host};

    #[test]
    fn hosts_of_one_meaning_are_one() {
        for (host, wanted) in [
            ("Dot.Example.", "dot.example"),
            ("*.Example.", "*.example"),
            ("*", "*"),
            ("2001:DB8:0:0::0001", "2001:db8::1"),
            (".", ""),
        ] {
            assert_eq!(canonical(host), wanted);
        }
    }

    #[test]
    fn hosts() {
        for host in ["*", "*.example.com", "example.com", "10.0.0.1", "2001:db8::1", "a_b"] {
            assert!(is_host(host), "{host}");
        }
        for host in ["", "*.", "example.com:80", "[::1]", "a*b", "**", "http://a", "a b", ".a"] {
            assert!(!is_host(host), "{host}");
        }
    }
}
