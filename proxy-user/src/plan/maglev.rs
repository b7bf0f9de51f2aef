//! Maglev consistent hashing (Eisenbud et al., NSDI 2016, section 3.4) with weights: which backend owns which slot of
//! a service's ring. The same on every node of an ECMP group, since it depends on nothing but the seed and the set of
//! (address, port, weight).

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use proxy_common::limits::RING_LENGTHS;

use super::convert::map_addr;
use crate::model::BackendAddr;

/// A built ring.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Maglev {
    /// The backends in it, ascending by address and port.
    pub members: Vec<BackendAddr>,
    /// For each slot the place of its owner in `members`.
    pub owners: Vec<u16>,
    /// What it was built from, beside the members.
    seed: u64,
    weights: Vec<u16>,
}

impl Maglev {
    /// The ring of a set of backends with their weights. Weight 0 is left out; `None` if nobody is left.
    ///
    /// Backends take turns at their next free preferred slot. A backend's turn number `k` comes at time `k / weight`,
    /// so that shares are proportional to weights to within one slot, and each backend owns at least one.
    #[must_use]
    pub fn build(seed: u64, weights: &BTreeMap<BackendAddr, u16>) -> Option<Self> {
        let (members, weights): (Vec<BackendAddr>, Vec<u16>) = taking(weights).unzip();
        let length = ring_length(members.len());
        let mut groups: BTreeMap<u16, Vec<Walk>> = BTreeMap::new();
        for (number, (member, weight)) in (0_u16..).zip(members.iter().zip(&weights)) {
            groups.entry(*weight).or_default().push(Walk::new(seed, member, number, length));
        }
        let owners = fill(groups, length)?;
        Some(Self { members, owners, seed, weights })
    }

    /// A ring of so many slots that nobody owns.
    pub(super) fn ownerless(length: usize) -> Self {
        Self { members: Vec::new(), owners: vec![0; length], seed: 0, weights: Vec::new() }
    }

    /// Whether [`Self::build`] makes this ring of these.
    pub(super) fn is_of(&self, seed: u64, weights: &BTreeMap<BackendAddr, u16>) -> bool {
        let own = self.members.iter().copied().zip(self.weights.iter().copied());
        self.seed == seed && own.eq(taking(weights))
    }

    /// Hash of seed, length, set and ring: equal on two nodes that steer alike.
    #[must_use]
    pub fn digest(&self) -> u64 {
        let start = mix(self.seed ^ self.owners.len() as u64);
        let set = self
            .members
            .iter()
            .zip(&self.weights)
            .fold(start, |hash, (member, weight)| mix(member_hash(hash, member) ^ u64::from(*weight)));
        self.owners.iter().fold(set, |hash, owner| mix(hash ^ u64::from(*owner)))
    }
}

/// Length of the ring for a number of backends: the first of [`RING_LENGTHS`] that is at least 100 times as many, else
/// the last.
#[must_use]
pub fn ring_length(backends: usize) -> u32 {
    let [.., longest] = RING_LENGTHS;
    let wanted = backends.saturating_mul(100);
    RING_LENGTHS.into_iter().find(|length| *length as usize >= wanted).unwrap_or(longest)
}

/// A backend's walk over its permutation of the slots.
struct Walk {
    number: u16,
    position: u32,
    skip: u32,
}

impl Walk {
    #[expect(clippy::cast_possible_truncation, reason = "remainders of 32-bit divisors")]
    fn new(seed: u64, member: &BackendAddr, number: u16, length: u32) -> Self {
        let hash = member_hash(seed, member);
        let position = (hash % u64::from(length)) as u32;
        let skip = (mix(hash ^ SKIP) % u64::from(length - 1)) as u32 + 1;
        Self { number, position, skip }
    }

    /// Takes the next free slot of the permutation. The length is a prime, so the walk comes past every slot.
    fn claim(&mut self, taken: &mut [u64], owners: &mut [u16]) {
        let length = u32::try_from(owners.len()).unwrap_or(u32::MAX);
        for _ in 0..length {
            let position = self.position as usize;
            self.position += self.skip;
            if self.position >= length {
                self.position -= length;
            }
            let bit = 1 << (position % 64);
            if let Some(word) = taken.get_mut(position / 64).filter(|word| **word & bit == 0) {
                *word |= bit;
                if let Some(owner) = owners.get_mut(position) {
                    *owner = self.number;
                }
                return;
            }
        }
    }
}

/// Lets backends take turns until the ring is full. Backends of equal weight take theirs together.
fn fill(mut groups: BTreeMap<u16, Vec<Walk>>, length: u32) -> Option<Vec<u16>> {
    let mut owners = vec![0; length as usize];
    // A bit for each slot: the whole of the longest ring's stays in the first cache.
    let mut taken = vec![0; owners.len().div_ceil(64)];
    let mut left = length;
    let mut turns: BinaryHeap<Reverse<(u64, Reverse<u16>, u64)>> =
        groups.keys().map(|weight| Reverse((0, Reverse(*weight), 0))).collect();
    while let Some(Reverse((_, Reverse(weight), turn))) = turns.pop() {
        for walk in groups.get_mut(&weight).into_iter().flatten() {
            walk.claim(&mut taken, &mut owners);
            left -= 1;
            if left == 0 {
                return Some(owners);
            }
        }
        turns.push(Reverse((((turn + 1) << 32) / u64::from(weight), Reverse(weight), turn + 1)));
    }
    None
}

/// Those that own slots.
fn taking(weights: &BTreeMap<BackendAddr, u16>) -> impl Iterator<Item = (BackendAddr, u16)> {
    weights.iter().filter(|(_, weight)| **weight > 0).map(|(member, weight)| (*member, *weight))
}

fn member_hash(seed: u64, member: &BackendAddr) -> u64 {
    let (high, low) = map_addr(member.addr).words();
    [high, low, u64::from(member.port)].into_iter().fold(mix(seed), |hash, word| mix(hash ^ word))
}

/// A bijective mix of 64 bits: three rounds of xor-shift and odd multiplication, each spreading the upper bits that the
/// multiplication has filled back to the lower ones. Part of the ring's definition: changing it moves every flow.
const fn mix(word: u64) -> u64 {
    let word = (word ^ (word >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let word = (word ^ (word >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ (word >> 32)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 29)
}

/// Tells the hash of the skip from that of the offset.
const SKIP: u64 = 0x5bd1_e995_0000_0001;

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    fn set(count: u32) -> BTreeMap<BackendAddr, u16> {
        (0..count)
            .map(|n| (BackendAddr { addr: IpAddr::V4((0x0a00_0000 + n).into()), port: 80 }, 1))
            .collect()
    }

    fn shares(ring: &Maglev) -> Vec<u32> {
        let mut shares = vec![0; ring.members.len()];
        ring.owners.iter().for_each(|owner| shares[usize::from(*owner)] += 1);
        shares
    }

    #[test]
    fn length_is_the_first_prime_that_is_long_enough() {
        assert_eq!(
            [1, 20, 21, 655, 656, 16_000].map(ring_length),
            [2_039, 2_039, 4_093, 65_537, 65_537, 65_537]
        );
    }

    #[test]
    fn nobody_with_weight_is_no_ring() {
        let mut members = set(2);
        members.values_mut().for_each(|weight| *weight = 0);
        assert_eq!(Maglev::build(1, &members), None);
        assert_eq!(Maglev::build(1, &BTreeMap::new()), None);
    }

    #[test]
    fn shares_are_proportional_to_weights() {
        for modulus in [1, 7, 1000] {
            let mut members = set(100);
            for (number, weight) in (0..).zip(members.values_mut()) {
                *weight = number * 37 % modulus + 1;
            }
            let total: u32 = members.values().map(|weight| u32::from(*weight)).sum();
            let ring = Maglev::build(7, &members).unwrap();
            let length = f64::from(u32::try_from(ring.owners.len()).unwrap());
            for (share, weight) in shares(&ring).into_iter().zip(members.values()) {
                let fair = length * f64::from(*weight) / f64::from(total);
                assert!((f64::from(share) - fair).abs() <= 2.0, "{share} slots, {fair} would be fair");
                assert!(share > 0);
            }
        }
    }

    #[test]
    fn removing_one_backend_moves_few_slots_of_others() {
        let members = set(60);
        let before = Maglev::build(3, &members).unwrap();
        for victim in [0, 17, 59] {
            let gone = before.members[victim];
            let mut fewer = members.clone();
            fewer.remove(&gone);
            let after = Maglev::build(3, &fewer).unwrap();
            assert_eq!(before.owners.len(), after.owners.len());
            let moved = before.owners.iter().zip(&after.owners).filter(|(old, new)| {
                let old = before.members[usize::from(**old)];
                old != gone && old != after.members[usize::from(**new)]
            });
            let moved = moved.count() as f64 / before.owners.len() as f64;
            assert!(moved < 0.03, "{moved} of the ring moved needlessly");
        }
    }

    #[test]
    fn seed_address_port_and_weight_all_matter() {
        let members = set(3);
        let base = Maglev::build(1, &members).unwrap();
        assert_ne!(base.owners, Maglev::build(2, &members).unwrap().owners);
        let mut heavier = members.clone();
        heavier.values_mut().for_each(|weight| *weight = 2);
        let heavier = Maglev::build(1, &heavier).unwrap();
        assert_eq!(base.owners, heavier.owners);
        assert_ne!(base.digest(), heavier.digest());
        let ports = members.keys().map(|member| (BackendAddr { port: 81, ..*member }, 1)).collect();
        assert_ne!(base.owners, Maglev::build(1, &ports).unwrap().owners);
    }

    /// Nodes of one ECMP group may run different versions: these values must never change.
    #[test]
    fn golden_digests() {
        let mut members = set(5);
        let plain = Maglev::build(0, &members).unwrap();
        members.insert(BackendAddr { addr: "2001:db8::7".parse().unwrap(), port: 8080 }, 250);
        let weighted = Maglev::build(0x77e1_5eed, &members).unwrap();
        assert_eq!(
            [plain.digest(), weighted.digest()],
            [17_382_123_331_324_577_118, 14_540_101_235_389_822_025]
        );
    }
}
