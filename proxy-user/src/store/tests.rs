//! Round trips, crashes and files that are not ours.

use jiff::Timestamp;

use super::*;
use crate::catalog::{Change, NewBackend, NewEntry, ServiceDefinition, parse_backend, parse_vip};
use crate::control::fake::base;

const FRESH: Identity = Identity { seed: 1, secret: 2 };

fn sample() -> ApiState {
    let entry = |prefix: &str, expires_at| NewEntry {
        prefix: prefix.parse().unwrap(),
        expires_at,
        reason: Some("why".into()),
    };
    let end = Timestamp::now().checked_add(jiff::SignedDuration::from_hours(1)).ok();
    let web = parse_backend("10.0.0.11:8080").unwrap();
    let dns = parse_backend("[2001:db8::2]:53").unwrap();
    let definition = ServiceDefinition {
        vip: parse_vip("udp/[2001:db8::1]:53").unwrap(),
        forward: Default::default(),
        announce: Default::default(),
        unknown_port: Default::default(),
        syn_budget: 5,
    };
    let shop = ServiceDefinition {
        vip: parse_vip("tcp/198.51.100.20:80").unwrap(),
        forward: crate::model::Forward::L7,
        ..definition
    };
    let routes = "codec = \"http1\"\n[[route]]\nmethods = [\"GET\"]\n";
    let l7 = Some(Arc::new(crate::config::read_l7_toml("shop", "x", routes).unwrap().l7));
    let backends = [(dns, NewBackend::default())].into();
    let entries = vec![entry("192.0.2.0/24", end), entry("2001:db8::/32", None)];
    let over = NewBackend { weight: Some(1), state: Some(crate::model::AdminState::Drain) };
    let mut api = ApiState::default();
    for change in [
        Change::PutList {
            list: "own".into(),
            order: Some(1),
            action: None,
            scope: None,
            entries: entries.clone(),
        },
        Change::PutList { list: "file".into(), order: None, action: None, scope: None, entries },
        Change::PutService { service: "dns".into(), definition, backends, l7: None },
        Change::PutService { service: "shop".into(), definition: shop, backends: Default::default(), l7 },
        Change::SetBackend { service: "web".into(), backend: web, new: over },
    ] {
        api = api.change(&base(), change, Timestamp::now()).unwrap().api;
    }
    api
}

fn open(path: &Path) -> Result<Store, StoreError> {
    Store::open(path, Identity { seed: 8, secret: 9 })
}

#[test]
fn what_is_committed_survives_and_what_is_only_prepared_does_not() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state.redb");
    let (empty, full) = (ApiState::default(), sample());
    let mut store = Store::open(&path, FRESH).unwrap();
    drop(store.prepare(&empty, &full).unwrap());
    assert_eq!(store.load().unwrap(), empty);
    store.prepare(&empty, &full).unwrap().commit().unwrap();
    assert!(matches!(open(&path), Err(StoreError::InUse { .. })));
    drop(store);
    let mut store = open(&path).unwrap();
    assert_eq!((store.load().unwrap(), store.identity()), (full.clone(), FRESH));
    store.prepare(&full, &empty).unwrap().commit().unwrap();
    assert_eq!(store.load().unwrap(), empty);
}

#[test]
fn a_copy_taken_at_any_moment_opens_as_before_or_after() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state.redb");
    let crashed = dir.path().join("crashed.redb");
    let (empty, full) = (ApiState::default(), sample());
    let mut store = Store::open(&path, FRESH).unwrap();
    let prepared = store.prepare(&empty, &full).unwrap();
    std::fs::copy(&path, &crashed).unwrap();
    assert_eq!(open(&crashed).unwrap().load().unwrap(), empty);
    prepared.commit().unwrap();
    std::fs::copy(&path, &crashed).unwrap();
    assert_eq!(open(&crashed).unwrap().load().unwrap(), full);
}

#[test]
fn a_file_that_is_not_ours_is_refused_and_left_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state.redb");
    let good = dir.path().join("good.redb");
    drop(Store::open(&good, FRESH).unwrap());
    let good = std::fs::read(&good).unwrap();
    let mut wrong_magic = good.clone();
    wrong_magic[0] ^= 0xff;
    for bytes in [
        Vec::new(),
        b"hello".to_vec(),
        vec![0xa5; 1 << 16],
        wrong_magic,
        good[..100].to_vec(),
        good[..4_096].to_vec(),
    ] {
        std::fs::write(&path, &bytes).unwrap();
        let error = open(&path).unwrap_err();
        assert!(matches!(error, StoreError::Unreadable { .. }), "{error}");
        assert_eq!(std::fs::read(&path).unwrap(), bytes, "left as it was");
    }
}

#[test]
fn damage_is_found_when_it_is_opened_or_harms_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state.redb");
    let (empty, full) = (ApiState::default(), sample());
    let mut store = Store::open(&path, FRESH).unwrap();
    store.prepare(&empty, &full).unwrap().commit().unwrap();
    drop(store);
    let good = std::fs::read(&path).unwrap();
    let mut refused = 0;
    // Most of the file is free space. Each place costs a few writes that wait for the disk.
    let used: Vec<usize> = (0..good.len()).filter(|at| good[*at] != 0 || *at < 512).collect();
    for at in used.into_iter().step_by(101) {
        let mut damaged = good.clone();
        damaged[at] ^= 0x41;
        std::fs::write(&path, &damaged).unwrap();
        match open(&path).and_then(|store| Ok((store.load()?, store.identity()))) {
            Ok(found) => assert_eq!(found, (full.clone(), FRESH), "byte {at}"),
            Err(StoreError::Unreadable { .. } | StoreError::Format { .. }) => {
                refused += 1;
                assert_eq!(std::fs::read(&path).unwrap(), damaged, "left as it was, byte {at}");
            }
            Err(error) => panic!("byte {at}: {error}"),
        }
    }
    assert!(refused > 5, "{refused}");
}

#[test]
fn another_format_and_a_foreign_database_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state.redb");
    let foreign = Database::create(dir.path().join("foreign.redb")).unwrap();
    drop(foreign);
    assert!(matches!(open(&dir.path().join("foreign.redb")), Err(StoreError::Unreadable { .. })));
    set_format(Store::open(&path, FRESH).unwrap(), 99);
    assert!(matches!(open(&path), Err(StoreError::Format { found: 99, .. })));
}

#[test]
fn l7_settings_of_another_version_are_kept_and_not_in_force() {
    let row = br#"{"definition":{"vip":"tcp/198.51.100.20:80","forward":"l7","announce":"none","unknown_port":"drop",
        "syn_budget":1},"backends":[],"overrides":[],"l7":{"codec":"http9"}}"#;
    let shop = rows::service("shop", row).unwrap();
    assert!(
        shop.l7_fault.as_ref().is_some_and(|why| why.contains("/codec: `http9` is not a value")),
        "{shop:?}"
    );
    assert_eq!(rows::service("shop", &rows::service_row(&shop).unwrap()).unwrap(), shop);
    let api = ApiState { services: [("shop".into(), shop)].into(), ..ApiState::default() };
    let merged = crate::catalog::merge(&base(), &api, Timestamp::now(), Default::default()).unwrap();
    assert_eq!(merged.orphaned_services, ["shop"], "it does not serve without its rules");
    let set = |change| api.change(&base(), change, Timestamp::now()).unwrap().api.services["shop"].clone();
    let l7 = Some(Arc::new(crate::config::read_l7_toml("shop", "x", "codec = \"http1\"\n").unwrap().l7));
    let mended = set(Change::SetL7 { service: "shop".into(), l7: l7.clone() });
    assert_eq!((mended.l7, mended.l7_fault), (l7.clone(), None));
    let definition = api.services["shop"].definition.unwrap();
    let put =
        |l7| Change::PutService { service: "shop".into(), definition, backends: Default::default(), l7 };
    assert!(set(put(None)).l7_fault.is_some(), "it does not become plain TCP by being put again");
    assert_eq!(set(put(l7)).l7_fault, None);
}

#[test]
fn prefixes_survive_as_keys() {
    for text in ["0.0.0.0/0", "203.0.113.7/32", "::/0", "2001:db8::1/128"] {
        let prefix = text.parse().unwrap();
        assert_eq!(rows::prefix(&rows::prefix_key(&prefix)).unwrap(), prefix);
    }
    assert!(rows::prefix(&[7; rows::PREFIX_BYTES]).is_err());
}

#[test]
fn a_first_start_that_was_cut_short_is_begun_again() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state.redb");
    // What a killed start leaves: the draft, with or without its first pages.
    for torn in [&[][..], &[0; 73_728]] {
        std::fs::write(dir.path().join("state.new"), torn).unwrap();
        let store = Store::open(&path, FRESH).unwrap();
        assert_eq!(store.identity(), FRESH);
        assert!(!dir.path().join("state.new").exists());
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        drop(store);
        std::fs::remove_file(&path).unwrap();
    }
}

fn set_format(store: Store, format: u64) {
    let write = store.database().unwrap().begin_write().unwrap();
    write.open_table(META).unwrap().insert("format", format).unwrap();
    write.commit().unwrap();
}

fn format(store: &Store) -> u64 {
    let read = store.database().unwrap().begin_read().unwrap();
    read.open_table(META).unwrap().get("format").unwrap().unwrap().value()
}

#[test]
fn an_older_format_is_read_and_raised_by_the_first_change() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state.redb");
    let (empty, full) = (ApiState::default(), sample());
    let mut store = Store::open(&path, FRESH).unwrap();
    assert_eq!(format(&store), 2, "a version that knows no L7 settings must not take it");
    store.prepare(&empty, &full).unwrap().commit().unwrap();
    set_format(store, 1);
    let mut store = open(&path).unwrap();
    assert_eq!((store.load().unwrap(), format(&store)), (full.clone(), 1));
    drop(store.prepare(&full, &empty).unwrap());
    assert_eq!(format(&store), 1, "not without the change");
    store.prepare(&full, &empty).unwrap().commit().unwrap();
    assert_eq!((store.load().unwrap(), format(&store)), (empty, 2));
}

/// A small disk; none where this process may not mount.
struct Disk(tempfile::TempDir);

impl Disk {
    fn mount() -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let flags = nix::mount::MsFlags::empty();
        nix::mount::mount(Some("weir"), dir.path(), Some("tmpfs"), flags, Some("size=8m")).ok()?;
        Some(Self(dir))
    }

    fn fill(&self) -> PathBuf {
        let path = self.0.path().join("filler");
        let mut file = std::fs::File::create(&path).unwrap();
        while std::io::Write::write_all(&mut file, &[1; 4096]).is_ok() {}
        path
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = nix::mount::umount2(self.0.path(), nix::mount::MntFlags::MNT_DETACH);
    }
}

#[test]
fn a_disk_that_was_full_is_written_to_again() {
    let Some(disk) = Disk::mount() else { return };
    let path = disk.0.path().join("state.redb");
    let (empty, full) = (ApiState::default(), sample());
    let mut large = full.clone();
    let entries = Arc::make_mut(&mut large.lists.get_mut("own").unwrap().entries);
    let entry = entries.values().next().unwrap().clone();
    entries.extend(
        (0..20_000_u32)
            .map(|n| (std::net::Ipv4Addr::from_bits(0x0a00_0000 + n).into(), entry.clone()))
            .map(|(addr, entry): (std::net::IpAddr, _)| (ipnet::IpNet::from(addr), entry)),
    );
    let mut store = Store::open(&path, FRESH).unwrap();
    store.prepare(&empty, &full).unwrap().commit().unwrap();
    let filler = disk.fill();
    for _ in 0..3 {
        let refused = store.prepare(&full, &large).and_then(Prepared::commit).unwrap_err();
        assert!(matches!(refused, StoreError::Io { .. }), "{refused}");
    }
    std::fs::remove_file(filler).unwrap();
    store.prepare(&full, &large).unwrap().commit().unwrap();
    assert_eq!(store.load().unwrap(), large);
    store.prepare(&large, &empty).unwrap().commit().unwrap();
    drop(store);
    assert_eq!(open(&path).unwrap().load().unwrap(), empty);
}

#[test]
fn after_a_fault_only_what_was_open_is_opened_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state.redb");
    let (empty, full) = (ApiState::default(), sample());
    let mut store = Store::open(&path, FRESH).unwrap();
    let fault =
        |store: &mut Store, wanted: &ApiState| store.refused = Arc::new(OnceLock::from(wanted.clone()));
    // The change whose last write failed is there all the same.
    store.prepare(&empty, &full).unwrap().commit().unwrap();
    fault(&mut store, &full);
    store.prepare(&empty, &empty).unwrap().commit().unwrap();
    assert_eq!(store.load().unwrap(), empty);
    // Neither what is in force nor that.
    fault(&mut store, &full);
    let other = store.prepare(&full, &full).unwrap_err();
    assert!(matches!(other, StoreError::Replaced { .. }), "{other}");
    assert!(matches!(store.load(), Err(StoreError::Io { .. })), "it is closed");
    store.prepare(&empty, &full).unwrap().commit().unwrap();
    // Another file.
    fault(&mut store, &full);
    std::fs::rename(&path, dir.path().join("away")).unwrap();
    assert!(matches!(store.prepare(&full, &full), Err(StoreError::Io { .. })));
    assert!(!path.exists(), "no new one is made");
    drop(Store::open(&path, Identity { seed: 5, secret: 6 }).unwrap());
    assert!(matches!(store.prepare(&empty, &full), Err(StoreError::Replaced { .. })));
}
