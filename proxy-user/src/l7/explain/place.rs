//! Which service a request comes to: the one that is named, that listens at the URL's address, that alone speaks the
//! protocol, or that alone has a virtual host of that name.

use std::net::{IpAddr, SocketAddr};

use super::L7ExplainError;
use super::ask::Asked;
use crate::l7::snapshot::{Service, Snapshot};

type Found<'a> = (&'a str, &'a Service, String);

pub(super) fn find<'a>(
    snapshot: &'a Snapshot,
    named: Option<&str>,
    asked: &Asked,
) -> Result<Found<'a>, L7ExplainError> {
    let codec = asked.codec.name();
    if let Some(name) = named {
        let (name, service) = snapshot
            .services
            .get_key_value(name)
            .ok_or_else(|| L7ExplainError::UnknownService(name.to_owned()))?;
        if !speaks(service, codec) {
            return Err(L7ExplainError::OtherCodec { service: name.clone(), codec });
        }
        return Ok((name, service, "it was named".to_owned()));
    }
    if let Some(address) = address(&asked.authority) {
        let (name, service) = snapshot.service(address).ok_or(L7ExplainError::NobodyAt(address))?;
        if !speaks(service, codec) {
            return Err(L7ExplainError::OtherCodec { service: name.to_owned(), codec });
        }
        return Ok((name, service, format!("it has {address}")));
    }
    let speakers: Vec<_> = snapshot.services.iter().filter(|(_, service)| speaks(service, codec)).collect();
    let port = port(&asked.authority);
    let listening: Vec<_> = speakers.iter().copied().filter(|(_, service)| listens(service, port)).collect();
    // A port that nobody has says nothing.
    let (speakers, port) = if listening.is_empty() { (speakers, None) } else { (listening, port) };
    let host = bare(&asked.authority);
    let hosting: Vec<_> =
        speakers.iter().copied().filter(|(name, _)| names_host(snapshot, name, host)).collect();
    match (speakers.as_slice(), hosting.as_slice()) {
        ([], _) => Err(L7ExplainError::Nobody { codec }),
        ([(name, service)], _) => match port {
            Some(port) => Ok((name, service, format!("it alone speaks {codec} at port {port}"))),
            None => Ok((name, service, format!("it alone speaks {codec}"))),
        },
        (_, [(name, service)]) => Ok((name, service, format!("it alone has a virtual host for {host}"))),
        (several, _) => {
            let names = several.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", ");
            Err(L7ExplainError::Several { codec, names })
        }
    }
}

fn speaks(service: &Service, codec: &str) -> bool {
    let detect = &service.rules.detect;
    if detect.is_empty() { service.codec == codec } else { detect.iter().any(|one| one == codec) }
}

fn listens(service: &Service, port: Option<u16>) -> bool {
    port.is_none_or(|port| [port, 0].contains(&service.vip.port()))
}

fn names_host(snapshot: &Snapshot, service: &str, host: &str) -> bool {
    let hosts = snapshot.routes.services.get(service).into_iter().flatten().flat_map(|host| &host.hosts);
    let host = host.to_ascii_lowercase();
    hosts.map(|pattern| pattern.to_ascii_lowercase()).any(|pattern| match pattern.strip_prefix('*') {
        Some("") => false,
        Some(domain) => host.len() > domain.len() && host.ends_with(domain),
        None => host == pattern,
    })
}

/// The address that a host with or without a port is, for HTTP.
fn address(authority: &str) -> Option<SocketAddr> {
    let with_port = || authority.parse().ok();
    let bare = || authority.trim_matches(['[', ']']).parse::<IpAddr>().ok();
    with_port().or_else(|| Some(SocketAddr::new(bare()?, HTTP)))
}

fn port(authority: &str) -> Option<u16> {
    authority.rsplit_once(':')?.1.parse().ok()
}

fn bare(authority: &str) -> &str {
    match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    }
}

const HTTP: u16 = 80;
