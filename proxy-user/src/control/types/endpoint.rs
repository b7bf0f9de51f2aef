//! A service's endpoints: where each comes from, and whether it is used.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::registry::QueryStatus;

/// Where a service's backends come from, and why those that are not used are not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Endpoints {
    /// Generation that this describes.
    pub generation: u64,
    /// Service.
    pub service: String,
    /// What is asked for it, in the order of the configuration.
    pub sources: Vec<QueryStatus>,
    /// Removals that wait.
    pub hold: Option<HoldStatus>,
    /// So few are up that the health checks are not looked at.
    pub panic: bool,
    /// Every endpoint and backend that is known of, by address.
    pub candidates: Vec<EndpointStatus>,
}

/// Removals that wait.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HoldStatus {
    /// Stands for these addresses: to accept no others than were shown.
    pub number: u32,
    /// Why.
    pub reason: HoldCause,
    /// Endpoints that would be removed.
    pub addresses: Vec<String>,
    /// Since when.
    #[schema(value_type = String, format = DateTime)]
    pub since: Timestamp,
    /// When they are removed if nothing changes; none for not without `weir registry accept`.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub until: Option<Timestamp>,
}

/// Why removals wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum HoldCause {
    /// A source of the service has not answered since weir started.
    FirstSync,
    /// Fewer than the minimum would be left.
    Minimum,
    /// More than the allowed share would be removed within the interval.
    Share,
}

impl HoldCause {
    /// Label of metrics.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::FirstSync => "first_sync",
            Self::Minimum => "minimum",
            Self::Share => "share",
        }
    }

    /// For people.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::FirstSync => "a source has not answered since weir started",
            Self::Minimum => "fewer than guard.min would be left",
            Self::Share => "more than guard.max_removed would go at once",
        }
    }
}

/// An endpoint or backend of a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EndpointStatus {
    /// Address and port.
    pub address: String,
    /// Weight, 0 to 1000.
    pub weight: u16,
    /// Registries that have it; none for a backend of the configuration or the API.
    pub sources: Vec<String>,
    /// Zone.
    pub zone: Option<String>,
    /// What else the registry says.
    pub labels: BTreeMap<String, String>,
    /// Whether it is used.
    pub standing: StandingState,
    /// Why not.
    pub detail: Option<String>,
    /// Since when it stands so.
    #[schema(value_type = String, format = DateTime)]
    pub since: Timestamp,
    /// What the health checks say; none where there are none, or no verdict yet.
    pub checked: Option<Checked>,
}

/// Whether an endpoint or backend is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum StandingState {
    /// Takes new flows.
    Used,
    /// Takes new flows although its registry no longer has it: the removal is held.
    Held,
    /// Old flows only: its registry disables it or gives it the weight 0.
    Disabled,
    /// Old flows only: the health checks fail.
    Down,
    /// Old flows only: it has not been found healthy yet, and the service wants that first.
    Unchecked,
    /// Old flows only: another source or zone is in use.
    Standby,
    /// Old flows only, and soon none: its registry no longer has it.
    Leaving,
    /// Never a backend.
    Refused,
}

impl StandingState {
    /// Every standing.
    pub const ALL: [Self; 8] = [
        Self::Used,
        Self::Held,
        Self::Disabled,
        Self::Down,
        Self::Unchecked,
        Self::Standby,
        Self::Leaving,
        Self::Refused,
    ];

    /// The word for it, also the label of metrics.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Used => "used",
            Self::Held => "held",
            Self::Disabled => "disabled",
            Self::Down => "down",
            Self::Unchecked => "unchecked",
            Self::Standby => "standby",
            Self::Leaving => "leaving",
            Self::Refused => "refused",
        }
    }
}

/// The last verdict of the health checks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Checked {
    /// Whether it is up.
    pub up: bool,
    /// What the last check saw.
    pub detail: String,
    /// Since when the verdict stands.
    #[schema(value_type = String, format = DateTime)]
    pub since: Timestamp,
}
