//! weir's object with tables as the daemon would fill them: one ACL list of 100 prefixes in each family, and a `dsr-l2`
//! and a `nat` service of three backends in each family, the latter over a pool of two source-NAT addresses of 60,000
//! ports each.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::{Context as _, Result, ensure};
use aya::maps::{HashMap, Map, MapData};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use proxy_common::{FlowKey, FlowState, FlowValue, Reason};
use proxy_user::kernel::bpffs::PinDir;
use proxy_user::kernel::load::{self, Loaded};
use proxy_user::kernel::maps::Maps;
use proxy_user::kernel::schema::Capacity;
use proxy_user::kernel::{clock, stats, write};
use proxy_user::model::{
    AclEntry, AclList, AclPolicy, Action, AdminState, Announce, Backend, BackendAddr, Desired, Forward,
    NextHop, Origin, Protocol, ReplyRoute, Scope, Service, SnatPool, Timeouts, UnknownPort, Vip,
};
use proxy_user::plan::{self, Clock, Input, Installed, Limits, Names};

use super::frame::Random;
use super::rig::{Load, Rig};

/// VIPs, by family: the first is IPv4.
pub(super) const DSR: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(198, 51, 100, 1)), IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1))];
pub(super) const NAT: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(198, 51, 100, 2)), IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2))];
/// Not a VIP.
pub(super) const OTHER: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 9));

/// Prefixes of a list in each family.
const PREFIXES: usize = 100;

/// What the list of a world does.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Acl {
    /// There is none.
    Empty,
    /// 100 prefixes to drop.
    Deny,
    /// 100 prefixes to pass.
    Pass,
}

/// A loaded object with its tables.
pub(super) struct World {
    pub(super) loaded: Loaded,
    /// Target number in the rig.
    pub(super) target: u32,
    maps: Maps,
    flows: HashMap<MapData, FlowKey, FlowValue>,
}

impl World {
    /// Loads and fills. Backends are reached through `ifindex`.
    pub(super) fn new(rig: &mut Rig, pins: &PinDir, name: &str, acl: Acl, ifindex: u32) -> Result<Self> {
        let pins = PinDir::prepare(&pins.pin(name))?;
        let loaded = load::load(load::OBJECT, &pins, &Capacity::default(), 0)?;
        let mut maps = Maps::open(&pins)?;
        let clock = Clock { hz: clock::ticks_per_second(&loaded)?, now: clock::now(&loaded)? };
        let desired = desired(acl);
        let input = Input {
            known: &Names::default(),
            desired: &desired,
            next_hops: &next_hops(&desired, ifindex),
            clock,
            secret: 0x5ec2e7,
            generation: 1,
            limits: Limits::default(),
            cache_budget: 0,
            keep_acl: false,
        };
        let plan = plan::plan(&input, &Installed::default()).context("planning the benchmark's tables")?;
        write::apply(&mut maps, &plan.steps).context("writing the benchmark's tables")?;
        let target = rig.add(loaded.xdp()?.fd()?)?;
        let flows = Map::from_map_data(MapData::from_pin(pins.pin("weir_flows"))?)?.try_into()?;
        Ok(Self { loaded, target, maps, flows })
    }

    /// Packets by reason so far.
    pub(super) fn counts(&self) -> Result<Vec<u64>> {
        Ok(stats::reasons(&self.maps, 0)?.into_iter().map(|count| count.packets).collect())
    }

    /// That since `before` exactly `packets` have met the reason, and none another.
    pub(super) fn verify(&self, before: &[u64], reason: Reason, packets: u64) -> Result<()> {
        for (index, (now, before)) in (0..).zip(self.counts()?.into_iter().zip(before)) {
            let wanted = if index == reason.index() { packets } else { 0 };
            let label =
                Reason::ALL.into_iter().find(|reason| reason.index() == index).map_or("?", Reason::label);
            let found = now.wrapping_sub(*before);
            ensure!(
                found == wanted,
                "the object counted {found} packets under {label}, and not {wanted}: what was measured is not what the row says"
            );
        }
        Ok(())
    }

    /// Begins the flows of a load of SYNs, each of which must leave by `action`, and makes them established, as if their
    /// handshakes had been heard.
    pub(super) fn establish(&mut self, rig: &mut Rig, syns: &Load, action: u32) -> Result<()> {
        let before = self.counts()?;
        rig.measure(syns, self.target, action, syns.flows)?;
        self.verify(&before, Reason::Nat, u64::from(syns.flows)).context("beginning NAT flows")?;
        for (key, mut value) in self.entries()? {
            value.state = FlowState::Established as u8;
            self.flows.insert(key, value, 0)?;
        }
        Ok(())
    }

    /// Forgets all flows.
    pub(super) fn forget(&mut self) -> Result<()> {
        for (key, _) in self.entries()? {
            self.flows.remove(&key)?;
        }
        Ok(())
    }

    fn entries(&self) -> Result<Vec<(FlowKey, FlowValue)>> {
        self.flows.iter().collect::<Result<_, _>>().context("reading the flow table")
    }
}

fn desired(acl: Acl) -> Desired {
    let mut services = BTreeMap::new();
    for (name, forward, vips) in [("dsr", Forward::DsrL2, DSR), ("nat", Forward::Nat, NAT)] {
        for addr in vips {
            let family = if addr.is_ipv4() { 4 } else { 6 };
            services.insert(format!("{name}{family}"), service(addr, forward));
        }
    }
    let addresses = ["192.0.2.1", "192.0.2.2", "2001:db8:5::1", "2001:db8:5::2"];
    Desired {
        acl: policy(acl).into(),
        services,
        snat: SnatPool {
            addresses: addresses.iter().filter_map(|addr| addr.parse().ok()).collect(),
            ports: (2_000, 61_999),
        },
        timeouts: Timeouts::default(),
        reply_route: ReplyRoute::Learned,
        seed: 0x5eed,
    }
}

fn service(addr: IpAddr, forward: Forward) -> Service {
    let backend = |last: u8| match addr {
        IpAddr::V4(_) => IpAddr::from([192, 0, 2, 100 + last]),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0xb, 0, 0, 0, 0, u16::from(last))),
    };
    let active = Backend { weight: 1, state: AdminState::Active, origin: Origin::File };
    Service {
        vip: Vip { protocol: Protocol::Tcp, addr, port: 80 },
        forward,
        announce: Announce::None,
        unknown_port: UnknownPort::Drop,
        syn_budget: u32::MAX,
        origin: Origin::File,
        backends: (1..=3).map(|last| (BackendAddr { addr: backend(last), port: 80 }, active)).collect(),
        discovery: None,
        health: None,
        publish: Vec::new(),
        l7: None,
    }
}

fn next_hops(desired: &Desired, ifindex: u32) -> BTreeMap<IpAddr, NextHop> {
    let backends = desired.services.values().flat_map(|service| service.backends.keys());
    let hop = |addr: IpAddr| NextHop {
        ifindex,
        src_mac: [2, 0, 0, 0, 0, 0xb0],
        dst_mac: Some([2, 0, 0, 0, 0, 0xbe]),
        mtu: 1_500,
        on_link: true,
        source: if addr.is_ipv4() { IpAddr::from([192, 0, 2, 1]) } else { DSR[1] },
    };
    backends.map(|backend| (backend.addr, hop(backend.addr))).collect()
}

fn policy(acl: Acl) -> AclPolicy {
    let action = match acl {
        Acl::Empty => return AclPolicy::default(),
        Acl::Deny => Action::Drop,
        Acl::Pass => Action::Pass,
    };
    let entry = AclEntry { origin: Origin::File, expires_at: None, reason: None };
    let prefixes = prefixes_v4().into_iter().chain(prefixes_v6());
    let list = AclList {
        order: 10,
        action,
        scope: Scope::All,
        origin: Origin::File,
        entries: prefixes.map(|prefix| (prefix, entry.clone())).collect(),
    };
    AclPolicy { lists: BTreeMap::from([("list".to_owned(), list)]), ..AclPolicy::default() }
}

/// An address in the list, by family.
pub(super) fn listed(v4: bool) -> Result<IpAddr> {
    let prefixes = if v4 { prefixes_v4() } else { prefixes_v6() };
    prefixes.get(PREFIXES / 2).map(IpNet::network).context("the list is empty")
}

/// Prefixes of /16 to /32 from all over the unicast space but our clients' 10.0.0.0/8, so that a look-up that finds
/// nothing has its way to go too.
fn prefixes_v4() -> Vec<IpNet> {
    let mut random = Random(4);
    let prefix = |word: u64| {
        let [a, b, c, d, len, ..] = word.to_le_bytes();
        let net = Ipv4Net::new(Ipv4Addr::new(a, b, c, d), 16 + len % 17).ok()?.trunc();
        ((1..224).contains(&a) && a != 10 && a != 127).then_some(net.into())
    };
    std::iter::repeat_with(|| random.next()).filter_map(prefix).take(PREFIXES).collect()
}

/// Prefixes of /32 to /64 from all over 2000::/3 but the documentation's 2001:db8::/32.
fn prefixes_v6() -> Vec<IpNet> {
    let mut random = Random(6);
    let prefix = |word: u64| {
        let high = 1 << 61 | word >> 3;
        let len = u8::try_from(word % 33).unwrap_or_default();
        let net = Ipv6Net::new(Ipv6Addr::from(u128::from(high) << 64), 32 + len).ok()?.trunc();
        (high >> 32 != 0x2001_0db8).then_some(net.into())
    };
    std::iter::repeat_with(|| random.next()).filter_map(prefix).take(PREFIXES).collect()
}
