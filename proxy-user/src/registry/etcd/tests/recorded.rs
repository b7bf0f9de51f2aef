//! The words of a real etcd 3.4, byte for byte as they were on the wire.

use std::sync::Arc;
use std::time::Instant;

use prost::Message as _;

use super::follow::{Said, said};
use super::rig::query;
use crate::registry::etcd::follow::{Follow, Listed};
use crate::registry::etcd::generated::{RangeResponse, WatchResponse};
use crate::registry::etcd::keys::Keys;
use crate::registry::etcd::layout::Layout;

/// A list of two keys.
const LIST: &str = "0a1908fbdde5c9e7d4b3d91c10fe8cd6bdbdd0e7aef8011803200212170a03732f611002180220012a0a31302e302e\
    302e313a3112170a03732f621003180320012a0a31302e302e302e313a322002";
/// The answer to a watch from the revision after it.
const CREATED: &str = "0a1908fbdde5c9e7d4b3d91c10fe8cd6bdbdd0e7aef801180320021801";
/// One transaction that sets a key and deletes another one.
const TRANSACTION: &str = "0a1908fbdde5c9e7d4b3d91c10fe8cd6bdbdd0e7aef801180420025a1912170a03732f631004180420012a0a\
    31302e302e302e313a335a0b080112070a03732f611804";
/// A key with a lease.
const LEASED: &str = "0a1908fbdde5c9e7d4b3d91c10fe8cd6bdbdd0e7aef801180520025a2312210a03732f6c1005180520012a0a3130\
    2e302e302e313a39308af0fbd0e3c0a8bf06";
/// The end of that lease.
const EXPIRED: &str = "0a1908fbdde5c9e7d4b3d91c10fe8cd6bdbdd0e7aef801180620025a0b080112070a03732f6c1806";
/// The end of a watch from a revision that is no longer kept: its header has no revision.
const COMPACTED: &str = "0a1708fbdde5c9e7d4b3d91c10fe8cd6bdbdd0e7aef80120022001280a";

#[test]
fn a_session_as_it_was() {
    let (now, query, mut follow) = (Instant::now(), query("s", &[]), Follow::default());
    follow.want(&[query.clone()].into());
    let list = RangeResponse::decode(&*bytes(LIST)).unwrap();
    assert_eq!((list.count, list.more), (2, false));
    let mut keys = Keys::new(Arc::new(Layout::of(&query).unwrap()));
    list.kvs.iter().for_each(|kv| keys.put(kv).unwrap());
    let revision = list.header.unwrap().revision;
    let actions = follow.listed(&query, 1, Ok(Listed { keys, revision, received: now }), now);
    assert_eq!(said(actions), [Said::Reset(vec![1, 2]), Said::Watch("s/".to_owned(), 4)]);
    for (response, want) in [
        (CREATED, vec![]),
        (TRANSACTION, vec![Said::Reset(vec![2, 3])]),
        (LEASED, vec![Said::Add(vec![9])]),
        (EXPIRED, vec![Said::Remove(vec![9])]),
        (COMPACTED, vec![Said::List(2)]),
    ] {
        let response = WatchResponse::decode(&*bytes(response)).unwrap();
        assert_eq!(said(follow.response(&response, now).unwrap()), want);
    }
}

/// Whatever comes instead, nothing worse happens than a refusal.
#[test]
fn cut_and_changed_bytes() {
    for text in [CREATED, TRANSACTION, LEASED, EXPIRED, COMPACTED] {
        let bytes = bytes(text);
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 0xff;
            for bytes in [&bytes[..at], &changed] {
                let Ok(response) = WatchResponse::decode(bytes) else { continue };
                let (mut follow, query) = (Follow::default(), query("s", &[]));
                follow.want(&[query.clone()].into());
                let keys = Keys::new(Arc::new(Layout::of(&query).unwrap()));
                let listed = Listed { keys, revision: 3, received: Instant::now() };
                follow.listed(&query, 1, Ok(listed), Instant::now());
                let _ = follow
                    .response(&WatchResponse { created: true, ..WatchResponse::default() }, Instant::now());
                let _ = follow.response(&response, Instant::now());
            }
        }
    }
}

fn bytes(hex: &str) -> Vec<u8> {
    let byte = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
    (0..hex.len()).step_by(2).map(byte).collect()
}
