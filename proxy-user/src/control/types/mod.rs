//! What the control API speaks: every request and answer as JSON, shared by server, client and CLI.
//!
//! Additive only: fields are added, never renamed, and a client ignores those it does not know. Times are RFC 3339 in
//! UTC, addresses, prefixes and VIPs are text in the form of the configuration file, counters are totals since the
//! `epoch` of the sample that holds them.

mod acl;
mod change;
mod config;
mod endpoint;
mod explain;
mod l7;
mod l7_explain;
mod l7_settings;
mod problem;
mod registry;
mod service;
mod stats;
mod status;

pub use acl::{
    AclLists, Entry, EntryAdd, ListDocument, ListPatch, ListPut, ListSummary, Lookup, LookupMatch,
    LookupOutcome,
};
pub use change::{Applied, Counts, Item, Operation, Outcome, Warning};
pub use config::{EffectiveAcl, EffectiveConfig, EffectiveList, EffectiveSnat};
pub use endpoint::{Checked, EndpointStatus, Endpoints, HoldCause, HoldStatus, StandingState};
pub use explain::{ExplainAcl, ExplainAnswer, ExplainBackend, ExplainQuery, ExplainService};
pub use l7::{
    L7Action, L7Connection, L7Connections, L7Route, L7Routes, L7Service, L7ServiceTotals, L7Status,
    L7VirtualHost, L7Worker, L7WorkerState,
};
pub use l7_explain::{
    L7Answer, L7ExplainDestination, L7ExplainEndpoint, L7ExplainHost, L7ExplainRoute, L7ExplainService,
    L7Header, L7Query, L7Request,
};
pub use l7_settings::{L7Holds, L7SetAside, L7Settings, L7SettingsDocument};
pub use problem::{Code, FieldError, Problem};
pub use registry::{
    AcceptAnswer, KnowledgeState, PublicationState, PublicationStatus, PublishPut, QueryStatus, RefusedEntry,
    Registries, RegistryError, RegistryStatus, RegistrySummary, SessionState, SyncAnswer,
};
pub use service::{
    BackendDocument, BackendHealth, BackendPut, ServiceDocument, ServicePut, Services, WeightPut,
};
pub use stats::{
    BackendStats, InterfaceStats, L7Traffic, ListStats, MapStats, ReasonCount, ServiceStats, SnatStats,
    StatsSnapshot, Traffic,
};
pub use status::{
    ChangeRecord, Condition, DetachAnswer, Health, InterfaceStatus, PacketTotals, Peer, ReloadAnswer,
    ReloadRecord, Status, StatusCounts, XdpMode,
};
