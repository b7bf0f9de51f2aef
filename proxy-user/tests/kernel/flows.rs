//! Sweeping NAT flows.

use aya::maps::{HashMap, Map, MapData};
use proxy_common::{
    Addr, BackendState, BackendValue, ConfigValue, Direction, FlowKey, FlowState, FlowValue, Port, proto,
};
use proxy_user::kernel::flows::{self, FlowCounts};
use proxy_user::kernel::write;
use proxy_user::plan::Step;

use crate::support::{Sandbox, sandbox};

const SNAT: Addr = Addr::v4([192, 0, 2, 1]);
const CONFIG: ConfigValue = ConfigValue {
    generation: 1,
    seed: 0,
    secret: 0,
    flags: 0,
    acl_table: 0,
    hz: 100,
    syn_ticks: 10,
    tcp_ticks: 1_000,
    closing_ticks: 100,
    closed_ticks: 10,
    udp_ticks: 500,
    cache_ticks: 1,
    cache_budget: 1,
    reserved: [0; 5],
};

/// A flow by its client port.
struct Flow {
    port: u16,
    state: FlowState,
    generation: u32,
    /// When the forward and the reply direction were last seen.
    seen: [u32; 2],
}

impl Flow {
    fn entries(&self) -> [(FlowKey, FlowValue); 2] {
        let (client, vip, backend) =
            (Addr::v4([203, 0, 113, 9]), Addr::v4([198, 51, 100, 10]), Addr::v4([10, 0, 0, 1]));
        let client_port = Port::new(self.port);
        let snat_port = Port::new(self.port + 10_000);
        let key = FlowKey {
            src: client,
            dst: vip,
            sport: client_port,
            dport: Port::new(80),
            proto: proto::TCP,
            reserved: [0; 3],
        };
        let forward = FlowValue {
            new_src: SNAT,
            new_dst: backend,
            new_sport: snat_port,
            new_dport: Port::new(8_080),
            backend: 1,
            service: 3,
            generation: self.generation,
            last_seen: self.seen[0],
            state: self.state as u8,
            direction: Direction::Forward as u8,
            ..FlowValue::default()
        };
        let reply = FlowValue {
            new_src: vip,
            new_dst: client,
            new_sport: Port::new(80),
            new_dport: client_port,
            last_seen: self.seen[1],
            direction: Direction::Reply as u8,
            ..forward
        };
        let reply_key = forward.peer_key(proto::TCP);
        assert_eq!(reply.peer_key(proto::TCP), key);
        [(key, forward), (reply_key, reply)]
    }
}

fn sweep(sandbox: &Sandbox, now: u32, flows: &[Flow]) -> (flows::Sweep, Vec<u16>) {
    let (pins, _loaded, mut maps) = sandbox.loaded();
    let value = BackendValue { state: BackendState::Active as u8, generation: 4, ..BackendValue::default() };
    write::apply(&mut maps, &[Step::SetBackend { slot: 1, value }]).unwrap();
    let map = Map::from_map_data(MapData::from_pin(pins.pin("weir_flows")).unwrap()).unwrap();
    let mut map = HashMap::<_, FlowKey, FlowValue>::try_from(map).unwrap();
    for (key, value) in flows.iter().flat_map(Flow::entries) {
        map.insert(key, value, 0).unwrap();
    }
    let swept = flows::sweep(&mut maps, &CONFIG, now).unwrap();
    let mut left = Vec::new();
    for flow in flows {
        let [forward, reply] = flow.entries().map(|(key, _)| maps.flow(&key).unwrap().is_some());
        assert_eq!(forward, reply, "both or none");
        left.extend(forward.then_some(flow.port));
    }
    (swept, left)
}

#[test]
fn flows_end_by_state_and_by_backend() {
    sandbox(|sandbox| {
        use FlowState::{Closed, Closing, Established, New};
        let now = 50u32;
        let ago = |ticks| now.wrapping_sub(ticks);
        let flow = |port, state, ticks: [u32; 2]| Flow { port, state, generation: 4, seen: ticks.map(ago) };
        let (swept, left) = sweep(
            sandbox,
            now,
            &[
                flow(1, New, [5, 5]),
                flow(2, New, [11, 11]),
                flow(3, Established, [999, 2_000]),
                flow(4, Established, [1_001, 1_001]),
                flow(5, Closing, [101, 0]),
                flow(6, Closing, [101, 101]),
                flow(7, Closed, [11, 11]),
                Flow { port: 8, state: Established, generation: 3, seen: [now, now] },
                flow(9, Established, [1_000, u32::MAX]),
            ],
        );
        assert_eq!(left, [1, 3, 5, 9]);
        assert_eq!((swept.entries, swept.removed), (18, 10));
        let counts = FlowCounts { new: 1, established: 2, closing: 1, closed: 0 };
        assert_eq!(swept.services[&3], counts);
        assert_eq!(swept.backends[&1], counts);
        assert_eq!(swept.snat_ports[&SNAT], 4);
    });
}

#[test]
fn thousands_of_flows_are_all_met() {
    sandbox(|sandbox| {
        let flows: Vec<_> = (0..1_500)
            .map(|port| Flow {
                port,
                state: FlowState::New,
                generation: 4,
                seen: [u32::from(port % 2) * 100; 2],
            })
            .collect();
        let (swept, left) = sweep(sandbox, 100, &flows);
        assert_eq!((swept.entries, swept.removed, left.len()), (3_000, 1_500, 750));
        assert_eq!(swept.services[&3].new, 750);
    });
}
