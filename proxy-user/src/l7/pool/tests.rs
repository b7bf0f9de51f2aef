use std::collections::BTreeMap;
use std::time::Duration;

use super::{Budget, Chooser, Draw, Endpoint, Ids, Verdict};
use crate::l7::snapshot::{Balance, EndpointState, HashBy, Outlier, Rules};
use crate::l7::worker::{Key, Slab};

#[test]
fn ids_wrap_at_the_width_of_the_wire_and_old_ones_name_nothing() {
    let last = u64::from(u32::MAX);
    let mut ids = Ids::from(32, last);
    assert_eq!(ids.insert('a'), Ok(last));
    assert_eq!((ids.take(last), ids.take(last)), (Some('a'), None));
    assert_eq!(ids.insert('b'), Ok(0), "it wraps");
    assert_eq!((ids.take(last), ids.take(1 << 33), ids.take(7), ids.take(1 << 32)), (None, None, None, None));
    assert_eq!((ids.len(), ids.get_mut(0)), (1, Some(&mut 'b')));
    // One that stays under way keeps its id, and holds up nobody.
    let mut before = 0;
    for _ in 0..200_000 {
        let id = ids.insert('c').unwrap();
        assert!(id > before && ids.take(id) == Some('c'));
        before = id;
    }
    assert!(before < 400_000, "half of them are used");
    assert_eq!(ids.take(0), Some('b'));
}

#[test]
fn an_id_comes_again_only_after_half_of_the_others() {
    let mut ids = Ids::from(4, 13);
    let held: Vec<u64> = (0..3).map(|_| ids.insert('h').unwrap()).collect();
    assert_eq!(held, [13, 14, 15]);
    let mut before = Vec::new();
    for _ in 0..130 {
        let id = ids.insert('x').unwrap();
        assert_eq!(ids.take(id), Some('x'));
        before.push(id);
    }
    for window in before.windows(8) {
        let different: std::collections::BTreeSet<_> = window.iter().collect();
        assert_eq!(different.len(), 8, "{window:?}");
    }
    // All of them can be in use; then there is none until one ends.
    let rest = (0..13).map(|_| ids.insert('r').unwrap()).count();
    assert_eq!((rest, ids.len(), ids.iter().count()), (13, 16, 16));
    assert_eq!(ids.insert('n'), Err('n'));
    assert_eq!((ids.take(5), ids.insert('n')), (Some('r'), Ok(5)));
    assert_eq!(ids.into_values().count(), 16);
}

#[test]
fn ids_keep_their_values_while_more_come() {
    let mut ids = Ids::from(32, u64::from(u32::MAX) - 500);
    let all: Vec<u64> = (0..20_000_u32).map(|value| ids.insert(value).unwrap()).collect();
    assert_eq!(ids.iter().count(), 20_000);
    for (value, id) in (0..).zip(&all).step_by(2) {
        assert_eq!(ids.take(*id), Some(value));
    }
    for (value, id) in (0..).zip(&all).skip(1).step_by(2) {
        assert_eq!(ids.take_if(*id, |found| *found == value), Some(value));
    }
    assert_eq!(ids.len(), 0);
}

fn endpoints(weights: &[u16]) -> (Slab<Endpoint>, Vec<Key>) {
    let mut slab = Slab::default();
    let owner = Key::from_bits(0);
    let keys = (1_u8..).zip(weights).map(|(n, weight)| {
        let addr = ([10, 0, 0, n], 80).into();
        slab.insert(Endpoint::new(owner, addr, *weight, EndpointState::Active, 0))
    });
    let keys = keys.collect();
    (slab, keys)
}

fn shares(balance: Balance, weights: &[u16], draws: u64) -> Vec<u64> {
    let (mut slab, keys) = endpoints(weights);
    let rules = Rules { balance, ..Rules::default() };
    let mut chooser = Chooser::new(&rules, keys.clone(), &slab, 1);
    let mut counts: BTreeMap<Key, u64> = BTreeMap::new();
    for hash in 0..draws {
        let draw = Draw { hash: hash.wrapping_mul(0x9e37_79b9_7f4a_7c15), ..Draw::default() };
        let key = chooser.choose(&mut slab, &draw).unwrap();
        // Under way for ever, so that the load shows.
        slab.get_mut(key).unwrap().active += 1;
        *counts.entry(key).or_default() += 1;
    }
    keys.iter().map(|key| counts.get(key).copied().unwrap_or(0)).collect()
}

#[test]
fn shares_follow_weights() {
    assert_eq!(shares(Balance::RoundRobin, &[5, 3, 2, 0], 1000), [500, 300, 200, 0]);
    for balance in [Balance::LeastRequest, Balance::Maglev(HashBy::Source)] {
        let shares = shares(balance.clone(), &[50, 30, 20, 0], 10_000);
        for (share, wanted) in shares.iter().zip([5000_u64, 3000, 2000, 0]) {
            assert!(share.abs_diff(wanted) <= 1200, "{shares:?} with {balance:?}");
        }
    }
}

#[test]
fn who_fails_is_left_out_under_a_ceiling_and_comes_back() {
    let (mut slab, keys) = endpoints(&[1; 10]);
    let outlier = Outlier { failures: 2, ceiling_percent: 30, ..Outlier::default() };
    let rules = Rules { balance: Balance::RoundRobin, ..Rules::default() };
    let mut chooser = Chooser::new(&rules, keys.clone(), &slab, 1);
    for key in &keys {
        for _ in 0..2 {
            let over = slab.get_mut(*key).unwrap().note(Verdict::Failed, Some(&outlier));
            if over && chooser.may_eject(&outlier, &slab, 1) {
                slab.get_mut(*key).unwrap().eject(&outlier, 1);
            }
        }
    }
    let out = |now| keys.iter().filter(|key| slab.get(**key).unwrap().is_ejected(now)).count();
    assert_eq!((out(1), out(29_999_999), out(30_000_002)), (3, 3, 0));
    let draw = Draw { now: 2, ..Draw::default() };
    for _ in 0..20 {
        let key = chooser.choose(&mut slab, &draw).unwrap();
        assert!(!slab.get(key).unwrap().is_ejected(2));
    }
    let panic = Rules { panic_percent: 80, ..rules };
    let mut chooser = Chooser::new(&panic, keys, &slab, 1);
    let chosen: Vec<Key> = (0..10).map(|_| chooser.choose(&mut slab, &draw).unwrap()).collect();
    assert!(chosen.iter().any(|key| slab.get(*key).unwrap().is_ejected(2)), "too few are healthy");
}

#[test]
fn a_new_endpoint_starts_slowly() {
    let (mut slab, keys) = endpoints(&[100, 100]);
    slab.get_mut(keys[1]).unwrap().born = 1;
    let slow_start = Duration::from_secs(10);
    let rules = Rules { balance: Balance::RoundRobin, slow_start, ..Rules::default() };
    let mut chooser = Chooser::new(&rules, keys.clone(), &slab, 1);
    let mut share = |now| {
        let draw = Draw { now, ..Draw::default() };
        (0..1000).filter(|_| chooser.choose(&mut slab, &draw) == Some(keys[1])).count()
    };
    assert!((80..=100).contains(&share(2)));
    assert!((320..=345).contains(&share(5_000_001)));
    assert!((495..=505).contains(&share(20_000_000)));
}

#[test]
fn retries_are_a_part_of_requests() {
    let mut budget = Budget::default();
    while budget.spend() {}
    let mut retries = 0;
    for _ in 0..1000 {
        budget.earn(20);
        retries += u32::from(budget.spend());
    }
    assert_eq!(retries, 200);
}
