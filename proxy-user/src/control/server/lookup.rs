//! What the ACL says about one source, from the desired state: every list that covers it, and who wins.

use std::net::IpAddr;

use axum::extract::State;
use ipnet::IpNet;
use jiff::Timestamp;
use serde::Deserialize;
use utoipa::IntoParams;

use super::Api;
use super::extract::Params;
use super::problem::Answer;
use super::render::{entry, number, tagged};
use crate::control::door::View;
use crate::control::types::{Lookup, LookupMatch, LookupOutcome, Problem};
use crate::model::{AclList, Action, Scope};

/// The source.
#[derive(Clone, Copy, Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct LookupParams {
    /// Address of the source.
    #[param(value_type = String)]
    ip: IpAddr,
}

/// What the ACL says about a source: the winning entry, everything it shadows, and the default.
#[utoipa::path(get, path = "/v1/acl/lookup", tag = "acl", params(LookupParams), responses(
    (status = 200, body = Lookup), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn lookup(State(api): State<Api>, Params(query): Params<LookupParams>) -> Answer {
    let view = api.door.view();
    Ok(tagged(view.generation, &look_up(&view, query.ip.to_canonical(), Timestamp::now())))
}

fn look_up(view: &View, address: IpAddr, now: Timestamp) -> Lookup {
    let acl = &view.desired.acl;
    let mut lists: Vec<_> = acl.lists.iter().collect();
    lists.sort_by_key(|(_, list)| list.order);
    let matches: Vec<_> =
        lists.into_iter().flat_map(|(name, list)| covering(name, list, address, now)).collect();
    let management = acl.management.iter().find(|prefix| prefix.contains(&address)).map(ToString::to_string);
    let outcome = |default: Action, scope_matters: bool| {
        let acts = |one: &LookupMatch| !scope_matters || one.scope == Scope::All;
        let winner = if management.is_some() { None } else { matches.iter().position(acts) };
        let action = match (&management, winner.and_then(|winner| matches.get(winner))) {
            (Some(_), _) => Action::Pass,
            (None, Some(found)) => found.action,
            (None, None) => default,
        };
        LookupOutcome {
            action,
            winner: winner.map(number),
            management: management.clone(),
            by_default: management.is_none() && winner.is_none(),
        }
    };
    Lookup {
        generation: view.generation,
        address,
        services: outcome(acl.default, false),
        traffic: outcome(acl.interface_default, true),
        matches,
    }
}

/// Entries of a list that cover the address, the longest first.
fn covering<'a>(
    name: &'a str,
    list: &'a AclList,
    address: IpAddr,
    now: Timestamp,
) -> impl Iterator<Item = LookupMatch> + 'a {
    let longest = if address.is_ipv4() { 32 } else { 128 };
    (0..=longest).rev().filter_map(move |length| {
        let prefix = IpNet::new(address, length).ok()?.trunc();
        let found = list.entries.get(&prefix)?;
        Some(LookupMatch {
            list: name.to_owned(),
            order: list.order,
            action: list.action,
            scope: list.scope,
            entry: entry(&prefix, found),
            ttl_seconds: found
                .expires_at
                .map(|end| u64::try_from(end.duration_since(now).as_secs()).unwrap_or(0)),
        })
    })
}
