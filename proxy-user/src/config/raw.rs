//! The file form, as written. The comments here are the schema's descriptions and the reference page's text.

use std::collections::BTreeMap;

use proxy_common::limits;
use schemars::JsonSchema;
use serde::Deserialize;

use super::at::{At, BackendForm};
use super::bounds;
use super::parse::{DEFAULT_WEIGHT, MAX_WEIGHT};
use super::raw_l7::{self, RawL7, RawL7Path};
use super::raw_registry::{Many, RawCombine, RawDiscover, RawGuard, RawHealth, RawPublish, RawRegistry};
use super::raw_route::{RawHost, RawRoute};
use super::settings::AttachMode;
use super::text_or::TextOr;
use crate::model::{Action, AdminState, Announce, Forward, ReplyRoute, Scope, UnknownPort};

/// Configuration of `weir run`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "weir.toml")]
pub(super) struct Raw {
    /// Version of this format.
    #[schemars(range(min = 1, max = 1))]
    #[expect(dead_code, reason = "its range in the schema is its whole check")]
    pub(super) version: At<i64>,
    /// Interfaces to attach to, by name: `[interface.eth0]`. At least one is needed here or as `--iface`.
    #[serde(default)]
    pub(super) interface: BTreeMap<At<String>, RawInterface>,
    /// The control API.
    #[serde(default)]
    pub(super) api: RawApi,
    /// Prometheus metrics.
    #[serde(default)]
    pub(super) metrics: RawMetrics,
    /// Where state is kept.
    #[serde(default)]
    pub(super) state: RawState,
    /// Sizes of the maps. They are fixed when the maps are created: a change needs `weir detach` and a new start.
    #[serde(default)]
    pub(super) limits: RawLimits,
    /// Source addresses and ports of the connections that `nat` services open to their backends.
    #[serde(default)]
    pub(super) snat: RawSnat,
    /// How long idle flows are remembered.
    #[serde(default)]
    pub(super) timeouts: RawTimeouts,
    /// Seed of the Maglev rings and of the flow hash: give every node of an ECMP group the same. Left out, weir draws
    /// one and keeps it in its state directory.
    #[schemars(range(min = 0, max = i64::MAX))]
    pub(super) seed: Option<At<i64>>,
    /// How answers of NAT flows find the client: back to the MAC address and interface that its packets came from, or
    /// by the kernel's FIB for each packet (for asymmetric routes).
    #[schemars(extend("default" = "learned"))]
    pub(super) reply_route: Option<ReplyRoute>,
    /// Which sources are dropped or passed.
    #[serde(default)]
    pub(super) acl: RawAcl,
    /// The zone that this host is in, for services with `combine = "zone"`.
    pub(super) zone: Option<At<String>>,
    /// Registries to take backends from and to register VIPs with: `[registry.NAME]`.
    #[serde(default)]
    pub(super) registry: BTreeMap<At<String>, RawRegistry>,
    /// The L7 path, which serves services with `forward = "l7"`.
    #[serde(default)]
    pub(super) l7: RawL7Path,
    /// Services: `[[service]]`.
    #[serde(default)]
    #[schemars(length(max = limits::SERVICES))]
    pub(super) service: Vec<RawService>,
}

/// An interface.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawInterface {
    /// Which XDP mode is acceptable. `native` refuses to start without the driver's support; `auto` falls back to
    /// generic mode, which is slow, with a warning in `weir status`.
    #[schemars(extend("default" = "native"))]
    pub(super) mode: Option<AttachMode>,
}

/// The control API.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawApi {
    /// Path of the Unix socket. Left out: `weir.sock` in the runtime directory (`/run/weir`).
    pub(super) socket: Option<At<String>>,
    /// Group, name or number, that may use the socket besides weir's own user. Left out: weir's own group.
    pub(super) group: Option<At<String>>,
}

/// Prometheus metrics.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawMetrics {
    /// Loopback address and port of `/metrics`, like `127.0.0.1:9321` or `[::1]:9321`. Left out: no listener.
    pub(super) listen: Option<At<String>>,
}

/// Where state is kept.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawState {
    /// Directory for what the API sets. Left out: `/var/lib/weir`.
    pub(super) dir: Option<At<String>>,
}

/// Sizes of the maps.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawLimits {
    /// IPv4 prefixes in each of the two ACL tables.
    #[schemars(range(min = bounds::ACL_PREFIXES_MIN, max = limits::ACL_V4_PREFIXES), extend("default" = limits::ACL_V4_PREFIXES))]
    pub(super) acl_ipv4_prefixes: Option<At<i64>>,
    /// IPv6 prefixes in each of the two ACL tables.
    #[schemars(range(min = bounds::ACL_PREFIXES_MIN, max = limits::ACL_V6_PREFIXES), extend("default" = limits::ACL_V6_PREFIXES))]
    pub(super) acl_ipv6_prefixes: Option<At<i64>>,
    /// Flow entries; a NAT flow takes two.
    #[schemars(range(min = bounds::FLOWS_MIN, max = limits::FLOWS), extend("default" = limits::FLOWS))]
    pub(super) flows: Option<At<i64>>,
}

/// The source-NAT pool.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawSnat {
    /// Addresses, routed to this host. Left out: the egress interface's own address. Once set, every family that a
    /// `nat` service's backends have needs one.
    #[serde(default)]
    #[schemars(length(max = limits::SNAT_ADDRESSES))]
    pub(super) addresses: Vec<At<String>>,
    /// Ports, `FIRST-LAST`, outside the host's ephemeral range. Left out: the largest range beside it, from 1024 up.
    pub(super) ports: Option<At<String>>,
}

/// Idle times.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawTimeouts {
    /// A flow whose handshake is not finished; also the window of `syn_budget`.
    #[schemars(extend("default" = bounds::SYN.default, "x-range" = bounds::SYN.range()))]
    pub(super) syn: Option<At<String>>,
    /// An established TCP flow (RFC 5382: not below 2 hours and 4 minutes).
    #[schemars(extend("default" = bounds::TCP.default, "x-range" = bounds::TCP.range()))]
    pub(super) tcp: Option<At<String>>,
    /// A TCP flow that one side has closed.
    #[schemars(extend("default" = bounds::CLOSING.default, "x-range" = bounds::CLOSING.range()))]
    pub(super) closing: Option<At<String>>,
    /// A TCP flow that both sides have closed, or one has reset.
    #[schemars(extend("default" = bounds::CLOSED.default, "x-range" = bounds::CLOSED.range()))]
    pub(super) closed: Option<At<String>>,
    /// A UDP flow with answers (RFC 4787: not below 2 minutes).
    #[schemars(extend("default" = bounds::UDP.default, "x-range" = bounds::UDP.range()))]
    pub(super) udp: Option<At<String>>,
    /// An entry of the flow cache that `dsr` modes use while a ring changes.
    #[schemars(extend("default" = bounds::CACHE.default, "x-range" = bounds::CACHE.range()))]
    pub(super) cache: Option<At<String>>,
    /// How long `dsr` modes remember the previous owner of a ring slot after a change.
    #[schemars(extend("default" = bounds::SETTLE.default, "x-range" = bounds::SETTLE.range()))]
    pub(super) settle: Option<At<String>>,
}

/// The source ACL: lists by ascending `order`, the first that has the source decides, then the default.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawAcl {
    /// For packets to a VIP whose source is on no list.
    #[schemars(extend("default" = "pass"))]
    pub(super) default: Option<Action>,
    /// For all other packets whose source is on no list. `drop` needs `management` or `accept_risk`.
    #[schemars(extend("default" = "pass"))]
    pub(super) interface_default: Option<At<Action>>,
    /// Prefixes that are never dropped, whatever the lists say: where you log in from.
    #[serde(default)]
    pub(super) management: Vec<At<String>>,
    /// `"lockout"` allows `interface_default = "drop"` without `management`.
    pub(super) accept_risk: Option<Risk>,
    /// Lists: `[[acl.list]]`.
    #[serde(default)]
    #[schemars(length(max = bounds::LISTS))]
    pub(super) list: Vec<RawList>,
}

/// A risk that the operator accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Risk {
    /// weir may cut off everybody, its operator too.
    Lockout,
}

/// A list of sources.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawList {
    /// Name: 1 to 63 of the characters a-z 0-9 _ . -
    pub(super) name: At<String>,
    /// Place in the evaluation order, lower first; no two lists share one. `--pass` and `--deny` take 0 and 1.
    #[schemars(range(min = 0, max = u32::MAX))]
    pub(super) order: At<i64>,
    /// What happens to a source on the list.
    pub(super) action: Action,
    /// What the list acts on: all packets that enter an interface, or only those to a VIP.
    #[schemars(extend("default" = "all"))]
    pub(super) scope: Option<Scope>,
    /// Addresses and prefixes, IPv4 and IPv6.
    #[serde(default)]
    pub(super) entries: Vec<At<String>>,
    /// Files of addresses and prefixes, one a line, `#` begins a comment; paths relative to this file.
    #[serde(default)]
    pub(super) files: Vec<At<String>>,
}

/// A service: a VIP and its backends.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawService {
    /// Name: 1 to 63 of the characters a-z 0-9 _ . -
    pub(super) name: At<String>,
    /// What clients connect to: `tcp/198.51.100.10:80`, `udp/[2001:db8::1]:53`. Port 0 takes every port of the address
    /// that has no service of its own.
    pub(super) vip: At<String>,
    /// Forwarding mode. `nat` rewrites both addresses and needs nothing of the backends; `dsr-l2` changes only the MAC
    /// addresses, so backends share a link with weir, hold the VIP on a loopback and answer the client themselves; `l7`
    /// (TCP only) ends the client's connection in worker processes on this host, which make their own to the backends.
    #[schemars(extend("default" = "nat"))]
    pub(super) forward: Option<Forward>,
    /// `address` makes weir add the VIP to an interface and announce it; `none` leaves that to routing.
    #[schemars(extend("default" = "none"))]
    pub(super) announce: Option<Announce>,
    /// What happens to packets to the VIP's ports that have no service. Services of one address must agree.
    #[schemars(extend("default" = "drop"))]
    pub(super) unknown_port: Option<At<UnknownPort>>,
    /// NAT flows that may wait for their handshake at once; more are dropped, so that a SYN flood evicts nobody.
    #[schemars(range(min = 1, max = bounds::SYN_BUDGET_MAX), extend("default" = bounds::SYN_BUDGET))]
    pub(super) syn_budget: Option<At<i64>>,
    /// Backends: `"10.0.0.11:8080"`, `"[2001:db8::11]:8080"`, an address alone (the VIP's port), or a table.
    #[serde(default)]
    pub(super) backends: Vec<At<BackendForm>>,
    /// Where further backends come from: one table, or a list of them.
    #[serde(default)]
    pub(super) discover: Many<RawDiscover>,
    /// How several `discover` tables make one set: all of them together (`union`), the first that has a usable endpoint
    /// (`fallback`), or those of this host's own `zone` while one of them is usable, else all (`zone`).
    #[schemars(extend("default" = "union"))]
    pub(super) combine: Option<RawCombine>,
    /// How long an endpoint that its registry no longer has keeps its old flows before it is forgotten.
    #[schemars(extend("default" = bounds::DRAIN.default, "x-range" = bounds::DRAIN.range()))]
    pub(super) drain: Option<At<String>>,
    /// What is removed only after a second look.
    pub(super) guard: Option<At<RawGuard>>,
    /// Checks of every backend. Left out: the registry's word alone counts.
    pub(super) health: Option<RawHealth>,
    /// Where the VIP is registered: one table, or a list of them.
    #[serde(default)]
    pub(super) publish: Many<RawPublish>,
    /// Protocol of an `l7` service: `http1`, `bolt`, or `tcp` for bytes that nobody looks at. A list is what a
    /// connection's first bytes are held against, in this order; what is none of them is closed, or goes on as `tcp` if
    /// that stands last.
    #[serde(default)]
    #[schemars(schema_with = "raw_l7::codec", extend("default" = "tcp"))]
    pub(super) codec: Option<At<TextOr<Vec<At<String>>>>>,
    /// All else that the L7 path does for an `l7` service.
    pub(super) l7: Option<At<RawL7>>,
    /// Virtual hosts of an `l7` service; a service has 4,096 routes and as many names of hosts at most, all services
    /// together 16,384.
    #[serde(default)]
    #[schemars(length(max = bounds::L7_VIRTUAL_HOSTS))]
    pub(super) host: Vec<At<RawHost>>,
    /// Routes of an `l7` service for all hosts that no `[[service.host]]` names, in order: the first that matches counts.
    #[serde(default)]
    #[schemars(length(max = bounds::L7_ROUTES))]
    pub(super) route: Vec<At<RawRoute>>,
    /// These four as they are written.
    #[serde(skip)]
    pub(super) written: serde_json::Map<String, serde_json::Value>,
}

/// A backend with more than an address.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawBackend {
    /// Address and port, or an address alone.
    pub(super) address: At<String>,
    /// Share of new flows relative to the service's other backends; 0 takes none.
    #[schemars(range(min = 0, max = MAX_WEIGHT), extend("default" = DEFAULT_WEIGHT))]
    pub(super) weight: Option<At<i64>>,
    /// `drain` keeps old flows and takes no new ones.
    #[schemars(extend("default" = "active"))]
    pub(super) state: Option<AdminState>,
}
