use proptest::prelude::*;

use super::*;

/// Vectors of the notes on MOSN and SOFARegistry, and a SOFARPC request as it was captured.
const HEARTBEAT: &str = "01010000010000000101ffffffff0000000000000000";
const HEARTBEAT_REPLY: &str = "0100000001000000010100000000000000000000";
const REQUEST: &str =
    "0101000101000000070100000bb8000100140000000243000000077365727669636500000005613a312e306869";
const V2_CRC_HEARTBEAT: &str = "020201000001000000010101ffffffff00000000000000002aeeebd5";
const V2_HEARTBEAT: &str = "020101000001000000010100ffffffff0000000000000000";

const LIMITS: FrameLimits = FrameLimits { max_frame: 1 << 20 };

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

fn head(bytes: &[u8]) -> Head {
    match Head::parse(bytes, LIMITS).unwrap() {
        Parsed::Head(head) => head,
        Parsed::More(need) => panic!("{need} wanted of {bytes:?}"),
    }
}

#[test]
fn vectors_read_and_written() {
    let mut out = Vec::new();
    for (text, version) in [
        (HEARTBEAT, Version::V1),
        (V2_CRC_HEARTBEAT, Version::V2_CRC),
        (V2_HEARTBEAT, Version::V2 { ver1: 1, switch: 0 }),
    ] {
        let bytes = unhex(text);
        let found = head(&bytes);
        assert!(found.is_heartbeat() && !found.is_heartbeat_reply());
        assert_eq!((found.version, found.id, found.total_len()), (version, 1, bytes.len()));
        assert_eq!(found.kind, Kind::Request { timeout: -1 });
        Frame::new(found, &bytes).unwrap().check_crc().unwrap();
        out.clear();
        encode_heartbeat(version, 1, &mut out);
        assert_eq!(out, bytes);
    }
    out.clear();
    encode_heartbeat_reply(Version::V1, 1, &mut out);
    assert_eq!(out, unhex(HEARTBEAT_REPLY));
    assert!(head(&out).is_heartbeat_reply());
}

#[test]
fn parts_of_a_request() {
    let bytes = unhex(REQUEST);
    let found = head(&bytes);
    let frame = Frame::new(found, &bytes).unwrap();
    assert_eq!(found.kind, Kind::Request { timeout: 3000 });
    assert_eq!((frame.class(), frame.content()), (&b"C"[..], &b"hi"[..]));
    assert_eq!(frame.headers().map(Result::unwrap).collect::<Vec<_>>(), [(&b"service"[..], &b"a:1.0"[..])]);
    let mut map = Vec::new();
    put_header(b"service", b"a:1.0", &mut map).unwrap();
    let mut out = Vec::new();
    encode(&found, b"C", &map, b"hi", &mut out).unwrap();
    assert_eq!(out, bytes);
}

#[test]
fn a_cut_head_wants_more_and_never_reads_wrong() {
    for text in [HEARTBEAT, HEARTBEAT_REPLY, REQUEST, V2_CRC_HEARTBEAT, V2_HEARTBEAT] {
        let bytes = unhex(text);
        let whole = head(&bytes);
        for cut in 0..bytes.len() {
            match Head::parse(&bytes[..cut], LIMITS).unwrap() {
                Parsed::More(need) => assert!(need > cut && need <= whole.fixed_len()),
                Parsed::Head(found) => assert!(found == whole && cut >= whole.fixed_len()),
            }
            assert!(Frame::new(whole, &bytes[..cut]).is_err());
        }
    }
}

#[test]
fn faults_are_told_at_their_byte() {
    let small = FrameLimits { max_frame: 44 };
    let cases: [(&[u8], BoltError); 8] = [
        (b"\x00", BoltError::Protocol(0)),
        (b"G", BoltError::Protocol(b'G')),
        (b"\x02\x00", BoltError::Version(0)),
        (b"\x02\x03", BoltError::Version(3)),
        (b"\x01\x03", BoltError::Kind(3)),
        (
            b"\x01\x01\0\x01\x01\0\0\0\x07\x01\0\0\0\0\x80\0\0\0\0\0\0\0",
            BoltError::Negative("the class name"),
        ),
        (
            b"\x01\x01\0\x01\x01\0\0\0\x07\x01\0\0\0\0\0\0\xff\xff\0\0\0\0",
            BoltError::Negative("the header map"),
        ),
        (b"\x01\0\0\x02\x01\0\0\0\x07\x01\0\0\0\0\0\0\xff\xff\xff\xff", BoltError::Negative("the content")),
    ];
    for (bytes, error) in cases {
        assert_eq!(Head::parse(bytes, LIMITS), Err(error));
    }
    assert_eq!(Head::parse(&unhex(REQUEST), small), Err(BoltError::TooLong { len: 45, max: 44 }));
    let long = b"\x01\0\0\x02\x01\0\0\0\x07\x01\0\0\0\0\0\0\x7f\xff\xff\xff";
    assert_eq!(Head::parse(long, LIMITS), Err(BoltError::TooLong { len: 0x7fff_ffff + 20, max: 1 << 20 }));
}

#[test]
fn header_maps() {
    let pairs = |map: &[u8]| Headers::new(map).collect::<Result<Vec<_>, _>>().map(|pairs| pairs.len());
    assert_eq!(pairs(b""), Ok(0));
    assert_eq!(pairs(b"\0\0\0\0\0\0\0\0"), Ok(1));
    // Null on either side: the pair is not there, and its other half is not read as a key.
    assert_eq!(pairs(b"\xff\xff\xff\xff\0\0\0\x01v\0\0\0\x01k\0\0\0\x01w"), Ok(1));
    assert_eq!(pairs(b"\0\0\0\x01k\xff\xff\xff\xff"), Ok(0));
    for broken in [
        &b"\0"[..],
        b"\0\0\0",
        b"\0\0\0\x02k",
        b"\0\0\0\x01k",
        b"\0\0\0\x01k\0\0\0\x02v",
        b"\xff\xff\xff\xfe",
        b"\x7f\xff\xff\xff",
        b"\0\0\0\x01k\0\0\0\x01v\0\0",
    ] {
        assert_eq!(pairs(broken), Err(BoltError::HeaderMap), "{broken:?}");
        assert_eq!(Headers::new(broken).check(), Err(BoltError::HeaderMap));
    }
    let twice = b"\0\0\0\x01k\0\0\0\x01a\0\0\0\x01k\0\0\0\x01b";
    assert_eq!(Headers::new(twice).last(b"k"), Some(&b"b"[..]));
    assert_eq!(Headers::new(twice).last(b"K"), None);
}

#[test]
fn another_id_and_its_checksum() {
    let mut bytes = unhex(V2_CRC_HEARTBEAT);
    let found = head(&bytes);
    patch_id(&mut bytes, &found, u32::MAX).unwrap();
    assert_eq!(head(&bytes).id, u32::MAX);
    Frame::new(found, &bytes).unwrap().check_crc().unwrap();
    patch_id(&mut bytes, &found, 1).unwrap();
    assert_eq!(bytes, unhex(V2_CRC_HEARTBEAT));
    bytes[12] ^= 1;
    assert!(matches!(Frame::new(found, &bytes).unwrap().check_crc(), Err(BoltError::Crc { .. })));
    // The CRC needs the frame; without one, the fixed part is enough.
    assert!(patch_id(&mut bytes[..27], &found, 9).is_err());
    let mut bytes = unhex(REQUEST);
    let found = head(&bytes);
    patch_id(&mut bytes[..22], &found, 9).unwrap();
    assert_eq!(head(&bytes).id, 9);
}

#[test]
fn what_does_not_fit_is_not_written() {
    let mut out = Vec::new();
    let long = vec![0; 0x8000];
    let head = head(&unhex(REQUEST));
    assert_eq!(encode(&head, &long, b"", b"", &mut out), Err(BoltError::Overflow("the class name")));
    assert_eq!(encode(&head, b"", &long, b"", &mut out), Err(BoltError::Overflow("the header map")));
    assert!(out.is_empty());
    encode(&head, &long[1..], &long[1..], b"", &mut out).unwrap();
    assert_eq!(out.len(), 22 + 2 * 0x7fff);
}

fn any_head() -> impl Strategy<Value = Head> {
    let version = prop_oneof![
        Just(Version::V1),
        (1_u8..3, any::<u8>()).prop_map(|(ver1, switch)| Version::V2 { ver1, switch })
    ];
    let kind = prop_oneof![
        any::<i32>().prop_map(|timeout| Kind::Request { timeout }),
        any::<i32>().prop_map(|timeout| Kind::OneWay { timeout }),
        any::<u16>().prop_map(|status| Kind::Response { status })
    ];
    (version, kind, any::<u16>(), any::<u8>(), any::<u32>(), any::<u8>()).prop_map(
        |(version, kind, command, ver2, id, codec)| Head {
            version,
            kind,
            command,
            ver2,
            id,
            codec,
            class_len: 0,
            header_len: 0,
            content_len: 0,
        },
    )
}

proptest! {
    #[test]
    fn what_is_written_is_read(
        head in any_head(),
        class in prop::collection::vec(any::<u8>(), 0..40),
        headers in prop::collection::vec(any::<u8>(), 0..40),
        content in prop::collection::vec(any::<u8>(), 0..40),
        id in any::<u32>(),
    ) {
        let mut bytes = Vec::new();
        encode(&head, &class, &headers, &content, &mut bytes).unwrap();
        let Ok(Parsed::Head(found)) = Head::parse(&bytes, LIMITS) else { panic!("not read") };
        prop_assert_eq!(found.total_len(), bytes.len());
        let frame = Frame::new(found, &bytes).unwrap();
        frame.check_crc().unwrap();
        prop_assert_eq!((frame.class(), frame.content()), (&class[..], &content[..]));
        prop_assert_eq!(Head { class_len: 0, header_len: 0, content_len: 0, ..found }, head);
        patch_id(&mut bytes, &found, id).unwrap();
        Frame::new(found, &bytes).unwrap().check_crc().unwrap();
    }

    #[test]
    fn any_bytes_are_taken_without_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Some(first) = bytes.first_mut() {
            *first = *first % 2 + 1;
        }
        if let Ok(Parsed::Head(head)) = Head::parse(&bytes, LIMITS) {
            prop_assert!(head.total_len() <= LIMITS.max_frame);
            if let Ok(frame) = Frame::new(head, &bytes) {
                let _ = (frame.class(), frame.content(), frame.headers().check(), frame.check_crc());
            }
            let _ = patch_id(&mut bytes, &head, 5);
        }
        let _ = Headers::new(&bytes).check();
    }
}
