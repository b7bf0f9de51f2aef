//! Which of several ordered lists of prefixes is the first that has an address. Prefixes nest or are apart, so the answer
//! changes only where one begins or ends: these places are sorted, and a look-up is one binary search, however long the
//! lists are.

use std::cmp::Reverse;
use std::net::IpAddr;

use ipnet::IpNet;

/// Ordered lists of prefixes, made ready for look-ups. A mapped IPv4 address counts as IPv4.
#[derive(Clone, Debug, Default)]
pub struct Ranges {
    four: Changes<u32>,
    six: Changes<u128>,
}

impl Ranges {
    /// Of lists in their order.
    #[must_use]
    pub fn of_lists<'a>(lists: impl IntoIterator<Item = &'a [IpNet]>) -> Self {
        let (mut four, mut six) = (Vec::new(), Vec::new());
        for (list, nets) in (0..NONE).zip(lists) {
            for net in nets {
                match net {
                    IpNet::V4(net) => {
                        let behind = net.broadcast().to_bits().checked_add(1);
                        four.push(Prefix { first: net.network().to_bits(), behind, list });
                    }
                    IpNet::V6(net) => {
                        let behind = net.broadcast().to_bits().checked_add(1);
                        six.push(Prefix { first: net.network().to_bits(), behind, list });
                    }
                }
            }
        }
        Self { four: Changes::of(four), six: Changes::of(six) }
    }

    /// Of one list.
    #[must_use]
    pub fn of(nets: &[IpNet]) -> Self {
        Self::of_lists([nets])
    }

    /// The place of the first list that has the address.
    #[must_use]
    #[inline]
    pub fn first(&self, address: IpAddr) -> Option<usize> {
        let list = match address.to_canonical() {
            IpAddr::V4(address) => self.four.at(address.to_bits()),
            IpAddr::V6(address) => self.six.at(address.to_bits()),
        };
        if list == NONE { None } else { usize::try_from(list).ok() }
    }

    /// Whether a list has the address.
    #[must_use]
    #[inline]
    pub fn has(&self, address: IpAddr) -> bool {
        self.first(address).is_some()
    }
}

/// Addresses of a prefix, and the list that it is in.
struct Prefix<A> {
    first: A,
    /// The first address behind it; none behind the last of all.
    behind: Option<A>,
    list: u32,
}

/// From each of these addresses on, up to the next, this list is the first.
#[derive(Clone, Debug)]
struct Changes<A> {
    from: Vec<A>,
    list: Vec<u32>,
}

impl<A> Default for Changes<A> {
    fn default() -> Self {
        Self { from: Vec::new(), list: Vec::new() }
    }
}

impl<A: Copy + Ord> Changes<A> {
    fn of(mut prefixes: Vec<Prefix<A>>) -> Self {
        // Before each prefix come those that have it.
        prefixes.sort_unstable_by_key(|one| (one.first, Reverse((one.behind.is_none(), one.behind))));
        let mut changes = Self::default();
        // Prefixes that have the current place, with the first list among them and those around.
        let mut open: Vec<(Option<A>, u32)> = Vec::new();
        for prefix in prefixes {
            changes.close(&mut open, Some(prefix.first));
            let around = open.last().map_or(NONE, |(_, list)| *list);
            let list = prefix.list.min(around);
            changes.push(prefix.first, list);
            open.push((prefix.behind, list));
        }
        changes.close(&mut open, None);
        changes.from.shrink_to_fit();
        changes.list.shrink_to_fit();
        changes
    }

    /// Ends the prefixes that end up to an address; all, where there is none.
    fn close(&mut self, open: &mut Vec<(Option<A>, u32)>, up_to: Option<A>) {
        while let Some(&(behind, _)) = open.last() {
            let ends = match (behind, up_to) {
                (Some(behind), Some(up_to)) => behind <= up_to,
                (None, Some(_)) => false,
                (_, None) => true,
            };
            if !ends {
                return;
            }
            open.pop();
            if let Some(behind) = behind {
                self.push(behind, open.last().map_or(NONE, |(_, list)| *list));
            }
        }
    }

    fn push(&mut self, from: A, list: u32) {
        if self.from.last() == Some(&from) {
            self.from.pop();
            self.list.pop();
        }
        if self.list.last().copied().unwrap_or(NONE) != list {
            self.from.push(from);
            self.list.push(list);
        }
    }

    #[inline]
    fn at(&self, address: A) -> u32 {
        let before = self.from.partition_point(|from| *from <= address);
        before.checked_sub(1).and_then(|place| self.list.get(place)).copied().unwrap_or(NONE)
    }
}

/// No list.
const NONE: u32 = u32::MAX;

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};
    use std::time::{Duration, Instant};

    use ipnet::{Ipv4Net, Ipv6Net};
    use proptest::prelude::*;

    use super::*;

    /// What [`Ranges`] stands for.
    fn naive(lists: &[Vec<IpNet>], address: IpAddr) -> Option<usize> {
        let address = address.to_canonical();
        lists.iter().position(|nets| nets.iter().any(|net| net.contains(&address)))
    }

    /// Few bits differ, so that prefixes nest and touch; both ends of the space are among them.
    fn bits(width: u32) -> impl Strategy<Value = u128> {
        let all = u128::MAX >> (128 - width);
        (any::<[bool; 3]>(), 0..6_u128, 0..6_u128).prop_map(move |(high, middle, low)| {
            let high = high.into_iter().fold(0, |bits, bit| bits << 1 | u128::from(bit));
            (high << (width - 3) | middle << (width / 2) | low) & all | if middle == 5 { all >> 3 } else { 0 }
        })
    }

    fn address() -> impl Strategy<Value = IpAddr> {
        let four = |bits| Ipv4Addr::from_bits(u32::try_from(bits).unwrap());
        prop_oneof![
            bits(32).prop_map(move |bits| four(bits).into()),
            bits(32).prop_map(move |bits| four(bits).to_ipv6_mapped().into()),
            bits(128).prop_map(|bits| Ipv6Addr::from_bits(bits).into()),
        ]
    }

    fn net() -> impl Strategy<Value = IpNet> {
        let length = |width: u8| {
            let half = width / 2;
            prop_oneof![0..=4_u8, half - 3..=half + 1, width - 4..=width]
        };
        let four = (bits(32), length(32)).prop_map(|(bits, length)| {
            let address = Ipv4Addr::from_bits(u32::try_from(bits).unwrap());
            IpNet::V4(Ipv4Net::new(address, length).unwrap())
        });
        let six = (bits(128), length(128))
            .prop_map(|(bits, length)| IpNet::V6(Ipv6Net::new(Ipv6Addr::from_bits(bits), length).unwrap()));
        prop_oneof![four, six]
    }

    proptest! {
        #[test]
        fn the_first_list_is_that_of_the_naive_scan(
            lists in prop::collection::vec(prop::collection::vec(net(), 0..8), 0..8),
            addresses in prop::collection::vec(address(), 40),
        ) {
            let ranges = Ranges::of_lists(lists.iter().map(Vec::as_slice));
            let edges = lists.iter().flatten().flat_map(|net| [net.network(), net.broadcast()]);
            let around = edges.flat_map(|edge| match edge {
                IpAddr::V4(edge) => [edge.to_bits().wrapping_sub(1), edge.to_bits(), edge.to_bits().wrapping_add(1)]
                    .map(|bits| IpAddr::V4(Ipv4Addr::from_bits(bits))),
                IpAddr::V6(edge) => [edge.to_bits().wrapping_sub(1), edge.to_bits(), edge.to_bits().wrapping_add(1)]
                    .map(|bits| IpAddr::V6(Ipv6Addr::from_bits(bits))),
            });
            for address in addresses.into_iter().chain(around) {
                prop_assert_eq!(ranges.first(address), naive(&lists, address), "{} in {:?}", address, lists);
            }
        }
    }

    /// As many prefixes as a service may have, and not one look-up through all of them.
    #[test]
    fn long_lists_are_not_walked() {
        let nets: Vec<IpNet> =
            (0..16_384_u32).map(|n| Ipv4Net::new((n << 9).into(), 24).unwrap().into()).collect();
        let ranges = Ranges::of(&nets);
        let begun = Instant::now();
        let found = (0..200_000_u32).filter(|n| ranges.has(Ipv4Addr::from_bits(n << 7).into())).count();
        assert_eq!(found, 16_384 * 2);
        // A scan takes minutes.
        assert!(begun.elapsed() < Duration::from_secs(10));
    }
}
