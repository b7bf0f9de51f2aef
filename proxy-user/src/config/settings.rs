//! The checked form: what the daemon is started with, and the part of desired state that file and flags set.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use proxy_common::limits;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::{AclPolicy, Desired, Origin, ReplyRoute, Service, SnatPool, Timeouts};
use crate::registry;

/// What the daemon reads once, at start: a change needs a restart, except for `interfaces`, `registries` and `zone`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Settings {
    /// Interfaces to attach to, by name.
    pub interfaces: BTreeMap<String, Interface>,
    /// Socket of the control API; `None` for `weir.sock` in the runtime directory.
    pub api_socket: Option<PathBuf>,
    /// Group that may use the socket, name or number; `None` leaves it to the daemon's own.
    pub api_group: Option<String>,
    /// Loopback address of `/metrics`; `None` is off.
    pub metrics_listen: Option<SocketAddr>,
    /// State directory; `None` for the built-in one.
    pub state_dir: Option<PathBuf>,
    /// Sizes of the maps.
    pub limits: Limits,
    /// Worker processes of the L7 path; `None` for one for each CPU.
    pub l7_workers: Option<u32>,
    /// Registries by name.
    pub registries: BTreeMap<String, registry::list::Settings>,
    /// The zone that this host is in.
    pub zone: Option<Arc<str>>,
}

/// What a reload does to the registries, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RegistryChanges {
    /// To be begun.
    pub added: Vec<String>,
    /// To be begun anew with other settings.
    pub changed: Vec<String>,
    /// To be ended.
    pub removed: Vec<String>,
}

impl RegistryChanges {
    /// Whether every registry stays as it is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.changed.is_empty() && self.removed.is_empty()
    }

    /// One text for each, such as `prod changed`.
    #[must_use]
    pub fn texts(&self) -> Vec<String> {
        let of = |names: &[String], word: &str| {
            names.iter().map(|name| format!("{name} {word}")).collect::<Vec<_>>()
        };
        [of(&self.added, "added"), of(&self.changed, "changed"), of(&self.removed, "removed")].concat()
    }
}

impl Settings {
    /// Keys of these settings that differ from those in force and hold from the next start only.
    #[must_use]
    pub fn need_restart(&self, before: &Self) -> Vec<&'static str> {
        let (limits, old) = (&self.limits, &before.limits);
        [
            ("[api] socket", self.api_socket != before.api_socket),
            ("[api] group", self.api_group != before.api_group),
            ("[metrics] listen", self.metrics_listen != before.metrics_listen),
            ("[state] dir", self.state_dir != before.state_dir),
            ("[l7] workers", self.l7_workers != before.l7_workers),
            ("[limits] acl_ipv4_prefixes", limits.acl_ipv4_prefixes != old.acl_ipv4_prefixes),
            ("[limits] acl_ipv6_prefixes", limits.acl_ipv6_prefixes != old.acl_ipv6_prefixes),
            ("[limits] flows", limits.flows != old.flows),
        ]
        .into_iter()
        .filter_map(|(key, differs)| differs.then_some(key))
        .collect()
    }

    /// What these settings change about the registries of others that are in force.
    #[must_use]
    pub fn registry_changes(&self, before: &Self) -> RegistryChanges {
        let mut changes = RegistryChanges::default();
        for (name, settings) in &self.registries {
            match before.registries.get(name) {
                None => changes.added.push(name.clone()),
                Some(old) if old != settings => changes.changed.push(name.clone()),
                Some(_) => {}
            }
        }
        let gone = before.registries.keys().filter(|name| !self.registries.contains_key(*name));
        changes.removed.extend(gone.cloned());
        changes
    }
}

/// An interface to attach to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Which XDP mode is acceptable.
    pub mode: AttachMode,
    /// Who named it.
    pub origin: Origin,
}

/// Which XDP mode is acceptable on an interface.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum AttachMode {
    /// Native mode only; refuse to start without it.
    #[default]
    Native,
    /// Native mode, else generic mode (slow) with a warning.
    Auto,
}

/// Sizes of the maps, fixed when they are created.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Flattened IPv4 prefixes in each of the two ACL tables.
    pub acl_ipv4_prefixes: u32,
    /// Flattened IPv6 prefixes in each of the two ACL tables.
    pub acl_ipv6_prefixes: u32,
    /// Flow entries; a NAT flow takes two.
    pub flows: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            acl_ipv4_prefixes: limits::ACL_V4_PREFIXES,
            acl_ipv6_prefixes: limits::ACL_V6_PREFIXES,
            flows: limits::FLOWS,
        }
    }
}

/// What file and flags say of [`Desired`]; every object carries its origin. `catalog` adds the API's state and the
/// daemon's own choices.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Part {
    /// The ACL.
    pub acl: AclPolicy,
    /// Services by name.
    pub services: BTreeMap<String, Service>,
    /// Source-NAT addresses; none for the egress interface's own.
    pub snat_addresses: Vec<IpAddr>,
    /// First and last source-NAT port; `None` for the daemon's choice beside the host's ephemeral range.
    pub snat_ports: Option<(u16, u16)>,
    /// Idle times.
    pub timeouts: Timeouts,
    /// How answers find the client.
    pub reply_route: ReplyRoute,
    /// Seed of rings and hashes; `None` for a random one that the daemon keeps.
    pub seed: Option<u64>,
}

impl Part {
    /// Desired state with the daemon's choices in place of what was left out.
    #[must_use]
    pub fn into_desired(self, default_ports: (u16, u16), default_seed: u64) -> Desired {
        Desired {
            acl: Arc::new(self.acl),
            services: self.services,
            snat: SnatPool {
                addresses: self.snat_addresses,
                ports: self.snat_ports.unwrap_or(default_ports),
            },
            timeouts: self.timeouts,
            reply_route: self.reply_route,
            seed: self.seed.unwrap_or(default_seed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_needs_a_restart_is_named_and_nothing_else() {
        let old = Settings::default();
        let new = Settings { l7_workers: Some(2), zone: Some("a".into()), ..Settings::default() };
        assert_eq!(new.need_restart(&old), ["[l7] workers"]);
        assert_eq!(old.need_restart(&old), [""; 0]);
        let limits = Limits { flows: 1, ..Limits::default() };
        let new = Settings { api_group: Some("ops".into()), limits, ..Settings::default() };
        assert_eq!(new.need_restart(&old), ["[api] group", "[limits] flows"]);
    }
}
