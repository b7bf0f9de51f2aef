//! Every step of a plan, written and read back.

use std::collections::BTreeMap;

use aya::maps::{Array, Map, MapData, PerCpuArray, PerCpuValues};
use aya::util::nr_cpus;
use ipnet::IpNet;
use proxy_common::{
    AclClass, Addr, BackendState, BackendValue, BudgetValue, ConfigValue, Count, DestinationValue, Mode,
    Port, RingBlock, ServiceKey, ServiceValue, SnatValue, TrafficCount, limits, proto, ring_word,
};
use proxy_user::kernel::bpffs::PinDir;
use proxy_user::kernel::{read, stats, write};
use proxy_user::plan::{Installed, Step};

use crate::support::{SMALL, sandbox};

const VIP: Addr = Addr::v4([198, 51, 100, 10]);

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

fn backend(state: BackendState, generation: u32) -> BackendValue {
    BackendValue { addr: Addr::v4([10, 0, 0, 1]), state: state as u8, generation, ..BackendValue::default() }
}

fn service(id: u16, ring: u64) -> ServiceValue {
    ServiceValue { id, ring, mode: Mode::Nat as u8, syn_budget: 9, ..ServiceValue::default() }
}

fn key(port: u16) -> ServiceKey {
    ServiceKey { addr: VIP, port: Port::new(port), proto: proto::TCP, ..ServiceKey::default() }
}

fn map(pins: &PinDir, name: &str) -> Map {
    Map::from_map_data(MapData::from_pin(pins.pin(name)).unwrap()).unwrap()
}

/// A step of each kind that writes, and what they leave.
fn everything() -> (Vec<Step>, Installed) {
    let config = ConfigValue { generation: 3, seed: 5, hz: 250, ..ConfigValue::default() };
    let class = AclClass { service_action: 2, traffic_action: 1, service_list: 4, ..AclClass::default() };
    let snat = SnatValue { addr: VIP, port_min: 1_024, ..SnatValue::default() };
    let ring = RingBlock { slots: [7; 16] };
    let v6 = Addr::v6([0x20; 16]);
    let mut steps = vec![
        Step::NameList { slot: 4, name: "deny".into() },
        Step::NameList { slot: 5, name: "x".repeat(63) },
        Step::SetClass { class: 1, value: class },
        Step::SetSnat { index: 255, value: snat },
        Step::SetBackend { slot: 1, value: backend(BackendState::Active, 1) },
        Step::SetBackend { slot: 16_383, value: backend(BackendState::Draining, 8) },
        Step::SetBackend { slot: 2, value: backend(BackendState::Free, 6) },
        Step::SetRing { first: 1, blocks: [ring, RingBlock::default()].into() },
        Step::SetRing { first: 40, blocks: [ring].into() },
        Step::Grace,
        Step::SetFilter { word: 2_047, value: u64::MAX },
        Step::SetDestination { addr: VIP, value: DestinationValue { flags: 1 } },
        Step::SetDestination { addr: v6, value: DestinationValue { flags: 2 } },
        Step::SetService { key: key(80), value: service(0, ring_word(1, 17)) },
        Step::SetService { key: key(0), value: service(4_095, 0) },
        Step::SetConfig { value: config },
    ];
    let mut acl = [BTreeMap::new(), BTreeMap::new()];
    for (table, prefix, class) in [
        (0, "0.0.0.0/0", 1),
        (0, "192.0.2.0/24", 2),
        (0, "192.0.2.7/32", 3),
        (1, "203.0.113.0/31", 4),
        (0, "::/0", 5),
        (1, "2001:db8::/32", 6),
        (1, "2001:db8::1/128", 7),
    ] {
        steps.push(Step::SetPrefix { table, prefix: net(prefix), class });
        acl[table].insert(net(prefix), class);
    }
    let installed = Installed {
        config,
        filter: BTreeMap::from([(2_047, u64::MAX)]),
        destinations: BTreeMap::from([
            (VIP, DestinationValue { flags: 1 }),
            (v6, DestinationValue { flags: 2 }),
        ]),
        services: BTreeMap::from([(key(80), service(0, ring_word(1, 17))), (key(0), service(4_095, 0))]),
        rings: BTreeMap::from([(1, [ring, RingBlock::default()].into())]),
        backends: BTreeMap::from([
            (1, backend(BackendState::Active, 1)),
            (16_383, backend(BackendState::Draining, 8)),
        ]),
        retired: BTreeMap::from([(2, 6)]),
        snat: BTreeMap::from([(255, snat)]),
        lists: BTreeMap::from([(4, "deny".to_owned()), (5, "x".repeat(63))]),
        classes: BTreeMap::from([(1, class)]),
        acl,
    };
    (steps, installed)
}

#[test]
fn what_is_written_is_read_and_what_is_deleted_is_gone() {
    sandbox(|sandbox| {
        let (_pins, _loaded, mut maps) = sandbox.loaded();
        assert_eq!(read::installed(&maps).unwrap(), Installed::default());
        let (steps, installed) = everything();
        assert_eq!(write::apply(&mut maps, &steps).unwrap().steps, steps.len());
        assert_eq!(read::installed(&maps).unwrap(), installed);

        let mut undo = vec![
            Step::DeleteService { key: key(80) },
            Step::DeleteService { key: key(0) },
            Step::DeleteDestination { addr: VIP },
            Step::DeleteDestination { addr: Addr::v6([0x20; 16]) },
            Step::SetFilter { word: 2_047, value: 0 },
            Step::SetBackend { slot: 1, value: BackendValue { generation: 1, ..BackendValue::default() } },
            Step::SetBackend {
                slot: 16_383,
                value: BackendValue { generation: 8, ..BackendValue::default() },
            },
            Step::SetSnat { index: 255, value: SnatValue::default() },
            Step::SetClass { class: 1, value: AclClass::default() },
            Step::NameList { slot: 4, name: String::new() },
            Step::NameList { slot: 5, name: String::new() },
            Step::SetConfig { value: ConfigValue::default() },
        ];
        for (table, prefixes) in installed.acl.iter().enumerate() {
            undo.extend(prefixes.keys().map(|prefix| Step::DeletePrefix { table, prefix: *prefix }));
        }
        for _again in 0..2 {
            write::apply(&mut maps, &undo).unwrap();
            let retired = BTreeMap::from([(1, 1), (2, 6), (16_383, 8)]);
            assert_eq!(read::installed(&maps).unwrap(), Installed { retired, ..Installed::default() });
        }
    });
}

#[test]
fn many_prefixes_are_read_back_whole() {
    sandbox(|sandbox| {
        let (_pins, _loaded, mut maps) = sandbox.loaded();
        let steps: Vec<_> = (0..1_024u32)
            .map(|i| Step::SetPrefix {
                table: 1,
                prefix: net(&format!("10.{}.{}.0/24", i / 256, i % 256)),
                class: i,
            })
            .collect();
        write::apply(&mut maps, &steps).unwrap();
        let installed = read::installed(&maps).unwrap();
        assert_eq!(installed.acl[1].len(), 1_024);
        assert_eq!(installed.acl[1][&net("10.3.255.0/24")], 1_023);
    });
}

#[test]
fn counters_are_zeroed_when_a_slot_is_used_anew() {
    sandbox(|sandbox| {
        let (pins, _loaded, mut maps) = sandbox.loaded();
        write::apply(&mut maps, &everything().0).unwrap();
        let fill = || {
            let cpus = nr_cpus().unwrap();
            let traffic = TrafficCount { packets: 3, bytes: 5, ..TrafficCount::default() };
            let count = Count { packets: 3, bytes: 5 };
            let values = || PerCpuValues::try_from(vec![traffic; cpus]).unwrap();
            let mut services =
                PerCpuArray::<_, TrafficCount>::try_from(map(&pins, "stats_services")).unwrap();
            services.set(0, values(), 0).unwrap();
            let mut backends =
                PerCpuArray::<_, TrafficCount>::try_from(map(&pins, "stats_backends")).unwrap();
            backends.set(1, values(), 0).unwrap();
            let mut lists = PerCpuArray::<_, Count>::try_from(map(&pins, "stats_lists")).unwrap();
            lists.set(4, PerCpuValues::try_from(vec![count; cpus]).unwrap(), 0).unwrap();
            let mut budget = Array::<_, BudgetValue>::try_from(map(&pins, "weir_budget")).unwrap();
            budget.set(0, BudgetValue { window: 1, waiting: 2 }, 0).unwrap();
            cpus as u64
        };
        let cpus = fill();
        let counted = TrafficCount { packets: 3 * cpus, bytes: 5 * cpus, ..TrafficCount::default() };
        let old = [
            Step::SetService { key: key(80), value: service(0, 0) },
            Step::SetBackend { slot: 1, value: backend(BackendState::Down, 1) },
        ];
        write::apply(&mut maps, &old).unwrap();
        assert_eq!(stats::service(&maps, 0).unwrap(), counted);
        assert_eq!(stats::backend(&maps, 1).unwrap(), counted);
        assert_eq!(stats::list(&maps, 4).unwrap(), Count { packets: 3 * cpus, bytes: 5 * cpus });

        let anew = [
            Step::DeleteService { key: key(80) },
            Step::SetService { key: key(81), value: service(0, 0) },
            Step::SetBackend { slot: 1, value: backend(BackendState::Free, 1) },
            Step::SetBackend { slot: 1, value: backend(BackendState::Active, 2) },
            Step::NameList { slot: 4, name: "other".into() },
        ];
        write::apply(&mut maps, &anew).unwrap();
        assert_eq!(stats::service(&maps, 0).unwrap(), TrafficCount::default());
        assert_eq!(stats::backend(&maps, 1).unwrap(), TrafficCount::default());
        assert_eq!(stats::list(&maps, 4).unwrap(), Count::default());
        let budget = Array::<_, BudgetValue>::try_from(map(&pins, "weir_budget")).unwrap();
        assert_eq!(budget.get(&0, 0).unwrap(), BudgetValue::default());
        assert!(stats::service(&maps, u16::MAX).is_err());
    });
}

#[test]
fn long_runs_are_written_whole_and_counters_of_fresh_slots_begin_at_zero() {
    sandbox(|sandbox| {
        let (_pins, _loaded, mut maps) = sandbox.loaded();
        let block = |block: u32| {
            let mut value = RingBlock::default();
            value.slots[3] = block + 1;
            value
        };
        let mut steps = vec![Step::SetRing { first: 0, blocks: (0..20_000).map(block).collect() }];
        let service = service(1, ring_word(0, 20_000 * limits::RING_BLOCK_SLOTS));
        steps.push(Step::SetService { key: key(80), value: service });
        let value = |slot: u16| BackendValue { service: slot, ..backend(BackendState::Active, 1) };
        steps.extend((1..5_000).map(|slot| Step::SetBackend { slot, value: value(slot) }));
        assert_eq!(write::apply(&mut maps, &steps).unwrap().steps, steps.len());
        let read = read::installed(&maps).unwrap();
        assert_eq!(read.backends.len(), 4_999);
        assert!(read.backends.iter().all(|(slot, found)| *found == value(*slot)));
        assert!((0..).zip(&*read.rings[&0]).all(|(number, found)| *found == block(number)));
        write::apply(&mut maps, &steps).unwrap();
        // Out of range in the middle of a ring: the block is named.
        let first = limits::RING_BLOCKS - 20;
        let beyond = Step::SetRing { first, blocks: (0..40).map(block).collect() };
        let error = write::apply(&mut maps, &[beyond]).unwrap_err().to_string();
        assert!(error.contains("weir_rings") && error.contains(&limits::RING_BLOCKS.to_string()), "{error}");
    });
}

#[test]
fn a_full_or_wrong_map_stops_the_plan_with_its_name() {
    sandbox(|sandbox| {
        let (_pins, _loaded, mut maps) = sandbox.loaded();
        let prefix = |i: u32| Step::SetPrefix {
            table: 0,
            prefix: net(&format!("10.{}.{}.0/24", i / 256, i % 256)),
            class: 1,
        };
        let steps: Vec<_> = (0..=SMALL.acl_v4).map(prefix).collect();
        let error = write::apply(&mut maps, &steps).unwrap_err();
        assert_eq!(error.index, SMALL.acl_v4 as usize);
        let text = error.to_string();
        assert!(text.contains("weir_acl4_a is full") && text.contains("10.4.0.0/24"), "{text}");

        let text = write::apply(
            &mut maps,
            &[Step::SetRing { first: limits::RING_BLOCKS, blocks: [RingBlock::default()].into() }],
        )
        .unwrap_err()
        .to_string();
        assert!(text.contains("weir_rings"), "{text}");
    });
}
