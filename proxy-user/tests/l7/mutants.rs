//! Requests near those of the table that weir's codec takes: what it takes, all must read alike.

use std::collections::BTreeSet;

use proxy_user::l7::codec::http1::Http1;
use proxy_user::l7::codec::{Codec as _, Decoded, Limits, Session, Side};

/// A request as the codec reads it.
#[derive(Clone, Debug)]
pub(crate) struct Reading {
    pub(crate) body: Vec<u8>,
    /// Another may follow.
    pub(crate) keep: bool,
}

/// How the codec reads bytes that are one whole request; `None`: they are not.
pub(crate) fn reading(bytes: &[u8]) -> Option<Reading> {
    let mut session = Session::new(Side::Client, Limits::default());
    let Ok(Decoded::Head(mut head)) = Http1.decode(&mut session, bytes) else { return None };
    let mut body = Vec::new();
    let rest = &bytes[head.len..];
    let progress = head.body.advance(rest, &mut |part| body.extend_from_slice(part)).ok()?;
    (progress.done && progress.used == rest.len()).then_some(Reading { body, keep: head.keep })
}

const PIECES: [&[u8]; 44] = [
    b"\r",
    b"\n",
    b"\r\n",
    b" ",
    b"\t",
    b",",
    b";",
    b":",
    b"0",
    b"3",
    b"+",
    b"-",
    b"_",
    b"\"",
    b"\\",
    b"\0",
    b"\x0b",
    b"\x0c",
    b"\x7f",
    b"\x80",
    b"\xc3\xa9",
    b"/",
    b"//",
    b"?",
    b"#",
    b"@",
    b"%",
    b"%00",
    b"%0d%0a",
    b"..",
    b"/../",
    b"http://b",
    b"chunked",
    b"Transfer-Encoding: chunked\r\n",
    b"Content-Length: 3\r\n",
    b"content-length:0\r\n",
    b"Connection: close\r\n",
    b"Connection: keep-alive\r\n",
    b"Host: b\r\n",
    b"X: y\r\n",
    b"Expect: 100-continue\r\n",
    b"HTTP/1.0",
    b"Upgrade: websocket\r\n",
    b"0\r\n\r\n",
];

/// So many different requests that the codec takes, made from `rows` by a few changes each; the same every time.
pub(crate) fn taken(rows: &[Vec<u8>], count: usize) -> Vec<Vec<u8>> {
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut draw = |below: usize| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        usize::try_from(random >> 33).unwrap() % below.max(1)
    };
    let mut found = BTreeSet::new();
    for _ in 0..2_000_000 {
        let mut bytes = rows[draw(rows.len())].clone();
        if bytes.len() > 2000 {
            continue;
        }
        for _ in 0..=draw(3) {
            let at = draw(bytes.len() + 1);
            match draw(4) {
                0 if at < bytes.len() => drop(bytes.remove(at)),
                1 if at < bytes.len() => {
                    let piece = PIECES[draw(PIECES.len())];
                    bytes.splice(at..=at, piece.iter().copied());
                }
                _ => {
                    let piece = PIECES[draw(PIECES.len())];
                    bytes.splice(at..at, piece.iter().copied());
                }
            }
        }
        if reading(&bytes).is_some() {
            found.insert(bytes);
        }
        if found.len() >= count {
            break;
        }
    }
    found.into_iter().collect()
}
