//! Lists of the ACL.

use std::net::IpAddr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::model::{Action, Origin, Scope};

/// The ACL without its entries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AclLists {
    /// Generation that this describes.
    pub generation: u64,
    /// For packets to a VIP that no list matches.
    pub default: Action,
    /// For all other packets that no list matches.
    pub interface_default: Action,
    /// Sources that are never dropped, before every list.
    pub management: Vec<String>,
    /// Lists by evaluation order.
    pub lists: Vec<ListSummary>,
}

/// A list without its entries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ListSummary {
    /// Name.
    pub name: String,
    /// Place in the evaluation order, lower first. None for an orphaned list.
    pub order: Option<u32>,
    /// What it does. None for an orphaned list.
    pub action: Option<Action>,
    /// What it acts on. None for an orphaned list.
    pub scope: Option<Scope>,
    /// Who set the list itself.
    pub origin: Origin,
    /// Entries in force, IPv4.
    pub entries_v4: u64,
    /// Entries in force, IPv6.
    pub entries_v6: u64,
    /// Entries that the API set.
    pub entries_api: u64,
    /// Entries that end by themselves.
    pub expiring: u64,
    /// Whether this is what the API added to a list of the file that the file no longer has: kept, not in force, and in
    /// force again once a list of this name exists.
    pub orphaned: bool,
}

/// A list with a page of its entries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ListDocument {
    /// Generation that this describes.
    pub generation: u64,
    /// The list.
    #[serde(flatten)]
    pub list: ListSummary,
    /// Entries in the order of their prefixes, at most `limit` of the request.
    pub entries: Vec<Entry>,
    /// Where the next page starts: the `after` of the next request. None on the last page.
    pub next: Option<String>,
}

/// An entry in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Entry {
    /// Prefix, host bits zero.
    pub prefix: String,
    /// Who set it.
    pub origin: Origin,
    /// When it ends by itself.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub expires_at: Option<Timestamp>,
    /// Why it was set.
    pub reason: Option<String>,
}

/// An entry to add.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EntryAdd {
    /// An address or a prefix. Host bits are accepted, masked and reported.
    pub prefix: String,
    /// How long it holds, such as `90s`, `4h` or `7d`; not together with `expires_at`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<String>,
    /// When it ends; not together with `ttl`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub expires_at: Option<Timestamp>,
    /// Why, for people; at most 256 bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// A whole list. For a list of the file it replaces what the API added; what the file set stays.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ListPut {
    /// Place in the evaluation order; no two lists share one. A new list without it comes ten after the last; an
    /// existing one keeps its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<u32>,
    /// What it does; `drop` for a new list without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<Action>,
    /// What it acts on; `all` for a new list without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<Scope>,
    /// Entries.
    pub entries: Vec<EntryAdd>,
}

/// Some entries of a list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ListPatch {
    /// A new order. Together with `action` it also creates a list that does not exist.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<u32>,
    /// A new action; a list that does not exist is created if this is set, refused if not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<Action>,
    /// A new scope.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<Scope>,
    /// Entries to add. An entry that exists takes the new end and reason.
    #[serde(default)]
    pub add: Vec<EntryAdd>,
    /// Prefixes to take out.
    #[serde(default)]
    pub remove: Vec<String>,
}

/// What the ACL says about one source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Lookup {
    /// Generation that this describes.
    pub generation: u64,
    /// The source.
    #[schema(value_type = String)]
    pub address: IpAddr,
    /// For packets to a VIP.
    pub services: LookupOutcome,
    /// For all other packets.
    pub traffic: LookupOutcome,
    /// Every entry that covers the source, in the order in which lists are asked, the longest prefix of a list first.
    pub matches: Vec<LookupMatch>,
}

/// The outcome for one kind of packets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LookupOutcome {
    /// What becomes of them.
    pub action: Action,
    /// The winner's place in `matches`; none when the default action or `management` decides.
    pub winner: Option<u64>,
    /// The management prefix that decides before every list.
    pub management: Option<String>,
    /// Whether the default action decides.
    pub by_default: bool,
}

/// An entry that covers the source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LookupMatch {
    /// List.
    pub list: String,
    /// The list's place in the evaluation order.
    pub order: u32,
    /// What the list does.
    pub action: Action,
    /// What the list acts on.
    pub scope: Scope,
    /// The entry.
    #[serde(flatten)]
    pub entry: Entry,
    /// Seconds until it ends by itself.
    pub ttl_seconds: Option<u64>,
}
