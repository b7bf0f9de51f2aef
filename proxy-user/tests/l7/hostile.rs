//! Hostile requests to weir, nginx and HAProxy, each in front of a server that writes down what it reads. What two of them
//! read in two ways, weir refuses; what weir takes, all read alike, and its server reads as exactly that request.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use proxy_user::l7::codec::Limits as CodecLimits;
use proxy_user::l7::snapshot::Service;
use proxy_user::lab::left_out;

use crate::backend::{Recorder, Records, Request};
use crate::bed::{Worker, connect};
use crate::mutants::{reading, taken};
use crate::proxies::Proxy;
use crate::table::rows;

/// Behind each request: whoever takes it for a body's part, or sees a request before it, reads otherwise.
const LAST: &[u8] = b"GET /last HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

/// Requests looked at beside each other.
const LANES: usize = 4;

/// What came of a request through a proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    /// Requests that the server read, but for the last.
    requests: Vec<Request>,
    /// The last was read as one.
    last: bool,
    /// Status of the first answer; 0: there was none.
    status: u16,
}

/// What decides where a request ends and where it goes: method, path, body, host.
type Read<'a> = (&'a str, &'a str, &'a [u8], String);

/// A host that one of them does not pass on, since there is no `Host`, is no difference.
fn alike(one: &[Read<'_>], other: &[Read<'_>]) -> bool {
    let same = |(one, other): (&Read<'_>, &Read<'_>)| {
        (one.0, one.1, one.2) == (other.0, other.1, other.2)
            && (one.3 == other.3 || one.3.is_empty() || other.3.is_empty())
    };
    one.len() == other.len() && one.iter().zip(other).all(same)
}

impl Seen {
    /// How it was read. `None`: not at all.
    fn read(&self) -> Option<Vec<Read<'_>>> {
        let all: Vec<_> = self.requests.iter().map(of_request).collect();
        (!all.is_empty()).then_some(all)
    }
}

fn of_request(request: &Request) -> Read<'_> {
    // Some pass an absolute target on, some its path with its host.
    let (host, path) = match request.target.split_once("://") {
        Some((_, rest)) => rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len())),
        None => (request.host.as_str(), request.target.as_str()),
    };
    let path = if path.is_empty() { "/" } else { path };
    (&request.method, path, &request.body, host.to_ascii_lowercase())
}

fn ask(at: SocketAddr, records: &Records, bytes: &[u8], patience: Duration) -> Seen {
    records.take();
    let mut stream = connect(at);
    let _ = stream.write_all(&[bytes, LAST].concat());
    let (mut answers, mut room) = (Vec::new(), [0; 4096]);
    let end = Instant::now() + patience;
    loop {
        let left = end.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        stream.set_read_timeout(Some(left)).unwrap();
        match stream.read(&mut room) {
            Ok(0) | Err(_) => break,
            Ok(count) => answers.extend_from_slice(&room[..count]),
        }
        if Instant::now() > end {
            break;
        }
    }
    drop(stream);
    let mut requests = records.take();
    let last = requests.last().is_some_and(|request| request.target.ends_with("/last"));
    if last {
        requests.pop();
    }
    let status = answers.get(9..12).and_then(|status| std::str::from_utf8(status).ok()?.parse().ok());
    Seen { requests, last, status: status.unwrap_or(0) }
}

/// Name, bytes.
type Row = (String, Vec<u8>);

/// Sends all rows through a proxy, of which each lane has its own listener and server.
fn through(lanes: &[(SocketAddr, Records)], rows: &[Row]) -> BTreeMap<String, Seen> {
    let (next, seen) = (AtomicUsize::new(0), Mutex::new(BTreeMap::new()));
    std::thread::scope(|scope| {
        for (at, records) in lanes {
            let (next, seen) = (&next, &seen);
            scope.spawn(move || {
                while let Some((name, bytes)) = rows.get(next.fetch_add(1, Ordering::SeqCst)) {
                    // Who takes a request gets time to read it; others may wait for what does not come.
                    let patience = if reading(bytes).is_some() { 10_000 } else { 300 };
                    let found = ask(*at, records, bytes, Duration::from_millis(patience));
                    seen.lock().unwrap().insert(name.clone(), found);
                }
            });
        }
    });
    seen.into_inner().unwrap()
}

fn recorders() -> Vec<Recorder> {
    (0..LANES).map(|_| Recorder::new()).collect()
}

#[test]
fn what_two_read_in_two_ways_is_refused() {
    let mut all: Vec<Row> = rows().into_iter().map(|(name, bytes, _)| (name.to_owned(), bytes)).collect();
    let seeds: Vec<Vec<u8>> = all.iter().map(|(_, bytes)| bytes.clone()).collect();
    all.extend(taken(&seeds, 1500).into_iter().map(|bytes| (bytes.escape_ascii().to_string(), bytes)));

    let servers = recorders();
    // What the codec takes without a worker around it.
    let bodies = |service: &mut Service| service.limits.body_bytes = Some(CodecLimits::default().body);
    let workers: Vec<Worker> = servers.iter().map(|server| Worker::new("http1", server.at, bodies)).collect();
    let lanes: Vec<_> =
        workers.iter().zip(&servers).map(|(worker, server)| (worker.at, server.records.clone())).collect();
    let weir = through(&lanes, &all);

    let mut faults = Vec::new();
    for (name, bytes) in &all {
        let seen = &weir[name];
        match reading(bytes) {
            None if seen.requests.is_empty() && !seen.last && matches!(seen.status, 400..=599) => {}
            None => faults.push(format!("{name}: not refused: {seen:?}")),
            Some(read) => {
                let exact =
                    matches!(seen.requests.as_slice(), [one] if one.fault.is_none() && one.body == read.body);
                if !exact || seen.last != read.keep {
                    faults.push(format!("{name}: read as {read:?}, passed on as {seen:?}"));
                }
            }
        }
    }
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));

    let mut others = Vec::new();
    for name in ["nginx", "haproxy"] {
        let servers = recorders();
        let Some(proxy) = Proxy::start(name, &servers.iter().map(|server| server.at).collect::<Vec<_>>())
        else {
            left_out(&format!("the comparison with {name}: it is not installed (apt-get install {name})"));
            continue;
        };
        let lanes: Vec<_> =
            proxy.at.iter().zip(&servers).map(|(at, server)| (*at, server.records.clone())).collect();
        others.push((proxy.name, through(&lanes, &all)));
    }
    let (mut differ, mut half, mut forwarded) = (0, 0, 0);
    for (name, _) in &all {
        let ours = weir[name].read();
        let theirs: Vec<_> = others.iter().map(|(_, seen)| seen[name].read()).collect();
        let read: Vec<_> = theirs.iter().flatten().collect();
        half += usize::from(!read.is_empty() && read.len() < others.len());
        differ += usize::from(read.windows(2).any(|pair| !alike(pair[0], pair[1])));
        if let Some(ours) = ours {
            forwarded += 1;
            // One that refuses it reads it in no way.
            if read.iter().any(|theirs| !alike(theirs, &ours)) {
                let all: Vec<_> =
                    others.iter().map(|(who, seen)| format!("\n  {who}: {:?}", seen[name])).collect();
                faults.push(format!("{name}\n  weir: {:?}{}", weir[name], all.concat()));
            }
        }
    }
    eprintln!(
        "{} requests: weir took {forwarded}; {differ} are read in two ways by {:?}, {half} are taken by one of them only",
        all.len(),
        others.iter().map(|(name, _)| *name).collect::<Vec<_>>()
    );
    assert!(faults.is_empty(), "{} read in two ways:\n{}", faults.len(), faults.join("\n"));
}
