//! `weir service add`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use crate::cli::failure::Failure;
use crate::cli::output::Output;
use crate::cli::reach::{Daemon, report};
use crate::cli::{Global, l7_settings, origin_word};
use crate::config::parse;
use crate::control::client::ChangeOptions;
use crate::control::types::{BackendPut, Code, ServiceDocument, ServicePut};
use crate::model::{Announce, Forward, UnknownPort, Vip};

/// Arguments of `weir service add`.
#[derive(Clone, Debug, Args)]
pub struct AddArgs {
    /// Name: a-z 0-9 _ . -
    pub name: String,
    /// What clients connect to: `tcp/198.51.100.10:80`, `udp/[2001:db8::1]:53`; port 0 is any
    #[arg(long)]
    pub vip: String,
    /// A backend: 10.0.0.11:8080, with a weight 10.0.0.11:8080@50; may be repeated
    #[arg(long = "backend", value_name = "ADDR:PORT[@WEIGHT]")]
    pub backends: Vec<String>,
    /// How packets reach the backends
    #[arg(long, value_enum, default_value_t = ForwardArg::Nat)]
    pub forward: ForwardArg,
    /// Whether weir puts the VIP on an interface and announces it
    #[arg(long, value_enum, default_value_t = AnnounceArg::None)]
    pub announce: AnnounceArg,
    /// What becomes of packets to the VIP's other ports
    #[arg(long, value_enum, default_value_t = UnknownPortArg::Drop)]
    pub unknown_port: UnknownPortArg,
    /// NAT flows that may wait for their handshake at once
    #[arg(long, value_name = "N")]
    pub syn_budget: Option<u32>,
    /// Protocol of an `l7` service: http1, bolt, tcp; repeated: looked for in a connection's first bytes, in this order
    #[arg(long = "codec", value_name = "CODEC")]
    pub codecs: Vec<String>,
    /// File with codec, settings, hosts and routes of an `l7` service, as `weir l7 set` takes it; - for standard input
    #[arg(long, value_name = "FILE")]
    pub l7: Option<PathBuf>,
    /// Replace the service if there is one of this name; L7 settings that are not given stay
    #[arg(long)]
    pub replace: bool,
    /// Say what would change, and change nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// A forwarding mode on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ForwardArg {
    /// Full NAT: needs nothing of the backend
    Nat,
    /// Direct server return within the link: the backend holds the VIP
    DsrL2,
    /// By worker processes on this host, which end the connection and make their own to the backend
    L7,
}

/// Address handling on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum AnnounceArg {
    /// Add the address and announce it
    Address,
    /// Leave addresses to others
    None,
}

/// Treatment of unknown ports on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum UnknownPortArg {
    /// Drop them
    Drop,
    /// Pass them to the host
    Pass,
}

pub(super) fn add(args: &AddArgs, global: &Global, output: &Output) -> Result<(), Failure> {
    let mut put = put_of(args)?;
    settings_of(args, &mut put, output)?;
    let daemon = Daemon::reach(global)?;
    let options = daemon.options();
    let found = daemon.look(Code::UnknownService, daemon.client.service(&args.name))?;
    let if_match = match &found {
        Some(found) if !args.replace => {
            let put_again = same(&found.value, &put);
            return if put_again {
                output.say(&format!("the service {} is there already, just so", args.name));
                output.json_only(&found.value)
            } else {
                Err(Failure::Failed(format!(
                    "there is a service {} already ({}, origin {}); change it with --replace, or its backends with \
                     `weir backend`",
                    args.name,
                    found.value.vip,
                    origin_word(found.value.origin)
                )))
            };
        }
        Some(found) => options.if_match.or(found.generation),
        None => options.if_match,
    };
    let options = ChangeOptions { if_match, dry_run: args.dry_run };
    let applied = daemon.ask(daemon.client.put_service(&args.name, &put, options))?;
    let verb = match (args.dry_run, found.is_some()) {
        (true, _) => "dry run, nothing was changed:",
        (false, true) => "replaced",
        (false, false) => "added",
    };
    // The first is the service itself.
    let changes = l7_settings::changes(applied.items.get(1..).unwrap_or_default());
    if !changes.is_empty() {
        output.say(changes.trim_end());
    }
    report(&applied, &format!("{verb} {}", args.name), output)
}

fn put_of(args: &AddArgs) -> Result<ServicePut, Failure> {
    let usage = |error: parse::ParseError| Failure::Usage(error.to_string());
    parse::name(&args.name).map_err(usage)?;
    let vip: Vip = args.vip.parse().map_err(usage)?;
    let backends = args.backends.iter().map(|text| {
        let (address, weight) = parse::weighted_backend(text, vip.port)?;
        Ok(BackendPut { address: Some(address.to_string()), weight: Some(weight), state: None })
    });
    Ok(ServicePut {
        vip: vip.to_string(),
        forward: match args.forward {
            ForwardArg::Nat => Forward::Nat,
            ForwardArg::DsrL2 => Forward::DsrL2,
            ForwardArg::L7 => Forward::L7,
        },
        announce: match args.announce {
            AnnounceArg::Address => Announce::Address,
            AnnounceArg::None => Announce::None,
        },
        unknown_port: match args.unknown_port {
            UnknownPortArg::Drop => UnknownPort::Drop,
            UnknownPortArg::Pass => UnknownPort::Pass,
        },
        syn_budget: args.syn_budget,
        codec: None,
        l7: None,
        host: None,
        route: None,
        backends: backends.collect::<Result<_, _>>().map_err(usage)?,
    })
}

/// What `--l7` and `--codec` say.
fn settings_of(args: &AddArgs, put: &mut ServicePut, output: &Output) -> Result<(), Failure> {
    if args.codecs.is_empty() && args.l7.is_none() {
        return Ok(());
    }
    if args.forward != ForwardArg::L7 {
        return Err(Failure::Usage("--codec and --l7 are for --forward l7".into()));
    }
    if !args.codecs.is_empty() && args.l7.is_some() {
        return Err(Failure::Usage("--l7 names the codec, too: leave --codec out".into()));
    }
    let mut settings = match &args.l7 {
        Some(file) => l7_settings::read(&args.name, file, output)?,
        None => {
            let codec: Value = match args.codecs.as_slice() {
                [one] => one.as_str().into(),
                several => several.into(),
            };
            l7_settings::checked(&args.name, &json!({ "codec": codec }))?
        }
    }
    .0;
    put.codec = settings.remove("codec");
    put.l7 = settings.remove("l7");
    put.host = settings.remove("host");
    put.route = settings.remove("route");
    Ok(())
}

/// Whether the service is just as it is asked for.
fn same(found: &ServiceDocument, put: &ServicePut) -> bool {
    let backends_of = |backends: Vec<(Option<String>, Option<u16>)>| {
        backends.into_iter().collect::<std::collections::BTreeMap<_, _>>()
    };
    let have = found.backends.iter().map(|have| (Some(have.address.clone()), Some(have.weight)));
    let want = put.backends.iter().map(|want| (want.address.clone(), want.weight));
    found.vip == put.vip
        && found.forward == put.forward
        && found.announce == put.announce
        && found.unknown_port == put.unknown_port
        && (put.settings().is_none()
            || (&found.codec, &found.l7, &found.host, &found.route)
                == (&put.codec, &put.l7, &put.host, &put.route))
        && put.syn_budget.is_none_or(|budget| budget == found.syn_budget)
        && backends_of(have.collect()) == backends_of(want.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(vip: &str, backends: &[&str]) -> AddArgs {
        AddArgs {
            name: "web".into(),
            vip: vip.into(),
            backends: backends.iter().map(ToString::to_string).collect(),
            forward: ForwardArg::DsrL2,
            announce: AnnounceArg::None,
            unknown_port: UnknownPortArg::Drop,
            syn_budget: None,
            codecs: Vec::new(),
            l7: None,
            replace: false,
            dry_run: false,
        }
    }

    #[test]
    fn a_backend_without_a_port_takes_the_vips() {
        let put = put_of(&args("tcp/198.51.100.10:80", &["10.0.0.11", "10.0.0.12:8080@50"])).unwrap();
        assert_eq!(put.forward, Forward::DsrL2);
        assert_eq!(put.backends[0].address.as_deref(), Some("10.0.0.11:80"));
        assert_eq!(put.backends[1].weight, Some(50));
    }

    #[test]
    fn bad_texts_are_usage_errors() {
        for (vip, backend) in [("198.51.100.10:80", "10.0.0.11"), ("tcp/198.51.100.10:80", "10.0.0.11@2000")]
        {
            assert!(matches!(put_of(&args(vip, &[backend])), Err(Failure::Usage(_))), "{vip} {backend}");
        }
    }
}
