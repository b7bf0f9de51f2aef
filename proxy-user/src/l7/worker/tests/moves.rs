//! Clients on shared connections while services come and go, and while the worker ends.

use std::io::Write as _;

use super::bolt::{frame, read_request, read_response, response};
use super::*;

/// Answers each request after so many milliseconds as its content says, with the server's name.
fn named(name: &'static str) -> Backend {
    Backend::new(move |mut stream| {
        while let Some((id, content)) = read_request(&mut stream) {
            let mut answers = stream.try_clone().unwrap();
            std::thread::spawn(move || {
                let millis = String::from_utf8(content).unwrap().parse().unwrap_or(0);
                std::thread::sleep(Duration::from_millis(millis));
                let _ = answers.write_all(&response(id, 0, name.as_bytes()));
            });
        }
    })
}

/// A request is under way.
fn is_busy(rig: &mut Rig) {
    while rig.list(None, 10).connections.iter().all(|client| client.requests_active == 0) {
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn ask(client: &mut TcpStream, id: u32) -> (u32, u16, Vec<u8>) {
    client.write_all(&frame(id, "a", b"0")).unwrap();
    read_response(client)
}

/// The worker's snapshot, without its service.
fn without(snapshot: &Snapshot) -> Snapshot {
    Snapshot { services: BTreeMap::new(), ..snapshot.clone() }
}

fn rig_of(endpoint: SocketAddr, with: impl FnOnce(&mut Snapshot)) -> (Rig, Snapshot) {
    let mut kept = None;
    let rig = Rig::new("bolt", &[endpoint], |snapshot| {
        with(snapshot);
        kept = Some(snapshot.clone());
    });
    (rig, kept.unwrap())
}

#[test]
fn a_service_that_is_removed_and_added_has_its_busy_clients_again() {
    let (one, two) = (named("one"), named("two"));
    let (mut rig, snapshot) = rig_of(one.at, |_| {});
    let mut client = rig.connect();
    client.write_all(&frame(1, "a", b"700")).unwrap();
    is_busy(&mut rig);
    rig.publish(without(&snapshot));
    assert_ne!(ask(&mut client, 2).1, 0, "nobody serves it now");
    let mut again = snapshot.clone();
    web(&mut again).endpoints = vec![Endpoint::new(two.at)];
    rig.publish(again);
    assert_eq!(ask(&mut client, 3), (3, 0, b"two".to_vec()));
    assert_eq!(read_response(&mut client), (1, 0, b"one".to_vec()), "what was under way ends by itself");
    // It is not closed for having been without a service.
    std::thread::sleep(Duration::from_millis(1300));
    assert_eq!(ask(&mut client, 4), (4, 0, b"two".to_vec()));
    let stats = rig.fresh_stats().services["web"].clone();
    assert_eq!((stats.requests, stats.requests_active, stats.active), (4, 0, 1));
    assert_eq!(stats.answers.classes.iter().sum::<u64>(), 4);
}

#[test]
fn the_service_that_has_the_address_now_has_its_clients() {
    let (one, two) = (named("one"), named("two"));
    let (mut rig, snapshot) = rig_of(one.at, |_| {});
    let (mut busy, mut idle) = (rig.connect(), rig.connect());
    assert_eq!(ask(&mut idle, 1).2, b"one");
    busy.write_all(&frame(1, "a", b"500")).unwrap();
    is_busy(&mut rig);
    let mut renamed = without(&snapshot);
    let mut service = snapshot.services["web"].clone();
    service.endpoints = vec![Endpoint::new(two.at)];
    renamed.services.insert("other".into(), service);
    rig.publish(renamed);
    assert_eq!(ask(&mut idle, 2), (2, 0, b"two".to_vec()));
    assert_eq!(ask(&mut busy, 2), (2, 0, b"two".to_vec()));
    assert_eq!(read_response(&mut busy), (1, 0, b"one".to_vec()));
    let stats = rig.fresh_stats();
    assert_eq!((stats.services["other"].active, stats.services["other"].requests), (2, 2));
    assert_eq!(stats.services.get("web").map_or(0, |web| web.requests_active), 0);
}

#[test]
fn without_a_service_a_client_gets_what_is_under_way_and_is_closed() {
    let one = named("one");
    let (mut rig, snapshot) = rig_of(one.at, |_| {});
    let mut client = rig.connect();
    client.write_all(&frame(1, "a", b"300")).unwrap();
    is_busy(&mut rig);
    rig.publish(without(&snapshot));
    assert_eq!(read_response(&mut client), (1, 0, b"one".to_vec()));
    assert_eq!(client.read(&mut [0; 8]).unwrap(), 0);
    drop(client);
    rig.until(|rig| rig.stats.active == 0 && rig.stats.services.is_empty());
}

#[test]
fn an_endpoint_that_is_replaced_is_replaced_for_busy_clients_too() {
    let (one, two) = (named("one"), named("two"));
    let (mut rig, snapshot) = rig_of(one.at, |_| {});
    let mut client = rig.connect();
    client.write_all(&frame(1, "a", b"300")).unwrap();
    is_busy(&mut rig);
    let mut changed = snapshot.clone();
    web(&mut changed).endpoints = vec![Endpoint::new(two.at)];
    rig.publish(changed);
    assert_eq!(ask(&mut client, 2), (2, 0, b"two".to_vec()));
    assert_eq!(read_response(&mut client), (1, 0, b"one".to_vec()));
    // And back, while the first connection to it is gone.
    rig.publish(snapshot);
    assert_eq!(ask(&mut client, 3), (3, 0, b"one".to_vec()));
    assert_eq!(one.connections(), 2);
}

/// How long it takes until the other side has closed, without a word.
fn closes(client: &mut TcpStream) -> Duration {
    let begun = Instant::now();
    assert_eq!(client.read(&mut [0; 64]).unwrap(), 0);
    begun.elapsed()
}

#[test]
fn silent_clients_do_not_hold_up_a_drain() {
    let one = named("one");
    let (mut rig, _) = rig_of(one.at, |_| {});
    let (mut idle, mut busy, mut new) = (rig.connect(), rig.connect(), rig.connect());
    assert_eq!(ask(&mut idle, 1).1, 0);
    busy.write_all(&frame(1, "a", b"1500")).unwrap();
    new.write_all(&frame(1, "a", b"0")[..5]).unwrap();
    rig.until(|rig| rig.stats.active == 3);
    // The silence before a drain counts too.
    assert_eq!(ask(&mut idle, 2).1, 0);
    rig.drain(Duration::from_secs(8));
    // What comes in time is served as ever: nobody has told it to go.
    std::thread::sleep(Duration::from_millis(1300));
    assert_eq!(ask(&mut idle, 3), (3, 0, b"one".to_vec()));
    let took = closes(&mut idle);
    assert!(took > Duration::from_millis(500) && took < Duration::from_secs(4), "{took:?}");
    // So is a message that has begun, and a request under way.
    new.write_all(&frame(1, "a", b"0")[5..]).unwrap();
    assert_eq!(read_response(&mut new), (1, 0, b"one".to_vec()));
    assert_eq!(read_response(&mut busy), (1, 0, b"one".to_vec()));
    assert_eq!(ask(&mut busy, 2), (2, 0, b"one".to_vec()), "it goes on where it left off");
    closes(&mut busy);
    closes(&mut new);
    drop((idle, busy, new));
    let begun = Instant::now();
    rig.thread.take().unwrap().join().unwrap().unwrap();
    assert!(begun.elapsed() < Duration::from_secs(5));
}

#[test]
fn a_client_that_is_told_to_go_gets_its_last_answers() {
    let one = named("one");
    let (rig, _) = rig_of(one.at, |snapshot| web(snapshot).rules.goaway = true);
    let mut client = rig.connect();
    assert_eq!(ask(&mut client, 1).1, 0);
    rig.drain(Duration::from_secs(60));
    let goaway = read_exactly(&mut client, 22);
    assert_eq!(&goaway[..4], &[1, 1, 0, 100]);
    // It was on its way already.
    assert_eq!(ask(&mut client, 2), (2, 0, b"one".to_vec()));
    closes(&mut client);
}

#[test]
fn late_in_a_drain_the_last_answer_is_the_last() {
    let one = named("one");
    let (rig, _) = rig_of(one.at, |_| {});
    let mut client = rig.connect();
    assert_eq!(ask(&mut client, 1).1, 0);
    rig.drain(Duration::from_secs(3));
    let begun = Instant::now();
    for id in 0.. {
        client.write_all(&frame(id, "a", b"100")).unwrap();
        let mut first = [0];
        if client.read(&mut first).unwrap_or(0) == 0 {
            break;
        }
        read_exactly(&mut client, 19 + 3);
        assert!(begun.elapsed() < Duration::from_secs(4), "it goes on for ever");
    }
    let took = begun.elapsed();
    assert!(took > Duration::from_millis(1300) && took < Duration::from_millis(2500), "{took:?}");
}

#[test]
fn a_connection_follows_the_address_that_it_dialled() {
    let (one, two) = (named("one"), named("two"));
    let (mut rig, snapshot) = rig_of(one.at, |_| {});
    let (mut idle, mut busy) = (rig.connect(), rig.connect());
    assert_eq!(ask(&mut idle, 1).2, b"one");
    busy.write_all(&frame(1, "a", b"700")).unwrap();
    is_busy(&mut rig);
    let mut swapped = snapshot.clone();
    web(&mut swapped).vip = "127.9.9.9:1".parse().unwrap();
    swapped.services.insert("other".into(), service(rig.at, "bolt", &[two.at]));
    rig.publish(swapped.clone());
    assert_eq!(ask(&mut idle, 2).2, b"two", "its address is another service's, and both are there");
    assert_eq!(ask(&mut busy, 2).2, b"two");
    assert_eq!(read_response(&mut busy).2, b"one");
    // Without one, and then one of its old name that has another address.
    rig.publish(snapshot.clone());
    busy.write_all(&frame(3, "a", b"700")).unwrap();
    is_busy(&mut rig);
    rig.publish(without(&snapshot));
    rig.publish(swapped);
    assert_eq!(ask(&mut busy, 4).2, b"two");
    assert_eq!(read_response(&mut busy).2, b"one");
}

#[test]
fn a_renamed_service_has_who_is_in_detection_and_the_old_one_ends() {
    let backend = Backend::new(http1::serve);
    let detecting = |snapshot: &mut Snapshot| {
        web(snapshot).rules.detect = vec!["bolt".into(), "http1".into()];
    };
    let (mut rig, snapshot) = rig_of(backend.at, detecting);
    let mut client = rig.connect();
    rig.until(|rig| rig.stats.active == 1);
    let mut renamed = without(&snapshot);
    renamed.services.insert("other".into(), snapshot.services["web"].clone());
    rig.publish(renamed);
    assert_eq!(http1::ask(&mut client, http1::GET).0, 200);
    assert!(!rig.fresh_stats().services.contains_key("web"));
}

#[test]
fn a_service_ends_with_its_last_request_though_its_clients_go_on() {
    let one = named("one");
    let (mut rig, snapshot) = rig_of(one.at, |_| {});
    let mut client = rig.connect();
    client.write_all(&frame(1, "a", b"700")).unwrap();
    is_busy(&mut rig);
    let mut renamed = without(&snapshot);
    renamed.services.insert("other".into(), snapshot.services["web"].clone());
    rig.publish(renamed);
    assert_eq!(read_response(&mut client).2, b"one");
    assert_eq!(rig.fresh_stats().services.keys().collect::<Vec<_>>(), ["other"]);
}
