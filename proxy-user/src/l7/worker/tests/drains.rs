//! The end of a worker whose clients ask one thing after the other.

use std::io::Write as _;

use super::http1::{GET, answer, ask, serve};
use super::*;

fn ends(rig: &mut Rig) {
    rig.thread.take().unwrap().join().unwrap().unwrap();
}

#[test]
fn what_is_under_way_is_finished() {
    let backend = Backend::new(serve);
    let mut rig = Rig::new("http1", &[backend.at], |_| {});
    let mut busy = rig.connect();
    busy.write_all(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    std::thread::sleep(Duration::from_millis(200));
    rig.drain(Duration::from_secs(10));
    let (status, head, _) = answer(&mut busy);
    assert_eq!(status, 200);
    assert!(head.contains("Connection: close"), "{head}");
    ends(&mut rig);
}

#[test]
fn an_idle_client_is_answered_and_told_that_its_connection_ends() {
    let backend = Backend::new(serve);
    let mut rig = Rig::new("http1", &[backend.at], |_| {});
    let (mut idle, mut new) = (rig.connect(), rig.connect());
    assert_eq!(ask(&mut idle, GET).0, 200);
    new.write_all(b"GET / HT").unwrap();
    std::thread::sleep(Duration::from_millis(100));
    rig.drain(Duration::from_secs(60));
    std::thread::sleep(Duration::from_millis(1500));
    let (status, head, _) = ask(&mut idle, GET);
    assert!(status == 200 && head.contains("Connection: close"), "{head}");
    assert_eq!(idle.read(&mut [0; 8]).unwrap(), 0);
    new.write_all(b"TP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let (status, head, _) = answer(&mut new);
    assert!(status == 200 && head.contains("Connection: close"), "{head}");
    ends(&mut rig);
}

#[test]
fn silent_clients_are_closed_little_by_little_and_long_before_the_drain_is_over() {
    let backend = Backend::new(serve);
    let mut rig = Rig::new("http1", &[backend.at], |_| {});
    let mut silent: Vec<_> = (0..20).map(|_| rig.connect()).collect();
    silent.iter_mut().for_each(|client| assert_eq!(ask(client, GET).0, 200));
    let begun = Instant::now();
    rig.drain(Duration::from_secs(8));
    let waits = silent.into_iter().map(|mut client| {
        std::thread::spawn(move || {
            assert_eq!(client.read(&mut [0; 8]).unwrap(), 0);
            begun.elapsed()
        })
    });
    let waits: Vec<_> = waits.collect::<Vec<_>>().into_iter().map(|one| one.join().unwrap()).collect();
    let (first, last) = (waits.iter().min().unwrap(), waits.iter().max().unwrap());
    assert!(*first > Duration::from_millis(1900) && *last < Duration::from_millis(5500), "{waits:?}");
    assert!(*last - *first > Duration::from_millis(800), "not all at one time: {waits:?}");
    ends(&mut rig);
    assert!(begun.elapsed() < Duration::from_secs(7));
}

#[test]
fn what_comes_in_the_moment_of_the_end_is_answered() {
    let backend = Backend::new(serve);
    let mut rig = Rig::new("http1", &[backend.at], |_| {});
    // The first one's silence ends first, a quarter of the drain after its begin.
    let (mut idle, mut other) = (rig.connect(), rig.connect());
    assert_eq!(ask(&mut idle, GET).0, 200);
    assert_eq!(ask(&mut other, GET).0, 200);
    rig.drain(Duration::from_secs(4));
    std::thread::sleep(Duration::from_millis(750));
    // Until after the end of the silence the worker sees nothing.
    other.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nX-Pause: 1\r\n\r\n").unwrap();
    std::thread::sleep(Duration::from_millis(150));
    assert_eq!(ask(&mut idle, GET).0, 200);
    ends(&mut rig);
}

#[test]
fn a_shorter_drain_holds() {
    let backend = Backend::new(serve);
    let mut rig = Rig::new("http1", &[backend.at], |_| {});
    let mut idle = rig.connect();
    assert_eq!(ask(&mut idle, GET).0, 200);
    rig.drain(Duration::from_secs(600));
    std::thread::sleep(Duration::from_millis(100));
    let begun = Instant::now();
    rig.drain(Duration::from_secs(3));
    assert_eq!(idle.read(&mut [0; 8]).unwrap(), 0);
    assert!(begun.elapsed() < Duration::from_millis(2500), "{:?}", begun.elapsed());
    ends(&mut rig);
}
