//! The rows: which packet to which tables, and what must come out.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context as _, Result};
use proxy_common::{Class, Reason};
use proxy_user::kernel::bpffs::PinDir;

use super::frame::{self, FLOWS, Flow, Segment};
use super::rig::{Load, Rig, XDP_DROP, XDP_PASS, XDP_TX};
use super::world::{self, Acl, DSR, NAT, OTHER, World};

/// A row to measure.
pub(super) struct Case {
    pub(super) name: &'static str,
    load: Load,
    place: Place,
    reason: Reason,
    aim: Option<u64>,
}

/// Which tables.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// A deny list; one NAT flow in each family.
    Deny,
    /// No list.
    Empty,
    /// A pass list.
    Pass,
    /// A deny list; 131,072 established IPv4 NAT flows.
    ManyV4,
    /// The same of IPv6.
    ManyV6,
    /// A deny list; no flows before each round.
    Fresh,
}

/// All rows, in the order of the report.
pub(super) fn all(first: Flow) -> Result<Vec<Case>> {
    let [dsr4, dsr6] = DSR;
    let [nat4, nat6] = NAT;
    let ours = |to: IpAddr, segment, flows| Load {
        frame: frame::tcp(first.client(to.is_ipv4()), frame::port(first), to, segment),
        flows,
    };
    let listed = |to: IpAddr| -> Result<Load> {
        let from = world::listed(to.is_ipv4())?;
        Ok(Load { frame: frame::tcp(from, frame::port(first), to, Segment::Ack), flows: 1 })
    };
    let case = |name, load, place, reason, aim| Case { name, load, place, reason, aim };
    let (ack, syn) = (Segment::Ack, Segment::Syn);
    let (deny, empty, pass) = (Place::Deny, Place::Empty, Place::Pass);
    let (not_ours, nat, dsr) = (Reason::NotOurs, Reason::Nat, Reason::DsrL2);
    Ok(vec![
        case("not-ours", ours(OTHER, ack, 1), deny, not_ours, Some(60)),
        case("not-ours-empty-acl", ours(OTHER, ack, 1), empty, not_ours, Some(30)),
        case("deny-v4", listed(dsr4)?, deny, Reason::AclDrop, Some(60)),
        case("deny-v6", listed(dsr6)?, deny, Reason::AclDrop, Some(60)),
        case("pass-v4", listed(OTHER)?, pass, not_ours, None),
        case("dsr-l2-tcp4-1", ours(dsr4, ack, 1), deny, dsr, Some(100)),
        case("dsr-l2-tcp4-131072", ours(dsr4, ack, FLOWS), deny, dsr, None),
        case("nat-tcp4-1", ours(nat4, ack, 1), deny, nat, None),
        case("nat-tcp4-131072", ours(nat4, ack, FLOWS), Place::ManyV4, nat, None),
        case("dsr-l2-tcp6-1", ours(dsr6, ack, 1), deny, dsr, Some(100)),
        case("dsr-l2-tcp6-131072", ours(dsr6, ack, FLOWS), deny, dsr, None),
        case("nat-tcp6-1", ours(nat6, ack, 1), deny, nat, None),
        case("nat-tcp6-131072", ours(nat6, ack, FLOWS), Place::ManyV6, nat, None),
        case("dsr-l2-syn4", ours(dsr4, syn, FLOWS), deny, dsr, None),
        case("nat-syn4", ours(nat4, syn, FLOWS), Place::Fresh, nat, None),
    ])
}

/// SYNs that begin the flows of a NAT service, in one family.
pub(super) fn syns(v4: bool, first: Flow, flows: u32) -> Load {
    let [nat4, nat6] = NAT;
    let to = if v4 { nat4 } else { nat6 };
    Load { frame: frame::tcp(first.client(v4), frame::port(first), to, Segment::Syn), flows }
}

/// One object for each kind of tables, so that rows can be measured in turn without a change of tables.
pub(super) struct Tables {
    worlds: Vec<(Place, World)>,
}

impl Tables {
    /// Loads and fills them all.
    pub(super) fn new(rig: &mut Rig, pins: &PinDir, first: Flow) -> Result<Self> {
        let mut worlds = Vec::new();
        for (name, place, acl, flows) in [
            ("deny", Place::Deny, Acl::Deny, &[(true, 1), (false, 1)][..]),
            ("empty", Place::Empty, Acl::Empty, &[]),
            ("pass", Place::Pass, Acl::Pass, &[]),
            ("many4", Place::ManyV4, Acl::Deny, &[(true, FLOWS)]),
            ("many6", Place::ManyV6, Acl::Deny, &[(false, FLOWS)]),
            ("fresh", Place::Fresh, Acl::Deny, &[]),
        ] {
            let mut world = World::new(rig, pins, name, acl, LOOPBACK)?;
            for (v4, count) in flows {
                world.establish(rig, &syns(*v4, first, *count), XDP_TX)?;
            }
            worlds.push((place, world));
        }
        Ok(Self { worlds })
    }

    /// Measures a row and its floor, once.
    pub(super) fn measure(&mut self, rig: &mut Rig, case: &Case, packets: u32) -> Result<Round> {
        let (_, world) = self
            .worlds
            .iter_mut()
            .find(|(place, _)| *place == case.place)
            .context("tables without an object")?;
        let action = match case.reason.class() {
            Class::Pass => XDP_PASS,
            Class::Drop => XDP_DROP,
            Class::Steer => XDP_TX,
        };
        let fresh = case.place == Place::Fresh;
        // Where every packet begins a flow, no flow may come twice.
        let packets = if fresh { FLOWS } else { packets };
        let floor = rig.measure(&case.load, action, action, packets)?;
        let before = world.counts()?;
        let whole = rig.measure(&case.load, world.target, action, packets)?;
        world.verify(&before, case.reason, u64::from(packets))?;
        if fresh {
            world.forget()?;
        }
        Ok(Round { whole, floor })
    }
}

/// Test runs come in through `lo`, and so a backend behind it is reached by sending the packet back.
const LOOPBACK: u32 = 1;

/// One measurement.
pub(super) struct Round {
    whole: Duration,
    floor: Duration,
}

/// A row's measurements, in nanoseconds per packet.
pub(super) struct Row {
    pub(super) name: &'static str,
    pub(super) aim: Option<u64>,
    whole: Vec<u64>,
    floor: Vec<u64>,
}

impl Row {
    /// Without measurements yet.
    pub(super) fn new(case: &Case) -> Self {
        Self { name: case.name, aim: case.aim, whole: Vec::new(), floor: Vec::new() }
    }

    pub(super) fn add(&mut self, round: Round) {
        let nanoseconds = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.whole.push(nanoseconds(round.whole));
        self.floor.push(nanoseconds(round.floor));
    }

    /// The quietest round's.
    pub(super) fn ns(&self) -> u64 {
        self.whole.iter().copied().min().unwrap_or_default()
    }

    /// The middle round's.
    pub(super) fn median(&self) -> u64 {
        let mut sorted = self.whole.clone();
        sorted.sort_unstable();
        sorted.get(sorted.len() / 2).copied().unwrap_or_default()
    }

    /// The empty program's in its quietest round.
    pub(super) fn floor(&self) -> u64 {
        self.floor.iter().copied().min().unwrap_or_default()
    }

    /// What the object adds to the floor.
    pub(super) fn net(&self) -> u64 {
        self.ns().saturating_sub(self.floor())
    }
}
