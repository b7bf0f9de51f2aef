//! Pushes that are small and would be large: what is kept of them is bounded.

use std::io::Write as _;
use std::time::Instant;

use prost::Message as _;

use super::super::budget::MAX_ENTRIES;
use super::super::generated as pb;
use super::super::inbox::{Inbox, Reply};
use super::super::message::{Dialect, Push, PushClass, Segment};
use super::super::unpack::MAX_BODY;
use crate::registry::source::MAX_ENDPOINTS;
use crate::wire::hessian::{Writer, read};

fn read_as(class: PushClass, content: &[u8]) -> Result<Push, String> {
    class.read(content, Instant::now())
}

/// Why a push cannot be read, or why its only data centre cannot.
fn refused(class: PushClass, content: &[u8]) -> String {
    match read_as(class, content) {
        Err(why) => why,
        Ok(push) => push.segments[0].zones.clone().unwrap_err(),
    }
}

/// Zones that all have the same list of boxes, by reference.
fn by_reference(zones: usize, boxes: usize, text: &str) -> Vec<u8> {
    let mut writer = Writer::new();
    let class = writer.define(
        "com.alipay.sofa.registry.core.model.ReceivedData",
        &["subscriberRegistIds", "scope", "segment", "data"],
    );
    let data_box = writer.define("com.alipay.sofa.registry.core.model.DataBox", &["data"]);
    writer.object(class);
    writer.list(0);
    writer.end();
    writer.text("global");
    writer.text("dc");
    writer.map();
    writer.text("zone");
    writer.list(boxes);
    for _ in 0..boxes {
        writer.object(data_box);
        writer.text(text);
    }
    writer.end();
    let mut bytes = writer.into_bytes();
    for zone in 1..zones {
        let name = format!("z{zone}");
        bytes.push(u8::try_from(name.len()).unwrap());
        bytes.extend_from_slice(name.as_bytes());
        // The object, its empty list, the map, and then the list.
        bytes.extend_from_slice(&[b'J', 3]);
    }
    bytes.push(b'z');
    bytes
}

#[test]
fn references_make_nothing_of_nothing() {
    let class = PushClass::Data(Dialect::Hessian);
    let one = read_as(class, &by_reference(1, 3, "10.0.0.1:80")).unwrap();
    assert_eq!(one.segments[0].size(), (3, 33));
    // The same list twice is still less than the push.
    let two = read_as(class, &by_reference(2, 3, "10.0.0.1:80")).unwrap();
    assert_eq!(two.segments[0].size(), (6, 66));
    let hostile = by_reference(3_000, 1_000, &"x".repeat(25));
    assert!(hostile.len() < 64 << 10);
    assert!(refused(class, &hostile).contains("refer to each other"));
    assert!(refused(class, &by_reference(3_000, 1_000, "")).contains("more than 165536 entries"));
}

#[test]
fn empty_boxes_are_counted_before_they_are_made() {
    let boxes = |count| pb::DataBoxes { data: vec![pb::DataBox::default(); count] };
    let data = |count| std::collections::HashMap::from([("zone".to_owned(), boxes(count))]);
    let plain = |count| pb::ReceivedData { data: data(count), ..Default::default() }.encode_to_vec();
    let class = PushClass::Data(Dialect::Protobuf);
    assert_eq!(read_as(class, &plain(MAX_ENDPOINTS)).unwrap().segments[0].size().0, MAX_ENDPOINTS);
    assert!(refused(class, &plain(MAX_ENTRIES)).contains("more than 165536 entries"));

    let body = pb::ReceivedDataBody { data: data(4 << 20) }.encode_to_vec();
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    packed.write_all(&body).unwrap();
    let packed = packed.finish().unwrap();
    assert!(packed.len() < 64 << 10);
    let size = i32::try_from(body.len()).unwrap();
    let one = pb::ReceivedData {
        encoding: "gzip".to_owned(),
        body: packed.clone(),
        origin_body_size: size,
        ..Default::default()
    };
    assert!(refused(class, &one.encode_to_vec()).contains("more than 165536 entries"));
    let segment =
        pb::MultiSegmentData { encoding: "gzip".to_owned(), zip_data: packed, ..Default::default() };
    let multi = |unzip: usize| pb::MultiReceivedData {
        multi_data: [
            ("a".to_owned(), segment.clone()),
            ("b".to_owned(), pb::MultiSegmentData { unzip_data: data(unzip), ..Default::default() }),
        ]
        .into(),
        ..Default::default()
    };
    let class = PushClass::Multi(Dialect::Protobuf);
    let push = read_as(class, &multi(10).encode_to_vec()).unwrap();
    assert_eq!(push.segments.iter().filter(|segment| segment.zones.is_err()).count(), 1);
    assert!(refused(class, &multi(MAX_ENTRIES).encode_to_vec()).contains("more than 165536 entries"));

    let ids = pb::ReceivedData {
        subscriber_regist_ids: vec![String::new(); MAX_ENTRIES + 1],
        ..Default::default()
    };
    assert!(refused(PushClass::Data(Dialect::Protobuf), &ids.encode_to_vec()).contains("entries"));
    let many = (0..65).map(|n| (n.to_string(), pb::MultiSegmentData::default())).collect();
    let many = pb::MultiReceivedData { multi_data: many, ..Default::default() };
    assert!(refused(class, &many.encode_to_vec()).contains("more than 64 data centres"));
    let named = pb::ReceivedData { scope: "x".repeat(1 << 20), ..Default::default() };
    assert!(refused(PushClass::Data(Dialect::Protobuf), &named.encode_to_vec()).contains("name"));
}

#[test]
fn hessian_counts_values_and_fields() {
    let fields = [&b"O\x90I\x00\x40\x00\x00"[..], &[0; 4 << 20]].concat();
    assert!(read(&fields).unwrap_err().to_string().contains("number of fields"));
    let lists = [&b"V"[..], &b"Vz".repeat(1 << 20), b"z"].concat();
    assert!(read(&lists).unwrap_err().to_string().contains("more than 500000 values"));
    let classes = [&b"V"[..], &[&b"O\x90\xcb\xe8"[..], &[0; 1000], b"N"].concat().repeat(600), b"z"].concat();
    assert!(read(&classes).unwrap_err().to_string().contains("more than 500000 values"));
}

#[test]
fn a_mailbox_that_nobody_empties_is_bounded() {
    let inbox = Inbox::default();
    inbox.subscribe("r");
    let text = "x".repeat(1 << 20);
    for dc in 0..64 {
        let zones = [("zone".to_owned(), vec![text.clone(); 4])].into();
        let segments = vec![Segment { name: format!("dc{dc}"), version: 9, zones: Ok(zones) }];
        let scope = "global".to_owned();
        inbox.push(Push {
            regist_ids: vec!["r".to_owned()],
            scope,
            segments,
            whole: false,
            received: Instant::now(),
        });
    }
    let answer = || Reply { id: 1, status: 1, content: vec![0; 1 << 20].into() };
    let taken = (0..100).filter(|_| inbox.answer(answer())).count();
    assert_eq!(taken, 16);
    let mail = inbox.take();
    let bytes: usize = mail.pushes["r"].segments.values().map(|segment| segment.size().1).sum();
    assert!(bytes <= MAX_BODY, "{bytes}");
    assert!(inbox.answer(answer()), "there is room again");
}
