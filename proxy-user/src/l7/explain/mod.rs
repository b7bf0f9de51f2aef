//! The L7 decision for one request, explained by a snapshot: pure, and by the code that workers run.

mod ask;
mod endpoints;
mod place;
mod routes;
#[cfg(test)]
mod tests;
mod words;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::rc::Rc;

use self::ask::{Asked, Detected};
pub use self::routes::routes;
use super::codec::{Codec, Edits, LocalReason, Refusal, Reply};
use super::route::access::AccessList;
use super::route::{Asking, Does, Ranges, Taken, VirtualHosts, why_not};
use super::snapshot::{Access, Action, Destination, Route, Service, Snapshot, VirtualHost};
use super::stats::Stats;
use crate::control::types::{
    L7Answer, L7ExplainDestination, L7ExplainHost, L7ExplainRoute, L7ExplainService, L7Query,
};

/// Why nothing can be explained.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum L7ExplainError {
    /// The URL.
    #[error("`{0}` is not of the form http://HOST[:PORT]/PATH with a method before it")]
    Url(String),
    /// A control character.
    #[error("`{}` has control characters, which no request can have there", .0.escape_debug())]
    Control(String),
    /// More than the protocol can say.
    #[error("the request cannot be written: {0}")]
    Long(String),
    /// No such service.
    #[error("there is no L7 service {0}")]
    UnknownService(String),
    /// The named one speaks another protocol.
    #[error("service {service} does not speak {codec}")]
    OtherCodec {
        /// Service.
        service: String,
        /// Protocol of the request.
        codec: &'static str,
    },
    /// No service has the address.
    #[error("no L7 service has {0}; a host name instead of an address leaves it open")]
    NobodyAt(SocketAddr),
    /// No service speaks the protocol.
    #[error("no L7 service speaks {codec}")]
    Nobody {
        /// Protocol of the request.
        codec: &'static str,
    },
    /// Several may be meant.
    #[error("several services speak {codec}: {names}; say which with --service")]
    Several {
        /// Protocol of the request.
        codec: &'static str,
        /// The services.
        names: String,
    },
}

/// Says what becomes of a request. `stats` are the sums over so many `workers`, for endpoints that are left out for their
/// failures.
///
/// # Errors
/// [`L7ExplainError`]: the query cannot be read, or leaves open which service is meant.
pub fn explain(
    snapshot: &Snapshot,
    stats: &Stats,
    workers: u64,
    query: &L7Query,
) -> Result<L7Answer, L7ExplainError> {
    let asked = Asked::of(query)?;
    let (name, service, why) = place::find(snapshot, query.service.as_deref(), &asked)?;
    let mut answer = L7Answer {
        generation: snapshot.generation,
        outcome: String::new(),
        text: String::new(),
        service: L7ExplainService {
            name: name.to_owned(),
            vip: service.vip.to_string(),
            codec: asked.codec.name().to_owned(),
            why,
            detected: None,
        },
        access: None,
        virtual_host: None,
        routes: Vec::new(),
        action: None,
        destinations: Vec::new(),
    };
    let hosts = snapshot.routes.services.get(name).map_or(&[][..], Vec::as_slice);
    let codec = match asked.detect(service) {
        Detected::Nothing => asked.codec,
        Detected::Is(codec) => {
            let order = service.rules.detect.join(", ");
            answer.service.detected =
                Some(format!("{} by its first bytes, looked for in this order: {order}", codec.name()));
            codec
        }
        Detected::Unknown => {
            unknown(&mut answer, service, !hosts.is_empty());
            if answer.outcome == "forward" {
                let itself = [Destination { service: name.to_owned(), weight: 1 }];
                forward(&mut answer, asked.codec, snapshot, stats, workers, &itself);
            }
            return Ok(answer);
        }
    };
    let asked = Asked { codec, ..asked };
    let head = match asked.decode(service) {
        Ok(head) => head,
        Err(refusal) => {
            refuse(&mut answer, codec, &refusal);
            return Ok(answer);
        }
    };
    let asking =
        Asking { codec: asked.codec, head: &head, message: &asked.message, peer: peer(query, service) };
    if let Some(list) = &service.rules.access
        && !admit(&mut answer, service, list, &asking)
    {
        return Ok(answer);
    }
    let found = if hosts.is_empty() { Ok(None) } else { route(&mut answer, hosts, &asking).map(Some) };
    let (route, taken) = match found {
        Ok(found) => found.unzip(),
        Err(why) => {
            refuse(&mut answer, codec, &Refusal::fatal(LocalReason::NoRoute, why));
            return Ok(answer);
        }
    };
    answer.action =
        Some(route.map_or_else(|| words::to_itself(service), |route| words::action(service, route)));
    // Only a route that forwards has any.
    if let Some(refusal) = too_long(taken.as_deref(), &asking, service) {
        refuse(&mut answer, codec, &refusal);
        return Ok(answer);
    }
    let speaks_http = codec.abilities().http;
    match route.map(|route| &route.action) {
        Some(Action::Redirect { status, .. } | Action::Direct { status, .. }) if !speaks_http => {
            let reply = Reply { status: *status, reason: None, headers: &[], body: b"", close: false };
            answer.outcome = "direct".into();
            answer.text = format!("weir answers {} itself.", codec.status_words(&reply));
            return Ok(answer);
        }
        Some(Action::Redirect { status, .. }) => {
            let mut room = Vec::new();
            match taken.and_then(|taken| location(&taken, &asking, &mut room)) {
                Some(location) => {
                    answer.outcome = "redirect".into();
                    answer.text = format!("weir answers {status} and sends the client to {location}.");
                }
                None => {
                    let why = "it names no host that it could keep";
                    refuse(&mut answer, codec, &Refusal::fatal(LocalReason::BadRequest, why));
                }
            }
            return Ok(answer);
        }
        Some(Action::Direct { status, .. }) => {
            (answer.outcome, answer.text) = ("direct".into(), format!("weir answers {status} itself."));
        }
        Some(Action::Forward(to)) if !to.is_empty() => {
            forward(&mut answer, codec, snapshot, stats, workers, to)
        }
        Some(Action::Forward(_)) | None => {
            let itself = [Destination { service: name.to_owned(), weight: 1 }];
            forward(&mut answer, codec, snapshot, stats, workers, &itself);
        }
    }
    if answer.outcome == "forward"
        && let Some(sent) = taken.and_then(|taken| rewritten(&taken, &asking))
    {
        answer.text.push_str(&sent);
    }
    Ok(answer)
}

/// Where the client is sent.
fn location(taken: &Taken, asking: &Asking<'_>, room: &mut Vec<u8>) -> Option<String> {
    match &taken.does {
        Does::Redirect(_, elsewhere) => {
            elsewhere.location(asking, room).map(|location| String::from_utf8_lossy(location).into_owned())
        }
        Does::Forward(_) | Does::Direct(..) => None,
    }
}

/// Why the head that its route makes of it is not sent.
fn too_long(taken: Option<&Taken>, asking: &Asking<'_>, service: &Service) -> Option<Refusal> {
    taken?.rewriting.as_ref()?.fits(asking, service.codec_limits().head).err()
}

/// Which path and host the backend gets, if they are others than the client's.
fn rewritten(taken: &Taken, asking: &Asking<'_>) -> Option<String> {
    let rewriting = taken.rewriting.as_ref()?;
    let edits = Edits { path: rewriting.path(), host: rewriting.host(), ..Edits::default() };
    let mut out = Vec::new();
    asking.codec.forward(asking.message, asking.head, &edits, &mut out).ok()?;
    let head = String::from_utf8_lossy(&out);
    let mut lines = head.split("\r\n");
    let (start, host) = (lines.next()?.strip_suffix(" HTTP/1.1")?, lines.next()?.strip_prefix("Host: ")?);
    Some(format!(" It gets `{start}` with host `{host}`."))
}

/// Whom nothing is known of: a list has it that has everyone.
fn peer(query: &L7Query, service: &Service) -> IpAddr {
    let unknown = if service.vip.is_ipv4() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED)
    } else {
        IpAddr::V6(Ipv6Addr::UNSPECIFIED)
    };
    query.source.map_or(unknown, |source| source.to_canonical())
}

fn refuse(answer: &mut L7Answer, codec: &'static dyn Codec, refusal: &Refusal) {
    say(answer, codec, &refusal.reply(), refusal.reason, refusal.what);
}

fn say(answer: &mut L7Answer, codec: &'static dyn Codec, reply: &Reply<'_>, reason: LocalReason, why: &str) {
    answer.outcome = reason.label().to_owned();
    answer.text = format!("weir answers {} itself: {why}.", codec.status_words(reply));
}

/// What becomes of bytes that no codec of the service knows.
fn unknown(answer: &mut L7Answer, service: &Service, routes: bool) {
    let order = service.rules.detect.join(", ");
    answer.service.detected = Some(if service.falls_back(routes) {
        answer.outcome = "forward".to_owned();
        format!("none of {order} knows its first bytes: it is passed on unread, as tcp")
    } else {
        answer.outcome = LocalReason::BadRequest.label().to_owned();
        answer.text =
            "weir closes the connection without an answer: no codec of the service knows it.".to_owned();
        format!("none of {order} knows its first bytes")
    });
}

/// Whether the client may ask.
fn admit(answer: &mut L7Answer, service: &Service, list: &Access, asking: &Asking<'_>) -> bool {
    let trusted = Ranges::of(&service.rules.trusted);
    let compiled = AccessList::compile(list);
    let client = compiled.client(&trusted, asking);
    let allowed = compiled.allows(&trusted, asking);
    let what = if allowed { "allowed" } else { "denied" };
    let by = match (client, client.and_then(|client| compiled.rule_of(client))) {
        (None, _) => format!(
            "header {} of a trusted peer is missing or says no address",
            list.header.as_deref().unwrap_or_default()
        ),
        (Some(client), Some(place)) => format!("{} has {client}", words::rule(list, place)),
        (Some(client), None) => format!("no rule has {client}, the default decides"),
    };
    answer.access = Some(format!("{what}: {by}"));
    if !allowed {
        refuse(
            answer,
            asking.codec,
            &Refusal::fatal(LocalReason::Denied, "its access rules deny the client"),
        );
    }
    allowed
}

/// The route of a request, as it is written and as it is taken, with those before it; why there is none.
fn route<'a>(
    answer: &mut L7Answer,
    hosts: &'a [VirtualHost],
    asking: &Asking<'_>,
) -> Result<(&'a Route, Rc<Taken>), &'static str> {
    let compiled = VirtualHosts::compile(hosts);
    let place = compiled.chosen(asking).ok_or("no virtual host has the host")?;
    let host = hosts.get(place).ok_or("no virtual host has the host")?;
    answer.virtual_host = Some(L7ExplainHost {
        name: host.name.clone(),
        host: String::from_utf8_lossy(asking.host()).into_owned(),
        hosts: host.hosts.clone(),
    });
    if compiled.ambiguous(place, asking) {
        return Err(
            "the path can be read in two ways (dot segments, //, encoded slashes or letters), and routes here look at paths",
        );
    }
    for route in &host.routes {
        let why = why_not(&route.matches, asking);
        let taken = why.is_none();
        let why = why.unwrap_or_else(|| match super::route::conditions(&route.matches) {
            none if none.is_empty() => "it has every request".to_owned(),
            all => all.join(", "),
        });
        answer.routes.push(L7ExplainRoute { name: format!("{}/{}", host.name, route.name), taken, why });
        if taken {
            return compiled.route(asking).map(|taken| (route, Rc::clone(taken))).ok_or(NO_MATCH);
        }
    }
    Err(NO_MATCH)
}

const NO_MATCH: &str = "no route of the virtual host matches";

fn forward(
    answer: &mut L7Answer,
    codec: &'static dyn Codec,
    snapshot: &Snapshot,
    stats: &Stats,
    workers: u64,
    to: &[Destination],
) {
    let weight_sum = to.iter().map(|to| u64::from(to.weight)).sum();
    for to in to {
        let service = snapshot.services.get(&to.service);
        answer.destinations.push(L7ExplainDestination {
            service: to.service.clone(),
            weight: u64::from(to.weight),
            weight_sum,
            balance: service.map_or_else(
                || "there is no such service".to_owned(),
                |service| words::balance(&service.rules.balance),
            ),
            endpoints: service
                .map(|service| endpoints::of(service, stats.services.get(&to.service), workers))
                .unwrap_or_default(),
        });
    }
    let none = Reply::error(LocalReason::NoUpstream, false);
    let chosen = answer.destinations.iter().filter(|to| to.weight > 0);
    let dead: Vec<_> = chosen
        .clone()
        .filter(|to| !to.endpoints.iter().any(|endpoint| endpoint.takes))
        .map(|to| to.service.as_str())
        .collect();
    let names: Vec<_> = chosen.map(|to| to.service.as_str()).collect();
    if dead.len() == names.len() {
        let why = if names.is_empty() {
            "all destinations have weight 0".to_owned()
        } else {
            format!("{} has no backend that takes requests", dead.join(", "))
        };
        say(answer, codec, &none, LocalReason::NoUpstream, &why);
        return;
    }
    let part = match dead.as_slice() {
        [] => String::new(),
        dead => format!(
            " (its share for {} gets {}: no backend there takes requests)",
            dead.join(", "),
            codec.status_words(&none)
        ),
    };
    answer.text = format!("It goes to a backend of {}{part}.", names.join(" or "));
    answer.outcome = "forward".to_owned();
}
