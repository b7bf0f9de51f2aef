//! A small frame for the packet that is asked about. Checksums stay zero: the decision updates them and never reads
//! them.

use std::net::IpAddr;

use proxy_common::{Addr, FlowKey, Mac, Port, proto};

use crate::control::types::ExplainQuery;
use crate::model::Protocol;

/// TCP flags of the first packet of a connection, and of a later one.
const SYN: u8 = 0x02;
const ACK: u8 = 0x10;
/// Addresses of the link, locally administered; only NAT flows remember them.
const TO_US: Mac = [2, 0, 0, 0, 0, 1];
const FROM_CLIENT: Mac = [2, 0, 0, 0, 0, 2];
const TTL: u8 = 64;
/// Source port where the query names none.
const SOURCE_PORT: u16 = 40_000;

/// The packet's key: under it stands its flow, if there is one.
#[must_use]
pub fn flow_key(query: &ExplainQuery) -> FlowKey {
    FlowKey {
        src: Addr::from_ip(query.source),
        dst: Addr::from_ip(query.destination),
        sport: Port::new(query.source_port.unwrap_or(SOURCE_PORT)),
        dport: Port::new(query.port),
        proto: match query.protocol {
            Protocol::Tcp => proto::TCP,
            Protocol::Udp => proto::UDP,
        },
        reserved: [0; 3],
    }
}

/// The frame; `None` where source and destination are of different families.
pub(super) fn frame(query: &ExplainQuery) -> Option<Vec<u8>> {
    let key = flow_key(query);
    let transport = match query.protocol {
        Protocol::Tcp => tcp(&key, if query.established { ACK } else { SYN }),
        Protocol::Udp => udp(&key),
    };
    let (ether_type, header) = match (query.source, query.destination) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            let total = u16::try_from(transport.len() + 20).ok()?;
            let [len0, len1] = total.to_be_bytes();
            // Version 4, no options, "don't fragment" (RFC 791).
            let mut header = vec![0x45, 0, len0, len1, 0, 0, 0x40, 0, TTL, key.proto, 0, 0];
            header.extend(src.octets());
            header.extend(dst.octets());
            ([0x08, 0x00], header)
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            let [len0, len1] = u16::try_from(transport.len()).ok()?.to_be_bytes();
            let mut header = vec![0x60, 0, 0, 0, len0, len1, key.proto, TTL];
            header.extend(src.octets());
            header.extend(dst.octets());
            ([0x86, 0xdd], header)
        }
        _ => return None,
    };
    Some([&TO_US[..], &FROM_CLIENT[..], &ether_type[..], &header, &transport].concat())
}

/// A TCP header without options (RFC 9293).
fn tcp(key: &FlowKey, flags: u8) -> Vec<u8> {
    let mut header = Vec::from(key.sport.0);
    header.extend(key.dport.0);
    header.extend([0, 0, 0, 1, 0, 0, 0, 0, 0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
    header
}

/// A UDP header and eight bytes (RFC 768).
fn udp(key: &FlowKey) -> Vec<u8> {
    let mut datagram = Vec::from(key.sport.0);
    datagram.extend(key.dport.0);
    datagram.extend([0, 16, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    datagram
}

#[cfg(test)]
mod tests {
    use proxy_ebpf::memory::SliceFrame;
    use proxy_ebpf::parse;

    use super::*;
    use crate::explain::tests::query;

    #[test]
    fn frames_parse_back_to_their_key() {
        for (source, destination, protocol) in [
            ("203.0.113.7", "198.51.100.10", Protocol::Tcp),
            ("203.0.113.7", "198.51.100.10", Protocol::Udp),
            ("2001:db8::7", "2001:db8:1::10", Protocol::Tcp),
            ("2001:db8::7", "2001:db8:1::10", Protocol::Udp),
        ] {
            let query = ExplainQuery { protocol, ..query(source, destination, 80) };
            let packet = parse::packet(&SliceFrame::new(frame(&query).unwrap())).unwrap();
            assert_eq!(packet.key, flow_key(&query));
            assert_eq!(packet.fault, None);
            assert_eq!(packet.is_syn(), protocol == Protocol::Tcp);
        }
    }

    #[test]
    fn families_do_not_mix() {
        assert_eq!(frame(&query("203.0.113.7", "2001:db8::1", 80)), None);
    }
}
