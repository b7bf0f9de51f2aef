//! `weir explain --l7` and `--bolt`: the decision for one request.

use std::net::{IpAddr, SocketAddr};

use clap::Args;

use crate::cli::failure::Failure;
use crate::cli::output::{Colour, Output};
use crate::cli::table::printable;
use crate::control::types::{
    ExplainAnswer, ExplainQuery, L7Answer, L7ExplainDestination, L7Header, L7Query, L7Request,
};
use crate::model::Protocol;

/// A request to explain.
#[derive(Clone, Debug, Default, Args)]
pub struct L7Args {
    /// An HTTP request, like `GET http://shop.example/cart`, by the routes that workers have
    #[arg(long, value_name = "METHOD URL", conflicts_with_all = PACKET)]
    pub l7: Option<String>,
    /// A call over SOFABolt
    #[arg(long, num_args = 2, value_names = ["SERVICE", "METHOD"], conflicts_with_all = PACKET, conflicts_with = "l7")]
    pub bolt: Option<Vec<String>>,
    /// A header of the request (repeat)
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE", conflicts_with_all = PACKET)]
    pub headers: Vec<String>,
    /// Who sends the request [default: 0.0.0.0 or ::, which only lists of everyone have]
    #[arg(long, value_name = "ADDR", conflicts_with_all = PACKET)]
    pub from: Option<IpAddr>,
    /// The service that the request comes to [default: the one that its host or its protocol tells]
    #[arg(long, value_name = "NAME", conflicts_with_all = PACKET)]
    pub service: Option<String>,
}

/// Arguments of packets.
const PACKET: [&str; 7] = ["source", "destination", "protocol", "port", "sport", "iface", "established"];

impl L7Args {
    /// The request, if there is one.
    pub(super) fn query(&self) -> Result<Option<L7Query>, Failure> {
        let request = match (&self.l7, self.bolt.as_deref()) {
            (Some(text), _) => {
                let (method, url) = text.trim().split_once(' ').ok_or_else(|| {
                    Failure::Usage(format!("`{text}` has no method; write it like 'GET http://host/path'"))
                })?;
                L7Request::Http { method: method.to_owned(), url: url.trim().to_owned() }
            }
            (None, Some([service, method])) => {
                L7Request::Bolt { service: service.clone(), method: method.clone() }
            }
            (None, _) => return Ok(None),
        };
        let headers = self.headers.iter().map(|text| header(text)).collect::<Result<_, _>>()?;
        Ok(Some(L7Query { request, headers, source: self.from, service: self.service.clone() }))
    }
}

fn header(text: &str) -> Result<L7Header, Failure> {
    let wrong = || Failure::Usage(format!("`{text}` is no header; write it like 'x-lane: blue'"));
    let (name, value) = text.split_once(':').ok_or_else(wrong)?;
    if name.trim().is_empty() {
        return Err(wrong());
    }
    Ok(L7Header { name: name.trim().to_owned(), value: value.trim().to_owned() })
}

/// The first packet of a connection from the one who asks to the service that the request comes to.
pub(super) fn packet(answer: &L7Answer, source: Option<IpAddr>) -> Option<ExplainQuery> {
    let (source, vip) = (source?, answer.service.vip.rsplit('/').next()?);
    let vip: SocketAddr = vip.parse().ok().filter(|vip: &SocketAddr| vip.port() != 0)?;
    (source.is_ipv4() == vip.is_ipv4()).then(|| ExplainQuery {
        source,
        destination: vip.ip(),
        protocol: Protocol::Tcp,
        port: vip.port(),
        source_port: None,
        interface: None,
        established: false,
    })
}

/// That XDP drops that packet, which stands before what a worker would do.
pub(super) fn dropped(query: &ExplainQuery, dropped: &ExplainAnswer, output: &Output) -> String {
    let ExplainQuery { source, destination, port, .. } = query;
    format!(
        "{}  in XDP, if it comes from {source} itself: {}: {} (`weir explain {source} {destination} tcp {port}`). Else:\n",
        output.paint(Colour::Red, "DROP"),
        dropped.reason,
        printable(&dropped.text)
    )
}

pub(super) fn text(answer: &L7Answer, output: &Output) -> String {
    let colour = match answer.outcome.as_str() {
        "forward" => Colour::Green,
        "redirect" | "direct" => Colour::Yellow,
        _ => Colour::Red,
    };
    let outcome = output.paint(colour, &answer.outcome.to_uppercase());
    let mut text = format!("{outcome}  {}\n", printable(&answer.text));
    let mut line = |name: &str, value: &str| text.push_str(&format!("  {name:<9}{}\n", printable(value)));
    let service = &answer.service;
    line("service", &format!("{} {} {}: {}", service.name, service.vip, service.codec, service.why));
    if let Some(detected) = &service.detected {
        line("codec", detected);
    }
    if let Some(access) = &answer.access {
        line("access", access);
    }
    if let Some(host) = &answer.virtual_host {
        let asked = if host.host.is_empty() { "no host" } else { &host.host };
        line("host", &format!("{} has {asked} by {}", host.name, host.hosts.join(", ")));
    }
    for route in &answer.routes {
        let word = if route.taken { "takes it" } else { "not" };
        line("route", &format!("{} {word}: {}", route.name, route.why));
    }
    if let Some(action) = &answer.action {
        line("action", &action.action);
        let timeout =
            action.timeout_ms.map_or_else(|| "no timeout".to_owned(), |ms| format!("timeout {ms} ms"));
        line("", &format!("{timeout}, up to {} retries", action.retries));
        action.request_headers.iter().for_each(|change| line("request", change));
        action.response_headers.iter().for_each(|change| line("answer", change));
    }
    for destination in &answer.destinations {
        line("to", &share(destination));
        for endpoint in &destination.endpoints {
            let takes = if endpoint.takes { "takes requests" } else { "takes none" };
            let why = endpoint.why.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
            line("  ->", &format!("{} w{} {takes}{why}", endpoint.address, endpoint.weight));
        }
    }
    text.push_str(&format!("  (generation {}; nothing was sent)\n", answer.generation));
    text
}

fn share(to: &L7ExplainDestination) -> String {
    let part = if to.weight == to.weight_sum {
        String::new()
    } else {
        format!(", {} of {} requests", to.weight, to.weight_sum)
    };
    format!("{}{part}, {}", to.service, to.balance)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::output::Format;
    use crate::control::types::{
        L7Action, L7ExplainEndpoint, L7ExplainHost, L7ExplainRoute, L7ExplainService,
    };

    #[test]
    fn requests_are_read() {
        let args = L7Args {
            l7: Some("GET  http://shop.example/x".into()),
            headers: vec!["X-Lane: b:lue".into()],
            ..L7Args::default()
        };
        let query = args.query().unwrap().unwrap();
        let wanted = L7Request::Http { method: "GET".into(), url: "http://shop.example/x".into() };
        assert_eq!(query.request, wanted);
        assert_eq!(query.headers, [L7Header { name: "X-Lane".into(), value: "b:lue".into() }]);
        let bolt = L7Args { bolt: Some(vec!["com.x.Y:1.0".into(), "say".into()]), ..L7Args::default() };
        let wanted = L7Request::Bolt { service: "com.x.Y:1.0".into(), method: "say".into() };
        assert_eq!(bolt.query().unwrap().unwrap().request, wanted);
        assert!(L7Args { l7: Some("http://x/".into()), ..L7Args::default() }.query().is_err());
        let broken =
            L7Args { l7: Some("GET http://x/".into()), headers: vec!["x".into()], ..L7Args::default() };
        assert!(broken.query().is_err());
        assert!(L7Args::default().query().unwrap().is_none());
    }

    #[test]
    fn the_whole_way() {
        let route =
            |name: &str, taken, why: &str| L7ExplainRoute { name: name.into(), taken, why: why.into() };
        let endpoint = |address: &str, takes, why: Option<&str>| L7ExplainEndpoint {
            address: address.into(),
            weight: 100,
            takes,
            why: why.map(Into::into),
        };
        let answer = L7Answer {
            generation: 7,
            outcome: "forward".into(),
            text: "It goes to a backend of web.".into(),
            service: L7ExplainService {
                name: "web".into(),
                vip: "198.51.100.10:80".into(),
                codec: "http1".into(),
                why: "it was named".into(),
                detected: Some("http1 by its first bytes".into()),
            },
            access: Some("allowed: rule 1 has 10.0.0.1".into()),
            virtual_host: Some(L7ExplainHost {
                name: "shop".into(),
                host: "shop.example".into(),
                hosts: vec!["*.example".into()],
            }),
            routes: vec![
                route("shop/lane", false, "the header x-lane is not there, wanted `b`"),
                route("shop/all", true, "it has every request"),
            ],
            action: Some(L7Action {
                action: "forward to web (weight 3), next (weight 1)".into(),
                timeout_ms: Some(500),
                retries: 2,
                retry_budget_percent: 20,
                request_headers: vec!["set x-new: 1".into()],
                response_headers: Vec::new(),
            }),
            destinations: vec![L7ExplainDestination {
                service: "web".into(),
                weight: 3,
                weight_sum: 4,
                balance: "least request of two".into(),
                endpoints: vec![
                    endpoint("10.0.0.11:8080", true, None),
                    endpoint("10.0.0.12:8080", false, Some("weight 0")),
                ],
            }],
        };
        let output =
            Output { format: Format::Table, quiet: false, verbose: false, colour: false, terminal: false };
        assert_eq!(
            text(&answer, &output),
            "\
FORWARD  It goes to a backend of web.
  service  web 198.51.100.10:80 http1: it was named
  codec    http1 by its first bytes
  access   allowed: rule 1 has 10.0.0.1
  host     shop has shop.example by *.example
  route    shop/lane not: the header x-lane is not there, wanted `b`
  route    shop/all takes it: it has every request
  action   forward to web (weight 3), next (weight 1)
           timeout 500 ms, up to 2 retries
  request  set x-new: 1
  to       web, 3 of 4 requests, least request of two
    ->     10.0.0.11:8080 w100 takes requests
    ->     10.0.0.12:8080 w100 takes none: weight 0
  (generation 7; nothing was sent)
"
        );
        let asked = |source: &str| packet(&answer, Some(source.parse().unwrap()));
        assert_eq!((packet(&answer, None), asked("2001:db8::1")), (None, None));
        let query = asked("192.0.2.2").unwrap();
        let explained = ExplainAnswer {
            generation: 7,
            verdict: "drop".into(),
            reason: "acl_drop".into(),
            text: "The list block has it.".into(),
            acl: None,
            service: None,
            backend: None,
            steps: Vec::new(),
        };
        assert_eq!(
            dropped(&query, &explained, &output),
            "DROP  in XDP, if it comes from 192.0.2.2 itself: acl_drop: The list block has it. \
             (`weir explain 192.0.2.2 198.51.100.10 tcp 80`). Else:\n"
        );
    }
}
