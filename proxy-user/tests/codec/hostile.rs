//! Requests that two implementations could read in two ways (`tests/l7/hostile.txt`): refused, wherever they are cut.

use proxy_user::l7::codec::http1::Http1;
use proxy_user::l7::codec::{Codec as _, Decoded, Limits, Session, Side};

use crate::table::rows;

/// What became of a connection's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// So many requests, complete.
    Taken(usize),
    Refused,
    /// More is wanted.
    Waiting,
}

/// Feeds the bytes as they come, in pieces that end at `cuts`, as an engine does.
fn feed(bytes: &[u8], cuts: &[usize]) -> Outcome {
    let mut session = Session::new(Side::Client, Limits::default());
    let mut done = 0;
    let mut requests = 0;
    let mut body = None;
    for end in cuts.iter().copied().chain([bytes.len()]) {
        loop {
            let here = &bytes[done..end];
            let mut open = match body.take() {
                Some(body) => body,
                None if here.is_empty() => break,
                None => match Http1.decode(&mut session, here) {
                    Err(_) => return Outcome::Refused,
                    Ok(Decoded::More(_)) => break,
                    Ok(Decoded::Head(head)) => {
                        done += head.len;
                        head.body
                    }
                },
            };
            let Ok(progress) = open.advance(&bytes[done..end], &mut |_| ()) else { return Outcome::Refused };
            done += progress.used;
            if progress.done {
                requests += 1;
            } else {
                body = Some(open);
                break;
            }
        }
    }
    if body.is_some() || done < bytes.len() { Outcome::Waiting } else { Outcome::Taken(requests) }
}

#[test]
fn every_row_at_every_cut() {
    let mut wrong = Vec::new();
    let rows = rows();
    assert!(rows.len() > 400);
    let names: std::collections::BTreeSet<_> = rows.iter().map(|(name, ..)| name).collect();
    assert_eq!(names.len(), rows.len(), "a name tells one row");
    for (name, bytes, taken) in &rows {
        let want = if *taken { Outcome::Taken(1) } else { Outcome::Refused };
        let whole = feed(bytes, &[]);
        if whole != want {
            wrong.push(format!("{name}: {whole:?}"));
            continue;
        }
        let step = bytes.len() / 300 + 1;
        for cut in (0..bytes.len()).step_by(step) {
            assert_eq!(feed(bytes, &[cut]), want, "{name}, cut at {cut}");
        }
        if bytes.len() < 2000 {
            let every: Vec<_> = (0..bytes.len()).collect();
            assert_eq!(feed(bytes, &every), want, "{name}, byte by byte");
        }
    }
    assert!(wrong.is_empty(), "{} rows:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn what_is_taken_may_be_pipelined() {
    let taken: Vec<_> =
        rows().into_iter().filter(|(name, _, taken)| *taken && *name != "a WebSocket").collect();
    let bytes: Vec<u8> = taken.iter().flat_map(|(_, bytes, _)| bytes.clone()).collect();
    let whole = Outcome::Taken(taken.len());
    assert_eq!(feed(&bytes, &[]), whole);
    for cut in 0..bytes.len() {
        assert_eq!(feed(&bytes, &[cut]), whole, "cut at {cut}");
    }
}

#[test]
fn a_long_head_that_comes_byte_by_byte() {
    let long = |end: &str| format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}{end}", "x".repeat(6000)).into_bytes();
    let slowly = |bytes: &[u8]| feed(bytes, &(0..bytes.len()).collect::<Vec<_>>());
    assert_eq!(slowly(&long("\r\n\r\n")), Outcome::Taken(1));
    assert_eq!(slowly(&long("\r\nY: 1\n\r\n")), Outcome::Refused);
    assert_eq!(slowly(&long("\r\nY : 1\r\n\r\n")), Outcome::Refused);
    assert_eq!(slowly(&long("\r\n")), Outcome::Waiting);
    assert_eq!(slowly(&long(&"x".repeat(20_000))), Outcome::Refused);
}
