use proptest::prelude::*;

use super::super::{Body, ClientNote, HeaderEdit, IdPlace, Kind as Is, Limits, NoteStyle, Side, Timeout};
use super::*;
use crate::wire::bolt::{FrameLimits, Parsed, encode, put_header, status};

const HEARTBEAT: &str = "01010000010000000101ffffffff0000000000000000";
const HEARTBEAT_REPLY: &str = "0100000001000000010100000000000000000000";
const REQUEST: &str =
    "0101000101000000070100000bb8000100140000000243000000077365727669636500000005613a312e306869";
const V2_CRC_HEARTBEAT: &str = "020201000001000000010101ffffffff0000000000000000";
const V2_CRC: &str = "2aeeebd5";

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

fn session(side: Side) -> Session {
    Session::new(side, Limits::default())
}

fn decode(bytes: &[u8]) -> Result<Decoded, Refusal> {
    Bolt.decode(&mut session(Side::Client), bytes)
}

fn head(bytes: &[u8]) -> Head {
    match decode(bytes).unwrap() {
        Decoded::Head(head) => head,
        Decoded::More(need) => panic!("{need} wanted of {bytes:?}"),
    }
}

/// A frame of these parts.
fn frame(version: Version, kind: Kind, command: u16, map: &[(&str, &str)], content: &[u8]) -> Vec<u8> {
    let mut headers = Vec::new();
    for (key, value) in map {
        put_header(key.as_bytes(), value.as_bytes(), &mut headers).unwrap();
    }
    let head = bolt::Head {
        version,
        kind,
        command,
        ver2: 1,
        id: 7,
        codec: 1,
        class_len: 0,
        header_len: 0,
        content_len: 0,
    };
    let mut out = Vec::new();
    encode(&head, b"class", &headers, content, &mut out).unwrap();
    out
}

fn call(map: &[(&str, &str)]) -> Vec<u8> {
    frame(Version::V1, Kind::Request { timeout: 3000 }, command::REQUEST, map, b"content")
}

fn pairs(bytes: &[u8]) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let text = |part: &[u8]| String::from_utf8(part.to_vec()).unwrap();
    Bolt.headers(bytes, &head(bytes), &mut |name, value| {
        found.push((text(name), text(value)));
        true
    });
    found
}

#[test]
fn detection_is_sure_after_five_bytes() {
    for text in [HEARTBEAT, REQUEST, V2_CRC_HEARTBEAT] {
        let bytes = unhex(text);
        for cut in 0..bytes.len() {
            let sure = cut >= if bytes[0] == 1 { 5 } else { 6 };
            let want = if sure { Detect::Yes } else { Detect::More };
            assert_eq!(Bolt.detect(&bytes[..cut]), want, "{text} at {cut}");
        }
    }
    for no in
        [&b"GET "[..], b"\x16\x03\x01", b"\x01\x00", b"\x02\x03", b"\x01\x01\x01", b"\x01\x01\x00\x05", b"\0"]
    {
        assert_eq!(Bolt.detect(no), Detect::No);
    }
}

#[test]
fn a_request_is_described_by_offsets() {
    let bytes = unhex(REQUEST);
    let found = head(&bytes);
    assert_eq!((found.kind, found.len, found.body), (Is::Request, 43, Body::Length(2)));
    assert_eq!(found.id, Some(IdPlace { value: 7, at: 5, width: 4 }));
    assert_eq!((found.timeout, found.total(), found.whole), (Timeout::Millis(3000), Some(45), false));
    assert_eq!(found.keys.service.of(&bytes), b"a:1.0");
    assert_eq!(Bolt.header(&bytes, &found, b"service"), Some(&b"a:1.0"[..]));
    assert_eq!(Bolt.header(&bytes, &found, b"Service"), None);
    // The head is enough; the content may still be on its way.
    for cut in 0..bytes.len() {
        match decode(&bytes[..cut]).unwrap() {
            Decoded::More(need) => assert!(cut < need && need <= 43),
            Decoded::Head(early) => assert!(early == found && cut >= 43),
        }
    }
}

#[test]
fn keys_of_a_sofarpc_request() {
    let bytes = call(&[
        ("sofa_head_target_service", "Target:1.0"),
        ("sofa_head_method_name", "say"),
        ("app", "cons"),
    ]);
    let found = head(&bytes);
    assert_eq!(found.keys.service.of(&bytes), b"Target:1.0");
    assert_eq!(found.keys.method.of(&bytes), b"say");
    let bytes = call(&[("service", "c"), ("sofa_head_target_service", "b"), ("service", "c")]);
    assert_eq!(head(&bytes).keys.service.of(&bytes), b"c");
    assert_eq!(Bolt.header(&bytes, &head(&bytes), b"service"), Some(&b"c"[..]));
    assert!(head(&call(&[])).keys.service.is_empty());
    let mut seen = Vec::new();
    let bytes = call(&[("lane", "a"), ("Lane", "x"), ("lane", "b")]);
    Bolt.values(&bytes, &head(&bytes), b"lane", &mut |value| {
        seen.push(value.to_vec());
        true
    });
    assert_eq!(seen, [b"a", b"b"]);
}

/// A Java peer would use the last and MOSN the first, so that a route for one would be gone around by the other.
#[test]
fn a_key_with_two_values_is_refused() {
    for key in ["service", "sofa_head_target_service", "sofa_head_method_name"] {
        let twice = call(&[(key, "good"), ("x", "y"), (key, "bad")]);
        let refused = decode(&twice).unwrap_err();
        assert_eq!((refused.reason, refused.skip), (LocalReason::BadRequest, twice.len() as u64));
        let mut out = Vec::new();
        assert_eq!(Bolt.reply(&refused.asked.unwrap(), &refused.reply(), &mut out), ReplyEnd::Keep);
        assert!(decode(&call(&[(key, "good"), (key, "good")])).is_ok());
    }
}

#[test]
fn kinds_timeouts_and_statuses() {
    let kind = |kind, command| head(&frame(Version::V1, kind, command, &[], b"")).kind;
    assert_eq!(kind(Kind::OneWay { timeout: 0 }, command::REQUEST), Is::OneWay);
    assert_eq!(kind(Kind::Request { timeout: 0 }, command::GOAWAY), Is::GoAway);
    assert_eq!(kind(Kind::Request { timeout: -1 }, command::HEARTBEAT), Is::Heartbeat);
    assert_eq!(kind(Kind::OneWay { timeout: -1 }, command::HEARTBEAT), Is::Heartbeat);
    assert_eq!(kind(Kind::Response { status: 0 }, command::HEARTBEAT), Is::HeartbeatReply);
    for (timeout, want) in [(0, Timeout::Unset), (-1, Timeout::Never), (5, Timeout::Millis(5))] {
        let bytes = frame(Version::V1, Kind::Request { timeout }, command::REQUEST, &[], b"");
        assert_eq!(head(&bytes).timeout, want);
    }
    for (wire, http) in [(0, 200), (4, 503), (7, 504), (0x10, 502), (2, 500), (0xffff, 500)] {
        let bytes = frame(Version::V1, Kind::Response { status: wire }, command::RESPONSE, &[], b"");
        assert_eq!((head(&bytes).kind, head(&bytes).status.http), (Is::Response, http));
        assert_eq!(Bolt.http_status(u32::from(wire)), http);
    }
}

#[test]
fn a_checksum_is_compared_and_made_anew() {
    let good = unhex(&format!("{V2_CRC_HEARTBEAT}{V2_CRC}"));
    assert_eq!(decode(&good[..27]), Ok(Decoded::More(28)));
    assert_eq!(head(&good).kind, Is::Heartbeat);
    let mut bad = good.clone();
    bad[27] ^= 1;
    assert_eq!(decode(&bad).unwrap_err().skip, 0);

    let call =
        frame(Version::V2_CRC, Kind::Request { timeout: 1 }, command::REQUEST, &[("service", "a")], b"body");
    let found = head(&call);
    assert!(found.whole && found.body == Body::Length(8) && found.variant == 4);
    let mut patched = call.clone();
    Bolt.patch_id(&mut patched, &found, u64::from(u32::MAX));
    assert_eq!(head(&patched).id.unwrap().value, u64::from(u32::MAX));
    let mut out = Vec::new();
    let edits = Edits { id: Some(u64::from(u32::MAX)), ..Edits::default() };
    assert_eq!(Bolt.forward(&call, &found, &edits, &mut out).unwrap().used, call.len());
    assert_eq!(out, patched);
    // Switch without version 2, or without the bit: no trailer.
    for version in [Version::V2 { ver1: 1, switch: 1 }, Version::V2 { ver1: 2, switch: 0 }] {
        let bytes = frame(version, Kind::Request { timeout: 1 }, command::REQUEST, &[], b"x");
        assert_eq!(head(&bytes).total(), Some(bytes.len() as u64));
        assert!(!head(&bytes).whole);
    }
}

#[test]
fn refusals_say_if_the_connection_can_go_on() {
    let unknown = frame(Version::V1, Kind::Request { timeout: 1 }, 77, &[], b"x");
    let refused = decode(&unknown).unwrap_err();
    assert_eq!((refused.skip, refused.reason), (unknown.len() as u64, LocalReason::BadRequest));
    let mut out = Vec::new();
    assert_eq!(Bolt.reply(&refused.asked.unwrap(), &refused.reply(), &mut out), ReplyEnd::Keep);
    assert_eq!(head(&out).status.wire, u32::from(status::CODEC));

    let mut broken = call(&[("service", "a")]);
    broken[27 + 3] = 99;
    assert_eq!(decode(&broken).unwrap_err().skip, broken.len() as u64);

    let limits = Limits { head: 64, whole: 100, ..Limits::default() };
    let mut small = Session::new(Side::Client, limits);
    let long = call(&[("k", "0123456789012345678901234567890123456789")]);
    let refused = Bolt.decode(&mut small, &long[..22]).unwrap_err();
    assert_eq!((refused.reason, refused.skip), (LocalReason::TooLarge, long.len() as u64));
    let huge = frame(Version::V1, Kind::OneWay { timeout: 1 }, command::REQUEST, &[], &[0; 200]);
    let refused = Bolt.decode(&mut small, &huge[..22]).unwrap_err();
    assert_eq!((refused.reason, refused.skip, refused.asked), (LocalReason::TooLarge, 0, None));
    for bytes in [&b"GET / HTTP/1.1\r\n"[..], b"\x02\x07", b"\x01\x09"] {
        assert_eq!(decode(bytes).unwrap_err().skip, 0);
        let refused = Bolt.decode(&mut session(Side::Upstream), bytes).unwrap_err();
        assert_eq!(refused.reason, LocalReason::BadResponse);
    }
}

#[test]
fn every_reason_reaches_a_client() {
    for version in [Version::V1, Version::V2 { ver1: 1, switch: 0 }, Version::V2_CRC] {
        let request = head(&frame(version, Kind::Request { timeout: 1 }, command::REQUEST, &[], b""));
        for reason in LocalReason::ALL {
            let mut out = Vec::new();
            assert_eq!(Bolt.reply(&request.asked, &Reply::error(reason, false), &mut out), ReplyEnd::Keep);
            let Ok(Parsed::Head(found)) = bolt::Head::parse(&out, FrameLimits::default()) else { panic!() };
            bolt::Frame::new(found, &out).unwrap().check_crc().unwrap();
            assert_eq!(
                (found.version, found.id, found.command, found.total_len()),
                (version, 7, 2, out.len())
            );
            assert!(found.kind != Kind::Response { status: 0 }, "{reason:?}");
        }
    }
    let mut out = Vec::new();
    let one_way = head(&frame(Version::V1, Kind::OneWay { timeout: 1 }, command::REQUEST, &[], b""));
    let reply = Reply::error(LocalReason::Timeout, false);
    assert_eq!(Bolt.reply(&one_way.asked, &reply, &mut out), ReplyEnd::Silent);
    assert_eq!(Bolt.reply(&Asked::default(), &reply, &mut out), ReplyEnd::Mute);
    assert!(out.is_empty());
}

#[test]
fn heartbeats_both_ways() {
    let mut out = Vec::new();
    Bolt.heartbeat_reply(&head(&unhex(HEARTBEAT)).asked, &mut out);
    assert_eq!(out, unhex(HEARTBEAT_REPLY));
    for version in
        [Version::V1, Version::V2 { ver1: 1, switch: 0 }, Version::V2 { ver1: 2, switch: 0 }, Version::V2_CRC]
    {
        out.clear();
        assert!(Bolt.heartbeat(variant_of(version), 9, &mut out));
        let asked = head(&out);
        assert_eq!((asked.kind, asked.variant), (Is::Heartbeat, variant_of(version)));
        out.clear();
        Bolt.heartbeat_reply(&asked.asked, &mut out);
        assert_eq!((head(&out).kind, head(&out).id.unwrap().value), (Is::HeartbeatReply, 9));
        out.clear();
        assert!(Bolt.goaway(variant_of(version), 9, &mut out));
        assert_eq!(head(&out).kind, Is::GoAway);
    }
}

#[test]
fn ids_wrap_at_the_width_of_the_wire() {
    let mut bytes = call(&[]);
    let found = head(&bytes);
    for (id, want) in [(u64::from(u32::MAX), u64::from(u32::MAX)), (1 << 32, 0), ((1 << 32) + 5, 5)] {
        Bolt.patch_id(&mut bytes, &found, id);
        assert_eq!(head(&bytes).id.unwrap().value, want);
    }
}

#[test]
fn headers_are_edited() {
    let note = |trusted| ClientNote {
        address: "::ffff:192.0.2.1".parse().unwrap(),
        style: NoteStyle::Both,
        header: b"client",
        trusted,
    };
    for version in [Version::V1, Version::V2_CRC] {
        let kind = Kind::Request { timeout: 1 };
        let map = [("service", "a"), ("x", "1"), ("y", "2"), ("client", "10.0.0.1")];
        let bytes = frame(version, kind, command::REQUEST, &map, b"body");
        for (trusted, client) in [(true, "10.0.0.1, 192.0.2.1"), (false, "192.0.2.1")] {
            let edits = Edits {
                id: Some(99),
                headers: &[
                    HeaderEdit::Set(b"x", b"new"),
                    HeaderEdit::Add(b"z", b""),
                    HeaderEdit::Remove(b"y"),
                ],
                client: Some(note(trusted)),
                ..Edits::default()
            };
            let found = head(&bytes);
            let mut out = b"before".to_vec();
            let done = Bolt.forward(&bytes, &found, &edits, &mut out).unwrap();
            out.extend_from_slice(&bytes[done.used..]);
            let out = &out[6..];
            let want = [("service", "a"), ("x", "new"), ("z", ""), ("client", client)];
            assert_eq!(pairs(out), want.map(|(name, value)| (name.into(), value.into())));
            let found = head(out);
            assert_eq!((found.id.unwrap().value, found.total()), (99, Some(out.len() as u64)));
            assert_eq!(&out[found.len..found.len + 4], b"body");
        }
    }
    let long = vec![b'v'; 32_767];
    let edits = Edits { headers: &[HeaderEdit::Set(b"k", &long)], ..Edits::default() };
    let bytes = call(&[]);
    let mut out = Vec::new();
    let refused = Bolt.forward(&bytes, &head(&bytes), &edits, &mut out).unwrap_err();
    assert!(refused.reason == LocalReason::TooLarge && out.is_empty());
}

proptest! {
    #[test]
    fn any_bytes_are_taken_without_panic(
        mut bytes in prop::collection::vec(any::<u8>(), 0..120),
        id in any::<u64>(),
        small in any::<bool>(),
    ) {
        // Lengths that fit are rare in random bytes: make them small.
        if small && bytes.len() > 24 {
            (bytes[0], bytes[1], bytes[2]) = (1, bytes[1] % 3, 0);
            bytes[3] %= 3;
            bytes[10..16].fill(0);
            bytes[16..21].fill(0);
        }
        if let Ok(Decoded::Head(found)) = decode(&bytes) {
            prop_assert!(found.len <= bytes.len());
            let mut out = Vec::new();
            let edits = Edits { id: Some(id), headers: &[HeaderEdit::Set(b"k", b"v")], ..Edits::default() };
            if let Ok(done) = Bolt.forward(&bytes, &found, &edits, &mut out) {
                prop_assert!(done.used <= bytes.len());
            }
            Bolt.reply(&found.asked, &Reply::error(LocalReason::Denied, false), &mut out);
            Bolt.patch_id(&mut bytes, &found, id);
            prop_assert_eq!(head(&bytes).id.unwrap().value, id & u64::from(u32::MAX));
        }
    }
}
