//! For every codec: whole, cut at each byte, two in one read, and what an answer of weir's own looks like to it.

use proxy_user::l7::codec::{
    Asked, CODECS, Codec, Decoded, Detection, Kind, Limits, LocalReason, PoolMode, Reply, ReplyEnd, Session,
    Side, by_name, detect,
};
use proxy_user::wire::bolt::{self, Version, command, encode, put_header};

/// A request and its answer, for each codec that has messages.
fn samples() -> Vec<(&'static dyn Codec, Vec<u8>, Vec<u8>)> {
    let mut samples = vec![(
        by_name("http1").unwrap(),
        b"PUT /a?b HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3;x\r\nabc\r\n0\r\nT: 1\r\n\r\n"
            .to_vec(),
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX: y\r\n\r\nhello".to_vec(),
    )];
    let mut map = Vec::new();
    put_header(b"service", b"a:1.0", &mut map).unwrap();
    put_header(b"", b"", &mut map).unwrap();
    for version in [Version::V1, Version::V2 { ver1: 1, switch: 0 }, Version::V2_CRC] {
        let frame = |kind, command, content: &[u8]| {
            let head = bolt::Head {
                version,
                kind,
                command,
                ver2: 1,
                id: u32::MAX,
                codec: 1,
                class_len: 0,
                header_len: 0,
                content_len: 0,
            };
            let mut out = Vec::new();
            encode(&head, b"com.alipay.sofa.rpc.core.request.SofaRequest", &map, content, &mut out).unwrap();
            out
        };
        let request = frame(bolt::Kind::Request { timeout: 3000 }, command::REQUEST, b"content");
        let answer = frame(bolt::Kind::Response { status: 0 }, command::RESPONSE, b"");
        samples.push((by_name("bolt").unwrap(), request, answer));
    }
    samples
}

/// Reads all messages of `bytes`, which come in two pieces; their kinds, and the bytes of each.
fn read(codec: &dyn Codec, mut session: Session, bytes: &[u8], cut: usize) -> Vec<(Kind, usize)> {
    let mut found = Vec::new();
    let mut start = 0;
    let mut open = None;
    for end in [cut, bytes.len()] {
        loop {
            let (kind, from, mut body, mut at) = match open.take() {
                Some(open) => open,
                None => match codec.decode(&mut session, &bytes[start..end]).unwrap() {
                    Decoded::More(need) => {
                        assert!(need > end - start);
                        break;
                    }
                    Decoded::Head(head) => (head.kind, start, head.body, start + head.len),
                },
            };
            let progress = body.advance(&bytes[at..end], &mut |_| ()).unwrap();
            at += progress.used;
            if !progress.done {
                open = Some((kind, from, body, at));
                break;
            }
            found.push((kind, at - from));
            start = at;
        }
    }
    assert!(open.is_none() && start == bytes.len());
    found
}

#[test]
fn cuts_and_joins() {
    for (codec, request, answer) in samples() {
        for (side, bytes, kind) in
            [(Side::Client, &request, Kind::Request), (Side::Upstream, &answer, Kind::Response)]
        {
            let session = Session::new(side, Limits::default());
            let want = vec![(kind, bytes.len()); 2];
            let twice = [bytes.as_slice(), bytes].concat();
            for cut in 0..=twice.len() {
                assert_eq!(read(codec, session, &twice, cut), want, "{} {kind:?} at {cut}", codec.name());
            }
        }
    }
}

#[test]
fn every_sample_is_detected_by_its_own_codec_only() {
    for (codec, request, _) in samples() {
        for cut in 0..=request.len() {
            match detect(&CODECS, &request[..cut]) {
                Detection::Is(found) => assert_eq!(found.name(), codec.name()),
                Detection::More => assert!(cut < 6, "{} bytes of {}", cut, codec.name()),
                Detection::Unknown => panic!("{} is unknown after {cut} bytes", codec.name()),
            }
        }
    }
    for unknown in [&b"\x16\x03\x01\x02"[..], b"SSH-2.0-x\r\n", &[0; 64], b"*1\r\n"] {
        assert!(matches!(detect(&CODECS, unknown), Detection::Unknown), "{unknown:?}");
    }
    assert!(matches!(detect(&CODECS, &[b'A'; 20]), Detection::More));
    assert!(matches!(detect(&CODECS, &[b'A'; 64]), Detection::Unknown));
}

#[test]
fn every_codec_answers_each_reason_or_says_that_it_cannot() {
    for (codec, request, _) in samples() {
        let mut client = Session::new(Side::Client, Limits::default());
        let Ok(Decoded::Head(head)) = codec.decode(&mut client, &request) else { panic!() };
        for reason in LocalReason::ALL {
            let mut out = Vec::new();
            assert_eq!(codec.reply(&head.asked, &Reply::error(reason, false), &mut out), ReplyEnd::Keep);
            let mut upstream =
                Session { asked: head.asked, ..Session::new(Side::Upstream, Limits::default()) };
            let Ok(Decoded::Head(answer)) = codec.decode(&mut upstream, &out) else { panic!() };
            assert_eq!((answer.kind, answer.total()), (Kind::Response, Some(out.len() as u64)));
            assert!(answer.status.http >= 400);
            assert_eq!(answer.id.map(|id| id.value), head.id.map(|id| id.value));
        }
    }
    let tcp = by_name("tcp").unwrap();
    let mut out = Vec::new();
    assert_eq!(
        tcp.reply(&Asked::default(), &Reply::error(LocalReason::Denied, true), &mut out),
        ReplyEnd::Mute
    );
    assert!(out.is_empty() && tcp.pool() == PoolMode::OneToOne);
}

#[test]
fn names_are_distinct_and_ids_have_a_width_where_connections_are_shared() {
    for (number, codec) in CODECS.iter().enumerate() {
        assert!(CODECS[..number].iter().all(|other| other.name() != codec.name()));
        assert_eq!(codec.pool() == PoolMode::Multiplex, codec.id_bits() > 0);
        assert_eq!(codec.heartbeat(1, 1, &mut Vec::new()), codec.id_bits() > 0);
    }
}
