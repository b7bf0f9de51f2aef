//! The flattened ACL against a linear scan, and its cost.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net};
use proptest::prelude::*;

use super::super::acl::flatten;
use super::super::{Installed, What};
use super::arbitrary::{policy, prefix, source};
use super::image::{naive_verdict, verdict};
use super::{PlanError, World};
use crate::model::{AclEntry, AclList, AclPolicy, Action, Origin, Scope};

proptest! {
    #[test]
    fn one_look_up_gives_first_match(policy in policy(), sources in prop::collection::vec(source(), 30)) {
        let mut world = World::default();
        world.desired.acl = policy.into();
        let (image, _) = world.apply(&Installed::default());
        for source in sources {
            prop_assert_eq!(verdict(&image, source), naive_verdict(&world.desired.acl, source), "{}", source);
        }
    }

    #[test]
    fn host_bits_do_not_matter(prefix in prefix(), low in any::<bool>()) {
        let host = IpNet::new(if low { prefix.network() } else { prefix.broadcast() }, prefix.prefix_len()).unwrap();
        prop_assert_eq!(flatten_one(host), flatten_one(prefix));
    }
}

fn flatten_one(prefix: IpNet) -> Vec<IpNet> {
    let lists = [("deny".to_owned(), list(1, Action::Drop, [prefix]))].into();
    let policy = AclPolicy { lists, ..AclPolicy::default() };
    flatten(&policy, &[("deny".to_owned(), 2)].into()).into_keys().collect()
}

fn list(order: u32, action: Action, prefixes: impl IntoIterator<Item = IpNet>) -> AclList {
    let entry = AclEntry { origin: Origin::File, expires_at: None, reason: None };
    let entries = prefixes.into_iter().map(|prefix| (prefix, entry.clone())).collect();
    AclList { order, action, scope: Scope::All, origin: Origin::File, entries }
}

#[test]
fn what_a_covering_prefix_says_already_is_left_out() {
    let nets = |nets: &[&str]| nets.iter().map(|net| net.parse().unwrap()).collect::<Vec<IpNet>>();
    let lists = [
        ("first".to_owned(), list(1, Action::Drop, nets(&["10.0.0.0/8", "10.1.0.0/16", "10.2.0.0/16"]))),
        ("later".to_owned(), list(2, Action::Pass, nets(&["10.1.1.0/24", "0.0.0.0/0", "11.0.0.0/8"]))),
    ];
    let policy =
        AclPolicy { lists: lists.into(), management: nets(&["10.2.3.0/24"]), ..AclPolicy::default() };
    let slots = [("first".to_owned(), 2), ("later".to_owned(), 3)].into();
    let kept: Vec<IpNet> = flatten(&policy, &slots).into_keys().collect();
    assert_eq!(kept, nets(&["0.0.0.0/0", "10.0.0.0/8", "10.2.3.0/24"]));
}

#[test]
fn too_many_prefixes_are_refused() {
    let mut world = World::default();
    world.limits.acl_v4 = 2;
    let hosts = |count| (0..count).map(|n| IpNet::from(IpAddr::from(Ipv4Addr::from_bits(n * 2))));
    std::sync::Arc::make_mut(&mut world.desired.acl)
        .lists
        .insert("deny".into(), list(1, Action::Drop, hosts(3)));
    let error = world.plan(&Installed::default()).unwrap_err();
    assert!(
        matches!(error, PlanError::TooMany { what: What::PrefixesV4, wanted: 3, limit: 2, .. }),
        "{error}"
    );
    std::sync::Arc::make_mut(&mut world.desired.acl)
        .lists
        .insert("deny".into(), list(1, Action::Drop, hosts(2)));
    let (image, _) = world.apply(&Installed::default());

    // Two others only fit in the other table.
    std::sync::Arc::make_mut(&mut world.desired.acl)
        .lists
        .insert("deny".into(), list(1, Action::Drop, hosts(4).skip(2)));
    let (image, _) = world.apply(&image);
    assert_eq!((image.config.acl_table, image.acl[0].len(), image.acl[1].len()), (1, 0, 2));
}

/// A million prefixes flatten in seconds in release; here a tenth within the patience of a test.
#[test]
fn large_lists_are_flattened_in_reasonable_time() {
    let nets = |step: u32, length| {
        (0..50_000).map(move |n: u32| {
            IpNet::V4(Ipv4Net::new(Ipv4Addr::from_bits(n.wrapping_mul(step)), length).unwrap().trunc())
        })
    };
    let lists: BTreeMap<String, AclList> = [
        ("hosts".to_owned(), list(1, Action::Drop, nets(0x9e37_79b9, 32))),
        ("nets".to_owned(), list(2, Action::Pass, nets(0x85eb_ca6b, 24))),
    ]
    .into();
    let policy = AclPolicy { lists, ..AclPolicy::default() };
    let slots = [("hosts".to_owned(), 2), ("nets".to_owned(), 3)].into();
    let begin = std::time::Instant::now();
    let flat = flatten(&policy, &slots);
    assert!(flat.len() > 90_000);
    assert!(begin.elapsed().as_secs() < 10, "{:?} for {} prefixes", begin.elapsed(), flat.len());
}
