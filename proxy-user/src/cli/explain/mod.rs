//! `weir explain`: the decision for one packet, or for one request of the L7 path.

mod l7;

use std::net::IpAddr;

use clap::{Args, ValueEnum};

pub use self::l7::L7Args;
use super::failure::Failure;
use super::output::{Colour, Output};
use super::reach::Daemon;
use super::table::printable;
use super::{Global, origin_word};
use crate::control::types::{ExplainAnswer, ExplainQuery};
use crate::model::{Action, Protocol};

/// Arguments of `weir explain`.
#[derive(Clone, Debug, Args)]
pub struct ExplainArgs {
    /// Source address
    #[arg(value_name = "SRC", required_unless_present_any = L7)]
    pub source: Option<IpAddr>,
    /// Destination address
    #[arg(value_name = "DST", required_unless_present_any = L7)]
    pub destination: Option<IpAddr>,
    /// Protocol
    #[arg(value_name = "PROTO", value_enum, required_unless_present_any = L7)]
    pub protocol: Option<ProtocolArg>,
    /// Destination port
    #[arg(value_name = "PORT", required_unless_present_any = L7, value_parser = clap::value_parser!(u16).range(1..))]
    pub port: Option<u16>,
    /// Source port [default: 40000]; the backend depends on it
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub sport: Option<u16>,
    /// Interface that the packet enters by [default: the first attached one]
    #[arg(short, long, value_name = "IF")]
    pub iface: Option<String>,
    /// TCP: a packet of an established connection instead of its first
    #[arg(long)]
    pub established: bool,
    /// A request instead of a packet
    #[command(flatten)]
    pub l7: L7Args,
}

/// What takes the place of a packet.
const L7: [&str; 2] = ["l7", "bolt"];

/// A protocol on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ProtocolArg {
    /// TCP
    Tcp,
    /// UDP
    Udp,
}

/// Explains a packet, or a request.
///
/// # Errors
///
/// [`Failure::Usage`] when the addresses are of different families; what the daemon refuses.
pub fn explain(args: &ExplainArgs, global: &Global, output: &Output) -> Result<(), Failure> {
    if let Some(query) = args.l7.query()? {
        let daemon = Daemon::reach(global)?;
        let answer = daemon.ask(daemon.client.explain_l7(&query))?;
        // What XDP drops never comes to a worker.
        let packet = l7::packet(&answer, query.source).and_then(|query| {
            let explained = daemon.ask(daemon.client.explain(&query)).ok()?;
            (explained.verdict == "drop").then_some((query, explained))
        });
        return output.data(&answer, |answer| match &packet {
            Some((query, dropped)) => l7::dropped(query, dropped, output) + &l7::text(answer, output),
            None => l7::text(answer, output),
        });
    }
    let (Some(source), Some(destination), Some(protocol), Some(port)) =
        (args.source, args.destination, args.protocol, args.port)
    else {
        return Err(Failure::Usage(
            "a packet has SRC, DST, PROTO and PORT; a request is --l7 or --bolt".into(),
        ));
    };
    if source.is_ipv4() != destination.is_ipv4() {
        return Err(Failure::Usage(format!(
            "{source} and {destination} are of different families; no packet can have both"
        )));
    }
    let query = ExplainQuery {
        source,
        destination,
        protocol: match protocol {
            ProtocolArg::Tcp => Protocol::Tcp,
            ProtocolArg::Udp => Protocol::Udp,
        },
        port,
        source_port: args.sport,
        interface: args.iface.clone(),
        established: args.established,
    };
    let daemon = Daemon::reach(global)?;
    let answer = daemon.ask(daemon.client.explain(&query))?;
    output.data(&answer, |answer| text(answer, output))
}

fn text(answer: &ExplainAnswer, output: &Output) -> String {
    let colour = match answer.verdict.as_str() {
        "drop" => Colour::Red,
        "steer" => Colour::Green,
        _ => Colour::Yellow,
    };
    let verdict = output.paint(colour, &answer.verdict.to_uppercase());
    let mut text = format!("{verdict}  {}: {}\n", answer.reason, answer.text);
    let mut line = |name: &str, value: String| {
        text.push_str(&format!("  {name:<9}{}\n", printable(&value)));
    };
    if let Some(acl) = &answer.acl {
        let action = match acl.action {
            Action::Pass => "pass",
            Action::Drop => "drop",
        };
        let by = match (&acl.list, &acl.prefix) {
            (Some(list), Some(prefix)) => format!("list {list}, {prefix}"),
            (Some(list), None) => format!("list {list}"),
            _ => "no list has the source; default".to_owned(),
        };
        let origin = acl.origin.map(|origin| format!(", origin {}", origin_word(origin))).unwrap_or_default();
        line("acl", format!("{action}: {by}{origin}"));
    }
    if let Some(service) = &answer.service {
        let ring = match (service.ring_slot, service.ring_length) {
            (Some(slot), Some(length)) => format!(", ring slot {slot} of {length}"),
            (None, Some(length)) => format!(", ring of {length}"),
            _ => String::new(),
        };
        line("service", format!("{} {}{ring}", service.name, service.vip));
    }
    if let Some(backend) = &answer.backend {
        let previous =
            backend.previous.as_ref().map(|previous| format!(", before {previous}")).unwrap_or_default();
        line("backend", format!("{} (slot {}{previous})", backend.address, backend.slot));
        if let Some(interface) = &backend.interface {
            let next_hop = backend.next_hop.as_deref().unwrap_or("unresolved");
            line("way", format!("out of {interface} to {next_hop}"));
        }
        if let Some(snat) = &backend.snat {
            line("source", snat.clone());
        }
    }
    for step in &answer.steps {
        text.push_str(&format!("  - {}\n", printable(step)));
    }
    text.push_str(&format!("  (generation {}; nothing was changed)\n", answer.generation));
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::output::Format;
    use crate::control::types::{ExplainAcl, ExplainBackend, ExplainService};
    use crate::model::Origin;

    #[test]
    fn the_whole_way() {
        let answer = ExplainAnswer {
            generation: 7,
            verdict: "steer".into(),
            reason: "nat".into(),
            text: "NAT, client to backend.".into(),
            acl: Some(ExplainAcl {
                action: Action::Pass,
                list: Some("partners".into()),
                prefix: Some("203.0.113.0/24".into()),
                origin: Some(Origin::File),
            }),
            service: Some(ExplainService {
                name: "web".into(),
                vip: "tcp/198.51.100.10:80".into(),
                ring_slot: Some(17),
                ring_length: Some(2_039),
            }),
            backend: Some(ExplainBackend {
                address: "10.0.0.11:8080".into(),
                slot: 1,
                previous: Some("10.0.0.12:8080".into()),
                interface: Some("eth1".into()),
                next_hop: Some("02:00:00:00:00:11".into()),
                snat: None,
            }),
            steps: vec!["TTL 64 to 63".into()],
        };
        let output =
            Output { format: Format::Table, quiet: false, verbose: false, colour: false, terminal: false };
        assert_eq!(
            text(&answer, &output),
            "\
STEER  nat: NAT, client to backend.
  acl      pass: list partners, 203.0.113.0/24, origin file
  service  web tcp/198.51.100.10:80, ring slot 17 of 2039
  backend  10.0.0.11:8080 (slot 1, before 10.0.0.12:8080)
  way      out of eth1 to 02:00:00:00:00:11
  - TTL 64 to 63
  (generation 7; nothing was changed)
"
        );
    }
}
