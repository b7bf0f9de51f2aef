//! Ten thousand clients that say nothing.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use proxy_user::lab::left_out;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::backend::Recorder;
use crate::bed::Worker;

const WANTED: u64 = 10_000;

/// The answers of [`Recorder`] are this long.
const ANSWER: usize = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok".len();

fn get(client: &mut TcpStream) {
    client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    client.read_exact(&mut [0; ANSWER]).unwrap();
}

#[test]
fn idle_clients_cost_little_memory() {
    let now = getrlimit(Resource::Nofile);
    // The worker gets the same.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: now.maximum, maximum: now.maximum });
    let most = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let wanted = WANTED.min(most.saturating_sub(500));
    if wanted < WANTED {
        left_out(&format!(
            "{WANTED} idle clients: the hard limit on descriptors allows {wanted} (ulimit -Hn 11000)"
        ));
    }
    let server = Recorder::new();
    let mut worker = Worker::new("http1", server.at, |_| {});
    let mut first = worker.connect();
    get(&mut first);
    let before = worker.resident();
    let mut clients: Vec<TcpStream> = Vec::new();
    for _ in 0..wanted {
        let mut client = worker.connect();
        get(&mut client);
        clients.push(client);
    }
    assert_eq!(worker.stats().active, wanted + 1);
    let each = worker.resident().saturating_sub(before) / wanted;
    eprintln!("{wanted} idle clients, each after a request: {each} bytes of the worker's memory each");
    assert!(each <= 4096, "{each} bytes each");
    get(&mut first);
}
