//! NAT flows, each one record with two names: the tuple of the client's packets and that of the backend's.

use std::collections::HashMap;

use proxy_common::{ConfigValue, FlowState, Mac, Reason, config_flag, proto};

use super::parse::{Content, Tuple};
use super::{Arrival, Oracle, Sent, alive, emit, may_begin, next_hop, untagged_or_same};
use crate::engine::Facts;

/// A flow.
#[derive(Clone, Debug)]
pub struct Flow {
    /// Client to VIP.
    pub(super) client: Tuple,
    /// Backend to source-NAT address.
    pub(super) server: Tuple,
    pub(super) backend: u16,
    pub(super) generation: u32,
    pub(super) service: u16,
    pub(super) state: FlowState,
    /// Ticks of the last packet from the client and from the backend that counted.
    pub(super) seen: [u32; 2],
    /// Which of them have sent a FIN.
    pub(super) fin: [bool; 2],
    pub(super) answered: bool,
    pub(super) expected_ack: u32,
    /// Where answers go: interface, destination and source MAC address.
    pub(super) way: (u32, Mac, Mac),
}

/// All flows.
#[derive(Clone, Debug, Default)]
pub struct Flows {
    capacity: usize,
    next: u64,
    flows: HashMap<u64, Flow>,
    names: HashMap<Tuple, (u64, Side)>,
}

/// Who sends packets of a tuple.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Client = 0,
    Server = 1,
}

impl Flows {
    pub(super) fn new(capacity: usize) -> Self {
        Self { capacity, ..Self::default() }
    }

    /// Number of entries in the flow table.
    pub fn entries(&self) -> usize {
        self.names.len()
    }

    /// Whether the table has room for so many entries more.
    pub(super) fn room(&self, entries: usize) -> bool {
        self.names.len() + entries <= self.capacity
    }

    pub(super) fn named(&self, tuple: Tuple) -> Option<(u64, Side)> {
        self.names.get(&tuple).copied()
    }

    pub(super) fn get(&self, id: u64) -> &Flow {
        &self.flows[&id]
    }

    pub(super) fn add(&mut self, flow: Flow) {
        self.names.insert(flow.client, (self.next, Side::Client));
        self.names.insert(flow.server, (self.next, Side::Server));
        self.flows.insert(self.next, flow);
        self.next += 1;
    }

    pub(super) fn remove(&mut self, id: u64) {
        let flow = self.flows.remove(&id).expect("named");
        self.names.remove(&flow.client);
        self.names.remove(&flow.server);
    }
}

impl Flow {
    /// Whether one side has been silent for longer than the state allows.
    pub(super) fn silent(&self, side: Side, config: &ConfigValue, now: u32) -> bool {
        let limit = match self.state {
            FlowState::New => config.syn_ticks,
            FlowState::Established if self.client.proto == proto::UDP => config.udp_ticks,
            FlowState::Established => config.tcp_ticks,
            FlowState::Closing => config.closing_ticks,
            FlowState::Closed => config.closed_ticks,
        };
        now.wrapping_sub(self.seen[side as usize]) > limit
    }
}

impl Oracle {
    /// A packet of a known flow or an ICMP error about one.
    pub(super) fn known_flow(
        &mut self,
        arrival: &Arrival<'_>,
        facts: &mut Facts,
    ) -> Option<Result<Sent, Reason>> {
        let parsed = &arrival.parsed;
        let (tuple, is_error) = match parsed.content {
            Ok(Content::Tcp { tuple, .. } | Content::Udp { tuple }) => (tuple, false),
            Ok(Content::Error(Some((quoted, _)))) if quoted.src == parsed.dst => (quoted.reversed(), true),
            _ => return None,
        };
        let (id, side) = self.flows.named(tuple)?;
        if side == Side::Client
            && let Err(reason) = self.service_acl(parsed.src, facts)
        {
            return Some(Err(reason));
        }
        let flow = self.flows.get(id).clone();
        let backend = self
            .world
            .backends
            .get(&flow.backend)
            .filter(|backend| alive(backend) && backend.generation == flow.generation)
            .copied();
        if !is_error && side == Side::Client && may_begin(parsed, tuple) {
            let over =
                flow.state >= FlowState::Closing || flow.silent(Side::Client, &self.world.config, self.now);
            if over || backend.is_none() {
                self.flows.remove(id);
                return None;
            }
        }
        facts.service = flow.service;
        facts.backend = flow.backend;
        facts.reply = side == Side::Server;
        let Some(backend) = backend else { return Some(Err(Reason::BackendGone)) };
        if parsed.ttl <= 1 {
            return Some(Err(Reason::TtlExceeded));
        }
        if !is_error {
            self.hear(arrival, id, side);
        }
        let (allowed, (egress, dst, src), to) = match side {
            Side::Client => (
                next_hop(arrival, &backend),
                (backend.ifindex, backend.dst_mac, backend.src_mac),
                flow.server.reversed(),
            ),
            Side::Server => {
                let way = self.way_back(&flow);
                (untagged_or_same(arrival, way.0), way, flow.client.reversed())
            }
        };
        let reason = match side {
            _ if is_error => Reason::NatIcmp,
            Side::Client => Reason::Nat,
            Side::Server => Reason::NatReply,
        };
        Some(allowed.map(|()| Sent {
            reason,
            egress,
            frame: emit::emit(arrival.frame, parsed, dst, src, Some(to)),
        }))
    }

    fn way_back(&self, flow: &Flow) -> (u32, Mac, Mac) {
        let by_fib = self.world.config.flags & config_flag::REPLY_BY_FIB != 0;
        let found = by_fib.then(|| self.fib.get(&flow.client.src)).flatten();
        *found.unwrap_or(&flow.way)
    }

    /// What a packet changes in its flow.
    fn hear(&mut self, arrival: &Arrival<'_>, id: u64, side: Side) {
        let now = self.now;
        let flow = self.flows.flows.get_mut(&id).expect("named");
        let was_new = flow.state == FlowState::New;
        if !was_new {
            flow.seen[side as usize] = now;
        }
        let (flags, seq, ack) = match arrival.parsed.content {
            Ok(Content::Tcp { flags, seq, ack, .. }) => (flags, seq, ack),
            _ => (0, 0, 0),
        };
        let (fin, syn, reset, acks) = (flags & 1 != 0, flags & 2 != 0, flags & 4 != 0, flags & 16 != 0);
        let tcp = flow.client.proto == proto::TCP;
        if was_new && side == Side::Server && syn && acks {
            flow.answered = true;
            flow.expected_ack = seq.wrapping_add(1);
            return;
        }
        if was_new && side == Side::Server && !tcp && !flow.answered {
            flow.answered = true;
            release(&mut self.budgets, flow.service);
            return;
        }
        if reset {
            flow.state = FlowState::Closed;
            return;
        }
        if fin && !was_new && !flow.fin[side as usize] {
            flow.fin[side as usize] = true;
            flow.state = if flow.fin == [true, true] { FlowState::Closed } else { FlowState::Closing };
            flow.seen[side as usize] = now;
            return;
        }
        if side == Side::Server {
            return;
        }
        if was_new && (acks || !tcp) {
            if flow.answered && (!tcp || ack == flow.expected_ack) {
                flow.state = FlowState::Established;
                flow.seen = [now, now];
                if tcp {
                    release(&mut self.budgets, flow.service);
                }
            }
            return;
        }
        // The client's packets may come another way from now on.
        let (our_mac, client_mac) = (&arrival.frame[0..6], &arrival.frame[6..12]);
        if flow.way.0 != arrival.ingress || flow.way.1 != *client_mac {
            flow.way.0 = arrival.ingress;
            flow.way.1.copy_from_slice(client_mac);
            flow.way.2.copy_from_slice(our_mac);
        }
    }
}

/// One flow less that waits for its handshake.
pub(super) fn release(budgets: &mut HashMap<u16, (u32, u32)>, service: u16) {
    if let Some((_, waiting)) = budgets.get_mut(&service) {
        *waiting = waiting.saturating_sub(1);
    }
}
