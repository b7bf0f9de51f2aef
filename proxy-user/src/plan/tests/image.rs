//! What a packet would find in an installed state.

use std::net::IpAddr;

use proxy_common::limits::RING_BLOCK_SLOTS;
use proxy_common::{
    AclAction, ServiceValue, config_flag, destination_flag, filter_bit, filter_place, ring_owners,
};
use proxy_ebpf::hash::filter_bucket;

use super::super::Installed;
use super::super::blocks::ring_parts;
use crate::model::{AclPolicy, Action, Scope};

/// Whether a source may talk to VIPs and to everything else, by the maps.
pub(super) fn verdict(image: &Installed, source: IpAddr) -> [Action; 2] {
    let flags = image.config.flags;
    let seen = if source.is_ipv4() { config_flag::ACL_V4 } else { config_flag::ACL_V6 };
    let table = if flags & seen == 0 { None } else { Some(image.active_table()) };
    let longest = table.and_then(|table| {
        table
            .iter()
            .filter(|(prefix, _)| prefix.contains(&source))
            .max_by_key(|(prefix, _)| prefix.prefix_len())
    });
    let class = longest.map(|(_, class)| *image.classes.get(class).expect("a class in force has a value"));
    let class = class.unwrap_or_default();
    let action = |byte, default| match AclAction::from_byte(byte) {
        AclAction::Pass => Action::Pass,
        AclAction::Drop => Action::Drop,
        AclAction::None if flags & default != 0 => Action::Drop,
        AclAction::None => Action::Pass,
    };
    [
        action(class.service_action, config_flag::SERVICE_DEFAULT_DROP),
        action(class.traffic_action, config_flag::TRAFFIC_DEFAULT_DROP),
    ]
}

/// The same by a linear scan of the policy.
pub(super) fn naive_verdict(policy: &AclPolicy, source: IpAddr) -> [Action; 2] {
    [(true, policy.default), (false, policy.interface_default)].map(|(to_vip, default)| {
        if policy.management.iter().any(|prefix| prefix.contains(&source)) {
            return Action::Pass;
        }
        let mut lists: Vec<_> = policy.lists.values().collect();
        lists.sort_by_key(|list| list.order);
        let wins = lists.into_iter().find(|list| {
            (to_vip || list.scope == Scope::All) && list.entries.keys().any(|prefix| prefix.contains(&source))
        });
        wins.map_or(default, |list| list.action)
    })
}

/// The ring of a service, slot by slot: owner and previous owner.
pub(super) fn ring(image: &Installed, service: &ServiceValue) -> Vec<(u16, u16)> {
    let Some((first, length)) = ring_parts(service.ring) else { return Vec::new() };
    (0..length)
        .map(|slot| {
            let block = &image.rings[&first][(slot / RING_BLOCK_SLOTS) as usize];
            ring_owners(block.slots[(slot % RING_BLOCK_SLOTS) as usize])
        })
        .collect()
}

/// Asserts that the filter lets through what is addressed to any of our addresses.
pub(super) fn assert_filter_covers(image: &Installed) {
    for (addr, value) in &image.destinations {
        let (word, shift) = filter_place(filter_bucket(addr));
        let bits = image.filter.get(&word).copied().unwrap_or(0) >> shift;
        for (flag, bit) in
            [(destination_flag::VIP, filter_bit::VIP), (destination_flag::SNAT, filter_bit::SNAT)]
        {
            assert!(
                value.flags & flag == 0 || bits & u64::from(bit) != 0,
                "{addr:?} is hidden by the filter"
            );
        }
    }
}
