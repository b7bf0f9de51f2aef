//! Servers that crash, lose their data, freeze, or forget old revisions.

use tokio::time::timeout;

use super::peer::Peer;
use super::rig::{Rig, query};
use crate::registry::etcd::follow::{Action, Follow};
use crate::registry::etcd::range;
use crate::registry::etcd::server::Server;
use crate::registry::source::SessionError;

#[tokio::test]
async fn crash_then_restart_with_and_without_data() {
    let Some(mut peer) = Peer::start() else { return };
    let web = query("s", &[]);
    peer.put("s/a", "10.0.0.1:1", None);
    peer.put("s/b", "10.0.0.1:2", None);
    let settings = peer.settings("http", "");
    let mut rig = Rig::begin(&settings, &[&web]);
    rig.ports(&web, &[1, 2]).await;
    peer.kill();
    assert!(matches!(rig.end().await, Err(SessionError::Lost { .. })));
    assert!(matches!(Rig::begin(&settings, &[&web]).end().await, Err(SessionError::Unreachable(_))));

    peer.restart();
    let mut rig = Rig::begin(&settings, &[&web]);
    rig.ports(&web, &[1, 2]).await;
    peer.kill();
    rig.end().await.unwrap_err();

    // Its revisions begin again, so a watch from the old one would stay silent.
    peer.restart_empty();
    let mut rig = Rig::begin(&settings, &[&web]);
    rig.ports(&web, &[]).await;
    peer.put("s/c", "10.0.0.1:3", None);
    rig.ports(&web, &[3]).await;
}

#[tokio::test]
async fn members_take_turns() {
    let Some(peer) = Peer::start() else { return };
    let web = query("s", &[]);
    peer.put("s/a", "10.0.0.1:1", None);
    let mut settings = peer.settings("http", "");
    // Nobody listens at the first.
    settings.endpoints.insert(0, "http://127.0.0.1:1".to_owned());
    Rig::begin(&settings, &[&web]).ports(&web, &[1]).await;
}

#[tokio::test]
async fn a_frozen_server_ends_the_session() {
    let Some(peer) = Peer::start() else { return };
    let web = query("s", &[]);
    peer.put("s/a", "10.0.0.1:1", None);
    let settings = peer.settings("http", "timeout = '1s'");
    let mut rig = Rig::begin(&settings, &[&web]);
    rig.ports(&web, &[1]).await;
    peer.freeze();
    assert!(matches!(rig.end().await, Err(SessionError::Lost { .. })));
    // The kernel still takes connections; nobody answers the list.
    assert!(matches!(Rig::begin(&settings, &[&web]).end().await, Err(SessionError::Lost { .. })));
    peer.thaw();
    Rig::begin(&settings, &[&web]).ports(&web, &[1]).await;
}

#[tokio::test]
async fn compacted_while_nobody_looked() {
    let Some(peer) = Peer::start() else { return };
    let web = query("s", &[]);
    peer.put("s/a", "10.0.0.1:1", None);
    let settings = peer.settings("http", "");
    // As far as a list, then what lies between it and the watch is forgotten.
    let (_, server) = Server::connect(&settings, 0).await.unwrap();
    let mut follow = Follow::default();
    let mut actions = follow.want(&[web.clone()].into());
    let Some(Action::List { query, layout, number }) = actions.pop() else { panic!("no list") };
    let listed = range::list(server.clone(), layout).await.unwrap();
    peer.put("s/b", "10.0.0.1:2", None);
    peer.delete("s/a");
    let compacted = peer.compact();
    let mut actions = follow.listed(&query, number, Ok(listed), std::time::Instant::now());
    let Some(Action::Send(request)) = actions.pop() else { panic!("no watch") };
    let requests = futures_util::StreamExt::chain(
        futures_util::stream::iter([request]),
        futures_util::stream::pending(),
    );
    let mut responses = server.watch().watch(requests).await.unwrap().into_inner();
    let actions = loop {
        let response = timeout(settings.timeout, responses.message()).await.unwrap().unwrap().unwrap();
        let actions = follow.response(&response, std::time::Instant::now()).unwrap();
        if response.canceled {
            assert_eq!(response.compact_revision, compacted);
            break actions;
        }
        assert!(actions.is_empty(), "{actions:?}");
    };
    assert!(
        matches!(actions.as_slice(), [Action::List { .. }]),
        "listed again, nothing removed: {actions:?}"
    );
    // A new session is none the wiser.
    Rig::begin(&settings, &[&web]).ports(&web, &[2]).await;
}
