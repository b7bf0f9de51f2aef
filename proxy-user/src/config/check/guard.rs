//! What keeps discovered backends safe: guards and health checks.

use std::time::Duration;

use super::Checker;
use crate::config::at::At;
use crate::config::bounds::{self, Span};
use crate::config::parse;
use crate::config::problem::Code;
use crate::config::raw_registry::{RawGuard, RawHealth, RawInitial, RawProbe};
use crate::health;
use crate::model::{Guard, HealthCheck, Probe, Service};

impl Checker<'_> {
    pub(super) fn guard(&mut self, raw: &RawGuard) -> Guard {
        let mut guard = Guard::default();
        set(&mut guard.min, raw.min.as_ref());
        set(&mut guard.max_removed, raw.max_removed.as_ref());
        set(&mut guard.max_endpoints, raw.max_endpoints.as_ref());
        self.duration(&mut guard.interval, raw.interval.as_ref(), bounds::GUARD_INTERVAL);
        self.duration(&mut guard.hold, raw.hold.as_ref(), bounds::GUARD_HOLD);
        self.duration(&mut guard.first_sync, raw.first_sync.as_ref(), bounds::GUARD_FIRST);
        if raw.hold_min.as_ref().is_some_and(|at| at.value == "never") {
            guard.hold_min = None;
        } else if let Some(hold) = &mut guard.hold_min {
            self.duration(hold, raw.hold_min.as_ref(), bounds::GUARD_HOLD_MIN);
        }
        for text in &raw.allow {
            match parse::prefix(&text.value) {
                Ok(prefix) => guard.allow.push(prefix.net),
                Err(error) => self.report.unparsed(&error, self.source.place(text.span.clone(), "")),
            }
        }
        if guard.min > guard.max_endpoints
            && let Some(at) = raw.min.as_ref().or(raw.max_endpoints.as_ref())
        {
            let message = format!("min {} is more than max_endpoints {}", guard.min, guard.max_endpoints);
            let place = self.source.place(at.span.clone(), "");
            self.report.error(Code::OutOfRange, message, "every removal would be held: lower `min`", place);
        }
        guard
    }

    pub(super) fn health(&mut self, raw: &RawHealth, service: &Service) -> Option<HealthCheck> {
        let mut check = HealthCheck {
            probe: self.probe(raw)?,
            port: raw.port.as_ref().and_then(|at| u16::try_from(at.value).ok()),
            interval: Duration::ZERO,
            timeout: Duration::ZERO,
            rise: bounds::RISE,
            fall: bounds::FALL,
            initial_up: raw.initial != Some(RawInitial::Down),
            panic_below: 0,
        };
        self.duration_or_default(&mut check.interval, raw.interval.as_ref(), bounds::HEALTH_INTERVAL);
        self.duration_or_default(&mut check.timeout, raw.timeout.as_ref(), bounds::HEALTH_TIMEOUT);
        set(&mut check.rise, raw.rise.as_ref());
        set(&mut check.fall, raw.fall.as_ref());
        set(&mut check.panic_below, raw.panic_below.as_ref());
        if check.timeout > check.interval {
            match (&raw.timeout, &raw.interval) {
                (Some(at), _) => {
                    let message = "a check's `timeout` is longer than its `interval`";
                    let hint = "give a shorter timeout or a longer interval";
                    let place = self.source.place(at.span.clone(), "");
                    self.report.error(Code::OutOfRange, message, hint, place);
                }
                // A short interval alone takes the time that there is.
                (None, _) => check.timeout = check.interval,
            }
        }
        if check.port.is_none() && service.backends.keys().any(|backend| backend.port == 0) {
            let message = "backends without a port of their own leave the check without one";
            let hint = "add `port = ...` to `[service.health]`";
            self.report.error(Code::AnyPort, message, hint, self.source.place(raw.check.span.clone(), ""));
        }
        Some(check)
    }

    fn probe(&mut self, raw: &RawHealth) -> Option<Probe> {
        if raw.check.value == RawProbe::Tcp {
            let path = raw.path.as_ref().map(|at| ("path", at));
            let host = raw.host.as_ref().map(|at| ("host", at));
            let status = raw.status.first().map(|at| ("status", at));
            for (key, at) in [path, host, status].into_iter().flatten() {
                let message = format!("`{key}` has no effect on a check by TCP");
                let hint = "leave it out, or write check = \"http\"";
                self.report.error(Code::NoEffect, message, hint, self.source.place(at.span.clone(), ""));
            }
            return Some(Probe::Tcp);
        }
        let path = raw.path.as_ref();
        if let Some((at, why)) = path.and_then(|at| Some((at, health::path_problem(&at.value)?))) {
            let message = format!("`{}` is not a path: {why}", at.value.escape_default());
            let hint = "write it from / on, like /health?full=1";
            self.report.error(Code::BadValue, message, hint, self.source.place(at.span.clone(), ""));
            return None;
        }
        let host = raw.host.as_ref();
        if let Some((at, why)) = host.and_then(|at| Some((at, health::host_problem(&at.value)?))) {
            let message = format!("`{}` is not a host: {why}", at.value.escape_default());
            let hint = "write a name, and a port if need be, like web.example:8080";
            self.report.error(Code::BadValue, message, hint, self.source.place(at.span.clone(), ""));
            return None;
        }
        let mut status = Vec::new();
        for text in &raw.status {
            match codes(&text.value) {
                Some(range) => status.push(range),
                None => {
                    let message = format!("`{}` is neither a status code nor a range", text.value);
                    let hint = "write \"204\" or \"200-299\", between 100 and 599";
                    self.report.error(
                        Code::BadValue,
                        message,
                        hint,
                        self.source.place(text.span.clone(), ""),
                    );
                }
            }
        }
        if status.is_empty() {
            status.push((200, 399));
        }
        let path = path.map_or_else(|| "/".to_owned(), |at| at.value.clone());
        Some(Probe::Http { path, host: host.map(|at| at.value.clone()), status })
    }

    pub(super) fn duration_or_default(&mut self, to: &mut Duration, from: Option<&At<String>>, span: Span) {
        *to = bounds::duration(span.default).unwrap_or_default();
        self.duration(to, from, span);
    }
}

fn codes(text: &str) -> Option<(u16, u16)> {
    let code = |digits: &str| {
        let code = digits.parse::<u16>().ok().filter(|_| digits.len() == 3);
        code.filter(|code| (100..=599).contains(code))
    };
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let range = (code(first)?, code(last)?);
    (range.0 <= range.1).then_some(range)
}

pub(super) fn set<T: TryFrom<i64>>(to: &mut T, from: Option<&At<i64>>) {
    if let Some(number) = from.and_then(|at| T::try_from(at.value).ok()) {
        *to = number;
    }
}
