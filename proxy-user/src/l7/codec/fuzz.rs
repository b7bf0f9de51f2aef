//! Entry points for fuzzing: any bytes, and what must hold of each codec whatever they are. They panic when it does not.

use super::bolt::Bolt;
use super::http1::Http1;
use super::tcp::Tcp;
use super::{
    Asked, Body, Codec, Decoded, Edits, Head, HeaderEdit, Kind, Limits, LocalReason, Refusal, Reply, Session,
    Side, Span,
};

/// Bolt, from both sides.
pub fn bolt(data: &[u8]) {
    both(&Bolt, data);
}

/// HTTP/1, from both sides.
pub fn http1(data: &[u8]) {
    both(&Http1, data);
}

/// Opaque TCP, from both sides.
pub fn tcp(data: &[u8]) {
    both(&Tcp, data);
}

/// Takes the first byte for what an upstream was asked, and for where the bytes are cut in two.
fn both(codec: &dyn Codec, data: &[u8]) {
    let Some((seed, bytes)) = data.split_first() else { return };
    let cut = usize::from(*seed) % (bytes.len() + 1);
    let asked = Asked { id: u64::from(*seed), notes: [*seed & 31, 1, 0, 0, 1, 0, 0, 0] };
    let _ = codec.detect(bytes);
    for side in [Side::Client, Side::Upstream] {
        stream(codec, side, asked, bytes, cut);
    }
}

/// Reads message after message. Nothing is read in another way when it comes in two pieces.
fn stream(codec: &dyn Codec, side: Side, asked: Asked, bytes: &[u8], cut: usize) {
    let session = || {
        let limits = Limits { head: 4096, whole: 1 << 16, connect: true, ..Limits::default() };
        Session { asked, ..Session::new(side, limits) }
    };
    let mut rest = bytes;
    let mut left = 64;
    while left > 0 {
        left -= 1;
        let whole = codec.decode(&mut session(), rest);
        let mut pieces = session();
        let front = rest.get(..cut.min(rest.len())).unwrap_or_default();
        same(&whole, codec.decode(&mut pieces, front), front.len(), || codec.decode(&mut pieces, rest));
        match whole {
            Ok(Decoded::More(need)) => {
                assert!(need > rest.len(), "asks for {need} bytes and has {}", rest.len());
                return;
            }
            Err(refusal) => {
                answer(codec, &refusal);
                return;
            }
            Ok(Decoded::Head(head)) => {
                check(codec, side, rest, &head);
                let Some(after) = rest.get(head.len..) else { return };
                let mut body = head.body;
                let mut seen = 0;
                let Ok(progress) = body.advance(after, &mut |payload| seen += payload.len()) else { return };
                assert!(progress.used <= after.len() && progress.payload == seen);
                rest = after.get(progress.used..).unwrap_or_default();
                if !progress.done || (head.len == 0 && progress.used == 0) {
                    return;
                }
            }
        }
    }
}

/// The front alone gave the final word, or asked for more and then came to it.
fn same(
    whole: &Result<Decoded, Refusal>,
    early: Result<Decoded, Refusal>,
    front: usize,
    late: impl FnOnce() -> Result<Decoded, Refusal>,
) {
    match early {
        Ok(Decoded::More(need)) => {
            assert!(need > front);
            let late = late();
            match (whole, &late) {
                (Err(one), Err(other)) => assert_eq!(one.skip, other.skip),
                // Once more was asked for, a head is read when it is whole, and its faults are found then.
                (Err(_), Ok(Decoded::More(_))) => {}
                _ => assert_eq!(*whole, late),
            }
        }
        Ok(Decoded::Head(head)) => assert_eq!(*whole, Ok(Decoded::Head(head))),
        Err(_) => assert!(whole.is_err(), "a front is refused, and all of it taken: {whole:?}"),
    }
}

fn check(codec: &dyn Codec, side: Side, bytes: &[u8], head: &Head) {
    assert!(head.len <= bytes.len());
    if head.whole {
        assert!(head.total().is_some_and(|total| total <= bytes.len() as u64));
    }
    let keys = &head.keys;
    for span in [keys.service, keys.method, keys.host, keys.path, keys.query, head.headers] {
        assert!(span.start <= span.end && span.end as usize <= head.len);
    }
    codec.headers(bytes, head, &mut |name, value| {
        let mut seen = false;
        codec.values(bytes, head, name, &mut |one| {
            seen = one == value;
            !seen
        });
        assert!(seen && codec.is_name(name, name) && codec.header(bytes, head, name).is_some());
        true
    });
    let mut out = Vec::new();
    let edits = Edits { asked: head.asked, id: Some(3), ..Edits::default() };
    let Ok(done) = codec.forward(bytes, head, &edits, &mut out) else { return };
    assert!(done.used <= bytes.len());
    if !out.is_empty() {
        out.extend_from_slice(bytes.get(done.used..).unwrap_or_default());
        reads_alike(codec, side, bytes, head, &out, done.dechunk);
    }
    out.clear();
    let edits = Edits { headers: &[HeaderEdit::Set(b"x", b"y"), HeaderEdit::Remove(b"z")], ..edits };
    let _ = codec.forward(bytes, head, &edits, &mut out);
    let _ = codec.reply(&head.asked, &Reply::error(LocalReason::Denied, false), &mut out);
}

/// What leaves is read by the next hop as it was read here.
fn reads_alike(codec: &dyn Codec, side: Side, bytes: &[u8], head: &Head, out: &[u8], dechunk: bool) {
    let limits = Limits { head: 1 << 16, connect: true, ..Limits::default() };
    let mut session = Session { asked: head.asked, ..Session::new(side, limits) };
    let again = match codec.decode(&mut session, out) {
        Ok(Decoded::Head(again)) => again,
        // A request of HTTP/1.0 without a host gets an empty one.
        Err(_) if side == Side::Client && head.keys.host.is_empty() => return,
        other => panic_with(&other),
    };
    assert_eq!(head.kind, again.kind);
    assert_eq!(head.status, again.status);
    let same = |one: Span, other: Span| assert_eq!(one.of(bytes), other.of(out));
    same(head.keys.service, again.keys.service);
    same(head.keys.method, again.keys.method);
    same(head.keys.path, again.keys.path);
    same(head.keys.query, again.keys.query);
    same(head.keys.host, again.keys.host);
    if !dechunk && head.kind == Kind::Request {
        assert_eq!(head.body, again.body);
    }
    if head.body == Body::None {
        assert_eq!(again.body, Body::None);
    }
}

fn panic_with(what: &Result<Decoded, Refusal>) -> ! {
    #[expect(clippy::panic, reason = "a fuzzer finds faults by their panics")]
    {
        panic!("what was forwarded is not taken: {what:?}")
    }
}

fn answer(codec: &dyn Codec, refusal: &Refusal) {
    let mut out = Vec::new();
    let _ = codec.reply(&refusal.asked.unwrap_or_default(), &refusal.reply(), &mut out);
}
