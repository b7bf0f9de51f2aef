//! The installed state as the tables that the decision reads on the host.

use ipnet::IpNet;
use proxy_common::{Addr, RingBlock};
use proxy_ebpf::memory::{AclPrefix, MemoryTables};

use crate::plan::{Installed, Ring};

/// Copies the installed state; `now` is the current tick.
pub(super) fn tables(installed: &Installed, now: u32) -> MemoryTables {
    let [first, second] = &installed.acl;
    MemoryTables {
        now,
        config: installed.config,
        filter: installed.filter.iter().map(|(word, value)| (*word, *value)).collect(),
        acl: [first, second].map(|table| table.iter().map(|(net, class)| (prefix(net), *class)).collect()),
        classes: installed.classes.iter().map(|(class, value)| (*class, *value)).collect(),
        destinations: installed.destinations.iter().map(|(addr, value)| (*addr, *value)).collect(),
        services: installed.services.iter().map(|(key, value)| (*key, *value)).collect(),
        rings: rings(installed).collect(),
        backends: installed.backends.iter().map(|(slot, value)| (*slot, *value)).collect(),
        snat: installed.snat.iter().map(|(index, value)| (u32::from(*index), *value)).collect(),
        ..MemoryTables::default()
    }
}

fn rings(installed: &Installed) -> impl Iterator<Item = (u32, RingBlock)> {
    let ring = |(first, blocks): (&u32, &Ring)| (*first..).zip(blocks.to_vec());
    installed.rings.iter().flat_map(ring)
}

/// A table's prefix as text.
pub(super) fn prefix_text(prefix: &AclPrefix) -> String {
    format!("{}/{}", prefix.addr.to_ip(), prefix.len)
}

fn prefix(net: &IpNet) -> AclPrefix {
    AclPrefix {
        addr: Addr::from_ip(net.network()),
        len: net.prefix_len(),
        is_v4: matches!(net, IpNet::V4(_)),
    }
}
