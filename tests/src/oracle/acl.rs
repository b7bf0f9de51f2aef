//! The ACL by scanning the lists in their order.

use std::net::IpAddr;

use proxy_common::{DEFAULT_LIST, Reason, config_flag};

use super::Oracle;
use crate::engine::Facts;

impl Oracle {
    /// For a packet to a VIP.
    pub(super) fn service_acl(&self, src: IpAddr, facts: &mut Facts) -> Result<(), Reason> {
        self.scan(src, true, config_flag::SERVICE_DEFAULT_DROP, facts)
    }

    /// For any other packet.
    pub(super) fn traffic_acl(&self, src: IpAddr, facts: &mut Facts) -> Result<(), Reason> {
        self.scan(src, false, config_flag::TRAFFIC_DEFAULT_DROP, facts)
    }

    fn scan(&self, src: IpAddr, to_vip: bool, default_drop: u32, facts: &mut Facts) -> Result<(), Reason> {
        match self.world.winner(|prefix| prefix.contains(&src), to_vip) {
            Some((slot, drop)) => {
                facts.list = Some(slot);
                if drop { Err(Reason::AclDrop) } else { Ok(()) }
            }
            None if self.world.config.flags & default_drop != 0 => {
                facts.list = Some(DEFAULT_LIST);
                Err(Reason::AclDefaultDrop)
            }
            None => Ok(()),
        }
    }
}
