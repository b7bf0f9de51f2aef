//! Direct server return: which backend, and the memory of flows whose ring slot has changed owner.

use std::collections::HashMap;

use proxy_common::{Reason, limits, proto};

use super::parse::Tuple;
use super::{Arrival, Oracle, Sent, emit, is_syn, next_hop};
use crate::engine::Facts;
use crate::world::Service;

/// A flow, its backend's slot and its age.
type Place = (Tuple, u16, u32);

/// Lines of eight places.
#[derive(Clone, Debug, Default)]
pub(super) struct Cache {
    lines: HashMap<u32, [Option<Place>; limits::CACHE_WAYS]>,
    /// Second and entries taken in it.
    spent: (u32, u32),
}

impl Oracle {
    /// A packet of a `dsr-l2` service.
    pub(super) fn direct(
        &mut self,
        arrival: &Arrival<'_>,
        service: &Service,
        tuple: Tuple,
        is_error: bool,
        facts: &mut Facts,
    ) -> Result<Sent, Reason> {
        let (current, previous) = self.owners(service, tuple)?;
        let choice = match (self.usable(service, current), self.usable(service, previous)) {
            (Some(now), Some(before)) if current != previous => {
                let syn = is_syn(&arrival.parsed);
                let udp = tuple.proto == proto::UDP && !is_error;
                let slot = self.remembered(service, tuple, syn, udp, current, previous);
                if slot == current { now } else { self.usable(service, slot).unwrap_or(before) }
            }
            (None, Some(before)) if current == 0 => {
                if is_syn(&arrival.parsed) {
                    return Err(Reason::NoBackend);
                }
                let udp = tuple.proto == proto::UDP && !is_error;
                let slot = self.remembered(service, tuple, false, udp, previous, previous);
                self.usable(service, slot).unwrap_or(before)
            }
            (Some(now), None) => now,
            (_, Some(before)) => before,
            (None, None) => return Err(Reason::NoBackend),
        };
        let (slot, backend) = choice;
        facts.backend = slot;
        facts.new_flow = is_syn(&arrival.parsed);
        next_hop(arrival, &backend)?;
        let frame = emit::emit(arrival.frame, &arrival.parsed, backend.dst_mac, backend.src_mac, None);
        Ok(Sent { reason: Reason::DsrL2, egress: backend.ifindex, frame })
    }

    fn remembered(
        &mut self,
        service: &Service,
        tuple: Tuple,
        syn: bool,
        udp: bool,
        current: u16,
        previous: u16,
    ) -> u16 {
        let config = &self.world.config;
        let hash = proxy_ebpf::hash::secret_hash(config.secret, &tuple.key());
        let line = self.cache.lines.entry(hash as u32 & (limits::CACHE_LINES - 1)).or_default();
        let age = (self.now >> 8) & 0xffff;
        if !syn && let Some(hit) = line.iter_mut().flatten().find(|place| place.0 == tuple) {
            hit.2 = age;
            return hit.1;
        }
        let changed_at = self.installed_at.wrapping_sub(service.changed_ago);
        let owner = if syn || (udp && self.now.wrapping_sub(changed_at) > config.udp_ticks) {
            current
        } else {
            previous
        };
        if !syn && !udp {
            return previous;
        }
        let second = self.now / config.hz.max(1);
        if self.cache.spent.0 != second {
            self.cache.spent = (second, 0);
        }
        if self.cache.spent.1 >= config.cache_budget {
            return previous;
        }
        self.cache.spent.1 += 1;
        let free = line.iter_mut().find(|place| match place {
            None => true,
            Some((of, _, since)) => {
                *of == tuple || (age.wrapping_sub(*since) & 0xffff) > config.cache_ticks >> 8
            }
        });
        match free {
            Some(place) => {
                *place = Some((tuple, owner, age));
                owner
            }
            None => previous,
        }
    }
}
