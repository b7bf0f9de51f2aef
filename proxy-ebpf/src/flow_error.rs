//! ICMP errors about known NAT flows, in both directions.

use proxy_common::{AclClass, Direction, Reason};

use crate::flow::{backend, way_back};
use crate::frame::Frame;
use crate::pipeline::either;
use crate::tables::{Memory, Tables};
use crate::work::{Scratch, Work};
use crate::{acl, next_hop, parse, rewrite};

/// Translates an error about a known flow. `None`: no such flow; where the quoted packet can be read, the packet goes on
/// as one of the flow that it is about, for the stateless modes.
// Rare: a call keeps this off other packets' stack.
#[inline(never)]
pub(crate) fn handle<F: Frame, T: Tables, M: Memory>(
    work: &mut Work<'_, F, T, M>,
    class: AclClass,
) -> Option<Reason> {
    handle_or_not(work, class).map(either)
}

#[inline(always)]
fn handle_or_not<F: Frame, T: Tables, M: Memory>(
    work: &mut Work<'_, F, T, M>,
    class: AclClass,
) -> Option<Result<Reason, Reason>> {
    let Work { frame, tables, memory, config, switches, scratch } = work;
    let Scratch { packet, arrival, outcome, other: key, .. } = &mut **scratch;
    frame.reload();
    let inner_l4 = parse::error::follow(*frame, packet, key).ok()?;
    let Some(flow) = memory.flow(key) else {
        packet.key = *key;
        return None;
    };
    let forward = flow.direction == Direction::Forward as u8;
    // Answers of our own flows are not subject to the ACL.
    if forward && let Err(denied) = acl::for_service(class, *switches, outcome) {
        return Some(Err(denied));
    }
    outcome.service = flow.service;
    outcome.backend = flow.backend;
    outcome.reply = !forward;
    let Some(backend) = backend(*tables, flow) else { return Some(Err(Reason::BackendGone)) };
    if packet.ttl <= 1 {
        return Some(Err(Reason::TtlExceeded));
    }
    let steered = if forward {
        next_hop::check(packet, backend, arrival.ifindex)
            .and_then(|()| rewrite::nat_error(*frame, packet, key, inner_l4, flow))
            .and_then(|()| rewrite::macs(*frame, &backend.dst_mac, &backend.src_mac))
            .map(|()| backend.ifindex)
    } else {
        rewrite::nat_error(*frame, packet, key, inner_l4, flow)
            .and_then(|()| way_back(*frame, *tables, config, packet, flow, arrival.ifindex))
    };
    Some(steered.map(|ifindex| {
        outcome.ifindex = ifindex;
        Reason::NatIcmp
    }))
}
