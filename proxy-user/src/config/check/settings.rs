//! What the daemon reads at start, the source-NAT pool and the idle times.

use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use super::Checker;
use crate::config::at::At;
use crate::config::bounds::{self, Span};
use crate::config::parse::{self, ParseError};
use crate::config::problem::{Code, Locus};
use crate::config::raw::{Raw, RawSnat, RawTimeouts};
use crate::config::settings::Interface;
use crate::model::Origin;

impl Checker<'_> {
    pub(super) fn settings(&mut self, raw: &Raw) {
        for (name, interface) in &raw.interface {
            if let Err(hint) = interface_name(&name.value) {
                let message = format!("`{}` is not a name of a network interface", name.value);
                self.report.error(Code::BadValue, message, hint, self.source.place(name.span.clone(), ""));
            }
            let mode = interface.mode.unwrap_or_default();
            self.out.settings.interfaces.insert(name.value.clone(), Interface { mode, origin: Origin::File });
        }
        self.out.settings.api_socket = raw.api.socket.as_ref().and_then(|path| self.absolute(path));
        self.out.settings.state_dir = raw.state.dir.as_ref().and_then(|path| self.absolute(path));
        self.out.settings.api_group = raw.api.group.as_ref().and_then(|group| self.group(group));
        self.out.settings.metrics_listen = raw.metrics.listen.as_ref().and_then(|text| self.loopback(text));

        let limits = &mut self.out.settings.limits;
        let set = |to: &mut u32, from: &Option<At<i64>>| {
            *to = from.as_ref().and_then(|at| u32::try_from(at.value).ok()).unwrap_or(*to);
        };
        set(&mut limits.acl_ipv4_prefixes, &raw.limits.acl_ipv4_prefixes);
        set(&mut limits.acl_ipv6_prefixes, &raw.limits.acl_ipv6_prefixes);
        set(&mut limits.flows, &raw.limits.flows);

        self.out.settings.l7_workers = raw.l7.workers.as_ref().and_then(|at| u32::try_from(at.value).ok());

        self.out.part.seed = raw.seed.as_ref().and_then(|seed| u64::try_from(seed.value).ok());
        self.out.part.reply_route = raw.reply_route.unwrap_or_default();
    }

    pub(super) fn timeouts(&mut self, raw: &RawTimeouts) {
        let mut times = self.out.part.timeouts;
        self.duration(&mut times.syn, raw.syn.as_ref(), bounds::SYN);
        self.duration(&mut times.tcp, raw.tcp.as_ref(), bounds::TCP);
        self.duration(&mut times.closing, raw.closing.as_ref(), bounds::CLOSING);
        self.duration(&mut times.closed, raw.closed.as_ref(), bounds::CLOSED);
        self.duration(&mut times.udp, raw.udp.as_ref(), bounds::UDP);
        self.duration(&mut times.cache, raw.cache.as_ref(), bounds::CACHE);
        self.duration(&mut times.settle, raw.settle.as_ref(), bounds::SETTLE);
        self.out.part.timeouts = times;
    }

    pub(super) fn snat(&mut self, raw: &RawSnat) {
        for text in &raw.addresses {
            let Ok(addr) = text.value.parse::<IpAddr>().map(|addr| addr.to_canonical()) else {
                let error = ParseError::Address(text.value.clone());
                self.report.unparsed(&error, self.source.place(text.span.clone(), ""));
                continue;
            };
            let locus = Locus::SnatAddress(addr);
            if let Some(first) = self.out.spans.insert(locus, text.span.clone()) {
                self.twice(Code::Duplicate, format!("{addr} is in the pool already"), &text.span, first);
            } else {
                self.out.part.snat_addresses.push(addr);
            }
        }
        if let Some(text) = &raw.ports {
            self.out.spans.insert(Locus::SnatPorts, text.span.clone());
            match parse::port_range(&text.value) {
                Ok(range) => self.out.part.snat_ports = Some(range),
                Err(error) => self.report.unparsed(&error, self.source.place(text.span.clone(), "")),
            }
        }
    }

    /// Something stands twice in the file.
    pub(super) fn twice(&mut self, code: Code, message: String, here: &Range<usize>, first: Range<usize>) {
        let places = [self.source.place(here.clone(), ""), self.source.place(first, "first here")];
        let severity = crate::config::problem::Severity::Error;
        self.report.add(code, severity, message, "keep one of the two", &places);
    }

    pub(super) fn duration(&mut self, to: &mut Duration, from: Option<&At<String>>, span: Span) {
        let Some(text) = from else { return };
        let within = |time: &Duration| {
            bounds::duration(span.min).is_none_or(|min| *time >= min)
                && bounds::duration(span.max).is_none_or(|max| *time <= max)
        };
        let place = self.source.place(text.span.clone(), "");
        match bounds::duration(&text.value) {
            None => {
                let message = format!("`{}` is not a duration", text.value);
                let hint = "write a number with its unit, like 10s, 5m or 2h4m";
                self.report.error(Code::BadValue, message, hint, place);
            }
            Some(time) if !within(&time) => {
                let message = format!("`{}` is out of its range", text.value);
                self.report.error(Code::OutOfRange, message, format!("give {}", span.range()), place);
            }
            Some(time) => *to = time,
        }
    }

    fn absolute(&mut self, text: &At<String>) -> Option<PathBuf> {
        let path = PathBuf::from(&text.value);
        if path.is_absolute() && !text.value.contains('\0') {
            return Some(path);
        }
        let message = format!("`{}` is not an absolute path", text.value);
        let place = self.source.place(text.span.clone(), "");
        self.report.error(Code::BadValue, message, "write the whole path, from /", place);
        None
    }

    fn group(&mut self, text: &At<String>) -> Option<String> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
        if (1..=32).contains(&text.value.len()) && text.value.bytes().all(allowed) {
            return Some(text.value.clone());
        }
        let message = format!("`{}` is not a name or number of a group", text.value);
        let place = self.source.place(text.span.clone(), "");
        self.report.error(Code::BadValue, message, "name a group of /etc/group", place);
        None
    }

    fn loopback(&mut self, text: &At<String>) -> Option<SocketAddr> {
        let place = self.source.place(text.span.clone(), "");
        match text.value.parse::<SocketAddr>() {
            Ok(listen) if listen.ip().is_loopback() => Some(listen),
            Ok(listen) => {
                let message =
                    format!("`{}` is not a loopback address: anybody could read the metrics", listen.ip());
                let hint =
                    "listen on 127.0.0.1 or [::1], and let a proxy with authentication stand before it";
                self.report.error(Code::NotLoopback, message, hint, place);
                None
            }
            Err(_) => {
                let message = format!("`{}` is not an address and a port", text.value);
                let hint = "write ADDRESS:PORT, like 127.0.0.1:9321 or [::1]:9321";
                self.report.error(Code::BadValue, message, hint, place);
                None
            }
        }
    }
}

/// The kernel's rule for names (`dev_valid_name`).
pub(in crate::config) fn interface_name(name: &str) -> Result<(), &'static str> {
    let hint = "an interface's name has 1 to 15 bytes, no blanks, / or :; `ip link` lists yours";
    let odd = |b: u8| b == b'/' || b == b':' || b == 0 || b.is_ascii_whitespace() || b == 0x0b;
    let fits = (1..=15).contains(&name.len()) && name != "." && name != ".." && !name.bytes().any(odd);
    if fits { Ok(()) } else { Err(hint) }
}
