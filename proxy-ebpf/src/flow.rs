//! Packets of known NAT flows: state, refresh, rewrite, and what the flow's other entry must learn.

use proxy_common::{
    AclClass, BackendState, BackendValue, BudgetValue, ConfigValue, Direction, FlowState, FlowValue, Reason,
    config_flag, flow_flag, proto,
};

use crate::frame::Frame;
use crate::outcome::Outcome;
use crate::packet::{Packet, tcp};
use crate::tables::{Memory, Tables};
use crate::work::{Arrival, Scratch, Work};
use crate::{acl, next_hop, rewrite};

/// What the other direction's entry must learn from a packet.
#[derive(Clone, Copy, PartialEq, Eq)]
enum News {
    None,
    /// The client goes on: established, if the backend has answered.
    Confirm,
    /// The backend has answered for the first time.
    Answered,
    /// One side has closed.
    Close,
    /// One side has reset.
    Abort,
    /// The client's packets come another way now.
    Moved,
}

/// The backend that a flow remembers, if its slot still is that backend's.
#[inline(always)]
pub(crate) fn backend<'a, T: Tables>(tables: &'a T, flow: &FlowValue) -> Option<&'a BackendValue> {
    let backend = tables.backend(flow.backend)?;
    let state = BackendState::from_byte(backend.state);
    let alive = state == BackendState::Active || state == BackendState::Draining;
    (alive && backend.generation == flow.generation).then_some(backend)
}

/// Handles a packet of a known flow. `None`: there is none, or it was over and the packet begins another.
#[inline(always)]
pub(crate) fn handle<F: Frame, T: Tables, M: Memory>(
    work: &mut Work<'_, F, T, M>,
    class: AclClass,
) -> Option<Result<Reason, Reason>> {
    let Work { frame, tables, memory, config, switches, scratch } = work;
    let Scratch { packet, arrival, outcome, peer, .. } = &mut **scratch;
    let flow = memory.flow(&packet.key)?;
    let forward = flow.direction == Direction::Forward as u8;
    // Answers of our own flows are not subject to the ACL.
    if forward && let Err(denied) = acl::for_service(class, *switches, outcome) {
        return Some(Err(denied));
    }
    let backend = backend(*tables, flow);
    *peer = flow.peer_key(packet.key.proto);
    if forward && begins_anew(packet, flow, config, arrival.now, backend) {
        memory.flow_remove(peer);
        memory.flow_remove(&packet.key);
        return None;
    }
    outcome.service = flow.service;
    outcome.backend = flow.backend;
    outcome.reply = !forward;
    let Some(backend) = backend else { return Some(Err(Reason::BackendGone)) };
    if packet.ttl <= 1 {
        return Some(Err(Reason::TtlExceeded));
    }
    let (steered, news) = if forward {
        let news = forward_news(flow, packet, arrival);
        (forward_out(*frame, packet, flow, backend, arrival, outcome), news)
    } else {
        let news = reply_news(*frame, flow, packet, arrival.now);
        (reply_out(*frame, *tables, config, packet, flow, arrival, outcome), news)
    };
    if news != News::None {
        let _ = tell(work, news);
    }
    Some(steered)
}

/// A first packet on an entry that is over, or whose backend takes no new flows.
#[inline(always)]
fn begins_anew(
    packet: &Packet,
    flow: &FlowValue,
    config: &ConfigValue,
    now: u32,
    backend: Option<&BackendValue>,
) -> bool {
    let closed = FlowState::from_byte(flow.state) as u8 >= FlowState::Closing as u8;
    let over = closed || idle_out(flow, config, packet.key.proto, now);
    let begins = packet.is_syn() || packet.key.proto == proto::UDP;
    begins && (backend.is_none() || over)
}

/// Whether this entry alone has been silent for longer than its state allows.
#[inline(always)]
pub(crate) fn idle_out(flow: &FlowValue, config: &ConfigValue, protocol: u8, now: u32) -> bool {
    let limit = match FlowState::from_byte(flow.state) {
        FlowState::New => config.syn_ticks,
        FlowState::Established if protocol == proto::UDP => config.udp_ticks,
        FlowState::Established => config.tcp_ticks,
        FlowState::Closing => config.closing_ticks,
        FlowState::Closed => config.closed_ticks,
    };
    now.wrapping_sub(flow.last_seen) > limit
}

/// State of the forward entry. A flow that is not confirmed yet is never refreshed: it ends `syn_ticks` after its
/// first packet, whatever the client sends.
#[inline(always)]
fn forward_news(flow: &mut FlowValue, packet: &Packet, arrival: &Arrival) -> News {
    let is_new = flow.state == FlowState::New as u8;
    if !is_new {
        flow.last_seen = arrival.now;
    }
    if let Some(news) = closing(flow, packet) {
        return news;
    }
    if is_new && (packet.tcp_flags & tcp::ACK != 0 || packet.key.proto == proto::UDP) {
        return News::Confirm;
    }
    if flow.dst_mac != arrival.src_mac.0 || flow.ifindex != arrival.ifindex {
        flow.dst_mac = arrival.src_mac.0;
        flow.ifindex = arrival.ifindex;
        return News::Moved;
    }
    News::None
}

/// State of the reply entry.
#[inline(always)]
fn reply_news<F: Frame>(frame: &F, flow: &mut FlowValue, packet: &Packet, now: u32) -> News {
    if flow.state != FlowState::New as u8 {
        flow.last_seen = now;
        return closing(flow, packet).unwrap_or(News::None);
    }
    if packet.tcp_flags & (tcp::SYN | tcp::ACK) == tcp::SYN | tcp::ACK {
        flow.expected_ack = number(frame, packet.l4 + 4).wrapping_add(1);
        flow.flags |= flow_flag::ANSWERED;
        return News::None;
    }
    if packet.key.proto == proto::UDP && flow.flags & flow_flag::ANSWERED == 0 {
        flow.flags |= flow_flag::ANSWERED;
        return News::Answered;
    }
    closing(flow, packet).unwrap_or(News::None)
}

/// FIN and RST, in either direction.
#[inline(always)]
fn closing(flow: &mut FlowValue, packet: &Packet) -> Option<News> {
    if packet.tcp_flags & tcp::RST != 0 {
        flow.state = FlowState::Closed as u8;
        return Some(News::Abort);
    }
    if packet.tcp_flags & tcp::FIN != 0
        && flow.flags & flow_flag::FIN == 0
        && flow.state != FlowState::New as u8
    {
        flow.flags |= flow_flag::FIN;
        return Some(News::Close);
    }
    None
}

/// Tells the other entry, and this one what follows from it. False: there is no other entry. (A BPF function must have
/// a number to return.)
// A few packets of each flow: a call keeps this off the others' stack.
#[inline(never)]
fn tell<F: Frame, T, M: Memory>(work: &mut Work<'_, F, T, M>, news: News) -> bool {
    let Work { frame, memory, scratch, .. } = work;
    let Scratch { packet, arrival, outcome, peer, .. } = &**scratch;
    let service = outcome.service;
    let Some(peer) = memory.flow(peer) else { return false };
    let state = match news {
        News::Confirm => {
            let is_tcp = packet.key.proto == proto::TCP;
            let answered = peer.flags & flow_flag::ANSWERED != 0;
            if !answered || (is_tcp && number(*frame, packet.l4 + 8) != peer.expected_ack) {
                return true;
            }
            peer.state = FlowState::Established as u8;
            peer.last_seen = arrival.now;
            if is_tcp && let Some(budget) = memory.budget(service) {
                release(budget);
            }
            FlowState::Established
        }
        News::Answered => {
            if let Some(budget) = memory.budget(service) {
                release(budget);
            }
            return true;
        }
        News::Close => {
            let state = if peer.flags & flow_flag::FIN != 0 { FlowState::Closed } else { FlowState::Closing };
            peer.state = state as u8;
            state
        }
        News::Abort => {
            peer.state = FlowState::Closed as u8;
            return true;
        }
        News::Moved => {
            peer.dst_mac = arrival.src_mac.0;
            peer.src_mac = arrival.dst_mac.0;
            peer.ifindex = arrival.ifindex;
            return true;
        }
        News::None => return true,
    };
    if let Some(own) = memory.flow(&packet.key) {
        own.state = state as u8;
        own.last_seen = arrival.now;
    }
    true
}

/// One flow less that waits. A window may have begun since, so never below zero.
#[inline(always)]
pub(crate) fn release(budget: &mut BudgetValue) {
    budget.waiting = budget.waiting.saturating_sub(1);
}

/// A 32-bit number of the TCP header.
#[inline(always)]
fn number<F: Frame>(frame: &F, offset: usize) -> u32 {
    frame.window::<4>(offset).map_or(0, |bytes| u32::from_be_bytes(*bytes))
}

/// Client to backend.
#[inline(always)]
pub(crate) fn forward_out<F: Frame>(
    frame: &mut F,
    packet: &Packet,
    flow: &FlowValue,
    backend: &BackendValue,
    arrival: &Arrival,
    outcome: &mut Outcome,
) -> Result<Reason, Reason> {
    next_hop::check(packet, backend, arrival.ifindex)?;
    rewrite::nat(frame, packet, flow)?;
    rewrite::macs(frame, &backend.dst_mac, &backend.src_mac)?;
    outcome.ifindex = backend.ifindex;
    Ok(Reason::Nat)
}

/// Backend to client: the way that the client's packets came, or the FIB's where the configuration says so.
#[inline(always)]
fn reply_out<F: Frame, T: Tables>(
    frame: &mut F,
    tables: &T,
    config: &ConfigValue,
    packet: &Packet,
    flow: &FlowValue,
    arrival: &Arrival,
    outcome: &mut Outcome,
) -> Result<Reason, Reason> {
    rewrite::nat(frame, packet, flow)?;
    outcome.ifindex = way_back(frame, tables, config, packet, flow, arrival.ifindex)?;
    Ok(Reason::NatReply)
}

/// Writes the MAC addresses of a reply entry's packet, and tells its interface.
#[inline(always)]
pub(crate) fn way_back<F: Frame, T: Tables>(
    frame: &mut F,
    tables: &T,
    config: &ConfigValue,
    packet: &Packet,
    flow: &FlowValue,
    ingress: u32,
) -> Result<u32, Reason> {
    if config.flags & config_flag::REPLY_BY_FIB != 0
        && let Some(hop) = tables.fib(&flow.new_src, &flow.new_dst, packet.is_v4, ingress)
    {
        next_hop::check_tags(packet, hop.ifindex, ingress)?;
        rewrite::macs(frame, &hop.dst_mac.0, &hop.src_mac.0)?;
        return Ok(hop.ifindex);
    }
    next_hop::check_tags(packet, flow.ifindex, ingress)?;
    rewrite::macs(frame, &flow.dst_mac, &flow.src_mac)?;
    Ok(flow.ifindex)
}
