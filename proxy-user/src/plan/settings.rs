//! The settings as the data path shall read them.

use proxy_common::{ConfigValue, config_flag};

use super::access::{Access, is_v4};
use super::convert::ticks;
use super::{Input, Installed};
use crate::model::{Action, ReplyRoute};

/// Flags that drop what no list matches.
pub(super) const DEFAULT_DROPS: u32 = config_flag::SERVICE_DEFAULT_DROP | config_flag::TRAFFIC_DEFAULT_DROP;
/// Flags that say that the table in force has entries.
pub(super) const ACL_PRESENT: u32 = config_flag::ACL_V4 | config_flag::ACL_V6;

/// The settings once the plan is done; which ACL table is in force is `order`'s to say.
pub(super) fn settings(input: &Input<'_>, access: Option<&Access>, installed: &Installed) -> ConfigValue {
    let Input { desired, clock, .. } = input;
    let present = access.map_or(installed.config.flags & ACL_PRESENT, |access| {
        flag(config_flag::ACL_V4, access.table.keys().next().is_some_and(is_v4))
            | flag(config_flag::ACL_V6, access.table.keys().next_back().is_some_and(|prefix| !is_v4(prefix)))
    });
    let flags = present
        | flag(config_flag::SERVICE_DEFAULT_DROP, desired.acl.default == Action::Drop)
        | flag(config_flag::TRAFFIC_DEFAULT_DROP, desired.acl.interface_default == Action::Drop)
        | flag(config_flag::REPLY_BY_FIB, desired.reply_route == ReplyRoute::Fib);
    let times = &desired.timeouts;
    ConfigValue {
        generation: input.generation,
        seed: desired.seed,
        secret: input.secret,
        flags,
        acl_table: installed.config.acl_table & 1,
        hz: clock.hz,
        syn_ticks: ticks(times.syn, clock.hz),
        tcp_ticks: ticks(times.tcp, clock.hz),
        closing_ticks: ticks(times.closing, clock.hz),
        closed_ticks: ticks(times.closed, clock.hz),
        udp_ticks: ticks(times.udp, clock.hz),
        cache_ticks: ticks(times.cache, clock.hz),
        cache_budget: input.cache_budget,
        reserved: [0; 5],
    }
}

fn flag(flag: u32, set: bool) -> u32 {
    if set { flag } else { 0 }
}
