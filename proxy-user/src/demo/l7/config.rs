//! The demo's configuration file.

use std::net::Ipv4Addr;

use super::super::error::DemoError;
use super::super::place::Place;
use super::super::topology::{BACKEND_PORT, VIP, backends};

/// A hop in front of weir that says who its clients are, and is trusted.
pub(super) const HOP: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 3);
/// A source that is denied.
pub(super) const DENIED: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 66);
/// Where Bolt is spoken, on the VIP and on the backends.
pub(super) const BOLT_PORT: u16 = 12_200;
/// Where the next version of the shop is, on the VIP.
const NEXT_PORT: u16 = 8_081;

pub(super) fn write(place: &Place) -> Result<(), DemoError> {
    let path = place.config();
    std::fs::write(&path, text()).map_err(DemoError::at(format!("write {}", path.display())))
}

fn text() -> String {
    let [(_, first), (_, second)] = backends();
    let vip = VIP.ip();
    format!(
        r#"version = 1

[[acl.list]]
name = "block"
order = 10
action = "drop"
entries = ["{DENIED}"]

[[service]]
name = "shop"
vip = "tcp/{VIP}"
forward = "l7"
codec = "http1"
backends = ["{first}:{BACKEND_PORT}"]

[service.l7]
client_address = "x-forwarded-for"
trusted = ["{HOP}"]
access = {{ header = "x-forwarded-for", lists = ["block"] }}

[[service.route]]
name = "testers"
headers = {{ x-version = "next" }}
to = "shop-next"

[[service.route]]
name = "rest"

[[service]]
name = "shop-next"
vip = "tcp/{vip}:{NEXT_PORT}"
forward = "l7"
codec = "http1"
backends = ["{second}:{BACKEND_PORT}"]

[[service]]
name = "orders"
vip = "tcp/{vip}:{BOLT_PORT}"
forward = "l7"
codec = "bolt"
backends = ["{first}:{BOLT_PORT}", "{second}:{BOLT_PORT}"]

[service.l7]
balance = "round-robin"
"#
    )
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::{Flags, load_text};

    #[test]
    fn it_is_accepted() {
        let flags = Flags { interfaces: vec!["demo0".into()], ..Flags::default() };
        let loaded = load_text("weir.toml", &text(), Path::new(""), &flags).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(loaded.warnings, []);
        assert_eq!(loaded.desired.services.len(), 3);
    }
}
