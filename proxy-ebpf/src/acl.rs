//! The source check: one look-up gives the class, which says what happens to packets for a VIP and to all others.

use proxy_common::{AclAction, AclClass, Addr, DEFAULT_LIST, Reason, config_flag};

use crate::outcome::Outcome;
use crate::packet::Packet;
use crate::tables::{Switches, Tables};

/// The class of the packet's source.
#[inline(always)]
pub(crate) fn class<T: Tables>(tables: &T, switches: Switches, packet: &Packet) -> AclClass {
    of_source(tables, switches, &packet.key.src, packet.is_v4)
}

#[inline(always)]
fn of_source<T: Tables>(tables: &T, switches: Switches, src: &Addr, is_v4: bool) -> AclClass {
    let flag = if is_v4 { config_flag::ACL_V4 } else { config_flag::ACL_V6 };
    if switches.flags & flag == 0 {
        return AclClass::default();
    }
    tables.acl_class(switches.acl_table, src, is_v4).unwrap_or_default()
}

/// Whether a source may connect to a VIP: the same lists, asked where a connection did not come by an interface that weir
/// is attached to. Nobody may where the settings are missing.
#[inline(always)]
#[must_use]
pub fn may_connect<T: Tables>(tables: &T, src: &Addr, is_v4: bool) -> bool {
    let Some(switches) = tables.switches() else { return false };
    let class = of_source(tables, switches, src, is_v4);
    let default_drops = switches.flags & config_flag::SERVICE_DEFAULT_DROP != 0;
    match AclAction::from_byte(class.service_action) {
        AclAction::Pass => true,
        AclAction::Drop => false,
        AclAction::None => !default_drops,
    }
}

/// Whether one list drops every packet of the class, so that nothing more needs to be known to drop and count it.
#[inline(always)]
pub(crate) fn drops_all(class: AclClass) -> bool {
    class.service_action == AclAction::Drop as u8
        && class.traffic_action == AclAction::Drop as u8
        && class.service_list == class.traffic_list
}

/// Enforces the class on a packet to a VIP.
#[inline(always)]
pub(crate) fn for_service(class: AclClass, switches: Switches, outcome: &mut Outcome) -> Result<(), Reason> {
    let default_drops = switches.flags & config_flag::SERVICE_DEFAULT_DROP != 0;
    enforce(class.service_action, class.service_list, default_drops, outcome)
}

/// Enforces the class on any other packet.
#[inline(always)]
pub(crate) fn for_traffic(class: AclClass, switches: Switches, outcome: &mut Outcome) -> Result<(), Reason> {
    let default_drops = switches.flags & config_flag::TRAFFIC_DEFAULT_DROP != 0;
    enforce(class.traffic_action, class.traffic_list, default_drops, outcome)
}

#[inline(always)]
fn enforce(action: u8, list: u16, default_drops: bool, outcome: &mut Outcome) -> Result<(), Reason> {
    match AclAction::from_byte(action) {
        AclAction::Pass => {
            outcome.list = Some(list);
            Ok(())
        }
        AclAction::Drop => {
            outcome.list = Some(list);
            Err(Reason::AclDrop)
        }
        AclAction::None if default_drops => {
            outcome.list = Some(DEFAULT_LIST);
            Err(Reason::AclDefaultDrop)
        }
        AclAction::None => Ok(()),
    }
}
