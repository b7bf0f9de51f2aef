//! What accepted configurations mean, what they warn of, and what cut or damaged ones can do.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests fail loudly"
)]

use std::path::Path;

use proptest::prelude::*;
use proxy_user::config::{
    AttachMode, Code, Diagnostics, Flags, Loaded, Severity, load, load_text, semantic_check,
};
use proxy_user::model::{Action, AdminState, Forward, Origin, Scope};

const HEAD: &str = "version = 1\n[interface.eth0]\n";

#[test]
fn a_file_means_what_it_says() {
    let loaded = load(Some(&example("two-interfaces.toml")), &Flags::default()).unwrap();
    assert_eq!(loaded.settings.interfaces["eth0"].mode, AttachMode::Native);
    assert_eq!(loaded.settings.interfaces["eth1"].mode, AttachMode::Auto);
    assert_eq!(loaded.settings.metrics_listen, Some("127.0.0.1:9321".parse().unwrap()));
    let desired = &loaded.desired;
    assert_eq!(desired.snat_ports, Some((1024, 32767)));
    assert_eq!(desired.timeouts.udp.as_secs(), 120);
    assert_eq!(desired.acl.lists["office"].scope, Scope::Services);
    assert_eq!(desired.acl.lists["block"].entries.len(), 2);
    let web = &desired.services["web"];
    assert_eq!((web.forward, web.origin, web.syn_budget), (Forward::Nat, Origin::File, 4096));
    let weights: Vec<_> = web.backends.values().map(|b| (b.weight, b.state)).collect();
    let active = AdminState::Active;
    assert_eq!(weights, [(100, active), (50, active), (100, AdminState::Drain)]);
    assert!(semantic_check(&desired.clone().into_desired((1024, 32767), 7)).is_empty());
}

#[test]
fn accepted_but_odd_things_are_warned_of() {
    let text = "[[acl.list]]\nname = \"block\"\norder = 10\naction = \"drop\"\n\
        entries = [\"10.0.0.99/24\", \"10.0.0.0/24\", \"::ffff:192.0.2.1\"]\n\
        [[service]]\nname = \"web\"\nvip = \"tcp/198.51.100.10:80\"\nbackends = [\"10.0.0.11\"]\n\
        [[service]]\nname = \"idle\"\nvip = \"tcp/198.51.100.10:81\"\n";
    let loaded = load_text("weir.toml", &format!("{HEAD}{text}"), Path::new(""), &Flags::default()).unwrap();
    let codes: Vec<_> = loaded.warnings.iter().map(|w| (w.code, w.line.unwrap())).collect();
    assert_eq!(
        codes,
        [
            (Code::HostBits, 7),
            (Code::Duplicate, 7),
            (Code::Mapped, 7),
            (Code::BackendDenied, 11),
            (Code::NoBackends, 13)
        ]
    );
    assert!(loaded.warnings[0].message.contains("taken as 10.0.0.0/24"));
    let nets: Vec<_> = loaded.desired.acl.lists["block"].entries.keys().map(ToString::to_string).collect();
    assert_eq!(nets, ["10.0.0.0/24", "192.0.2.1/32"]);
}

#[cfg(feature = "sofa")]
#[test]
fn a_vip_that_weir_would_find_itself_is_warned_of() {
    let text = "[registry.main]\nkind = \"sofa\"\nservers = [\"10.0.0.9:9600\"]\n\
        [[service]]\nname = \"web\"\nvip = \"tcp/198.51.100.10:80\"\n\
        discover = { registry = \"main\", service = \"web\" }\n\
        publish = { registry = \"main\", service = \"web\", weight = 50 }\n\
        [[service]]\nname = \"other\"\nvip = \"tcp/198.51.100.10:81\"\n\
        discover = { registry = \"main\", service = \"other\", group = \"A\" }\n\
        publish = { registry = \"main\", service = \"other\" }\n";
    let loaded = load_text("weir.toml", &format!("{HEAD}{text}"), Path::new(""), &Flags::default()).unwrap();
    // Backends that are to be discovered are not missed, and another group is another name.
    let codes: Vec<_> = loaded.warnings.iter().map(|w| (w.code, w.line.unwrap())).collect();
    assert_eq!(codes, [(Code::OwnVip, 10)], "{:?}", loaded.warnings);
    assert!(loaded.warnings[0].message.contains("its own VIP"), "{}", loaded.warnings[0].message);
}

#[test]
fn flags_alone_are_enough() {
    let dir = tempfile::tempdir().unwrap();
    let list = dir.path().join("bad.netset");
    std::fs::write(&list, "203.0.113.0/24\n").unwrap();
    let flags = Flags { interfaces: vec!["eth0".into()], deny: vec![list], ..Flags::default() };
    let loaded = load(None, &flags).unwrap();
    let deny = &loaded.desired.acl.lists["flag-deny"];
    assert_eq!((deny.action, deny.scope, deny.origin), (Action::Drop, Scope::All, Origin::Flag));

    let vip = "tcp/[2001:db8::10]:80=[2001:db8::11]:8080,[2001:db8::12]:8080@50,2001:db8::13";
    let flags = Flags { interfaces: vec!["eth0".into()], vips: vec![vip.into()], ..Flags::default() };
    let loaded = load(None, &flags).unwrap();
    let service = &loaded.desired.services["tcp-2001.db8..10-80"];
    assert_eq!(service.origin, Origin::Flag);
    let backends: Vec<_> = service.backends.iter().map(|(a, b)| (a.to_string(), b.weight)).collect();
    let expected = [("[2001:db8::11]:8080", 100), ("[2001:db8::12]:8080", 50), ("[2001:db8::13]:80", 100)];
    assert_eq!(backends, expected.map(|(a, w)| (a.to_owned(), w)));
}

#[test]
fn flags_add_to_a_file_and_conflicts_are_told() {
    let flags = |vips: &[&str]| Flags {
        interfaces: vec!["eth0".into(), "eth1".into()],
        vips: vips.iter().map(ToString::to_string).collect(),
        ..Flags::default()
    };
    let path = example("nat.toml");
    let loaded = load(Some(&path), &flags(&["udp/198.51.100.10:53=10.0.0.11"])).unwrap();
    let origins: Vec<_> = loaded.desired.services.values().map(|s| s.origin).collect();
    assert_eq!(origins, [Origin::Flag, Origin::File]);
    assert_eq!(loaded.settings.interfaces["eth0"].origin, Origin::File);
    assert_eq!(loaded.settings.interfaces["eth1"].origin, Origin::Flag);

    let codes = |vips: &[&str]| codes(&load(Some(&path), &flags(vips)).unwrap_err());
    assert_eq!(codes(&["tcp/198.51.100.10:80=10.0.0.13:8080"]), [Code::VipOverlap]);
    assert_eq!(codes(&["tcp/198.51.100.10=10.0.0.13"]), [Code::BadValue]);
    assert_eq!(codes(&["tcp/198.51.100.9:1=10.0.0.1:0"]), [Code::BackendPortZero]);
    assert_eq!(codes(&["tcp/198.51.100.9:1=10.0.0.1,10.0.0.1"]), [Code::Duplicate]);
    let twice = "tcp/198.51.100.9:1=10.0.0.1";
    assert_eq!(codes(&[twice, twice]), [Code::DuplicateName]);
    assert_eq!(codes(&["tcp/198.51.100.9:1=198.51.100.10"]), [Code::BackendIsVip]);
}

#[test]
fn a_drop_by_default_needs_a_way_back_in() {
    let base = format!("{HEAD}[acl]\ninterface_default = \"drop\"\n");
    let with = |extra: &str| load_text("f", &format!("{base}{extra}"), Path::new(""), &Flags::default());
    assert_eq!(codes(&with("").unwrap_err()), [Code::Lockout]);
    assert!(with("management = [\"192.0.2.0/28\"]\n").is_ok());
    let risked = with("accept_risk = \"lockout\"\n").unwrap();
    assert_eq!(risked.desired.acl.interface_default, Action::Drop);
}

#[test]
fn too_much_of_anything_is_refused() {
    let mut text = HEAD.to_owned() + "[limits]\nacl_ipv4_prefixes = 16\n";
    text += "[[acl.list]]\nname = \"block\"\norder = 10\naction = \"drop\"\nentries = [\n";
    (0..17).for_each(|n| text += &format!("\"10.0.0.{n}\",\n"));
    text += "]\n";
    let refused = load_text("f", &text, Path::new(""), &Flags::default()).unwrap_err();
    assert_eq!(codes(&refused), [Code::TooMany]);
    let mut text = HEAD.to_owned();
    for n in 0..1_100 {
        text += &format!("[[service]]\nname = \"s{n}\"\nvip = \"tcp/198.51.100.1:{}\"\n", n + 1);
        text += "backends = [\"10.0.0.1\"]\n";
    }
    let refused = load_text("f", &text, Path::new(""), &Flags::default()).unwrap_err();
    assert!(refused.to_string().contains("rings"), "{refused}");
}

/// What the catalog sees after merging what the API set: the same rules, without a file.
#[test]
fn merged_state_is_held_to_the_same_rules() {
    let loaded = load(Some(&example("two-interfaces.toml")), &Flags::default()).unwrap();
    let mut desired = loaded.desired.into_desired((1024, 32767), 7);
    let mut added = desired.services["web"].clone();
    added.origin = Origin::Api;
    added.syn_budget = 0;
    desired.services.insert("Copy".into(), added);
    let mut list = desired.acl.lists["block"].clone();
    list.order = 10;
    std::sync::Arc::make_mut(&mut desired.acl).lists.insert("other".into(), list);
    let found: Vec<_> = semantic_check(&desired).into_iter().map(|p| (p.code, p.at.to_string())).collect();
    let expected = [
        (Code::OrderTie, "list `other`, order"),
        (Code::VipOverlap, "service `web`, vip"),
        (Code::BadValue, "service `Copy`"),
        (Code::OutOfRange, "service `Copy`, syn_budget"),
    ];
    assert_eq!(found, expected.map(|(code, at)| (code, at.to_owned())));
}

#[test]
fn one_bad_list_does_not_fill_the_screen() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("l"), "10.0.0.1/8\n".repeat(5_000)).unwrap();
    let text = "[[acl.list]]\nname = \"l\"\norder = 9\naction = \"drop\"\nfiles = [\"l\"]\n";
    let loaded = load_text("f", &format!("{HEAD}{text}"), dir.path(), &Flags::default()).unwrap();
    assert_eq!(loaded.warnings.len(), 22);
    assert!(loaded.warnings.iter().any(|w| w.message.starts_with("4990 more")));
}

#[test]
fn a_cut_configuration_is_refused_unless_cut_between_lines() {
    for name in ["nat.toml", "two-interfaces.toml", "dsr-l2.toml"] {
        let text = std::fs::read_to_string(example(name)).unwrap();
        let whole = load_text(name, &text, Path::new(""), &Flags::default()).unwrap();
        for cut in (0..text.len()).filter(|at| text.is_char_boundary(*at)) {
            let part = &text[..cut];
            match load_text(name, part, Path::new(""), &Flags::default()) {
                Ok(loaded) => {
                    assert!(part.ends_with('\n'), "{name} cut at {cut}");
                    assert!(subset(&loaded, &whole), "{name} cut at {cut}");
                }
                Err(refused) => assert!(refused.errors().count() > 0),
            }
        }
    }
}

#[test]
fn a_cut_list_file_is_refused_or_warned_of_unless_cut_between_lines() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("l");
    let text = "# c\n203.0.113.0/24\r\n198.51.100.77 # x\n2001:db8:bad::/48\n";
    let flags = Flags { interfaces: vec!["eth0".into()], deny: vec![file.clone()], ..Flags::default() };
    for cut in 0..text.len() {
        std::fs::write(&file, &text[..cut]).unwrap();
        match load(None, &flags) {
            Ok(loaded) if text[..cut].ends_with('\n') => assert!(loaded.warnings.is_empty()),
            Ok(loaded) => assert!(loaded.warnings.iter().any(|w| w.code == Code::Truncated), "{cut}"),
            Err(refused) => assert!(codes(&refused).contains(&Code::Truncated), "{cut}: {refused}"),
        }
    }
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), &bytes).unwrap();
        prop_assert!(load(Some(file.path()), &Flags::default()).is_err());
        let deny = vec![file.path().to_owned()];
        let _ = load(None, &Flags { interfaces: vec!["eth0".into()], deny, ..Flags::default() });
    }

    #[test]
    fn no_damage_panics(at in any::<prop::sample::Index>(), length in 0_usize..20, with in "\\PC{0,6}|\n|\"|\\[") {
        let mut text = std::fs::read_to_string(example("two-interfaces.toml")).unwrap();
        let from = text.floor_char_boundary(at.index(text.len()));
        let to = text.floor_char_boundary((from + length).min(text.len()));
        text.replace_range(from..to, &with);
        let _ = load_text("f", &text, Path::new(""), &Flags::default());
    }

    #[test]
    fn no_flag_panics(vip in "\\PC{0,40}", iface in "\\PC{0,20}") {
        let flags = Flags { interfaces: vec![iface], vips: vec![vip], ..Flags::default() };
        let _ = load(None, &flags);
    }
}

/// Whether every service and list of the part is one of the whole, on the same VIP or with the same action.
fn subset(part: &Loaded, whole: &Loaded) -> bool {
    let (part, whole) = (&part.desired, &whole.desired);
    let services = part.services.iter().all(|(n, s)| whole.services.get(n).is_some_and(|w| w.vip == s.vip));
    let lists = part.acl.lists.iter();
    services && lists.into_iter().all(|(n, l)| whole.acl.lists.get(n).is_some_and(|w| w.action == l.action))
}

fn codes(refused: &Diagnostics) -> Vec<Code> {
    refused.all().iter().filter(|d| d.severity == Severity::Error).map(|d| d.code).collect()
}

fn example(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples").join(name)
}
