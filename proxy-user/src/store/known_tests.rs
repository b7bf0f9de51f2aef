//! What is remembered comes back, and no file keeps weir from starting.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use jiff::Timestamp;

use super::known::{Keeper, Known};
use crate::catalog::pool::{Remembered, RememberedEndpoint, RememberedSet};
use crate::model::BackendAddr;
use crate::registry::source::{Endpoint, Query};

fn place() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("known");
    (dir, path)
}

fn sets(names: &[&str]) -> Remembered {
    let endpoint = Endpoint {
        addr: "[2001:db8::1]:80".parse().unwrap(),
        weight: Some(2.5),
        enabled: false,
        zone: Some("z".into()),
        labels: [("app".into(), "web".into())].into(),
    };
    let leaving = RememberedEndpoint {
        endpoint: Endpoint {
            addr: "10.0.0.1:80".parse().unwrap(),
            weight: None,
            enabled: true,
            zone: None,
            labels: BTreeMap::new(),
        },
        leaving: Some(Timestamp::from_second(1_700_000_100).unwrap()),
    };
    let set = RememberedSet {
        received: Timestamp::from_second(1_700_000_000).unwrap(),
        version: Some("42".into()),
        endpoints: vec![RememberedEndpoint { endpoint, leaving: None }, leaving],
    };
    let query =
        |name: &str| Query { service: name.to_owned(), options: [("group".into(), "g".into())].into() };
    names.iter().map(|name| (("a".into(), Arc::new(query(name))), Arc::new(set.clone()))).collect()
}

#[test]
fn what_is_written_is_read_again_and_what_is_forgotten_is_gone() {
    let (_dir, path) = place();
    let (mut known, nothing, warning) = Known::open(&path);
    assert!(nothing.is_empty() && warning.is_none() && !path.exists());
    let mut all = sets(&["x", "y"]);
    known.write(&all).unwrap();
    let (mut known, read, warning) = Known::open(&path);
    assert_eq!((&read, warning), (&all, None));
    all.pop_first();
    known.write(&all).unwrap();
    assert_eq!(Known::open(&path).1, all);
}

#[test]
fn a_damaged_file_is_set_aside_and_another_takes_its_place() {
    for content in [&b""[..], b"not a database", &[0; 8192], b"4c4b2c5d weir known sets 2\n"] {
        let (dir, path) = place();
        std::fs::write(&path, content).unwrap();
        let (mut known, read, warning) = Known::open(&path);
        assert!(read.is_empty() && warning.unwrap().contains("cannot be read"));
        assert_eq!(std::fs::read(dir.path().join("known.damaged")).unwrap(), content);
        known.write(&sets(&["x"])).unwrap();
        assert_eq!(Known::open(&path).1.len(), 1);
    }
}

/// Whatever becomes of a part of the file, no start fails, and what is read is what was written.
#[test]
fn a_damaged_part_is_no_set_and_never_another_one() {
    let (_dir, path) = place();
    let names: Vec<String> = (0..200).map(|number| format!("service-{number}")).collect();
    let all = sets(&names.iter().map(String::as_str).collect::<Vec<_>>());
    Known::open(&path).0.write(&all).unwrap();
    let whole = std::fs::read(&path).unwrap();
    let check = |content: &[u8], what: &str| {
        std::fs::write(&path, content).unwrap();
        let (_, read, warning) = Known::open(&path);
        assert!(read.iter().all(|(key, set)| all.get(key) == Some(set)), "{what}: another set");
        assert!(warning.is_some() && read.len() < all.len() || read == all, "{what}: {}", read.len());
        read.len()
    };
    for page in 0..whole.len() / 512 {
        let mut content = whole.clone();
        content.iter_mut().skip(page * 512).take(512).for_each(|byte| *byte = 0);
        check(&content, &format!("page {page} is zero"));
    }
    for at in (0..whole.len()).step_by(97) {
        let mut content = whole.clone();
        content[at] ^= 1 << (at % 8);
        let read = check(&content, &format!("a bit at {at}"));
        assert!(read >= all.len() - 2 || at < 27, "a bit at {at} costs {} sets", all.len() - read);
    }
    for end in (0..whole.len()).step_by(101) {
        check(&whole[..end], &format!("cut at {end}"));
    }
}

#[test]
fn as_many_endpoints_as_a_query_may_have() {
    let (_dir, path) = place();
    let mut all = sets(&["x"]);
    let one = all.values().next().unwrap().endpoints[1].clone();
    let many = (0..100_000_u32).map(|number| {
        let addr = BackendAddr { addr: std::net::Ipv4Addr::from_bits(number).into(), port: 80 };
        RememberedEndpoint { endpoint: Endpoint { addr, ..one.endpoint.clone() }, leaving: None }
    });
    let large = RememberedSet { endpoints: many.collect(), ..(**all.values().next().unwrap()).clone() };
    all.values_mut().for_each(|set| *set = Arc::new(large.clone()));
    Known::open(&path).0.write(&all).unwrap();
    assert_eq!(Known::open(&path).1, all);
}

#[test]
fn a_draft_that_was_left_is_in_nobody_s_way() {
    let (_dir, path) = place();
    std::fs::write(path.with_extension("new"), b"half").unwrap();
    Known::open(&path).0.write(&sets(&["x"])).unwrap();
    assert_eq!(Known::open(&path).1.len(), 1);
    assert!(!path.with_extension("new").exists());
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&path).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
}

#[tokio::test]
async fn the_keeper_writes_when_asked_to_and_reports_a_disk_that_refuses() {
    let (_dir, path) = place();
    let keeper = Keeper::spawn(Known::open(&path).0);
    keeper.keep(sets(&["x"]));
    keeper.flush().await;
    assert_eq!((Known::open(&path).1.len(), keeper.problem()), (1, None));
    let keeper = Keeper::spawn(Known::open(&path.join("no/such/dir")).0);
    keeper.keep(sets(&["x"]));
    keeper.flush().await;
    assert!(keeper.problem().unwrap().contains("check space and permissions"));
}
