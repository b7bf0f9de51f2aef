//! Other targets: what a route makes of path and host, for a backend or for a client that is sent elsewhere.

use std::ops::Range;

use super::Checker;
use super::l7_speaks::{Need, Speaks};
use super::route::TO_NOBODY;
use crate::config::at::At;
use crate::config::problem::Code;
use crate::config::raw_route::{RawRedirect, RawRewrite, RawRoute, RawScheme, RawText};
use crate::config::text_or::TextOr;
use crate::l7::codec::http1::is_host;
use crate::l7::snapshot::{Action, Location, PathChange, Rewrite, Scheme, Url};

/// Longest path or host, bytes.
const MAX_LEN: usize = 4_096;

impl Checker<'_> {
    pub(super) fn rewrite(&mut self, route: &RawRoute, speaks: Speaks) -> Rewrite {
        let Some(At { value: raw, span }) = &route.rewrite else { return Rewrite::default() };
        if !speaks.http {
            self.unmet("rewrite", span.clone(), speaks, Need::Http);
            return Rewrite::default();
        }
        let why = if route.redirect.is_some() || route.answer.is_some() {
            Some(TO_NOBODY)
        } else if route.service.is_some() {
            Some("a route with `service` has no HTTP requests")
        } else {
            None
        };
        if let Some(why) = why {
            self.no_effect("rewrite", span.clone(), why);
            return Rewrite::default();
        }
        let RawRewrite { prefix, path, host } = raw;
        if prefix.is_none() && path.is_none() && host.is_none() {
            let message = "this changes nothing";
            let hint = "give `prefix`, `path` or `host`, or leave it out";
            self.report.error(Code::BadValue, message, hint, self.source.place(span.clone(), ""));
        }
        let path = self.path_change(prefix.as_ref(), path.as_ref(), route);
        Rewrite { path, host: host.as_ref().and_then(|at| self.host_and_port(at)) }
    }

    pub(super) fn redirect(&mut self, at: &At<RawRedirect>, route: &RawRoute) -> Action {
        let raw = &at.value;
        let status = raw.status.as_ref().and_then(|at| u16::try_from(at.value).ok()).unwrap_or(302);
        if let Some(at) = raw.status.as_ref().filter(|_| !matches!(status, 301..=303 | 307 | 308)) {
            let message = format!("{status} is not a status of a redirect");
            let hint = "give 301, 302, 303, 307 or 308";
            self.report.error(Code::OutOfRange, message, hint, self.source.place(at.span.clone(), ""));
        }
        let part = first_part(raw);
        let location = match (&raw.location, part) {
            (Some(location), None) => Location::Fixed(self.location(location)),
            (None, Some(_)) => Location::Url(self.other_url(raw, route)),
            (Some(location), Some((key, span))) => {
                let message =
                    format!("`location` is all of the URL, and `{key}` is a part of the client's own");
                let hint = "leave one of the two out";
                self.report.error(Code::NoEffect, message, hint, self.source.place(span, ""));
                Location::Fixed(location.value.clone())
            }
            (None, None) => {
                let message = "this redirect says nothing of where to";
                let hint =
                    "give `location`, or what is to change: `scheme`, `host`, `port`, `prefix` or `path`";
                self.report.error(Code::BadValue, message, hint, self.source.place(at.span.clone(), ""));
                Location::Fixed(String::new())
            }
        };
        Action::Redirect { status, location }
    }

    fn location(&mut self, at: &At<String>) -> String {
        let location = self.header_value(&at.value, &at.span).unwrap_or_default();
        if location.is_empty() || location.contains(' ') {
            let message = "`location` is not a URL or a path";
            let hint = "write it as in https://example.com/new or /new";
            self.report.error(Code::BadValue, message, hint, self.source.place(at.span.clone(), ""));
        }
        location
    }

    fn other_url(&mut self, raw: &RawRedirect, route: &RawRoute) -> Url {
        let host = raw.host.as_ref().and_then(|at| self.host_and_port(at));
        let behind = host.as_deref().map(|host| host.rsplit(']').next().unwrap_or(host));
        if let (Some(at), Some(true)) = (&raw.port, behind.map(|behind| behind.contains(':'))) {
            let message = "`host` says a port, and so does `port`";
            let hint = "leave one of the two out";
            self.report.error(Code::Duplicate, message, hint, self.source.place(at.span.clone(), ""));
        }
        Url {
            scheme: raw.scheme.as_ref().map(|at| match at.value {
                RawScheme::Http => Scheme::Http,
                RawScheme::Https => Scheme::Https,
            }),
            host,
            port: raw.port.as_ref().and_then(|at| u16::try_from(at.value).ok()),
            path: self.path_change(raw.prefix.as_ref(), raw.path.as_ref(), route),
        }
    }

    fn path_change(
        &mut self,
        prefix: Option<&At<String>>,
        path: Option<&At<String>>,
        route: &RawRoute,
    ) -> Option<PathChange> {
        if let (Some(_), Some(at)) = (prefix, path) {
            let message = "`prefix` and `path` both say what becomes of the path";
            let hint = "leave one of the two out";
            self.report.error(Code::NoEffect, message, hint, self.source.place(at.span.clone(), ""));
        }
        let at = prefix.or(path)?;
        if at.value.len() > MAX_LEN {
            let message = format!("a path of {} bytes is too long", at.value.len());
            let hint = format!("give at most {MAX_LEN} bytes");
            self.report.error(Code::BadValue, message, hint, self.source.place(at.span.clone(), ""));
            return None;
        }
        if prefix.is_some() && !matches_prefix(route) {
            let message =
                "`prefix` takes the place of the prefix that the route matches, and this one matches none";
            let hint =
                "add `path = { prefix = \"/...\" }` to the route, or say the whole path by `path` here";
            self.report.error(Code::BadValue, message, hint, self.source.place(at.span.clone(), ""));
            return None;
        }
        let away = prefix.is_some() && at.value.is_empty();
        let fits = away || self.plain_path(&at.value, &at.span, "");
        let change = if prefix.is_some() { PathChange::Prefix } else { PathChange::Whole };
        fits.then(|| change(at.value.clone()))
    }

    fn host_and_port(&mut self, at: &At<String>) -> Option<String> {
        if is_host(at.value.as_bytes()) {
            return Some(at.value.clone());
        }
        let message = format!("`{}` is not a host", at.value.escape_debug());
        let hint = "write a name or an address, with or without port, like internal.example, 10.0.0.1:8080 or [fd00::1]";
        self.report.error(Code::BadValue, message, hint, self.source.place(at.span.clone(), ""));
        None
    }
}

/// What it says first of the client's own URL.
fn first_part(raw: &RawRedirect) -> Option<(&'static str, Range<usize>)> {
    let said = [
        ("scheme", raw.scheme.as_ref().map(|at| &at.span)),
        ("host", raw.host.as_ref().map(|at| &at.span)),
        ("port", raw.port.as_ref().map(|at| &at.span)),
        ("prefix", raw.prefix.as_ref().map(|at| &at.span)),
        ("path", raw.path.as_ref().map(|at| &at.span)),
    ];
    said.into_iter().find_map(|(key, span)| Some((key, span?.clone())))
}

fn matches_prefix(route: &RawRoute) -> bool {
    let path = route.path.as_ref().map(|at| &at.value);
    matches!(path, Some(TextOr::Long(RawText { prefix: Some(_), present: None })))
}
