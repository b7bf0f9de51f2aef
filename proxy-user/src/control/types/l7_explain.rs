//! The L7 decision for one request, explained: by the routes that workers have, without sending anything.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::l7::L7Action;

/// A request to explain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct L7Query {
    /// The request.
    pub request: L7Request,
    /// Its headers, in order.
    #[serde(default)]
    pub headers: Vec<L7Header>,
    /// Who sends it. Without it an address that only lists of everyone have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub source: Option<IpAddr>,
    /// The service that it comes to. Without it the one that the host or the protocol tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
}

/// A request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum L7Request {
    /// HTTP/1.
    Http {
        /// Method.
        method: String,
        /// `http://HOST[:PORT]/PATH`.
        url: String,
    },
    /// SOFABolt.
    Bolt {
        /// RPC service.
        service: String,
        /// Method.
        method: String,
    },
}

/// A header.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct L7Header {
    /// Name.
    pub name: String,
    /// Value.
    pub value: String,
}

/// The decision and how it came about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct L7Answer {
    /// Generation of the routes.
    pub generation: u64,
    /// `forward`, `redirect`, `direct`, or the reason for which weir answers itself, as in metrics.
    pub outcome: String,
    /// The outcome in a sentence.
    pub text: String,
    /// The service that the request comes to.
    pub service: L7ExplainService,
    /// Whether the client may ask, and as whom it counts; none where the service has no such list.
    pub access: Option<String>,
    /// The virtual host; none where the service has none, or none that has the host.
    pub virtual_host: Option<L7ExplainHost>,
    /// Routes that were looked at, in order; the last is the one taken, if one was.
    pub routes: Vec<L7ExplainRoute>,
    /// What becomes of the request.
    pub action: Option<L7Action>,
    /// Where it may go.
    pub destinations: Vec<L7ExplainDestination>,
}

/// The service's part of a decision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct L7ExplainService {
    /// Name.
    pub name: String,
    /// Address and port.
    pub vip: String,
    /// Protocol of the request.
    pub codec: String,
    /// Why it is this service.
    pub why: String,
    /// What the first bytes are taken for, where the service detects its protocol.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detected: Option<String>,
}

/// The virtual host's part of a decision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct L7ExplainHost {
    /// Name.
    pub name: String,
    /// Host of the request; empty where it has none.
    pub host: String,
    /// Hosts that the virtual host has.
    pub hosts: Vec<String>,
}

/// A route's part of a decision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct L7ExplainRoute {
    /// Name.
    pub name: String,
    /// Whether the request takes it.
    pub taken: bool,
    /// Why it does not, or what it matched by.
    pub why: String,
}

/// A service that the request may go to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct L7ExplainDestination {
    /// Service.
    pub service: String,
    /// Its weight of `weight_sum`.
    pub weight: u64,
    /// Sum of the weights of all destinations.
    pub weight_sum: u64,
    /// How one of its endpoints is chosen.
    pub balance: String,
    /// Its endpoints.
    pub endpoints: Vec<L7ExplainEndpoint>,
}

/// An endpoint that the request may go to, or not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct L7ExplainEndpoint {
    /// Address and port.
    pub address: String,
    /// Weight.
    pub weight: u16,
    /// Whether it takes requests.
    pub takes: bool,
    /// Why not, or what limits it.
    pub why: Option<String>,
}
