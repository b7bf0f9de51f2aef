//! Random settings and random traffic for the differential test, all from one seed.

mod settings;
mod spoil;
mod traffic;

pub use settings::{change, world};
pub use traffic::Traffic;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A client's address.
pub fn client(v6: bool, number: u8) -> IpAddr {
    host(v6, CLIENT, number)
}

/// Addresses by role; few, so that packets meet often.
fn host(v6: bool, role: u8, number: u8) -> IpAddr {
    if v6 {
        IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, u16::from(role), 0, 0, 0, 0, u16::from(number)))
    } else {
        IpAddr::V4(Ipv4Addr::new(10, role, 0, number))
    }
}

/// Clients.
const CLIENT: u8 = 1;
/// VIPs.
const VIP: u8 = 2;
/// Backends.
const BACKEND: u8 = 3;
/// Source-NAT addresses.
const SNAT: u8 = 4;
/// None of ours.
const STRANGER: u8 = 5;

/// Ports of services: 0 is none's own.
const PORTS: [u16; 4] = [80, 443, 53, 7];
