//! One service by NAT and one by DSR, a drop list and a management prefix.

use proxy_common::{
    AclClass, BackendState, BackendValue, ConfigValue, DestinationValue, Mode, RingBlock, SnatValue,
    filter_bit, filter_place, ring_slot, ring_word,
};
use proxy_ebpf::hash;

use super::*;
use crate::model::*;
use proxy_common::{
    AclAction, MANAGEMENT_LIST, Port, ServiceKey, ServiceValue, backend_flag, config_flag, destination_flag,
    proto,
};

pub(super) fn query(source: &str, destination: &str, port: u16) -> ExplainQuery {
    ExplainQuery {
        source: source.parse().unwrap(),
        destination: destination.parse().unwrap(),
        protocol: Protocol::Tcp,
        port,
        source_port: None,
        interface: None,
        established: false,
    }
}

fn service(vip: &str) -> Service {
    Service {
        vip: vip.parse().unwrap(),
        forward: Forward::Nat,
        announce: Announce::None,
        unknown_port: UnknownPort::Drop,
        syn_budget: 10,
        origin: Origin::File,
        backends: BTreeMap::new(),
        discovery: None,
        health: None,
        publish: Vec::new(),
        l7: None,
    }
}

fn desired() -> Desired {
    let entry = AclEntry { origin: Origin::Api, expires_at: None, reason: None };
    let deny = AclList {
        order: 10,
        action: Action::Drop,
        scope: Scope::All,
        origin: Origin::File,
        entries: [("203.0.113.0/24".parse().unwrap(), entry)].into(),
    };
    Desired {
        acl: AclPolicy {
            lists: [("deny".to_owned(), deny)].into(),
            management: vec!["203.0.113.9/32".parse().unwrap()],
            ..AclPolicy::default()
        }
        .into(),
        services: [
            ("web".to_owned(), service("tcp/198.51.100.10:80")),
            ("dns".to_owned(), service("udp/198.51.100.10:53")),
        ]
        .into(),
        snat: SnatPool { addresses: Vec::new(), ports: (1024, 2047) },
        timeouts: Timeouts::default(),
        reply_route: ReplyRoute::Learned,
        seed: 1,
    }
}

fn backend(last: u8, service: u16) -> BackendValue {
    BackendValue {
        addr: Addr::v4([10, 0, 0, last]),
        port: Port::new(8080),
        state: BackendState::Active as u8,
        flags: backend_flag::RESOLVED,
        generation: 1,
        ifindex: 3,
        mtu: 1500,
        service,
        dst_mac: [2, 0, 0, 0, 0, last],
        src_mac: [2, 0, 0, 0, 0, 1],
        snat_first: 0,
        snat_count: 1,
    }
}

use proxy_common::Addr;

fn installed() -> Installed {
    let vip = Addr::v4([198, 51, 100, 10]);
    let (word, shift) = filter_place(hash::filter_bucket(&vip));
    let key = |port, proto| ServiceKey::new(vip, Port::new(port), proto);
    let value = |block, id, mode: Mode| ServiceValue {
        ring: ring_word(block, 16),
        id,
        mode: mode as u8,
        syn_budget: 10,
        ..ServiceValue::default()
    };
    let class = |action: AclAction, list| AclClass {
        service_action: action as u8,
        traffic_action: action as u8,
        service_list: list,
        traffic_list: list,
        reserved: 0,
    };
    let acl = [("203.0.113.0/24".parse().unwrap(), 1), ("203.0.113.9/32".parse().unwrap(), 2)];
    Installed {
        config: ConfigValue {
            generation: 7,
            seed: 1,
            flags: config_flag::ACL_V4,
            hz: 100,
            syn_ticks: 1000,
            ..ConfigValue::default()
        },
        filter: [(word, u64::from(filter_bit::VIP | filter_bit::NAT) << shift)].into(),
        destinations: [(vip, DestinationValue { flags: destination_flag::VIP })].into(),
        services: [
            (key(80, proto::TCP), value(0, 1, Mode::Nat)),
            (key(53, proto::UDP), value(1, 2, Mode::DsrL2)),
        ]
        .into(),
        rings: [
            (0, [RingBlock { slots: [ring_slot(1, 1); 16] }].into()),
            (1, [RingBlock { slots: [ring_slot(2, 3); 16] }].into()),
        ]
        .into(),
        backends: [(1, backend(11, 1)), (2, backend(12, 2)), (3, backend(13, 2))].into(),
        snat: [(
            0,
            SnatValue {
                addr: Addr::v4([10, 0, 0, 1]),
                port_min: 1024,
                port_max: 2047,
                ..SnatValue::default()
            },
        )]
        .into(),
        lists: [(2, "deny".to_owned())].into(),
        classes: [(1, class(AclAction::Drop, 2)), (2, class(AclAction::Pass, MANAGEMENT_LIST))].into(),
        acl: [acl.into(), BTreeMap::new()],
        ..Installed::default()
    }
}

fn ask(query: &ExplainQuery) -> Result<ExplainAnswer, ExplainError> {
    let (installed, desired) = (installed(), desired());
    let interfaces = [(2, "eth0".to_owned()), (3, "eth1".to_owned())].into();
    let scene = Scene {
        installed: &installed,
        desired: &desired,
        interfaces: &interfaces,
        default_interface: Some(2),
        flows: &[],
        now: 1,
    };
    explain(&scene, query)
}

#[test]
fn a_denied_source_is_named_with_its_list_and_entry() {
    for destination in ["198.51.100.10", "192.0.2.1"] {
        let answer = ask(&query("203.0.113.7", destination, 80)).unwrap();
        assert_eq!((answer.verdict.as_str(), answer.reason.as_str()), ("drop", "acl_drop"));
        let acl = answer.acl.unwrap();
        assert_eq!(acl.list.as_deref(), Some("deny"));
        assert_eq!(acl.prefix.as_deref(), Some("203.0.113.0/24"));
        assert_eq!(acl.origin, Some(Origin::Api));
    }
}

#[test]
fn management_comes_before_every_list() {
    let answer = ask(&query("203.0.113.9", "198.51.100.10", 80)).unwrap();
    assert_eq!(answer.verdict, "steer");
    let acl = answer.acl.unwrap();
    assert_eq!(acl.list.as_deref(), Some("(management)"));
    assert_eq!(acl.prefix.as_deref(), Some("203.0.113.9/32"));
}

#[test]
fn nat_names_service_slot_backend_source_and_rewrites() {
    let answer = ask(&query("192.0.2.7", "198.51.100.10", 80)).unwrap();
    assert_eq!(answer.reason, "nat");
    assert_eq!(answer.generation, 7);
    let service = answer.service.unwrap();
    assert_eq!((service.name.as_str(), service.vip.as_str()), ("web", "tcp/198.51.100.10:80"));
    assert_eq!(service.ring_length, Some(16));
    let backend = answer.backend.unwrap();
    assert_eq!((backend.address.as_str(), backend.slot), ("10.0.0.11:8080", 1));
    assert_eq!(backend.previous, None);
    assert_eq!(backend.interface.as_deref(), Some("eth1"));
    assert_eq!(backend.next_hop.as_deref(), Some("02:00:00:00:00:0b"));
    assert!(backend.snat.unwrap().starts_with("10.0.0.1:"));
    let steps = answer.steps.join("\n");
    for line in [
        "a TCP SYN enters by eth0, from port 40000 to port 80",
        "destination 198.51.100.10:80 becomes 10.0.0.11:8080",
        "TTL 64 becomes 63",
        "destination MAC address becomes 02:00:00:00:00:0b",
    ] {
        assert!(steps.contains(line), "{line} is not in\n{steps}");
    }
    assert_eq!(answer.acl.unwrap().list, None);
}

#[test]
fn a_changed_slot_names_its_previous_owner() {
    let udp = ExplainQuery { protocol: Protocol::Udp, ..query("192.0.2.7", "198.51.100.10", 53) };
    let answer = ask(&udp).unwrap();
    assert_eq!(answer.reason, "dsr_l2");
    let steps = answer.steps.join("\n");
    assert!(steps.contains("belongs to 10.0.0.12:8080, before to 10.0.0.13:8080"), "{steps}");
    assert!(!steps.contains("destination 198.51.100.10:53 becomes"), "{steps}");
}

#[test]
fn what_is_not_a_service() {
    let port = ask(&query("192.0.2.7", "198.51.100.10", 81)).unwrap();
    assert_eq!((port.reason.as_str(), port.service), ("unknown_port", None));
    let other = ask(&query("192.0.2.7", "192.0.2.1", 80)).unwrap();
    assert_eq!((other.verdict.as_str(), other.reason.as_str()), ("pass", "not_ours"));
    let established = ExplainQuery { established: true, ..query("192.0.2.7", "198.51.100.10", 80) };
    assert_eq!(ask(&established).unwrap().reason, "no_flow");
}

#[test]
fn impossible_packets_are_refused() {
    let families = ask(&query("192.0.2.7", "2001:db8::1", 80)).unwrap_err();
    assert!(matches!(families, ExplainError::Families { .. }));
    let absent = ExplainQuery { interface: Some("eth9".into()), ..query("192.0.2.7", "192.0.2.1", 80) };
    assert!(ask(&absent).unwrap_err().to_string().contains("eth0, eth1"));
}
