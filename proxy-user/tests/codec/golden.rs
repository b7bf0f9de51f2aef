//! Bytes of other implementations: a call by SOFARPC 5.13.2 and its answer, and heartbeats of a SOFARegistry client.

use proxy_user::l7::codec::bolt::Bolt;
use proxy_user::l7::codec::{
    Codec as _, Decoded, Edits, Head, HeaderEdit, Kind, Limits, Session, Side, Timeout,
};

fn unhex(text: &str) -> Vec<u8> {
    let text = text.trim();
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

fn head(side: Side, bytes: &[u8]) -> Head {
    match Bolt.decode(&mut Session::new(side, Limits::default()), bytes) {
        Ok(Decoded::Head(head)) => head,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_sofarpc_call() {
    let bytes = unhex(include_str!("golden/sofarpc_request.hex"));
    let found = head(Side::Client, &bytes);
    assert_eq!((found.kind, found.total()), (Kind::Request, Some(bytes.len() as u64)));
    assert_eq!(found.timeout, Timeout::Millis(3000));
    assert_eq!(found.keys.service.of(&bytes), b"Hello:1.0");
    assert_eq!(found.keys.method.of(&bytes), b"say");
    assert_eq!(Bolt.header(&bytes, &found, b"app"), Some(&b"cons"[..]));
    let mut count = 0;
    Bolt.headers(&bytes, &found, &mut |_, _| {
        count += 1;
        true
    });
    assert_eq!(count, 11);

    // Another header, and back: the frame is what it was, but for the order of the map.
    let mut edited = Vec::new();
    let edits = Edits { id: Some(1), headers: &[HeaderEdit::Set(b"type", b"sync")], ..Edits::default() };
    let done = Bolt.forward(&bytes, &found, &edits, &mut edited).unwrap();
    edited.extend_from_slice(&bytes[done.used..]);
    assert_eq!(edited, bytes);
}

#[test]
fn a_sofarpc_answer() {
    let bytes = unhex(include_str!("golden/sofarpc_response.hex"));
    let found = head(Side::Upstream, &bytes);
    assert_eq!((found.kind, found.status.http), (Kind::Response, 200));
    assert_eq!(found.total(), Some(bytes.len() as u64));
    assert_eq!(found.id.unwrap().value, 1);
}

#[test]
fn a_registry_client_s_heartbeat() {
    let bytes = unhex("01010000010000004d01000000000000000000000000");
    let found = head(Side::Client, &bytes);
    assert_eq!(found.kind, Kind::Heartbeat);
    let mut out = Vec::new();
    Bolt.heartbeat_reply(&found.asked, &mut out);
    assert_eq!(out, unhex("01000000010000004d0100000000000000000000"));
}
