//! Lists and changes.

use super::peer::Peer;
use super::rig::{Rig, query};
use crate::registry::source::{Ended, Event, Order};

#[tokio::test]
async fn lists_then_follows_each_change() {
    let Some(peer) = Peer::start() else { return };
    let (web, api) = (query("/services/web", &[]), query("/services/api", &[("format", "json")]));
    peer.put("/services/web/a", "10.0.0.1:1", None);
    peer.put("/services/web/b", "10.0.0.1:2?weight=7", None);
    peer.put("/services/website/x", "10.0.0.1:99", None);
    let mut rig = Rig::begin(&peer.settings("http", ""), &[&web, &api]);
    assert!(matches!(rig.event().await, Event::Connected { .. }));
    rig.ports(&web, &[1, 2]).await;
    rig.ports(&api, &[]).await;

    peer.put("/services/web/c", "10.0.0.1:3", None);
    rig.ports(&web, &[1, 2, 3]).await;
    peer.delete("/services/web/a");
    rig.ports(&web, &[2, 3]).await;
    peer.put("/services/web/c", "10.0.0.1:4", None);
    rig.ports(&web, &[2, 4]).await;
    peer.put("/services/web/b", "10.0.0.1:2?weight=9", None);
    rig.until(&web, |known| known.endpoints.values().any(|endpoint| endpoint.weight == Some(9.0))).await;
    peer.put("/services/api/1", r#"{"address":"10.0.0.9","port":90,"zone":"z"}"#, None);
    rig.until(&api, |known| known.endpoints.values().any(|endpoint| endpoint.zone.as_deref() == Some("z")))
        .await;

    let lease = peer.grant(1);
    peer.put("/services/web/l", "10.0.0.1:5", Some(lease));
    rig.ports(&web, &[2, 4, 5]).await;
    rig.ports(&web, &[2, 4]).await;
    peer.delete_prefix("/services/web/");
    rig.ports(&web, &[]).await;
}

#[tokio::test]
async fn garbage_is_counted_and_the_rest_is_used() {
    let Some(peer) = Peer::start() else { return };
    let web = query("s", &[]);
    peer.put("s/a", "10.0.0.1:1", None);
    for (key, value) in [
        ("s/b", "garbage"),
        ("s/c", "db.example:80"),
        ("s/d/e", "10.0.0.1:2"),
        ("s/f", "10.0.0.1:3?weight=-1"),
    ] {
        peer.put(key, value, None);
    }
    // More than one answer may have: the list goes on in small pages.
    let large = "x".repeat(1 << 20);
    (0..20).for_each(|n| peer.put(&format!("s/large{n}"), &large, None));
    let mut rig = Rig::begin(&peer.settings("http", ""), &[&web]);
    rig.until(&web, |known| known.ports() == [1] && known.rejected == 24).await;
    peer.put("s/a", "garbage", None);
    rig.until(&web, |known| known.ports().is_empty() && known.rejected == 25).await;
    peer.put("s/a", "10.0.0.1:7", None);
    rig.until(&web, |known| known.ports() == [7] && known.rejected == 24).await;
}

#[tokio::test]
async fn what_is_wanted_changes() {
    let Some(peer) = Peer::start() else { return };
    let (one, two) = (query("one", &[]), query("two", &[]));
    peer.put("one/a", "10.0.0.1:1", None);
    peer.put("two/a", "10.0.0.1:2", None);
    let mut rig = Rig::begin(&peer.settings("http", ""), &[&one]);
    rig.ports(&one, &[1]).await;
    rig.want(&[&two], &[]);
    rig.ports(&two, &[2]).await;
    peer.put("one/b", "10.0.0.1:3", None);
    peer.put("two/b", "10.0.0.1:4", None);
    let Event::Add { query, .. } = rig.event().await else { panic!("not an addition") };
    assert_eq!(query, two, "a query that is no longer wanted");
    rig.order.send_replace(Order::Resync(1));
    let Event::Reset { query, set } = rig.event().await else { panic!("no list") };
    assert_eq!((query, set.endpoints.len()), (two, 2));
    rig.order.send_replace(Order::HandOver);
    assert!(matches!(rig.end().await, Ok(Ended::HandedOver(None))));
}

#[tokio::test]
async fn ten_thousand_keys() {
    let Some(peer) = Peer::start() else { return };
    let pair = |n: u16| (format!("s/{n:05}"), format!("10.0.{}.{}:{}", n >> 8, n & 0xff, n + 1));
    peer.put_all(&(0..10_000).map(pair).collect::<Vec<_>>());
    let many = query("s", &[]);
    let mut rig = Rig::begin(&peer.settings("http", ""), &[&many]);
    rig.until(&many, |known| known.endpoints.len() == 10_000 && known.rejected == 0).await;
    peer.put("s/x", "10.9.9.9:9", None);
    let Event::Add { set, .. } = rig.event().await else { panic!("not a difference") };
    assert_eq!(set.endpoints.len(), 1);
    peer.delete_prefix("s/0");
    let Event::Remove { addrs, .. } = rig.event().await else { panic!("not a difference") };
    assert_eq!(addrs.len(), 10_000);
}
