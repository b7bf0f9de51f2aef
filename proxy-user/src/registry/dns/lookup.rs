//! One look-up: from a question to endpoints, over as many exchanges as it takes.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use futures_util::future::join_all;
use hickory_resolver::proto::rr::rdata::SRV;
use hickory_resolver::proto::rr::{Name, RecordType};

use super::exchange::Servers;
use super::settings::{Question, Record};
use super::wire::{Records, Reply};
use crate::model::BackendAddr;
use crate::registry::source::{Endpoint, MAX_ENDPOINTS};

/// What a look-up gave.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Answer {
    /// Endpoints.
    Known(Known),
    /// There are none, for this many seconds.
    Empty { why: String, ttl: u32 },
    /// Nobody can say.
    Failed(String),
}

/// Endpoints, and what is wrong with the rest.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Known {
    /// Endpoints.
    pub endpoints: Vec<Endpoint>,
    /// Records that name no endpoint, and why.
    pub rejected: Vec<(String, String)>,
    /// SRV targets without an address.
    pub missing: BTreeSet<String>,
    /// For how many seconds all of it holds.
    pub ttl: u32,
}

/// Looks a question up; `search` are the domains to try.
pub(super) async fn look_up(servers: &Servers, question: &Question, search: &[Name], ndots: usize) -> Answer {
    let mut nothing = None;
    for name in candidates(&question.name, search, ndots) {
        let answer = match question.record {
            Record::Srv => services(servers, &name).await,
            Record::Address { port, v4, v6 } => {
                let kinds: Vec<RecordType> = [(v4, RecordType::A), (v6, RecordType::AAAA)]
                    .into_iter()
                    .filter_map(|(wanted, kind)| wanted.then_some(kind))
                    .collect();
                match addresses(servers, &name, &kinds).await {
                    Ok(found) => Answer::Known(plain(&found, port)),
                    Err(trouble) => trouble,
                }
            }
        };
        match answer {
            // The first one says it all; the domains tried after it are a convenience.
            Answer::Empty { .. } => nothing = nothing.or(Some(answer)),
            answer => return answer,
        }
    }
    nothing.unwrap_or_else(|| Answer::Failed("no name to ask for".to_owned()))
}

/// The names that a name may stand for, as `resolv.conf(5)` has it.
fn candidates(name: &Name, search: &[Name], ndots: usize) -> Vec<Name> {
    let mut own = name.clone();
    own.set_fqdn(true);
    if name.is_fqdn() || search.is_empty() {
        return vec![own];
    }
    let mut names: Vec<Name> =
        search.iter().filter_map(|domain| name.clone().append_domain(domain).ok()).collect();
    let first = usize::from(name.num_labels()) > ndots;
    names.insert(if first { 0 } else { names.len() }, own);
    names
}

fn plain(found: &Records, port: u16) -> Known {
    let endpoint = |addr: &IpAddr| Endpoint {
        addr: BackendAddr { addr: addr.to_canonical(), port },
        weight: None,
        enabled: true,
        zone: None,
        labels: BTreeMap::new(),
    };
    Known { endpoints: found.addrs.iter().map(endpoint).collect(), ttl: found.ttl, ..Known::default() }
}

/// All addresses of a name. A kind of address that nobody can say makes the whole unknown.
async fn addresses(servers: &Servers, name: &Name, kinds: &[RecordType]) -> Result<Records, Answer> {
    let mut all = Records { ttl: u32::MAX, ..Records::default() };
    let mut nothing = u32::MAX;
    let mut nxdomain = true;
    for reply in join_all(kinds.iter().map(|kind| resolve(servers, name, *kind))).await {
        match reply {
            Ok(Reply::Records(found)) => {
                all.addrs.extend(found.addrs);
                all.ttl = all.ttl.min(found.ttl);
            }
            Ok(Reply::Nothing { nxdomain: gone, ttl }) => {
                (nothing, nxdomain) = (nothing.min(ttl), nxdomain && gone);
            }
            Ok(other) => return Err(Answer::Failed(format!("{name}: unexpected {other:?}"))),
            Err(why) => return Err(Answer::Failed(why)),
        }
    }
    if all.addrs.is_empty() {
        return Err(Answer::Empty { why: absent(name, nxdomain, "no address"), ttl: nothing });
    }
    Ok(all)
}

/// Follows aliases from answer to answer.
async fn resolve(servers: &Servers, name: &Name, kind: RecordType) -> Result<Reply, String> {
    let mut name = name.clone();
    for _ in 0..MAX_ALIASES {
        match servers.ask(&name, kind).await? {
            Reply::Alias(target) => name = target,
            reply => return Ok(reply),
        }
    }
    Err(format!("{name}: more than {MAX_ALIASES} aliases in a row"))
}

/// The endpoints behind SRV records.
async fn services(servers: &Servers, name: &Name) -> Answer {
    let found = match resolve(servers, name, RecordType::SRV).await {
        Ok(Reply::Records(found)) => found,
        Ok(Reply::Nothing { nxdomain, ttl }) => {
            return Answer::Empty { why: absent(name, nxdomain, "no SRV record"), ttl };
        }
        Ok(other) => return Answer::Failed(format!("{name}: unexpected {other:?}")),
        Err(why) => return Answer::Failed(why),
    };
    let first = found.targets.iter().map(|srv| srv.priority).min();
    let targets: Vec<&SRV> = found.targets.iter().filter(|srv| Some(srv.priority) == first).collect();
    if targets.iter().all(|srv| srv.target.is_root()) {
        let why = format!("{name}: the SRV record says that the service is not available");
        return Answer::Empty { why, ttl: found.ttl };
    }
    let names: BTreeSet<Name> = targets.iter().filter(|s| s.port != 0).map(|s| s.target.clone()).collect();
    let looked = join_all(names.iter().map(|target| target_addresses(servers, target, &found.along))).await;
    let mut known = Known { ttl: found.ttl, ..Known::default() };
    let mut addrs = BTreeMap::new();
    for (target, looked) in names.iter().zip(looked) {
        match looked {
            Ok(found) => {
                known.ttl = known.ttl.min(found.ttl);
                addrs.insert(target, found.addrs);
            }
            Err(Answer::Empty { ttl, .. }) => {
                known.ttl = known.ttl.min(ttl);
                known.missing.insert(target.to_ascii());
            }
            Err(other) => return other,
        }
    }
    put_together(known, &targets, &addrs)
}

/// Endpoints of targets of one priority. Apart: endpoints that are more than anybody may have.
fn put_together(mut known: Known, targets: &[&SRV], addrs: &BTreeMap<&Name, Vec<IpAddr>>) -> Answer {
    let weighed = targets.iter().any(|srv| srv.weight != 0);
    for srv in targets {
        let target = srv.target.to_ascii();
        if srv.port == 0 || srv.target.is_root() {
            let what = if srv.port == 0 { "the port is 0" } else { "no target beside others" };
            known.rejected.push((format!("{} {} {target}", srv.weight, srv.port), what.to_owned()));
            continue;
        }
        for addr in addrs.get(&srv.target).into_iter().flatten() {
            if known.endpoints.len() >= MAX_ENDPOINTS {
                return Answer::Failed(format!("more than {MAX_ENDPOINTS} endpoints"));
            }
            known.endpoints.push(Endpoint {
                addr: BackendAddr { addr: addr.to_canonical(), port: srv.port },
                // RFC 2782: beside others, 0 is a very small chance, not none; alone it says nothing.
                weight: weighed.then(|| f64::from(srv.weight.max(1))),
                enabled: true,
                zone: None,
                labels: BTreeMap::from([(Arc::from("target"), Arc::from(target.trim_end_matches('.')))]),
            });
        }
    }
    Answer::Known(known)
}

/// Addresses of a target: those that came along with the SRV records, and the kinds of which none did.
async fn target_addresses(
    servers: &Servers,
    target: &Name,
    along: &[(Name, IpAddr)],
) -> Result<Records, Answer> {
    let mut found: Vec<IpAddr> = along.iter().filter(|(name, _)| name == target).map(|(_, a)| *a).collect();
    let mut missing = Vec::new();
    if !found.iter().any(IpAddr::is_ipv4) {
        missing.push(RecordType::A);
    }
    if !found.iter().any(IpAddr::is_ipv6) {
        missing.push(RecordType::AAAA);
    }
    if missing.is_empty() {
        return Ok(Records { addrs: found, ttl: u32::MAX, ..Records::default() });
    }
    match addresses(servers, target, &missing).await {
        Ok(more) => {
            found.extend(more.addrs);
            Ok(Records { addrs: found, ..more })
        }
        Err(Answer::Empty { .. }) if !found.is_empty() => {
            Ok(Records { addrs: found, ttl: u32::MAX, ..Records::default() })
        }
        Err(trouble) => Err(trouble),
    }
}

fn absent(name: &Name, nxdomain: bool, what: &str) -> String {
    if nxdomain { format!("{name}: NXDOMAIN") } else { format!("{name}: {what}") }
}

/// Longest chain of aliases over several answers.
const MAX_ALIASES: usize = 8;
