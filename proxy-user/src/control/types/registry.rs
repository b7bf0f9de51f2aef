//! Registries: sessions, what is known of what was asked, what is registered, and where each backend comes from.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// All registries of the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Registries {
    /// Generation that this describes.
    pub generation: u64,
    /// Registries by name.
    pub registries: Vec<RegistryStatus>,
}

/// A registry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RegistryStatus {
    /// Name.
    pub name: String,
    /// Kind.
    pub kind: String,
    /// State of the session.
    pub session: SessionState,
    /// Since when the session is in this state.
    #[schema(value_type = String, format = DateTime)]
    pub since: Timestamp,
    /// Server that the session is with.
    pub peer: Option<String>,
    /// When it last answered what was asked.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub last_success: Option<Timestamp>,
    /// Seconds since.
    pub last_success_age_seconds: Option<u64>,
    /// The last failure of a session.
    pub last_error: Option<RegistryError>,
    /// When the next session is tried, while there is none.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub next_try: Option<Timestamp>,
    /// Sessions begun since the daemon started.
    pub sessions: u64,
    /// Sessions that failed or could not begin.
    pub failures: u64,
    /// Events read.
    pub events: u64,
    /// What services ask it for.
    pub queries: Vec<QueryStatus>,
    /// VIPs that are registered with it.
    pub publications: Vec<PublicationStatus>,
}

/// A registry in one line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RegistrySummary {
    /// Name.
    pub name: String,
    /// Kind.
    pub kind: String,
    /// State of the session.
    pub session: SessionState,
    /// Names that services ask it for.
    pub queries: u64,
    /// Of these, names of which nothing is known now.
    pub unknown: u64,
    /// Seconds since it last answered what was asked.
    pub last_success_age_seconds: Option<u64>,
    /// The last failure of a session, while there is none.
    pub error: Option<String>,
}

/// State of a session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum SessionState {
    /// Nothing is wanted of the registry.
    #[default]
    Idle,
    /// A server is being tried.
    Connecting,
    /// In session.
    Connected,
    /// The last session failed; another is tried in a while.
    Waiting,
    /// Ended with the daemon, or handed over.
    Stopped,
}

impl SessionState {
    /// The word for it.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Connecting => "connecting",
            Self::Connected => "connected",
            Self::Waiting => "waiting",
            Self::Stopped => "stopped",
        }
    }
}

/// A failure of a session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RegistryError {
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// What happened.
    pub detail: String,
}

/// What a service asks a registry for, and what is known of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct QueryStatus {
    /// Service of weir.
    pub service: String,
    /// Registry.
    pub registry: String,
    /// Name of the service in the registry.
    pub name: String,
    /// Options of the kind.
    pub options: BTreeMap<String, String>,
    /// What is known.
    pub state: KnowledgeState,
    /// Why nothing is known.
    pub detail: Option<String>,
    /// Whether the set in use comes from the disk.
    pub remembered: bool,
    /// Since when it is so.
    #[schema(value_type = String, format = DateTime)]
    pub since: Timestamp,
    /// When a whole set came last; of a remembered one when it came to the daemon before.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub last_success: Option<Timestamp>,
    /// Seconds since: the age of the set in use.
    pub last_success_age_seconds: Option<u64>,
    /// Position of the set in the registry's own terms.
    pub version: Option<String>,
    /// Entries in the last set.
    pub seen: u64,
    /// Of these, endpoints.
    pub accepted: u64,
    /// Of these, entries that cannot be endpoints.
    pub refused: u64,
    /// The first of them.
    pub examples: Vec<RefusedEntry>,
}

/// What is known of a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum KnowledgeState {
    /// A set that is not empty.
    Known,
    /// The registry says that there is nothing.
    Empty,
    /// Nothing; the last set, if any, stays in use.
    Unknown,
}

impl KnowledgeState {
    /// The word for it.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Known => "known",
            Self::Empty => "empty",
            Self::Unknown => "unknown",
        }
    }
}

/// An entry that cannot be an endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RefusedEntry {
    /// The entry, cut.
    pub entry: String,
    /// What is wrong with it.
    pub reason: String,
}

/// A VIP that is registered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PublicationStatus {
    /// Service of weir.
    pub service: String,
    /// Registry.
    pub registry: String,
    /// Name that the VIP is registered under.
    pub name: String,
    /// Options of the kind.
    pub options: BTreeMap<String, String>,
    /// Address and port that clients are to connect to.
    pub address: String,
    /// Whether it is registered.
    pub state: PublicationState,
    /// What the registry said to a registration that it refused.
    pub detail: Option<String>,
    /// Since when it is so.
    #[schema(value_type = String, format = DateTime)]
    pub since: Timestamp,
}

/// Whether a VIP is registered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum PublicationState {
    /// The registry has not answered in this session yet.
    #[default]
    Pending,
    /// Registered.
    Published,
    /// The registry refuses it; it is tried again.
    Refused,
    /// Taken out by the operator.
    Withdrawn,
}

impl PublicationState {
    /// The word for it.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Published => "published",
            Self::Refused => "refused",
            Self::Withdrawn => "withdrawn",
        }
    }
}

/// Answer to a request to ask registries again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SyncAnswer {
    /// Registries that are asked again.
    pub registries: Vec<String>,
}

/// Answer to a request to carry held removals out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AcceptAnswer {
    /// Service.
    pub service: String,
    /// Endpoints that leave.
    pub removed: Vec<String>,
}

/// Whether a service's VIP is to be taken out of its registries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PublishPut {
    /// Taken out, until it is put back; it survives a restart.
    pub withdrawn: bool,
}
