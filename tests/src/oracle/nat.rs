//! New NAT flows.

use proxy_common::{BackendValue, FlowState, Reason, limits, proto};

use super::flows::{Flow, Side};
use super::parse::Tuple;
use super::{Arrival, Oracle, Sent, emit, is_syn, next_hop};
use crate::engine::Facts;
use crate::world::Service;

impl Oracle {
    /// Begins a flow with this packet.
    pub(super) fn begin_nat(
        &mut self,
        arrival: &Arrival<'_>,
        service: &Service,
        tuple: Tuple,
        facts: &mut Facts,
    ) -> Result<Sent, Reason> {
        if tuple.proto == proto::TCP && !is_syn(&arrival.parsed) {
            return Err(Reason::NoFlow);
        }
        let (current, previous) = self.owners(service, tuple)?;
        let (slot, backend) = self
            .usable(service, current)
            .or_else(|| self.usable(service, previous))
            .ok_or(Reason::NoBackend)?;
        next_hop(arrival, &backend)?;
        self.spend(service)?;
        let server = match self.claim(tuple, &backend) {
            Ok(server) => server,
            Err(reason) => {
                super::flows::release(&mut self.budgets, service.id);
                return Err(reason);
            }
        };
        facts.backend = slot;
        facts.new_flow = true;
        let (mut dst, mut src) = ([0; 6], [0; 6]);
        dst.copy_from_slice(&arrival.frame[6..12]);
        src.copy_from_slice(&arrival.frame[0..6]);
        self.flows.add(Flow {
            client: tuple,
            server,
            backend: slot,
            generation: backend.generation,
            service: service.id,
            state: FlowState::New,
            seen: [self.now, self.now],
            fin: [false, false],
            answered: false,
            expected_ack: 0,
            way: (arrival.ingress, dst, src),
        });
        Ok(Sent {
            reason: Reason::Nat,
            egress: backend.ifindex,
            frame: emit::emit(
                arrival.frame,
                &arrival.parsed,
                backend.dst_mac,
                backend.src_mac,
                Some(server.reversed()),
            ),
        })
    }

    fn spend(&mut self, service: &Service) -> Result<(), Reason> {
        let window = self.now / self.world.config.syn_ticks.max(1);
        let budget = self.budgets.entry(service.id).or_default();
        if budget.0 != window {
            *budget = (window, 0);
        }
        if budget.1 >= service.syn_budget {
            return Err(Reason::SynBudget);
        }
        budget.1 += 1;
        Ok(())
    }

    /// The tuple of the backend's packets: the first free source address and port of the tries.
    fn claim(&mut self, tuple: Tuple, backend: &BackendValue) -> Result<Tuple, Reason> {
        if backend.snat_count == 0 {
            return Err(Reason::SnatExhausted);
        }
        let hash = proxy_ebpf::hash::secret_hash(self.world.config.secret, &tuple.key());
        let (start, step) = (hash as u32, (hash >> 32) as u32 | 1);
        let mut last = None;
        for attempt in 0..limits::SNAT_TRIES {
            let place = start.wrapping_add(step.wrapping_mul(attempt));
            let index =
                usize::from(backend.snat_first) + (place >> 16) as usize % usize::from(backend.snat_count);
            let snat = self.world.snat[index];
            let ports = u32::from(snat.port_max) - u32::from(snat.port_min) + 1;
            let server = Tuple {
                src: unmapped(backend.addr),
                dst: unmapped(snat.addr),
                sport: if backend.port.number() == 0 { tuple.dport } else { backend.port.number() },
                dport: snat.port_min + ((place & 0xffff) % ports) as u16,
                proto: tuple.proto,
            };
            match self.flows.named(server) {
                None if self.flows.room(2) => return Ok(server),
                None => return Err(Reason::FlowTableFull),
                Some((id, _)) => last = Some((server, id)),
            }
        }
        // All taken: the last one may belong to a flow that is over.
        let (server, id) = last.ok_or(Reason::SnatExhausted)?;
        self.reclaim(id);
        if self.flows.named(server).is_none() { Ok(server) } else { Err(Reason::SnatExhausted) }
    }

    /// Ends a flow that both sides have been silent on for too long.
    fn reclaim(&mut self, id: u64) {
        let flow = self.flows.get(id);
        let silent = |side| flow.silent(side, &self.world.config, self.now);
        if silent(Side::Client) && silent(Side::Server) {
            self.flows.remove(id);
        }
    }
}

fn unmapped(addr: proxy_common::Addr) -> std::net::IpAddr {
    std::net::Ipv6Addr::from(addr.octets()).to_canonical()
}
