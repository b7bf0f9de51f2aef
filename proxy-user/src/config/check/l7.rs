//! What the L7 path does for a service: codecs, bounds, times, balancing. Who may ask is in `access`, routes are in `route`.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};

use super::Checker;
use super::guard::set;
use super::l7_speaks::{Need, Speaks};
use crate::config::at::At;
use crate::config::bounds::{self, Span};
use crate::config::problem::{Code, Locus};
use crate::config::raw::RawService;
use crate::config::raw_l7::{RawBalance, RawClientAddress, RawL7, RawOutlier, RawPool};
use crate::config::text_or::TextOr;
use crate::l7::codec;
use crate::l7::snapshot::{Balance, ClientAddress, HashBy, Outlier, Pool};
use crate::model::{Forward, L7};

impl Checker<'_> {
    /// What the file says of the L7 path for a service; none where it says nothing.
    pub(super) fn l7(&mut self, raw: &RawService, forward: Forward) -> Option<L7> {
        let said = [
            ("codec", raw.codec.as_ref().map(|at| &at.span)),
            ("l7", raw.l7.as_ref().map(|at| &at.span)),
            ("host", raw.host.first().map(|at| &at.span)),
            ("route", raw.route.first().map(|at| &at.span)),
        ];
        let said: Vec<_> = said.into_iter().filter_map(|(key, span)| Some((key, span?))).collect();
        if forward != Forward::L7 {
            for (key, span) in said {
                let message =
                    format!("`{key}` is the L7 path's, which service `{}` does not use", raw.name.value);
                let hint = "add forward = \"l7\", or leave it out";
                self.report.error(Code::L7Only, message, hint, self.source.place(span.clone(), ""));
            }
            return None;
        }
        if said.is_empty() {
            return None;
        }
        let most = bounds::L7_SETTINGS_BYTES;
        if let Some((_, span)) = said.first().copied().filter(|_| json_bytes(&raw.written) > most) {
            let message = format!("the L7 settings of service `{}` are too large", raw.name.value);
            self.report.error(Code::TooMany, message, too_large_hint(), self.source.place(span.clone(), ""));
            return None;
        }
        let mut l7 = L7 { written: Arc::new(raw.written.clone()), ..L7::default() };
        self.codecs(raw, &mut l7);
        let speaks = Speaks::of(raw, &l7);
        if let Some(settings) = &raw.l7 {
            self.l7_settings(&settings.value, speaks, &raw.name.value, &mut l7);
        }
        l7.hosts = self.hosts(raw, speaks);
        Some(l7)
    }

    fn codecs(&mut self, raw: &RawService, l7: &mut L7) {
        let Some(codec) = &raw.codec else { return };
        self.out.spans.insert(Locus::Codec(raw.name.value.clone()), codec.span.clone());
        let list = match &codec.value {
            TextOr::Text(name) => return l7.codec.clone_from(name),
            TextOr::Long(list) => list,
        };
        let mut names: Vec<String> = Vec::new();
        for (number, at) in list.iter().enumerate() {
            let place = self.source.place(at.span.clone(), "");
            if names.contains(&at.value) {
                let message = format!("`{}` is looked for twice", at.value);
                self.report.error(Code::Duplicate, message, "leave one of the two out", place);
            } else if at.value == "tcp" && number + 1 < list.len() {
                let message = "`tcp` takes every connection, so that nothing behind it is ever looked for";
                self.report.error(Code::BadValue, message, "put it last", place);
            }
            names.push(at.value.clone());
        }
        match names.as_slice() {
            [] => {
                let (message, hint) = ("a service needs a codec", "name one, or leave `codec` out for `tcp`");
                self.report.error(Code::BadValue, message, hint, self.source.place(codec.span.clone(), ""));
            }
            [one] => l7.codec.clone_from(one),
            [first, ..] => {
                l7.codec.clone_from(first);
                l7.rules.fallback = names.pop_if(|last| last == codec::FALLBACK).is_some();
                l7.rules.detect = names;
            }
        }
    }

    fn l7_settings(&mut self, raw: &RawL7, speaks: Speaks, service: &str, l7: &mut L7) {
        let needs = |need: Need, key, at: Option<&Range<usize>>| {
            at.filter(|_| !speaks.has(need)).map(|span| (key, span.clone(), need))
        };
        let limits = raw.limits.as_ref();
        let span = |at: Option<&At<i64>>| at.map(|at| at.span.clone());
        let (requests, pending) =
            (limits.and_then(|l| l.requests.as_ref()), limits.and_then(|l| l.pending.as_ref()));
        let body = limits.and_then(|limits| limits.body_bytes.as_ref());
        let request = raw.timeouts.as_ref().and_then(|times| times.request.as_ref());
        let head = raw.timeouts.as_ref().and_then(|times| times.head.as_ref());
        let pool = raw.pool.as_ref();
        let idle = [
            needs(Need::Requests, "requests", span(requests).as_ref()),
            needs(Need::Requests, "pending", span(pending).as_ref()),
            needs(Need::Requests, "body_bytes", span(body).as_ref()),
            needs(Need::Requests, "request", request.map(|at| &at.span)),
            needs(Need::Requests, "head", head.map(|at| &at.span)),
            needs(Need::Requests, "hash_header", raw.hash_header.as_ref().map(|at| &at.span)),
            needs(
                Need::Requests,
                "connections",
                pool.and_then(|p| p.connections.as_ref()).map(|at| &at.span),
            ),
            needs(Need::Shared, "streams", pool.and_then(|p| p.streams.as_ref()).map(|at| &at.span)),
            needs(Need::Shared, "heartbeat", pool.and_then(|p| p.heartbeat.as_ref()).map(|at| &at.span)),
            needs(Need::Goaway, "goaway", raw.goaway.as_ref().map(|at| &at.span)),
            needs(Need::Http, "connect", raw.connect.as_ref().map(|at| &at.span)),
            needs(Need::Http, "upgrade", raw.upgrade.as_ref().map(|at| &at.span)),
        ];
        for (key, span, need) in idle.into_iter().flatten() {
            self.unmet(key, span, speaks, need);
        }
        let rules = &mut l7.rules;
        rules.goaway = raw.goaway.as_ref().is_some_and(|at| at.value);
        rules.connect = raw.connect.as_ref().is_some_and(|at| at.value);
        rules.no_upgrade = raw.upgrade.as_ref().is_some_and(|at| !at.value);
        set(&mut rules.access_log, raw.access_log.as_ref());
        set(&mut rules.panic_percent, raw.panic_below.as_ref());
        self.duration(&mut rules.slow_start, raw.slow_start.as_ref(), bounds::L7_SLOW_START);
        rules.trusted = self.prefixes(&raw.trusted);
        rules.balance = self.balance(raw);
        rules.outlier = raw.outlier.as_ref().map(|outlier| self.outlier(outlier));
        rules.pool = raw.pool.as_ref().map(|pool| self.pool(pool)).unwrap_or_default();
        l7.client_address = self.client_address(raw, speaks);
        if let Some(access) = &raw.access {
            self.access(access, raw, speaks, service, l7);
        }
        if let Some(limits) = limits {
            let number = |at: &Option<At<i64>>| at.as_ref().and_then(|at| u32::try_from(at.value).ok());
            l7.limits.connections = number(&limits.connections);
            l7.limits.requests = number(&limits.requests);
            l7.limits.pending = number(&limits.pending);
            l7.limits.body_bytes = body.and_then(|at| u64::try_from(at.value).ok());
        }
        if let Some(times) = &raw.timeouts {
            self.duration(&mut l7.timeouts.connect, times.connect.as_ref(), bounds::L7_CONNECT);
            self.duration(&mut l7.timeouts.idle, times.idle.as_ref(), bounds::L7_IDLE);
            self.duration(&mut l7.rules.head, times.head.as_ref(), bounds::L7_HEAD);
            l7.timeouts.request = self.time(times.request.as_ref(), bounds::L7_REQUEST);
        }
    }

    fn balance(&mut self, raw: &RawL7) -> Balance {
        let balance = raw.balance.as_ref().map_or(RawBalance::LeastRequest, |at| at.value);
        let header = raw.hash_header.as_ref();
        if let Some(at) = header.filter(|_| balance != RawBalance::Maglev) {
            self.no_effect("hash_header", at.span.clone(), "only balance = \"maglev\" goes by a header");
        }
        match balance {
            RawBalance::LeastRequest => Balance::LeastRequest,
            RawBalance::RoundRobin => Balance::RoundRobin,
            RawBalance::Maglev => {
                let header = header.and_then(|at| self.header_name(at));
                Balance::Maglev(header.map_or(HashBy::Source, HashBy::Header))
            }
        }
    }

    fn outlier(&mut self, raw: &RawOutlier) -> Outlier {
        let mut outlier = Outlier::default();
        set(&mut outlier.failures, raw.failures.as_ref());
        set(&mut outlier.ceiling_percent, raw.max_ejected.as_ref());
        self.duration(&mut outlier.base, raw.ejection.as_ref(), bounds::L7_EJECTION);
        self.duration(&mut outlier.longest, raw.max_ejection.as_ref(), bounds::L7_EJECTION_MAX);
        if outlier.base > outlier.longest {
            match (&raw.max_ejection, &raw.ejection) {
                (Some(at), _) => {
                    let message = "`max_ejection` is shorter than `ejection`";
                    let place = self.source.place(at.span.clone(), "");
                    self.report.error(Code::OutOfRange, message, "give a longer one", place);
                }
                // A long ejection alone is the longest that there is.
                (None, _) => outlier.longest = outlier.base,
            }
        }
        outlier
    }

    fn pool(&mut self, raw: &RawPool) -> Pool {
        let mut pool = Pool::default();
        set(&mut pool.connections, raw.connections.as_ref());
        set(&mut pool.streams, raw.streams.as_ref());
        self.duration(&mut pool.idle, raw.idle.as_ref(), bounds::L7_POOL_IDLE);
        self.duration(&mut pool.longest, raw.max_age.as_ref(), bounds::L7_POOL_AGE);
        self.duration(&mut pool.heartbeat, raw.heartbeat.as_ref(), bounds::L7_HEARTBEAT);
        pool
    }

    fn client_address(&mut self, raw: &RawL7, speaks: Speaks) -> ClientAddress {
        let form = raw.client_address.as_ref().map_or(RawClientAddress::None, |at| at.value);
        let header = raw.client_header.as_ref();
        if let Some(at) = header.filter(|_| form != RawClientAddress::Header) {
            let why = "only client_address = \"header\" goes by it";
            self.no_effect("client_header", at.span.clone(), why);
        }
        let Some(at) = &raw.client_address else { return ClientAddress::None };
        let (need, made) = match form {
            RawClientAddress::None => return ClientAddress::None,
            RawClientAddress::ProxyV2 => {
                if !speaks.proxy {
                    let why =
                        "connections to backends are shared among clients; only codec `tcp` has one for each";
                    self.no_effect("client_address", at.span.clone(), why);
                }
                return ClientAddress::ProxyV2;
            }
            RawClientAddress::XForwardedFor => (Need::Http, ClientAddress::XForwardedFor),
            RawClientAddress::Forwarded => (Need::Http, ClientAddress::Forwarded),
            RawClientAddress::Header => {
                let Some(header) = header else {
                    let message = "`client_address = \"header\"` says no name";
                    let hint = "add `client_header = \"...\"`";
                    let place = self.source.place(at.span.clone(), "");
                    self.report.error(Code::WrongType, message, hint, place);
                    return ClientAddress::None;
                };
                let Some(header) = self.editable(header) else { return ClientAddress::None };
                (Need::Requests, ClientAddress::Header(header))
            }
        };
        if !speaks.has(need) {
            self.unmet("client_address", at.span.clone(), speaks, need);
        }
        made
    }

    /// A time that there may be none of.
    pub(super) fn time(&mut self, from: Option<&At<String>>, span: Span) -> Option<Duration> {
        let mut time = Duration::ZERO;
        self.duration(&mut time, Some(from?), span);
        (!time.is_zero()).then_some(time)
    }

    pub(super) fn no_effect(&mut self, key: &str, span: Range<usize>, why: &str) {
        let message = format!("`{key}` has no effect here: {why}");
        self.report.error(Code::NoEffect, message, "leave it out", self.source.place(span, ""));
    }
}

/// How long an object is as JSON without blanks, bytes.
pub(in crate::config) fn json_bytes(object: &Map<String, Value>) -> usize {
    serde_json::to_vec(object).map_or(usize::MAX, |text| text.len())
}

/// What to do about settings that are too large.
pub(in crate::config) fn too_large_hint() -> String {
    let most = bounds::L7_SETTINGS_BYTES;
    format!(
        "{most} bytes, as JSON without blanks, are the most: have backends give long answers, or split the service"
    )
}
