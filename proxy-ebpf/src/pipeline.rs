//! The whole decision on one screen: parse → ACL → flow → service → checks → pick → rewrite.

use proxy_common::{AclClass, Mode, Reason, ServiceValue, filter_bit};

use crate::frame::Frame;
use crate::outcome::Outcome;
use crate::packet::{Icmp, Packet, is_martian};
use crate::service::Target;
use crate::tables::{Memory, Tables};
use crate::work::{Arrival, Scratch, Work};
use crate::{acl, flow, flow_error, nat, next_hop, parse, pick, rewrite, service};

/// Decides what becomes of a frame that came in through `ifindex`, and edits it if it is steered. A frame that passes
/// is as it was; one that is dropped may have been edited.
#[inline(always)]
pub fn decide<'a, F: Frame, T: Tables, M: Memory>(
    frame: &mut F,
    tables: &T,
    memory: &mut M,
    scratch: &'a mut Scratch,
    ifindex: u32,
) -> &'a Outcome {
    #[expect(clippy::cast_possible_truncation, reason = "frames are far below 4 GiB")]
    let bytes = frame.len() as u32;
    scratch.outcome = Outcome { bytes, ..Outcome::default() };
    let reason = run(frame, tables, memory, scratch, ifindex);
    scratch.outcome.reason = either(reason);
    &scratch.outcome
}

/// The reason, however the path ended: which it is says its class.
#[inline(always)]
pub(crate) fn either(result: Result<Reason, Reason>) -> Reason {
    match result {
        Ok(reason) | Err(reason) => reason,
    }
}

/// Every packet: parse, ACL, and whether it may be ours at all.
#[inline(always)]
fn run<F: Frame, T: Tables, M: Memory>(
    frame: &mut F,
    tables: &T,
    memory: &mut M,
    scratch: &mut Scratch,
    ifindex: u32,
) -> Result<Reason, Reason> {
    let Scratch { packet, outcome, arrival, .. } = scratch;
    parse::packet_into(frame, packet)?;
    outcome.bytes = packet.bytes();
    if packet.icmp == Icmp::Discovery {
        return Ok(Reason::NeighbourDiscovery);
    }
    let config = tables.config().ok_or(Reason::HelperFailed)?;
    let switches = tables.switches().ok_or(Reason::HelperFailed)?;
    let class = acl::class(tables, switches, packet);
    let filter_bits = service::filter_bits(tables, packet);
    if filter_bits == 0 {
        acl::for_traffic(class, switches, outcome)?;
        return Ok(Reason::NotOurs);
    }
    // Only answers of our own flows are above the ACL, and they come to source-NAT addresses.
    if acl::drops_all(class) && filter_bits & filter_bit::SNAT == 0 {
        acl::for_traffic(class, switches, outcome)?;
    }
    let (dst_mac, src_mac) = rewrite::frame_macs(frame)?;
    *arrival = Arrival { dst_mac, src_mac, ifindex, now: tables.now() };
    frame.reload();
    Ok(maybe_ours(&mut Work { frame, tables, memory, config, switches, scratch }, class, filter_bits))
}

/// Packets to an address whose bucket is marked: known flows, then services.
#[inline(never)]
fn maybe_ours<F: Frame, T: Tables, M: Memory>(
    work: &mut Work<'_, F, T, M>,
    class: AclClass,
    filter_bits: u32,
) -> Reason {
    either(steer(work, class, filter_bits))
}

#[inline(always)]
fn steer<F: Frame, T: Tables, M: Memory>(
    work: &mut Work<'_, F, T, M>,
    class: AclClass,
    filter_bits: u32,
) -> Result<Reason, Reason> {
    let packet = &work.scratch.packet;
    let martian = is_martian(&packet.key.src, &packet.key.dst, packet.is_v4);
    if filter_bits & (filter_bit::NAT | filter_bit::SNAT) != 0
        && packet.has_flow()
        && let Some(result) = flow::handle(work, class)
    {
        return result;
    }
    if work.scratch.packet.icmp == Icmp::Error
        && work.scratch.packet.fault.is_none()
        && let Some(reason) = flow_error::handle(work, class)
    {
        return Ok(reason);
    }
    let tables = work.tables;
    match service::find(tables, &work.scratch.packet) {
        Target::Other => {
            work.scratch.outcome.list = None;
            acl::for_traffic(class, work.switches, &mut work.scratch.outcome)?;
            Ok(Reason::NotOurs)
        }
        Target::Vip { pass } => {
            admit(work, class, martian)?;
            unknown_port(&work.scratch.packet, pass)
        }
        Target::Service(service) => {
            work.scratch.outcome.service = service.id;
            admit(work, class, martian)?;
            if service.mode == Mode::L7 as u8 {
                return Ok(deliver(work));
            }
            serve(work, service)
        }
    }
}

/// The ACL, and what no VIP takes.
#[inline(always)]
fn admit<F, T, M>(work: &mut Work<'_, F, T, M>, class: AclClass, martian: bool) -> Result<(), Reason> {
    let Scratch { packet, outcome, .. } = &mut *work.scratch;
    outcome.list = None;
    acl::for_service(class, work.switches, outcome)?;
    if martian {
        return Err(Reason::MartianSource);
    }
    packet.fault.map_or(Ok(()), Err)
}

/// A packet to a VIP, but to none of its services.
#[inline(always)]
fn unknown_port(packet: &Packet, pass: bool) -> Result<Reason, Reason> {
    match packet.icmp {
        Icmp::Echo => Ok(Reason::VipEcho),
        Icmp::None if pass => Ok(Reason::UnknownPortPass),
        Icmp::None => Err(Reason::UnknownPort),
        Icmp::Error | Icmp::Other | Icmp::Discovery => Err(Reason::UnsupportedIcmp),
    }
}

/// To the host's stack as it came, an ICMP error about one of its connections too: the L7 path's connections end here.
#[inline(always)]
fn deliver<F, T, M>(work: &mut Work<'_, F, T, M>) -> Reason {
    let Scratch { packet, outcome, .. } = &mut *work.scratch;
    outcome.new_flow = packet.is_syn();
    Reason::Deliver
}

/// A packet of a service that forwards, or an ICMP error about one.
#[inline(always)]
fn serve<F: Frame, T: Tables, M: Memory>(
    work: &mut Work<'_, F, T, M>,
    service: &ServiceValue,
) -> Result<Reason, Reason> {
    if work.scratch.packet.ttl <= 1 {
        return Err(Reason::TtlExceeded);
    }
    match Mode::from_byte(service.mode) {
        Some(Mode::Nat) if work.scratch.packet.icmp == Icmp::None => Ok(nat::begin(work, service)),
        // An error about a flow that is not known.
        Some(Mode::Nat) => Err(Reason::UnsupportedIcmp),
        Some(Mode::DsrL2) => dsr_l2(work, service),
        Some(Mode::L7) | None => Err(Reason::HelperFailed),
    }
}

/// Direct server return on the link: new MAC addresses, TTL less one.
#[inline(always)]
fn dsr_l2<F: Frame, T: Tables, M: Memory>(
    work: &mut Work<'_, F, T, M>,
    service: &ServiceValue,
) -> Result<Reason, Reason> {
    let Work { frame, tables, memory, config, scratch, .. } = work;
    let Scratch { packet, arrival, outcome, .. } = &mut **scratch;
    let pick = pick::stateless(*tables, *memory, config, service, packet)?;
    outcome.backend = pick.slot;
    outcome.new_flow = packet.is_syn();
    next_hop::check(packet, pick.backend, arrival.ifindex)?;
    rewrite::decrement_ttl(*frame, packet)?;
    rewrite::macs(*frame, &pick.backend.dst_mac, &pick.backend.src_mac)?;
    outcome.ifindex = pick.backend.ifindex;
    Ok(Reason::DsrL2)
}
