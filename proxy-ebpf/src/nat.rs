//! New NAT flows: budget, source-NAT address and port, both entries, the first packet.

use proxy_common::{
    Addr, BudgetValue, ConfigValue, Direction, FlowKey, FlowState, Port, Reason, ServiceValue, SnatValue,
    limits, proto,
};

use crate::flow;
use crate::frame::Frame;
use crate::packet::Packet;
use crate::pick::{self, Pick};
use crate::pipeline::either;
use crate::tables::{ClaimError, Memory, Tables};
use crate::work::{Arrival, Scratch, Work};
use crate::{hash, next_hop};

/// Begins a flow with this packet and sends it on.
// One packet of each flow: a call keeps this off the others' stack.
#[inline(never)]
pub(crate) fn begin<F: Frame, T: Tables, M: Memory>(
    work: &mut Work<'_, F, T, M>,
    service: &ServiceValue,
) -> Reason {
    either(begin_or_stop(work, service))
}

#[inline(always)]
fn begin_or_stop<F: Frame, T: Tables, M: Memory>(
    work: &mut Work<'_, F, T, M>,
    service: &ServiceValue,
) -> Result<Reason, Reason> {
    let Work { frame, tables, memory, config, scratch, .. } = work;
    let Scratch { packet, arrival, outcome, .. } = &mut **scratch;
    frame.reload();
    if packet.key.proto == proto::TCP && !packet.is_syn() {
        return Err(Reason::NoFlow);
    }
    let pick = pick::for_new_flow(*tables, config, service, &packet.key)?;
    outcome.backend = pick.slot;
    // Everything that could stop the packet is asked before anything is kept.
    next_hop::check(packet, pick.backend, arrival.ifindex)?;
    let budget = memory.budget(service.id).ok_or(Reason::HelperFailed)?;
    if !within_budget(budget, service, config, arrival.now) {
        return Err(Reason::SynBudget);
    }
    let made = enter(work, service, &pick);
    if made.is_err()
        && let Some(budget) = work.memory.budget(service.id)
    {
        flow::release(budget);
    }
    made
}

/// Makes both entries and sends the packet on.
#[inline(always)]
fn enter<F: Frame, T: Tables, M: Memory>(
    work: &mut Work<'_, F, T, M>,
    service: &ServiceValue,
    pick: &Pick<'_>,
) -> Result<Reason, Reason> {
    let Work { frame, tables, memory, config, scratch, .. } = work;
    let Scratch { packet, arrival, outcome, peer: reply_key, other } = &mut **scratch;
    let ours = claim_port(*tables, *memory, packet, pick, arrival, reply_key, config.secret)?;
    if !ours {
        // All taken. A flow that is over gives its port back here, even while no daemon sweeps.
        reclaim(*memory, config, reply_key, other, arrival.now);
        claim(*memory, packet, pick, arrival, reply_key).map_err(|_| Reason::SnatExhausted)?;
    }
    let mut steered = Err(Reason::HelperFailed);
    let claimed = memory.flow_claim(&packet.key, |flow| {
        flow.new_src = reply_key.dst;
        flow.new_dst = reply_key.src;
        flow.new_sport = reply_key.dport;
        flow.new_dport = reply_key.sport;
        flow.backend = pick.slot;
        flow.service = service.id;
        flow.generation = pick.backend.generation;
        flow.last_seen = arrival.now;
        flow.ifindex = arrival.ifindex;
        flow.dst_mac = arrival.src_mac.0;
        flow.src_mac = arrival.dst_mac.0;
        flow.state = FlowState::New as u8;
        flow.direction = Direction::Forward as u8;
        steered = flow::forward_out(*frame, packet, flow, pick.backend, arrival, outcome);
    });
    if let Err(error) = claimed {
        memory.flow_remove(reply_key);
        // Taken: another CPU has just begun the same flow; the client's next packet finds it.
        return Err(if error == ClaimError::Full { Reason::FlowTableFull } else { Reason::HelperFailed });
    }
    outcome.new_flow = true;
    steered
}

/// One flow more that waits, in this window? Windows are as long as an unconfirmed flow lives, so that at most two
/// windows' worth are alive at once, with or without the daemon.
#[inline(always)]
fn within_budget(budget: &mut BudgetValue, service: &ServiceValue, config: &ConfigValue, now: u32) -> bool {
    let window = now / config.syn_ticks.max(1);
    if budget.window != window {
        *budget = BudgetValue { window, waiting: 0 };
    }
    if budget.waiting >= service.syn_budget {
        return false;
    }
    budget.waiting += 1;
    true
}

/// Claims a source-NAT address and port by making the reply entry: whoever makes it first has the port. Ports are
/// tried from a secret place in secret steps (RFC 6056 section 3.3.4 has the reasons). False: all that were tried are
/// taken, and the key is that of the last.
#[inline(always)]
fn claim_port<T: Tables, M: Memory>(
    tables: &T,
    memory: &mut M,
    packet: &Packet,
    pick: &Pick<'_>,
    arrival: &Arrival,
    key: &mut FlowKey,
    secret: u64,
) -> Result<bool, Reason> {
    let backend = pick.backend;
    if backend.snat_count == 0 {
        return Err(Reason::SnatExhausted);
    }
    let sport = if backend.port.number() == 0 { packet.key.dport } else { backend.port };
    *key = FlowKey::new(backend.addr, Addr::default(), sport, Port::default(), packet.key.proto);
    let hash = hash::secret_hash(secret, &packet.key);
    #[expect(clippy::cast_possible_truncation, reason = "the two halves of the hash")]
    let (mut place, step) = (hash as u32, (hash >> 32) as u32 | 1);
    for _ in 0..limits::SNAT_TRIES {
        let index = u32::from(backend.snat_first) + (place >> 16) % u32::from(backend.snat_count);
        let snat = tables.snat(index).ok_or(Reason::HelperFailed)?;
        key.dst = snat.addr;
        key.dport = port(snat, place);
        match claim(memory, packet, pick, arrival, key) {
            Ok(()) => return Ok(true),
            Err(ClaimError::Taken) => place = place.wrapping_add(step),
            Err(ClaimError::Full) => return Err(Reason::FlowTableFull),
        }
    }
    Ok(false)
}

/// Makes the reply entry.
#[inline(always)]
fn claim<M: Memory>(
    memory: &mut M,
    packet: &Packet,
    pick: &Pick<'_>,
    arrival: &Arrival,
    key: &FlowKey,
) -> Result<(), ClaimError> {
    memory.flow_claim(key, |flow| {
        flow.new_src = packet.key.dst;
        flow.new_dst = packet.key.src;
        flow.new_sport = packet.key.dport;
        flow.new_dport = packet.key.sport;
        flow.backend = pick.slot;
        flow.service = pick.backend.service;
        flow.generation = pick.backend.generation;
        flow.last_seen = arrival.now;
        flow.ifindex = arrival.ifindex;
        flow.dst_mac = arrival.src_mac.0;
        flow.src_mac = arrival.dst_mac.0;
        flow.state = FlowState::New as u8;
        flow.direction = Direction::Reply as u8;
    })
}

/// The port of a try, within the address's range.
#[inline(always)]
fn port(snat: &SnatValue, place: u32) -> Port {
    let range = u32::from(snat.port_max.saturating_sub(snat.port_min)) + 1;
    #[expect(clippy::cast_possible_truncation, reason = "at most port_max")]
    let number = (u32::from(snat.port_min) + (place & 0xffff) % range) as u16;
    Port::new(number)
}

/// Takes out both entries of a flow that has been silent in both directions for longer than its state allows.
#[inline(always)]
fn reclaim<M: Memory>(
    memory: &mut M,
    config: &ConfigValue,
    reply_key: &FlowKey,
    forward_key: &mut FlowKey,
    now: u32,
) {
    let Some(reply) = memory.flow(reply_key) else { return };
    if !flow::idle_out(reply, config, reply_key.proto, now) {
        return;
    }
    *forward_key = reply.peer_key(reply_key.proto);
    if memory.flow(forward_key).is_some_and(|forward| !flow::idle_out(forward, config, reply_key.proto, now))
    {
        return;
    }
    memory.flow_remove(forward_key);
    memory.flow_remove(reply_key);
}
