//! Which endpoint a request goes to.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Endpoint;
use crate::l7::snapshot::{Balance, Outlier, Rules};
use crate::l7::worker::{Key, Slab};
use crate::model::BackendAddr;
use crate::plan::maglev::Maglev;

/// Chooses among the endpoints of one service.
#[derive(Debug)]
pub(in crate::l7) struct Chooser {
    members: Vec<Key>,
    balance: Balance,
    ring: Option<Ring>,
    slow_start: Duration,
    panic_percent: u8,
    random: u64,
}

/// What is drawn by: what is hashed, and who was tried already.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::l7) struct Draw {
    /// Of the key.
    pub(in crate::l7) hash: u64,
    /// Only if there is no other.
    pub(in crate::l7) avoid: Option<Key>,
    /// The worker's time.
    pub(in crate::l7) now: u64,
}

#[derive(Debug)]
struct Ring {
    /// The key of each of the ring's members.
    members: Vec<Key>,
    owners: Vec<u16>,
}

impl Chooser {
    /// Of these endpoints.
    pub(in crate::l7) fn new(
        rules: &Rules,
        members: Vec<Key>,
        endpoints: &Slab<Endpoint>,
        seed: u64,
    ) -> Self {
        let ring = match rules.balance {
            Balance::Maglev(_) => Ring::build(&members, endpoints),
            Balance::LeastRequest | Balance::RoundRobin => None,
        };
        Self {
            members,
            balance: rules.balance.clone(),
            ring,
            slow_start: rules.slow_start,
            panic_percent: rules.panic_percent,
            random: seed | 1,
        }
    }

    pub(in crate::l7) fn members(&self) -> &[Key] {
        &self.members
    }

    pub(in crate::l7) fn balance(&self) -> &Balance {
        &self.balance
    }

    /// The endpoint for a request; `None`: there is none that may be used.
    pub(in crate::l7) fn choose(&mut self, endpoints: &mut Slab<Endpoint>, draw: &Draw) -> Option<Key> {
        if let [only] = self.members.as_slice() {
            let endpoint = endpoints.get(*only)?;
            return endpoint.in_service().then_some(*only);
        }
        let panic = self.panics(endpoints, draw.now);
        let healthy = |endpoints: &Slab<Endpoint>, key: Key| {
            endpoints
                .get(key)
                .is_some_and(|endpoint| endpoint.in_service() && (panic || !endpoint.is_ejected(draw.now)))
        };
        let reached = |endpoints: &Slab<Endpoint>, key: Key| {
            healthy(endpoints, key) && !endpoints.get(key).is_some_and(|e| e.is_unreached(draw.now))
        };
        self.choose_of(endpoints, draw, &reached)
            .or_else(|| self.choose_of(endpoints, draw, &healthy))
            .or_else(|| draw.avoid.filter(|key| healthy(endpoints, *key)))
    }

    fn choose_of(
        &mut self,
        endpoints: &mut Slab<Endpoint>,
        draw: &Draw,
        usable: &impl Fn(&Slab<Endpoint>, Key) -> bool,
    ) -> Option<Key> {
        match self.balance {
            Balance::LeastRequest => self.less_loaded(endpoints, draw, usable),
            Balance::RoundRobin => self.in_turn(endpoints, draw, usable),
            Balance::Maglev(_) => self.by_hash(endpoints, draw, usable),
        }
    }

    /// Whether so few are healthy that health does not count.
    fn panics(&self, endpoints: &Slab<Endpoint>, now: u64) -> bool {
        if self.panic_percent == 0 {
            return false;
        }
        let (mut all, mut healthy) = (0_usize, 0_usize);
        for endpoint in self.members.iter().filter_map(|key| endpoints.get(*key)) {
            if endpoint.in_service() {
                all += 1;
                healthy += usize::from(!endpoint.is_ejected(now));
            }
        }
        healthy * 100 < all * usize::from(self.panic_percent)
    }

    fn less_loaded(
        &mut self,
        endpoints: &Slab<Endpoint>,
        draw: &Draw,
        usable: &impl Fn(&Slab<Endpoint>, Key) -> bool,
    ) -> Option<Key> {
        let fits = |key: Key| draw.avoid != Some(key) && usable(endpoints, key);
        let (first, second) = (self.draw()?, self.draw()?);
        let pair = match (fits(first), fits(second)) {
            (true, true) => (first, second),
            (true, false) => return Some(first),
            (false, true) => return Some(second),
            // Rare: most are in service.
            (false, false) => {
                let mut good = self.members.iter().copied().filter(|key| fits(*key)).collect::<Vec<_>>();
                let turn = usize::try_from(self.next_random()).unwrap_or(0).checked_rem(good.len())?;
                good.rotate_left(turn);
                let first = good.first().copied()?;
                (first, good.get(1).copied().unwrap_or(first))
            }
        };
        let load = |key: Key| {
            let endpoint = endpoints.get(key)?;
            let weight = endpoint.effective_weight(self.slow_start, draw.now);
            Some((u64::from(endpoint.active) + 1).saturating_mul(1 << 32) / weight.max(1))
        };
        Some(if load(pair.1) < load(pair.0) { pair.1 } else { pair.0 })
    }

    /// Smoothly: whoever has most credit, which its weight adds to each time.
    fn in_turn(
        &self,
        endpoints: &mut Slab<Endpoint>,
        draw: &Draw,
        usable: &impl Fn(&Slab<Endpoint>, Key) -> bool,
    ) -> Option<Key> {
        let mut total: i64 = 0;
        let mut best: Option<(i64, Key)> = None;
        for key in &self.members {
            if draw.avoid == Some(*key) || !usable(endpoints, *key) {
                continue;
            }
            let Some(endpoint) = endpoints.get_mut(*key) else { continue };
            let weight =
                i64::try_from(endpoint.effective_weight(self.slow_start, draw.now)).unwrap_or(i64::MAX);
            total += weight;
            endpoint.credit += weight;
            if best.is_none_or(|(credit, _)| endpoint.credit > credit) {
                best = Some((endpoint.credit, *key));
            }
        }
        let (_, key) = best?;
        endpoints.get_mut(key)?.credit -= total;
        Some(key)
    }

    /// The owner of the key's slot; where it may not be used, that of the next slot whose owner may.
    fn by_hash(
        &self,
        endpoints: &Slab<Endpoint>,
        draw: &Draw,
        usable: &impl Fn(&Slab<Endpoint>, Key) -> bool,
    ) -> Option<Key> {
        let ring = self.ring.as_ref()?;
        let length = ring.owners.len();
        let start = usize::try_from(draw.hash % (length.max(1) as u64)).ok()?;
        let around = ring.owners.iter().cycle().skip(start).take(length);
        around
            .filter_map(|owner| ring.members.get(usize::from(*owner)))
            .copied()
            .find(|key| draw.avoid != Some(*key) && usable(endpoints, *key))
    }

    fn draw(&mut self) -> Option<Key> {
        let random = self.next_random() >> 32;
        let place = (random * (self.members.len() as u64)) >> 32;
        self.members.get(usize::try_from(place).ok()?).copied()
    }

    /// xorshift64.
    fn next_random(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// Whether one more may be left out.
    pub(in crate::l7) fn may_eject(&self, rule: &Outlier, endpoints: &Slab<Endpoint>, now: u64) -> bool {
        let in_service = self.members.iter().filter_map(|key| endpoints.get(*key)).filter(|e| e.in_service());
        let (all, ejected) = in_service.fold((0_usize, 0_usize), |(all, ejected), endpoint| {
            (all + 1, ejected + usize::from(endpoint.is_ejected(now)))
        });
        let ceiling = (all * usize::from(rule.ceiling_percent) / 100).max(1);
        ejected < ceiling && ejected + 1 < all
    }
}

impl Ring {
    fn build(members: &[Key], endpoints: &Slab<Endpoint>) -> Option<Self> {
        let mut keys = BTreeMap::new();
        let mut weights = BTreeMap::new();
        for key in members {
            let endpoint = endpoints.get(*key)?;
            let address = BackendAddr { addr: endpoint.addr.ip(), port: endpoint.addr.port() };
            if endpoint.in_service() {
                weights.insert(address, endpoint.weight);
                keys.insert(address, *key);
            }
        }
        let built = Maglev::build(SEED, &weights)?;
        let members = built.members.iter().filter_map(|member| keys.get(member)).copied().collect();
        Some(Self { members, owners: built.owners })
    }
}

/// The same in every worker, so that a key has one endpoint.
const SEED: u64 = 0;
