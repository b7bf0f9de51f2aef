//! What the decision changed in the frame, a line for each field.

use proxy_common::{Addr, Mac, Port};
use proxy_ebpf::memory::SliceFrame;
use proxy_ebpf::{Frame, parse};

use crate::model::BackendAddr;

/// The changes; empty where either frame is not an IP packet.
pub(super) fn rewrites(before: &SliceFrame, after: &SliceFrame) -> Vec<String> {
    let (Ok(old), Ok(new)) = (parse::packet(before), parse::packet(after)) else {
        return Vec::new();
    };
    let socket =
        |addr: &Addr, port: Port| BackendAddr { addr: addr.to_ip(), port: port.number() }.to_string();
    let fields = [
        ("source", socket(&old.key.src, old.key.sport), socket(&new.key.src, new.key.sport)),
        ("destination", socket(&old.key.dst, old.key.dport), socket(&new.key.dst, new.key.dport)),
        ("TTL", old.ttl.to_string(), new.ttl.to_string()),
    ];
    let mut lines: Vec<String> = fields
        .into_iter()
        .filter(|(_, old, new)| old != new)
        .map(|(field, old, new)| format!("{field} {old} becomes {new}"))
        .collect();
    // The client's own MAC addresses are made up, so only the new ones are told.
    for (field, offset) in [("destination", 0), ("source", 6)] {
        if let (Some(old), Some(new)) = (before.window::<6>(offset), after.window::<6>(offset))
            && old != new
        {
            lines.push(format!("{field} MAC address becomes {}", mac(new)));
        }
    }
    lines
}

/// A MAC address as text.
pub(super) fn mac(mac: &Mac) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn macs_are_written_in_six_pairs() {
        assert_eq!(mac(&[2, 0, 0, 0, 0, 0x1f]), "02:00:00:00:00:1f");
    }
}
