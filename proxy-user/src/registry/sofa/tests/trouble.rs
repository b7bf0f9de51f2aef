//! What no real server can be made to do.

use std::time::{Duration, Instant};

use super::double::{
    Double, Got, Peer, Running, answer, publications, push, push_of, queries, request, run, run_again,
};
use crate::registry::source::{Ended, Order, Parcel, SessionError, Wanted};
use crate::wire::bolt::{self, Kind, Version, status};

/// A client that has subscribed to "a", and the name of the subscription.
fn subscribed(double: &Double) -> (Running, Peer, String) {
    subscribed_with(double, "2s")
}

fn subscribed_with(double: &Double, heartbeat: &str) -> (Running, Peer, String) {
    let running = run(&double.settings_with(heartbeat), None, queries(&["a"]));
    let mut peer = double.accept();
    let got = peer.next();
    peer.answer(&got, true, "ok");
    (running, peer, got.base().regist_id)
}

fn ack_of(peer: &mut Peer, id: u32) -> u16 {
    let got = peer.next();
    assert_eq!(got.head.id, id);
    match got.head.kind {
        Kind::Response { status } => status,
        other => panic!("{other:?}"),
    }
}

#[test]
fn pushes_are_acknowledged_while_the_daemon_stands_still() {
    let double = Double::new();
    let (mut running, mut peer, name) = subscribed(&double);
    assert_eq!(running.event(), "connected");
    // The only thread of the runtime does something else for long, and nobody takes events.
    let still = running.runtime.spawn(async { std::thread::sleep(Duration::from_secs(3)) });
    std::thread::sleep(Duration::from_millis(300));
    let begin = Instant::now();
    for n in 1..=200_u16 {
        let texts = [format!("10.0.0.1:{n}")];
        peer.send(&push(u32::from(n), &name, 100 + i64::from(n), &[&texts[0]]));
        assert_eq!(ack_of(&mut peer, u32::from(n)), status::SUCCESS);
    }
    assert!(!still.is_finished() && begin.elapsed() < Duration::from_secs(2), "{:?}", begin.elapsed());
    running.runtime.block_on(still).unwrap();
    // What was overtaken is never seen.
    assert_eq!(running.event(), "a [200]");
    // The channel has room for one: of what comes while it is full, the newest is kept.
    for n in 201..=260_u16 {
        let texts = [format!("10.0.0.1:{n}")];
        peer.send(&push(u32::from(n), &name, 100 + i64::from(n), &[&texts[0]]));
        ack_of(&mut peer, u32::from(n));
        std::thread::sleep(Duration::from_millis(2));
    }
    let mut events = 1;
    while running.event() != "a [260]" {
        events += 1;
    }
    assert!(events < 10, "{events} events of 60 pushes");
}

#[test]
fn bytes_that_come_one_by_one() {
    let double = Double::new();
    let mut running = run(&double.settings(), None, queries(&["a"]));
    let mut peer = double.accept();
    let got = peer.next();
    let name = got.base().regist_id;
    let all = [answer(&got, true, "ok"), push(7, &name, 9, &["10.0.0.1:1"])].concat();
    for byte in all {
        peer.send(&[byte]);
    }
    assert_eq!(ack_of(&mut peer, 7), status::SUCCESS);
    assert_eq!((running.event(), running.event()), ("connected".to_owned(), "a [1]".to_owned()));
}

#[test]
fn old_versions_unknown_classes_and_unreadable_pushes() {
    let double = Double::new();
    let (mut running, mut peer, name) = subscribed(&double);
    assert_eq!(running.event(), "connected");
    peer.send(&push(1, &name, 9, &["10.0.0.1:9"]));
    assert_eq!((ack_of(&mut peer, 1), running.event()), (status::SUCCESS, "a [9]".to_owned()));
    peer.send(&push(2, &name, 8, &["10.0.0.1:8"]));
    assert_eq!(ack_of(&mut peer, 2), status::SUCCESS);
    peer.send(&request(3, "com.alipay.sofa.registry.core.model.Surprise", b"N"));
    assert_eq!(ack_of(&mut peer, 3), status::NO_PROCESSOR);
    peer.send(&push(4, "nobody", 10, &["10.0.0.1:4"]));
    assert_eq!(ack_of(&mut peer, 4), status::SUCCESS);
    // One that cannot be read: everything is asked for again.
    peer.send(&request(5, "com.alipay.sofa.registry.common.model.client.pb.ReceivedDataPb", b"\xff"));
    assert_eq!(ack_of(&mut peer, 5), status::SUCCESS);
    let again = peer.next();
    assert_eq!(again.base().regist_id, name);
    peer.answer(&again, true, "");
    peer.send(&push(6, &name, 9, &["10.0.0.1:10"]));
    assert_eq!((ack_of(&mut peer, 6), running.event()), (status::SUCCESS, "a [10]".to_owned()));
}

#[test]
fn heartbeats_are_answered_and_missed() {
    let double = Double::new();
    let (running, mut peer, _) = subscribed_with(&double, "300ms");
    let mut beat = Vec::new();
    bolt::encode_heartbeat(Version::V1, 77, &mut beat);
    peer.send(&beat);
    let reply = loop {
        let got = peer.frame();
        if got.head.is_heartbeat_reply() {
            break got;
        }
    };
    assert_eq!(reply.head.id, 77);
    for _ in 0..3 {
        assert!(peer.frame().head.is_heartbeat());
    }
    match running.end() {
        Err(SessionError::Lost { why, .. }) => assert_eq!(why, "3 heartbeats without an answer"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn garbage_and_giants_end_the_session() {
    let giant = |at: usize| {
        let mut bytes = request(1, "x", b"");
        bytes[at] = 0x7f;
        bytes
    };
    for (bytes, why) in [
        (b"HTTP/1.1 200 OK\r\n\r\n".to_vec(), "protocol 72"),
        (giant(18), "at most 67108864 are taken"),
        (vec![1, 9], "kind 9"),
    ] {
        let double = Double::new();
        let (running, mut peer, _) = subscribed(&double);
        peer.send(&bytes);
        match running.end() {
            Err(SessionError::Protocol { why: found, .. }) => assert!(found.contains(why), "{found}"),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_server_that_takes_no_protobuf_is_spoken_to_in_hessian() {
    for code in [status::ERROR, status::SERVER_EXCEPTION, status::SERVER_SERIALIZE, status::NO_PROCESSOR] {
        let double = Double::new();
        let running = run(&double.settings(), None, queries(&["a", "b"]));
        let mut peer = double.accept();
        let first = peer.next();
        assert!(first.class.ends_with("pb.SubscriberRegisterPb"));
        peer.fail(&first, code);
        let second = peer.next();
        assert_eq!(second.class, "com.alipay.sofa.registry.core.model.SubscriberRegister");
        peer.fail(&second, code);
        match running.end() {
            Err(SessionError::Refused { why, .. }) => assert!(why.contains(&format!("{code:#x}")), "{why}"),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn vips_come_first_and_what_is_refused_is_said_and_tried_again() {
    let double = Double::new();
    let all = Wanted { queries: queries(&["a"]).queries, ..publications(&["p"]) };
    let mut running = run(&double.settings(), None, all);
    let mut peer = double.accept();
    let publisher = peer.next();
    assert!(publisher.class.ends_with("PublisherRegisterPb"));
    peer.answer(&publisher, false, "no room");
    let subscriber = peer.next();
    assert!(subscriber.class.ends_with("SubscriberRegisterPb"));
    peer.answer(&subscriber, false, "blank");
    assert_eq!(running.event(), "connected");
    assert_eq!(running.event(), "p refused: no success: no room");
    assert_eq!(running.event(), "a ? the server refuses the subscription: no success: blank");
    let again = peer.next();
    assert!(again.base().version > publisher.base().version || again.class.contains("Subscriber"));
    // An error later is of that registration, not of the language.
    peer.fail(&again, status::BUSY);
    assert!(running.event().contains("status 0x4"));
}

#[test]
fn registrations_without_an_answer_are_sent_again_and_then_the_session_ends() {
    let double = Double::new();
    let running = run(&double.settings(), None, queries(&["a"]));
    let mut peer = double.accept();
    let got: Vec<Got> = (0..3).map(|_| peer.next()).collect();
    assert_eq!(got[0].base().version, got[2].base().version);
    match running.end() {
        Err(SessionError::Lost { why, .. }) => assert!(why.contains("3 times no answer"), "{why}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_vip_that_is_no_longer_wanted_is_withdrawn_after_its_successor_is_there() {
    let double = Double::new();
    let mut running = run(&double.settings(), None, publications(&["p"]));
    let mut peer = double.accept();
    let first = peer.next();
    peer.answer(&first, true, "");
    assert_eq!((running.event(), running.event()), ("connected".to_owned(), "p published".to_owned()));
    let mut wanted = Wanted::default();
    for old in publications(&["p"]).publications {
        let mut new = (*old).clone();
        new.options.insert("weight".to_owned(), "7".to_owned());
        wanted.publications.insert(new.into());
    }
    running.wanted.send(wanted.into()).unwrap();
    let second = peer.next();
    assert_eq!(second.base().event_type, "REGISTER");
    peer.answer(&second, true, "");
    let end = peer.next();
    assert_eq!(
        (end.base().event_type.as_str(), end.base().regist_id),
        ("UNREGISTER", first.base().regist_id)
    );
    assert!(end.base().version > first.base().version);
    assert_eq!(running.event(), "p published");
    peer.answer(&end, true, "");
    assert_eq!(running.event(), "p withdrawn");
}

fn handed_over(running: Running) -> Parcel {
    running.order.send(Order::HandOver).unwrap();
    match running.end() {
        Ok(Ended::HandedOver(Some(parcel))) => parcel,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_connection_is_handed_over_in_the_middle_of_a_push() {
    let double = Double::new();
    let wanted = Wanted { queries: queries(&["a"]).queries, ..publications(&["p"]) };
    let mut running = run(&double.settings(), None, wanted.clone());
    let mut peer = double.accept();
    let (publisher, subscriber) = {
        let publisher = peer.next();
        peer.answer(&publisher, true, "");
        let subscriber = peer.next();
        peer.answer(&subscriber, true, "");
        (publisher, subscriber)
    };
    let name = subscriber.base().regist_id;
    assert_eq!((running.event(), running.event()), ("connected".to_owned(), "p published".to_owned()));
    std::thread::sleep(Duration::from_millis(100));
    let bytes = push(5, &name, 9, &["10.0.0.1:5"]);
    peer.send(&bytes[..40]);
    std::thread::sleep(Duration::from_millis(100));
    let parcel = handed_over(running);
    assert!(!String::from_utf8_lossy(&parcel.state).contains("\"unread\":\"\""));
    let mut running = run(&double.settings(), Some(parcel), wanted);
    // The VIP is not registered again; the set is asked for again, under the same name.
    let again = peer.next();
    assert_eq!((&again.base().regist_id, again.head.id > subscriber.head.id), (&name, true));
    assert!(again.base().version > subscriber.base().version && publisher.head.id < again.head.id);
    peer.send(&bytes[40..]);
    assert_eq!(ack_of(&mut peer, 5), status::SUCCESS);
    let mut events: Vec<_> = (0..3).map(|_| running.event()).collect();
    events.sort();
    assert_eq!(events, ["a [5]", "connected", "p published"]);
}

#[test]
fn what_was_handed_over_and_cannot_be_trusted_is_dropped() {
    let double = Double::new();
    let running = run(&double.settings(), None, publications(&["p"]));
    let mut peer = double.accept();
    let got = peer.next();
    peer.answer(&got, true, "");
    std::thread::sleep(Duration::from_millis(200));
    let mut parcel = handed_over(running);
    parcel.state =
        String::from_utf8(parcel.state).unwrap().replace("\"format\":1", "\"format\":2").into_bytes();
    let running = run(&double.settings(), Some(parcel), publications(&["p"]));
    let mut anew = double.accept();
    let again = anew.next();
    assert_ne!(again.base().regist_id, got.base().regist_id);
    drop(running.wanted);
    match running.runtime.block_on(running.task).unwrap() {
        Ok(Ended::Unwanted) => {}
        other => panic!("{other:?}"),
    }
}

#[test]
fn data_centres_of_the_session_before_stay_until_they_speak() {
    let double = Double::new();
    let mut running = run_again(&double.settings(), None, queries(&["a"]), 1);
    for (pushes, want) in [(&[("x", 1), ("y", 2)][..], "a [1 2]"), (&[("x", 3)], "a [3 2]")] {
        let mut peer = double.accept();
        let got = peer.next();
        peer.answer(&got, true, "ok");
        assert_eq!(running.event(), "connected");
        for (id, (segment, port)) in (1..).zip(pushes) {
            let text = format!("10.0.0.1:{port}");
            peer.send(&push_of(segment, id, &got.base().regist_id, 5, &[&text]));
            peer.next();
        }
        // Two pushes are one event or two.
        let first = running.event();
        assert!(first == want || running.event() == want, "{first}");
    }
}
