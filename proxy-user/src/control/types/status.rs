//! What the daemon says about itself.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::acl::ListSummary;
use super::change::Warning;
use super::registry::RegistrySummary;
use crate::model::Origin;

/// State of the daemon, fit for one screen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Status {
    /// Version of weir.
    pub version: String,
    /// Generation in force.
    pub generation: u64,
    /// When the daemon started.
    #[schema(value_type = String, format = DateTime)]
    pub started_at: Timestamp,
    /// Seconds since.
    pub uptime_seconds: u64,
    /// The daemon's process.
    pub pid: u32,
    /// Whether every condition holds.
    pub ready: bool,
    /// What readiness asks for.
    pub conditions: Vec<Condition>,
    /// The last change of the desired state.
    pub last_change: Option<ChangeRecord>,
    /// The last reload.
    pub last_reload: Option<ReloadRecord>,
    /// Interfaces of the configuration.
    pub interfaces: Vec<InterfaceStatus>,
    /// Packets of all interfaces.
    pub packets: PacketTotals,
    /// Registries of the configuration.
    #[serde(default)]
    pub registries: Vec<RegistrySummary>,
    /// How much there is.
    pub counts: StatusCounts,
    /// Lists of the API that belong to a list of the file that is gone: kept, not in force.
    pub orphaned: Vec<ListSummary>,
    /// Operator's weights and states on top of the file, as `service/backend`, and L7 settings, as `service/l7`.
    pub overrides: Vec<String>,
    /// What the operator should know.
    pub warnings: Vec<Warning>,
}

/// One condition of readiness.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Condition {
    /// Stable name: `attached`, `applied`, `registries`.
    pub name: String,
    /// Whether it holds.
    pub ok: bool,
    /// Why not.
    pub detail: Option<String>,
}

/// Answer of the health calls.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Health {
    /// Whether all is well.
    pub ok: bool,
    /// The conditions asked for; empty for `live`.
    pub conditions: Vec<Condition>,
}

/// A change of the desired state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ChangeRecord {
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// By which door.
    pub origin: Origin,
    /// Who, for the API.
    pub by: Option<Peer>,
    /// What, in a few words.
    pub what: String,
    /// Generation that it made.
    pub generation: u64,
}

/// The process at the other end of the socket, as the kernel says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Peer {
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Process, where the kernel says.
    pub pid: Option<i32>,
}

/// The last reload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReloadRecord {
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// Why it failed; the state before it is still in force then.
    pub error: Option<String>,
    /// When one last succeeded.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub last_success: Option<Timestamp>,
}

/// Answer to a reload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReloadAnswer {
    /// Generation in force after it.
    pub generation: u64,
    /// Whether it changed anything.
    pub changed: bool,
    /// Registries that were begun, begun anew or ended, each with a word on it.
    #[serde(default)]
    pub registries: Vec<String>,
    /// What the operator should know.
    pub warnings: Vec<Warning>,
}

/// Answer to a detach: the daemon ends after it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DetachAnswer {
    /// What was removed: interfaces, addresses, the pinned directory.
    pub removed: Vec<String>,
    /// What could not be removed, with the cause.
    pub left: Vec<String>,
}

/// How a program is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum XdpMode {
    /// In the driver.
    Native,
    /// In the stack, slower; only if the configuration allows it.
    Generic,
    /// In the network card.
    Offload,
}

impl XdpMode {
    /// The label of metrics and texts.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Generic => "generic",
            Self::Offload => "offload",
        }
    }
}

/// An interface of the configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct InterfaceStatus {
    /// Name.
    pub name: String,
    /// Index, while it exists.
    pub ifindex: Option<u32>,
    /// Whether weir's program is attached.
    pub attached: bool,
    /// How.
    pub mode: Option<XdpMode>,
    /// Driver of the device.
    pub driver: Option<String>,
    /// Id of the program.
    pub program_id: Option<u32>,
    /// Why it is not attached, or not in native mode.
    pub detail: Option<String>,
    /// Its packets.
    pub packets: PacketTotals,
}

/// Packets by what became of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PacketTotals {
    /// All that the program saw.
    pub seen: u64,
    /// Left to the host.
    pub passed: u64,
    /// Dropped.
    pub dropped: u64,
    /// Steered.
    pub steered: u64,
}

/// How much there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StatusCounts {
    /// Lists.
    pub lists: u64,
    /// Entries of all lists.
    pub acl_entries: u64,
    /// Services.
    pub services: u64,
    /// Backends of all services.
    pub backends: u64,
    /// Of these, backends that take packets.
    pub backends_up: u64,
}
