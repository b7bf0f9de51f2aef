//! A worker that has run out of descriptors, or of its daemon.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::backend::Recorder;
use crate::bed::Worker;

fn get(stream: &mut TcpStream) -> u16 {
    let mut room = [0; 512];
    let _ = stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let count = stream.read(&mut room).unwrap_or(0);
    room.get(9..12.min(count)).and_then(|status| std::str::from_utf8(status).ok()?.parse().ok()).unwrap_or(0)
}

#[test]
fn idle_clients_make_room_and_the_endpoint_is_not_blamed() {
    let server = Recorder::new();
    let mut worker = Worker::short_of_descriptors(64, "http1", server.at);
    let mut clients: Vec<TcpStream> = Vec::new();
    for n in 0..300 {
        let mut client = worker.connect();
        assert_eq!(get(&mut client), 200, "client {n}");
        clients.push(client);
    }
    let stats = worker.stats();
    let web = &stats.services["web"];
    assert_eq!((web.answers.classes[1], web.requests_active), (300, 0));
    assert_eq!(web.endpoints[&server.at].connect_failures, 0);
    assert!(web.active < 64);
}

#[test]
fn clients_that_wait_for_a_descriptor_burn_no_time() {
    let server = Recorder::new();
    let worker = Worker::short_of_descriptors(64, "http1", server.at);
    // Each has begun a request: none is idle.
    let mut clients: Vec<TcpStream> = (0..100).map(|_| worker.connect()).collect();
    for client in &mut clients {
        let _ = client.write_all(b"GET / HTTP/1.1\r\nHo");
    }
    std::thread::sleep(Duration::from_millis(500));
    let (used, begun) = (worker.used(), Instant::now());
    std::thread::sleep(Duration::from_secs(2));
    let (used, took) = (worker.used() - used, begun.elapsed());
    assert!(used < took / 10, "{used:?} of {took:?}");
    // As soon as some leave, those that wait are served.
    clients.drain(..80);
    for client in &mut clients {
        let _ = client.write_all(b"st: a\r\n\r\n");
        let mut room = [0; 12];
        client.read_exact(&mut room).unwrap();
        assert_eq!(&room, b"HTTP/1.1 200");
    }
}

#[test]
fn a_worker_without_a_daemon_serves_on_and_burns_no_time() {
    let server = Recorder::new();
    let mut worker = Worker::new("http1", server.at, |_| {});
    let mut client = worker.connect();
    assert_eq!(get(&mut client), 200);
    worker.orphan();
    std::thread::sleep(Duration::from_millis(500));
    let (used, begun) = (worker.used(), Instant::now());
    std::thread::sleep(Duration::from_secs(2));
    let (used, took) = (worker.used() - used, begun.elapsed());
    assert!(used < took / 10, "{used:?} of {took:?}");
    assert_eq!(get(&mut client), 200);
    assert_eq!(get(&mut worker.connect()), 200);
}
