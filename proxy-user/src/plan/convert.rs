//! From the model's types to those of the maps.

use std::net::IpAddr;
use std::time::Duration;

use proxy_common::{Addr, Mode, Port, ServiceKey, proto};

use crate::model::{Forward, Protocol, Vip};

/// An address as the maps hold it.
pub(super) fn map_addr(addr: IpAddr) -> Addr {
    Addr::from_ip(addr)
}

/// An address of the maps.
pub(super) fn ip_addr(addr: &Addr) -> IpAddr {
    addr.to_ip()
}

/// The key of a VIP.
pub(super) fn service_key(vip: &Vip) -> ServiceKey {
    let proto = match vip.protocol {
        Protocol::Tcp => proto::TCP,
        Protocol::Udp => proto::UDP,
    };
    ServiceKey::new(map_addr(vip.addr), Port::new(vip.port), proto)
}

/// The mode of a service.
pub(super) fn mode(forward: Forward) -> Mode {
    match forward {
        Forward::Nat => Mode::Nat,
        Forward::DsrL2 => Mode::DsrL2,
        Forward::L7 => Mode::L7,
    }
}

/// A time in ticks: at least 1, at most half of what a 32-bit tick counter can tell apart.
pub(super) fn ticks(time: Duration, hz: u32) -> u32 {
    let ticks = time.as_millis().saturating_mul(u128::from(hz)) / 1000;
    u32::try_from(ticks).unwrap_or(u32::MAX).clamp(1, u32::MAX / 2)
}
