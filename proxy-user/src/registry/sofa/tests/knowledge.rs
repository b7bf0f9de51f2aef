//! What pushes make of what is known.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Instant;

use super::super::book::{ABSENT, Book, NOTHING, News, SETTLED};
use super::super::inbox::{Inbox, Pushed};
use super::super::message::{Push, Segment};
use super::super::query::Asked;
use super::super::settings::{Raw, Settings};
use crate::registry::source::{Query, Set};

fn settings() -> Settings {
    toml::from_str::<Raw>("servers = [\"10.0.0.1\"]").unwrap().check("/".as_ref()).unwrap()
}

fn book(options: &[(&str, &str)]) -> Book {
    let options = options.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    Book::new(Asked::of(&Query { service: "svc".to_owned(), options }, &settings()), Default::default())
}

fn segment(name: &str, version: i64, texts: &[&str]) -> Segment {
    let zones = BTreeMap::from([("ZONE".to_owned(), texts.iter().map(ToString::to_string).collect())]);
    Segment { name: name.to_owned(), version, zones: Ok(zones) }
}

fn pushed(scope: &str, segments: Vec<Segment>) -> Pushed {
    let segments: HashMap<_, _> = segments.into_iter().map(|s| (s.name.clone(), Arc::new(s))).collect();
    Pushed { scope: scope.to_owned(), received: Instant::now(), whole: true, segments }
}

/// The set's addresses, `?` and why for unknown, nothing for nothing new.
fn read(book: &mut Book, segments: Vec<Segment>) -> String {
    said(book.read(&pushed("global", segments)))
}

fn said(news: Option<News>) -> String {
    let list = |set: Set| {
        let list: Vec<_> = set.endpoints.iter().map(|e| e.addr.addr.to_string()).collect();
        list.join(" ")
    };
    match news {
        None => "nothing".to_owned(),
        Some(News::Unknown(why)) => format!("? {why}"),
        Some(News::Set(set)) => format!("[{}]", list(set)),
        Some(News::Part(set)) => format!("+{}", list(set)),
    }
}

#[test]
fn only_higher_versions_count() {
    let mut book = book(&[]);
    assert_eq!(read(&mut book, vec![segment("dc", 5, &["10.0.0.5:1"])]), "[10.0.0.5]");
    assert_eq!(read(&mut book, vec![segment("dc", 4, &["10.0.0.4:1"])]), "nothing");
    assert_eq!(read(&mut book, vec![segment("dc", 5, &["10.0.0.6:1"])]), "nothing");
    assert_eq!(read(&mut book, vec![segment("dc", 6, &["10.0.0.6:1"])]), "[10.0.0.6]");
    // Asked again, whatever comes counts, once.
    book.ask_anew();
    assert_eq!(read(&mut book, vec![segment("dc", 6, &["10.0.0.6:1"])]), "[10.0.0.6]");
    assert_eq!(read(&mut book, vec![segment("dc", 6, &["10.0.0.6:1"])]), "nothing");
}

#[test]
fn empty_is_unknown_at_first_and_without_a_version() {
    let mut book = book(&[]);
    assert!(
        read(&mut book, vec![segment("dc", 1, &[])]).starts_with("? the server has nothing under this name")
    );
    assert_eq!(read(&mut book, vec![segment("dc", 5, &[])]), "[]", "the second word is believed");
    assert_eq!(read(&mut book, vec![segment("dc", 6, &["10.0.0.6:1"])]), "[10.0.0.6]");
    assert!(read(&mut book, vec![segment("dc", 1, &[])]).starts_with("? "), "it has lost its data");
    assert_eq!(read(&mut book, vec![segment("dc", 3, &["10.0.0.3:1"])]), "[10.0.0.3]", "and begins anew");
    assert_eq!(read(&mut book, vec![segment("dc", 4, &[])]), "[]");

    let mut book = super::knowledge::book(&[]);
    assert!(read(&mut book, vec![segment("dc", 5, &[])]).starts_with("? the first answer"));
    book.ask_anew();
    assert_eq!(read(&mut book, vec![segment("dc", 5, &[])]), "[]", "asked again, the same");
}

#[test]
fn data_centres_are_kept_apart() {
    let mut book = book(&[]);
    let both = vec![segment("a", 5, &["10.0.0.1:1"]), segment("b", 9, &["10.0.0.2:1"])];
    assert_eq!(read(&mut book, both), "[10.0.0.1 10.0.0.2]");
    assert_eq!(read(&mut book, vec![segment("a", 6, &["10.0.0.3:1"])]), "[10.0.0.3 10.0.0.2]");
    // What is unknown of one is what was last known of it.
    assert_eq!(read(&mut book, vec![segment("b", 1, &[])]), "[10.0.0.3 10.0.0.2]");
    assert!(read(&mut book, vec![segment("a", 1, &[])]).starts_with('?'));

    let mut one = super::knowledge::book(&[("data_center", "b")]);
    let both = vec![segment("a", 5, &["10.0.0.1:1"]), segment("b", 9, &["10.0.0.2:1"])];
    assert_eq!(read(&mut one, both), "[10.0.0.2]");
    let mut none = super::knowledge::book(&[("data_center", "c")]);
    let both = vec![segment("a", 5, &["10.0.0.1:1"])];
    assert_eq!(read(&mut none, both), "? no data centre that was asked for; there are: a");
}

/// As version 5 pushes: data centres one by one.
fn one(book: &mut Book, name: &str, version: i64, texts: &[&str]) -> String {
    said(book.read(&Pushed { whole: false, ..pushed("global", vec![segment(name, version, texts)]) }))
}

#[test]
fn a_data_centre_that_has_not_spoken_yet_is_not_gone() {
    let mut book = book(&[]);
    let both = vec![segment("a", 5, &["10.0.0.1:1"]), segment("b", 9, &["10.0.0.2:1"])];
    assert_eq!(read(&mut book, both), "[10.0.0.1 10.0.0.2]");
    // Asked again, and answered one by one.
    book.ask_anew();
    assert_eq!(one(&mut book, "a", 7, &["10.0.0.4:1"]), "[10.0.0.4 10.0.0.2]");
    assert_eq!(one(&mut book, "b", 9, &["10.0.0.2:1"]), "[10.0.0.4 10.0.0.2]", "the same, and heard of");
    assert_eq!(one(&mut book, "b", 9, &["10.0.0.3:1"]), "nothing");
    // In a new session the same, with whatever version; and one that has lost its data keeps them.
    let asked = || Asked::of(&Query { service: "svc".to_owned(), options: BTreeMap::new() }, &settings());
    let mut next = Book::new(asked(), book.pages());
    assert_eq!(one(&mut next, "b", 1, &[]), format!("? {NOTHING}"));
    assert_eq!(one(&mut next, "a", 2, &["10.0.0.1:1"]), "[10.0.0.1 10.0.0.2]");
    // A first answer that is empty is not believed at once.
    let mut next = Book::new(asked(), next.pages());
    assert_eq!(one(&mut next, "b", 10, &["10.0.0.2:1"]), "[10.0.0.1 10.0.0.2]");
    assert_eq!(one(&mut next, "a", 8, &[]), "[10.0.0.1 10.0.0.2]");
    assert_eq!(one(&mut next, "a", 9, &[]), "[10.0.0.2]");
}

#[test]
fn a_data_centre_that_stays_silent_ends_after_its_time() {
    let mut book = book(&[]);
    let both = vec![segment("a", 5, &["10.0.0.1:1"]), segment("b", 9, &["10.0.0.2:1"])];
    read(&mut book, both);
    book.ask_anew();
    assert_eq!(
        said(book.tick(Instant::now() + 9 * ABSENT)),
        "nothing",
        "while nobody speaks it counts no time"
    );
    let begin = Instant::now();
    assert_eq!(one(&mut book, "a", 5, &["10.0.0.1:1"]), "[10.0.0.1 10.0.0.2]");
    assert_eq!(said(book.tick(begin + ABSENT / 2)), "nothing");
    assert_eq!(said(book.tick(begin + 2 * ABSENT)), "[10.0.0.1]");
    assert_eq!(said(book.tick(begin + 3 * ABSENT)), "nothing");
}

#[test]
fn the_first_of_several_pushes_is_a_part() {
    let mut book = book(&[]);
    let begin = Instant::now();
    assert_eq!(one(&mut book, "a", 5, &["10.0.0.1:1"]), "+10.0.0.1");
    assert_eq!(said(book.tick(begin)), "nothing");
    assert_eq!(one(&mut book, "b", 5, &["10.0.0.2:1"]), "+10.0.0.1 10.0.0.2");
    assert_eq!(said(book.tick(begin + 2 * SETTLED)), "[10.0.0.1 10.0.0.2]");
    assert_eq!(said(book.tick(begin + 3 * SETTLED)), "nothing");
    assert_eq!(one(&mut book, "b", 6, &["10.0.0.3:1"]), "[10.0.0.1 10.0.0.3]");
    let mut torn = super::knowledge::book(&[]);
    let broken = Segment { zones: Err("torn".to_owned()), ..segment("a", 7, &[]) };
    assert_eq!(read(&mut torn, vec![broken]), "? a push cannot be read: torn");
    assert_eq!(one(&mut torn, "b", 5, &["10.0.0.2:1"]), "? a push cannot be read: torn", "a is not known");
    assert_eq!(one(&mut torn, "a", 7, &["10.0.0.1:1"]), "[10.0.0.1 10.0.0.2]");
    let mut none = super::knowledge::book(&[]);
    assert_eq!(one(&mut none, "a", 1, &[]), format!("? {NOTHING}"));
    assert_eq!(said(none.tick(begin + 2 * SETTLED)), format!("? {NOTHING}"));
    assert_eq!(said(none.tick(begin + 3 * SETTLED)), "nothing", "once");
    let mut alone = super::knowledge::book(&[("data_center", "a")]);
    assert_eq!(one(&mut alone, "a", 5, &["10.0.0.1:1"]), "[10.0.0.1]");
}

#[test]
fn too_much_is_refused_and_not_kept() {
    let texts: Vec<String> =
        (0..70_000_u32).map(|n| format!("{}:80", std::net::Ipv4Addr::from_bits(n))).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let mut book = book(&[]);
    assert!(read(&mut book, vec![segment("a", 5, &texts)]).starts_with('['));
    assert!(read(&mut book, vec![segment("b", 5, &texts)]).starts_with("? more than 100000"));
    assert!(book.pages()["b"].data.is_none());
    // What is not known of one is not known of all, until there is room.
    assert!(read(&mut book, vec![segment("a", 6, &["10.0.0.1:1"])]).starts_with("? more than 100000"));
    assert_eq!(read(&mut book, vec![segment("b", 5, &["10.0.0.2:1"])]), "[10.0.0.1 10.0.0.2]");
}

#[test]
fn another_scope_than_asked_for_is_not_believed() {
    let mut book = book(&[("scope", "zone")]);
    let why = match book.read(&pushed("global", vec![segment("dc", 5, &["10.0.0.1:1"])])) {
        Some(News::Unknown(why)) => why,
        other => panic!("{other:?}"),
    };
    assert_eq!(why, "the server answers for scope \"global\", asked for zone");
}

#[test]
fn entries_that_are_none_are_counted_and_never_make_a_set_empty() {
    let mut book = book(&[]);
    let Some(News::Set(set)) = book.read(&pushed(
        "global",
        vec![segment(
            "dc",
            5,
            &["10.0.0.1:1?zone=z", "10.0.0.2", "x:1", "10.0.0.3:1?weight=-1", "10.0.0.1:1"],
        )],
    )) else {
        panic!("a set")
    };
    assert_eq!((set.endpoints.len(), set.rejected_count, set.rejected.len()), (1, 3, 3));
    assert_eq!(set.endpoints[0].zone.as_deref(), Some("ZONE"));
    assert_eq!(set.endpoints[0].labels["zone"].as_ref(), "z");
    let text = read(&mut book, vec![segment("dc", 6, &["10.0.0.1", "x"])]);
    assert_eq!(text, "? none of 2 entries is an endpoint; \"10.0.0.1\": a host without a port");
    let broken = Segment { zones: Err("torn".to_owned()), ..segment("dc", 7, &[]) };
    assert_eq!(read(&mut book, vec![broken]), "? a push cannot be read: torn");
}

#[test]
fn the_inbox_keeps_the_newest_of_what_is_subscribed() {
    let inbox = Inbox::default();
    inbox.subscribe("r1");
    let push = |version, ids: &[&str]| Push {
        regist_ids: ids.iter().map(ToString::to_string).collect(),
        scope: "global".to_owned(),
        segments: vec![segment("dc", version, &[])],
        whole: true,
        received: Instant::now(),
    };
    for (version, ids) in [(5, &["r1", "r2"][..]), (9, &["r1"]), (7, &["r1", "stranger"])] {
        inbox.push(push(version, ids));
    }
    let mail = inbox.take();
    assert_eq!(mail.pushes.keys().collect::<Vec<_>>(), ["r1"]);
    assert_eq!(mail.pushes["r1"].segments["dc"].version, 9);
    assert!(inbox.take().pushes.is_empty());
    inbox.push(push(10, &["r1"]));
    inbox.unsubscribe("r1");
    assert!(inbox.take().pushes.is_empty());
}
