//! What is asked and told, by words of the server that were made for the test.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::rig::query;
use crate::registry::etcd::follow::{Action, Follow, Listed};
use crate::registry::etcd::generated::event::EventType;
use crate::registry::etcd::generated::watch_request::RequestUnion;
use crate::registry::etcd::generated::{Event as Changed, KeyValue, ResponseHeader, WatchResponse};
use crate::registry::etcd::keys::Keys;
use crate::registry::etcd::layout::Layout;
use crate::registry::source::{Event, Query};

/// The words of an action that matter.
#[derive(Debug, PartialEq)]
pub(super) enum Said {
    List(u64),
    Watch(String, i64),
    Cancel(i64),
    Reset(Vec<u16>),
    Add(Vec<u16>),
    Remove(Vec<u16>),
    Gone(String),
}

pub(super) fn said(actions: Vec<Action>) -> Vec<Said> {
    let of_set = |set: &crate::registry::source::Set| {
        set.endpoints.iter().map(|endpoint| endpoint.addr.port).collect()
    };
    let say = |action: Action| match action {
        Action::List { number, .. } => Said::List(number),
        Action::Send(request) => match request.request_union.unwrap() {
            RequestUnion::CreateRequest(create) => {
                assert!(create.progress_notify);
                Said::Watch(String::from_utf8(create.key).unwrap(), create.start_revision)
            }
            RequestUnion::CancelRequest(cancel) => Said::Cancel(cancel.watch_id),
        },
        Action::Tell(Event::Reset { set, .. }) => Said::Reset(of_set(&set)),
        Action::Tell(Event::Add { set, .. }) => Said::Add(of_set(&set)),
        Action::Tell(Event::Remove { addrs, .. }) => {
            Said::Remove(addrs.iter().map(|addr| addr.port).collect())
        }
        Action::Tell(Event::Gone { why, .. }) => Said::Gone(why),
        Action::Tell(event) => panic!("{event:?}"),
    };
    actions.into_iter().map(say).collect()
}

fn listed(query: &Query, revision: i64, ports: &[u16]) -> Result<Listed, String> {
    let mut keys = Keys::new(Arc::new(Layout::of(query).unwrap()));
    ports.iter().for_each(|port| keys.put(&key(query, *port)).unwrap());
    Ok(Listed { keys, revision, received: Instant::now() })
}

fn key(query: &Query, port: u16) -> KeyValue {
    let (key, value) = (format!("{}/{port}", query.service), format!("10.0.0.1:{port}"));
    KeyValue { key: key.into(), value: value.into(), mod_revision: 0 }
}

fn response(watch_id: i64, revision: i64) -> WatchResponse {
    WatchResponse {
        header: Some(ResponseHeader { revision, ..Default::default() }),
        watch_id,
        ..Default::default()
    }
}

fn created(watch_id: i64, revision: i64) -> WatchResponse {
    WatchResponse { created: true, ..response(watch_id, revision) }
}

fn change(query: &Query, watch_id: i64, revision: i64, kind: EventType, port: u16) -> WatchResponse {
    let event = Changed { r#type: kind.into(), kv: Some(key(query, port)) };
    WatchResponse { events: vec![event], ..response(watch_id, revision) }
}

/// One query, listed at revision 10 with port 1, watched as number 0.
fn watching(now: Instant) -> (Follow, Arc<Query>) {
    let (mut follow, query) = (Follow::default(), query("s", &[]));
    assert_eq!(said(follow.want(&[query.clone()].into())), [Said::List(1)]);
    let actions = follow.listed(&query, 1, listed(&query, 10, &[1]), now);
    assert_eq!(said(actions), [Said::Reset(vec![1]), Said::Watch("s/".to_owned(), 11)]);
    assert_eq!(said(follow.response(&created(0, 10), now).unwrap()), []);
    (follow, query)
}

#[test]
fn changes_are_told() {
    let now = Instant::now();
    let (mut follow, query) = watching(now);
    let put = change(&query, 0, 11, EventType::Put, 2);
    assert_eq!(said(follow.response(&put, now).unwrap()), [Said::Add(vec![2])]);
    let delete = change(&query, 0, 12, EventType::Delete, 1);
    assert_eq!(said(follow.response(&delete, now).unwrap()), [Said::Remove(vec![1])]);
    // A sign of life, a watch that nobody knows.
    assert_eq!(said(follow.response(&response(0, 90), now).unwrap()), []);
    assert_eq!(said(follow.response(&change(&query, 7, 13, EventType::Put, 3), now).unwrap()), []);
    assert_eq!(
        said(follow.response(&change(&query, 0, 13, EventType::Put, 3), now).unwrap()),
        [Said::Add(vec![3])]
    );
}

#[test]
fn a_revision_that_goes_back_is_a_wiped_store() {
    let now = Instant::now();
    let (mut follow, query) = watching(now);
    assert!(follow.response(&response(0, 9), now).is_err());
    assert!(follow.response(&change(&query, 0, 3, EventType::Put, 2), now).is_err());
    // The server takes a watch from revision 11 although its store is at 1.
    let mut follow = Follow::default();
    follow.want(&[query.clone()].into());
    follow.listed(&query, 1, listed(&query, 10, &[1]), now);
    let wiped = follow.response(&created(0, 1), now).unwrap_err();
    assert_eq!(wiped.to_string(), "its revision went back from 10 to 1: its data was lost or restored");
}

#[test]
fn compaction_lists_again_and_keeps_the_set() {
    let now = Instant::now();
    let (mut follow, query) = watching(now);
    let compacted = |id| WatchResponse { canceled: true, compact_revision: 20, ..response(id, 0) };
    assert_eq!(said(follow.response(&compacted(0), now).unwrap()), [Said::List(2)]);
    // An answer to the first list comes too late.
    assert_eq!(said(follow.listed(&query, 1, listed(&query, 9, &[9]), now)), []);
    assert_eq!(said(follow.listed(&query, 2, listed(&query, 21, &[2]), now)).len(), 2);
    follow.response(&created(1, 21), now).unwrap();
    // Again at once: something is wrong, so it waits.
    let again = said(follow.response(&compacted(1), now).unwrap());
    assert!(matches!(again.as_slice(), [Said::Gone(_)]), "{again:?}");
    assert_eq!(said(follow.due(now)), []);
    let due = follow.next_due().unwrap();
    assert_eq!(said(follow.due(due)), [Said::List(3)]);
    // One that lived long is a good one.
    follow.listed(&query, 3, listed(&query, 30, &[2]), now);
    follow.response(&created(2, 30), now).unwrap();
    let later = now + Duration::from_secs(60);
    assert_eq!(said(follow.response(&compacted(2), later).unwrap()), [Said::List(4)]);
}

#[test]
fn one_query_fails_alone() {
    let now = Instant::now();
    let (mut follow, good) = watching(now);
    let (bad, refused) = (query("bad", &[]), query("r", &[("format", "xml")]));
    let wanted: BTreeSet<_> = [good.clone(), bad.clone(), refused].into();
    let actions = said(follow.want(&wanted));
    assert!(matches!(actions.as_slice(), [Said::List(2), Said::Gone(_)]), "{actions:?}");
    let gone = follow.listed(&bad, 2, Err("permission denied".to_owned()), now);
    assert_eq!(said(gone), [Said::Gone("permission denied".to_owned())]);
    let put = change(&good, 0, 11, EventType::Put, 2);
    assert_eq!(said(follow.response(&put, now).unwrap()), [Said::Add(vec![2])]);
    // Each failure waits longer than the one before.
    let first = follow.next_due().unwrap();
    follow.due(first);
    follow.listed(&bad, 3, Err("permission denied".to_owned()), first);
    assert!(follow.next_due().unwrap() - first > first - now);
    // Listed, but not to be watched: refused watches have a number of no watch, or of another one.
    let due = follow.next_due().unwrap();
    follow.due(due);
    follow.listed(&bad, 4, listed(&bad, 20, &[]), due);
    let refused = WatchResponse { canceled: true, cancel_reason: "no".to_owned(), ..created(0, 20) };
    let gone = said(follow.response(&refused, due).unwrap());
    assert_eq!(gone, [Said::Gone("the server ended its watch: no".to_owned())]);
    let put = change(&good, 0, 12, EventType::Put, 3);
    assert_eq!(said(follow.response(&put, now).unwrap()), [Said::Add(vec![3])]);
}

#[test]
fn a_watch_that_is_not_wanted_any_more_ends() {
    let now = Instant::now();
    let (mut follow, _) = watching(now);
    assert_eq!(said(follow.want(&BTreeSet::new())), [Said::Cancel(0)]);
    assert_eq!(follow.owed_since(), None);
    // While its answer is owed, and wanted anew before that.
    let two = query("two", &[]);
    follow.want(&[two.clone()].into());
    follow.listed(&two, 2, listed(&two, 10, &[]), now);
    assert_eq!(follow.owed_since(), Some(now));
    assert_eq!(said(follow.want(&BTreeSet::new())), []);
    assert_eq!(said(follow.want(&[two.clone()].into())), [Said::List(3)]);
    assert_eq!(said(follow.response(&created(1, 10), now).unwrap()), [Said::Cancel(1)]);
    assert_eq!(said(follow.listed(&two, 3, listed(&two, 10, &[5]), now)).len(), 2);
    assert_eq!(said(follow.response(&created(2, 10), now).unwrap()), []);
    assert_eq!(
        said(follow.response(&change(&two, 2, 11, EventType::Delete, 5), now).unwrap()),
        [Said::Remove(vec![5])]
    );
}
