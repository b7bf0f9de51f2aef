//! Bytes as real servers sent and took them (6.3.0 and 5.4.3), and as sofa-hessian 3.5 writes them.

use std::time::Instant;

use proptest::prelude::*;

use super::super::message::{
    Answer, Dialect, Push, PushClass, Registration, What, encode, encode_ack, fuzz_push,
};
use super::super::{hessian, protobuf};
use crate::wire::bolt::{Frame, FrameLimits, Head, Parsed};
use crate::wire::hessian::read;

macro_rules! recorded {
    ($name:literal) => {
        bytes(include_str!(concat!("../recorded/", $name, ".hex")))
    };
}

fn bytes(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

fn head(bytes: &[u8]) -> Head {
    match Head::parse(bytes, FrameLimits::default()).unwrap() {
        Parsed::Head(head) => head,
        Parsed::More(_) => panic!("not a whole head"),
    }
}

fn push(bytes: &[u8]) -> Push {
    let frame = Frame::new(head(bytes), bytes).unwrap();
    PushClass::of(frame.class()).unwrap().read(frame.content(), Instant::now()).unwrap()
}

fn registration(what: What, regist_id: &str, version: i64, timestamp: i64) -> Registration {
    Registration {
        what,
        instance: "DEFAULT_INSTANCE_ID".to_owned(),
        app: "weir".to_owned(),
        data_id: "svc.none".to_owned(),
        group: "DEFAULT_GROUP".to_owned(),
        regist_id: regist_id.to_owned(),
        end: false,
        version,
        timestamp,
        attributes: Default::default(),
    }
}

fn encoded(registration: &Registration, dialect: Dialect, id: u32) -> Vec<u8> {
    let mut out = Vec::new();
    encode(registration, dialect, id, &mut out);
    out
}

#[test]
fn registrations_in_protobuf() {
    let subscriber = What::Subscriber { scope: "global", multi: false };
    let subscribe = registration(subscriber, "r-sub-1", 1, 1_700_000_000_000);
    assert_eq!(encoded(&subscribe, Dialect::Protobuf, 2), recorded!("subscribe"));
    let texts = vec!["10.1.2.3:8080".to_owned()];
    let publish = registration(What::Publisher(texts), "r-pub-1", 1, 1_700_000_000_001);
    assert_eq!(encoded(&publish, Dialect::Protobuf, 1), recorded!("publish"));
    let end = registration(What::Publisher(Vec::new()), "r-pub-1", 3, 1_795_378_120_453);
    let end = encoded(&Registration { end: true, ..end }, Dialect::Protobuf, 3);
    let recorded = recorded!("unpublish");
    let before_the_time = recorded.len() - 7;
    assert_eq!((end.len(), &end[..before_the_time]), (recorded.len(), &recorded[..before_the_time]));
    let of_the_zone = What::Subscriber { scope: "dataCenter", multi: false };
    let named =
        Registration { app: "app".to_owned(), ..registration(of_the_zone, "r-1", 1, 1_700_000_000_000) };
    let named = Registration { data_id: "svc.a".to_owned(), ..named };
    assert_eq!(protobuf::registration(&named), recorded!("pb-subscriber"));
}

#[test]
fn registrations_in_hessian() {
    let subscriber =
        registration(What::Subscriber { scope: "zone", multi: false }, "r-1", 1, 1_700_000_000_000);
    let subscriber = Registration { app: "app".to_owned(), data_id: "svc.a".to_owned(), ..subscriber };
    let written = hessian::registration(&subscriber);
    // Ours leaves its address to the server.
    let recorded = recorded!("hessian-subscriber");
    let address = recorded.windows(9).position(|bytes| bytes == b"\x0810.0.0.1").unwrap();
    let want = [&recorded[..address], b"N", &recorded[address + 9..]].concat();
    assert_eq!(written, want);

    let texts = ["10.1.2.3:8080", "10.1.2.4:8080"].map(str::to_owned).to_vec();
    let publish = registration(What::Publisher(texts), "hp1", 1, 0);
    let publish = Registration { data_id: "svc.a".to_owned(), ..publish };
    let (written, recorded) = (encoded(&publish, Dialect::Hessian, 1), recorded!("publish-hessian"));
    let until = recorded.len() - 11;
    assert_eq!(written[80..until], recorded[80..until], "but for the length, and the time at the end");
    assert_eq!(hessian::ack(), recorded!("hessian-result"));
}

#[test]
fn answers() {
    let frame = recorded!("subscribed");
    let want = "Subscriber register success!".to_owned();
    let want = Answer { success: true, refused: false, message: want };
    let content = Frame::new(head(&frame), &frame).unwrap().content().to_vec();
    assert_eq!(Dialect::Protobuf.answer(&content), Ok(want));
    let want = Answer { success: true, refused: false, message: "ok".to_owned() };
    assert_eq!(Dialect::Hessian.answer(&recorded!("hessian-answer")), Ok(want));
    assert!(
        Dialect::Hessian.answer(&recorded!("hessian-result")).unwrap_err().contains("a Result in the place")
    );
}

#[test]
fn pushes() {
    let one = push(&recorded!("push-one"));
    assert_eq!((one.regist_ids, one.scope.as_str()), (vec!["r-sub-1".to_owned()], "global"));
    let zones = one.segments[0].zones.clone().unwrap();
    assert_eq!(zones["DEFAULT_ZONE"], ["10.1.2.3:8080"]);
    assert!(one.segments[0].version > 1 << 40 && one.segments[0].name == "DefaultDataCenter");

    let empty = push(&recorded!("push-empty"));
    assert_eq!((empty.segments[0].version, empty.segments[0].zones.clone()), (1, Ok(Default::default())));

    let want: Vec<String> = (1..=30).map(|n| format!("10.1.2.{n}:8080")).collect();
    for packed in [recorded!("push-gzip"), recorded!("push-zstd")] {
        assert_eq!(push(&packed).segments[0].zones.clone().unwrap()["DEFAULT_ZONE"], want);
    }
    let multi = push(&recorded!("push-multi"));
    assert_eq!(multi.segments[0].zones.clone().unwrap()["DEFAULT_ZONE"], ["10.0.1.5:1"]);

    let now = Instant::now();
    let pb = PushClass::Data(Dialect::Protobuf).read(&recorded!("pb-push"), now).unwrap();
    let hessian = PushClass::Data(Dialect::Hessian).read(&recorded!("hessian-push"), now).unwrap();
    assert_eq!(hessian.segments[0].zones, pb.segments[0].zones);
    assert_eq!((hessian.scope.as_str(), hessian.segments[0].version), ("zone", 1_700_000_000_123));
    assert_eq!(hessian.regist_ids, pb.regist_ids);
}

#[test]
fn acknowledgements_are_in_the_push_s_own_language() {
    let pushed = recorded!("push-one");
    let class = PushClass::of(Frame::new(head(&pushed), &pushed).unwrap().class());
    let mut ack = Vec::new();
    encode_ack(&head(&pushed), class, &mut ack);
    assert_eq!(ack, recorded!("ack"));
    assert_eq!(PushClass::of(b"com.alipay.sofa.registry.core.model.ReceivedConfigData"), None);
    assert_eq!(PushClass::of(b"com.alipay.sofa.registry.common.model.client.pb.ReceivedData"), None);
}

#[test]
fn packed_bodies_keep_what_they_promise() {
    let frame = recorded!("push-gzip");
    let content = Frame::new(head(&frame), &frame).unwrap().content().to_vec();
    let mut data: super::super::generated::ReceivedData = prost::Message::decode(&content[..]).unwrap();
    let mut read = |size: i32, encoding: &str| {
        data.origin_body_size = size;
        data.encoding = encoding.to_owned();
        let content = prost::Message::encode_to_vec(&data);
        let push = PushClass::Data(Dialect::Protobuf).read(&content, Instant::now()).unwrap();
        push.segments[0].zones.clone().map(|_| ())
    };
    assert_eq!(read(551, "gzip"), Ok(()));
    assert!(read(550, "gzip").unwrap_err().contains("larger than the 550 bytes"));
    assert!(read(0, "gzip").unwrap_err().contains("0 bytes"));
    assert!(read(551, "zstd").is_err());
    assert!(read(551, "lz4").unwrap_err().contains("lz4"));
}

#[test]
fn a_recorded_push_that_is_cut_or_changed_at_any_byte() {
    let frames =
        [recorded!("push-one"), recorded!("push-multi"), recorded!("push-gzip"), recorded!("push-zstd")];
    for frame in frames {
        let content = Frame::new(head(&frame), &frame).unwrap().content();
        for at in 0..content.len() {
            fuzz_push(&content[..at]);
            for change in [0xff, 1, 0x80] {
                let mut changed = content.to_vec();
                changed[at] ^= change;
                fuzz_push(&changed);
            }
        }
    }
    let hessian = recorded!("hessian-push");
    for at in 0..hessian.len() {
        assert!(read(&hessian[..at]).is_err());
        for change in (0..=0xff).step_by(3) {
            let mut changed = hessian.clone();
            changed[at] = change;
            fuzz_push(&changed);
        }
    }
}

proptest! {
    #[test]
    fn any_push(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        fuzz_push(&bytes);
    }
}
