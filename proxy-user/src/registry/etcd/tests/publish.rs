//! VIPs registered with a real server.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::peer::Peer;
use super::rig::{Rig, query};
use crate::model::BackendAddr;
use crate::registry::source::Publication;

fn publication(port: u16) -> Arc<Publication> {
    let address = BackendAddr { addr: "192.0.2.10".parse().unwrap(), port };
    Arc::new(Publication { service: "/vips".to_owned(), options: BTreeMap::new(), address })
}

#[tokio::test]
async fn registered_kept_and_withdrawn() {
    let Some(peer) = Peer::start() else { return };
    let (vips, one, two) = (query("/vips", &[]), publication(1), publication(2));
    let settings = peer.settings("http", "lease = '5s'");
    let mut rig = Rig::begin(&settings, &[&vips]);
    rig.want(&[&vips], &[&one, &two]);
    rig.ports(&vips, &[1, 2]).await;
    assert_eq!(peer.value("/vips/192.0.2.10:1").as_deref(), Some("192.0.2.10:1"));
    rig.want(&[&vips], &[&one]);
    rig.ports(&vips, &[1]).await;
    while rig.registered.len() < 3 {
        rig.event().await;
    }
    let mut registered = std::mem::take(&mut rig.registered);
    assert_eq!(registered.pop(), Some((Arc::clone(&two), None)));
    registered.sort();
    assert_eq!(registered, [(Arc::clone(&one), Some(Ok(()))), (two, Some(Ok(())))]);

    // Longer than the lease: it is kept alive.
    tokio::time::sleep(Duration::from_secs(7)).await;
    assert!(peer.value("/vips/192.0.2.10:1").is_some());
    peer.delete("/vips/192.0.2.10:1");
    rig.ports(&vips, &[]).await;
    rig.ports(&vips, &[1]).await;

    // After a crash a new session takes the key over: it outlives the lease of the old one.
    drop(rig);
    let mut rig = Rig::begin(&settings, &[&vips]);
    rig.want(&[&vips], &[&one]);
    rig.ports(&vips, &[1]).await;
    tokio::time::sleep(Duration::from_secs(7)).await;
    assert!(peer.value("/vips/192.0.2.10:1").is_some());
    // If none comes, the key goes with its lease.
    drop(rig);
    let mut rig = Rig::begin(&settings, &[&vips]);
    rig.ports(&vips, &[1]).await;
    rig.ports(&vips, &[]).await;
}

/// A cluster that is out of space grants no lease and takes no key.
#[tokio::test]
async fn a_server_that_takes_no_registration_is_still_followed() {
    let Some(peer) = Peer::start() else { return };
    let (web, one) = (query("/web", &[]), publication(1));
    peer.put("/web/a", "10.0.0.1:1", None);
    let alarm = |action: &str| {
        peer.call("maintenance/alarm", &json!({ "action": action, "memberID": "0", "alarm": "NOSPACE" }));
    };
    alarm("ACTIVATE");
    let mut rig = Rig::begin(&peer.settings("http", "lease = '5s'"), &[&web]);
    rig.want(&[&web], &[&one]);
    rig.ports(&web, &[1]).await;
    while rig.registered.is_empty() {
        rig.event().await;
    }
    assert!(
        matches!(&rig.registered[0], (_, Some(Err(why))) if why.contains("space")),
        "{:?}",
        rig.registered
    );
    peer.delete("/web/a");
    rig.ports(&web, &[]).await;
    alarm("DEACTIVATE");
    while !matches!(rig.registered.last(), Some((_, Some(Ok(()))))) {
        rig.event().await;
    }
    assert!(peer.value("/vips/192.0.2.10:1").is_some());
}
