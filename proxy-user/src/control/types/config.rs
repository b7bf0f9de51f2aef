//! The configuration in force, from all doors together.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::service::ServiceDocument;
use crate::model::{Action, Origin, ReplyRoute, Scope};

/// The configuration in force. Entries of lists are counted, not listed: `GET /v1/acl/lists/{list}` has them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EffectiveConfig {
    /// Generation that this describes.
    pub generation: u64,
    /// Seed of the rings.
    pub seed: String,
    /// How answers of NAT flows find the client.
    pub reply_route: ReplyRoute,
    /// The ACL.
    pub acl: EffectiveAcl,
    /// Source-NAT pool.
    pub snat: EffectiveSnat,
    /// Idle times in milliseconds, by name.
    pub timeouts_milliseconds: BTreeMap<String, u64>,
    /// Services by name.
    pub services: Vec<ServiceDocument>,
}

/// The ACL in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EffectiveAcl {
    /// For packets to a VIP that no list matches.
    pub default: Action,
    /// For all other packets that no list matches.
    pub interface_default: Action,
    /// Sources that are never dropped.
    pub management: Vec<String>,
    /// Lists by name.
    pub lists: BTreeMap<String, EffectiveList>,
}

/// A list in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EffectiveList {
    /// Place in the evaluation order.
    pub order: u32,
    /// What it does.
    pub action: Action,
    /// What it acts on.
    pub scope: Scope,
    /// Who set the list.
    pub origin: Origin,
    /// Number of its entries.
    pub entries: u64,
}

/// Source-NAT pool in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EffectiveSnat {
    /// Addresses; empty for the egress interface's own.
    pub addresses: Vec<String>,
    /// First port.
    pub first_port: u16,
    /// Last port.
    pub last_port: u16,
}
