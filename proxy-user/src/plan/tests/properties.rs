//! What holds for every plan and after every prefix of it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use proptest::prelude::*;
use proxy_common::{BackendState, BackendValue, ServiceKey};

use super::super::{Installed, Names, Step};
use super::arbitrary::{source, world};
use super::image::{assert_filter_covers, ring, verdict};
use super::{World, graces};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn plans_converge(worlds in prop::collection::vec(world(), 1..4)) {
        let mut image = Installed::default();
        let mut before = Names::default();
        for world in &worlds {
            let (after, plan) = world.apply(&image);
            let again = world.plan(&after).unwrap();
            prop_assert_eq!(&again.steps, &Vec::<Step>::new());
            prop_assert_eq!(&again.names, &plan.names);
            prop_assert_eq!(&again.warnings, &plan.warnings);
            // What an earlier plan knew saves work and changes nothing.
            prop_assert_eq!(&world.plan_knowing(&before, &image).unwrap(), &plan);
            before = plan.names;
            prop_assert_eq!(covered_rings(&after), ring_sizes(&after));
            image = after;
        }
    }

    #[test]
    fn a_plan_that_stops_anywhere_can_be_resumed(from in world(), to in world(), stop in any::<prop::sample::Index>()) {
        let (old, _) = from.apply(&Installed::default());
        let plan = to.plan(&old).unwrap();
        let mut image = old;
        let stop = stop.index(plan.steps.len() + 1);
        plan.steps[..stop].iter().for_each(|step| image.apply(step));
        // What reading the maps would show: blocks that no ring covers are not read.
        let covered = covered_rings(&image);
        image.rings.retain(|first, _| covered.contains_key(first));
        let (image, _) = to.apply(&image);
        prop_assert_eq!(to.plan(&image).unwrap().steps, Vec::<Step>::new());
    }

    #[test]
    fn numbers_are_stable(from in world(), to in world()) {
        let (old, before) = from.apply(&Installed::default());
        let (_, after) = to.apply(&old);
        for (name, numbers) in &after.names.services {
            let Some(earlier) = before.names.services.get(name) else { continue };
            prop_assert_eq!(numbers.id, earlier.id);
            for (backend, slot) in &numbers.backends {
                prop_assert!(earlier.backends.get(backend).is_none_or(|earlier| earlier == slot));
            }
        }
        for (name, slot) in &after.names.lists {
            prop_assert!(before.names.lists.get(name).is_none_or(|earlier| earlier == slot));
        }
    }

    #[test]
    fn every_prefix_is_safe(from in world(), to in world(), sources in prop::collection::vec(source(), 25)) {
        let (old, _) = from.apply(&Installed::default());
        let (new, plan) = to.apply(&old);
        let mut image = old.clone();
        assert_prefix(&old, &image, &new, &sources);
        for step in &plan.steps {
            image.apply(step);
            assert_prefix(&old, &image, &new, &sources);
        }
    }

    #[test]
    fn slots_are_reused_after_a_grace_under_a_higher_generation(worlds in prop::collection::vec(world(), 2..6)) {
        let mut image = Installed::default();
        let mut last: BTreeMap<u16, u32> = BTreeMap::new();
        for world in &worlds {
            let plan = world.plan(&image).unwrap();
            let mut freed_since = BTreeSet::new();
            for step in &plan.steps {
                match step {
                    Step::Grace => freed_since.clear(),
                    Step::SetBackend { slot, value } if value.state == BackendState::Free as u8 => {
                        prop_assert_eq!(value.generation, last[slot]);
                        freed_since.insert(*slot);
                    }
                    Step::SetBackend { slot, value } if !image.backends.contains_key(slot) => {
                        prop_assert!(!freed_since.contains(slot));
                        prop_assert!(value.generation > last.get(slot).copied().unwrap_or(0));
                        last.insert(*slot, value.generation);
                    }
                    Step::SetBackend { slot, value } => prop_assert_eq!(value.generation, last[slot]),
                    _ => {}
                }
                image.apply(step);
            }
        }
    }
}

/// A packet at this moment of a plan fares as before it or as after it.
fn assert_prefix(old: &Installed, now: &Installed, new: &Installed, sources: &[IpAddr]) {
    for source in sources {
        let verdicts = [old, now, new].map(|image| verdict(image, *source));
        for scope in [0, 1] {
            let [old, now, new] = verdicts.map(|verdict| verdict[scope]);
            assert!(now == old || now == new, "{source}, scope {scope}: {old:?}, {now:?}, {new:?}");
        }
    }
    assert_filter_covers(now);
    for (key, value) in &now.services {
        assert!(now.destinations.contains_key(&key.addr), "a service without its destination");
        let ring = ring(now, value);
        let steered = |image: &Installed| image.services.get(key).is_some_and(|service| service.ring != 0);
        assert!(!ring.is_empty() || !steered(old) || !steered(new), "{key:?} lost its ring");
        let ownerless = ring.iter().all(|(owner, _)| *owner == 0);
        for (owner, previous) in ring {
            for slot in [owner, previous].into_iter().filter(|slot| *slot != 0) {
                let backend = now.backends.get(&slot).expect("a ring names slots in use");
                assert_eq!(backend.service, value.id);
            }
            if owner == 0 {
                assert!(ownerless, "a slot without an owner in a ring that has some");
                continue;
            }
            let state = BackendState::from_byte(now.backends[&owner].state);
            assert_eq!(state, BackendState::Active, "an owner takes new flows");
            assert_pool(now, &now.backends[&owner]);
        }
    }
    let in_use = |key: &&ServiceKey| new.services.contains_key(*key);
    for key in old.services.keys().filter(in_use) {
        assert!(now.services.contains_key(key), "a service that stays was taken away");
    }
}

/// A backend's source addresses are in the pool, and answers to them are known as ours.
fn assert_pool(now: &Installed, backend: &BackendValue) {
    for index in (backend.snat_first..).take(usize::from(backend.snat_count)) {
        let entry = now.snat.get(&index).expect("a backend names entries of the pool");
        assert!(now.destinations.contains_key(&entry.addr), "answers to the pool are not known as ours");
    }
}

/// Number of blocks by first block of what ring words cover.
fn covered_rings(image: &Installed) -> BTreeMap<u32, usize> {
    let rings = image.services.values().filter_map(super::super::covered);
    rings.map(|(first, count)| (first, count as usize)).collect()
}

fn ring_sizes(image: &Installed) -> BTreeMap<u32, usize> {
    image.rings.iter().map(|(first, blocks)| (*first, blocks.len())).collect()
}

#[test]
fn an_equal_state_needs_nothing() {
    let world = World::default();
    let (image, plan) = world.apply(&Installed::default());
    assert_eq!(graces(&plan.steps), 0);
    assert!(world.plan(&image).unwrap().steps.is_empty());
}
