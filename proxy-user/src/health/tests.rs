//! With real servers on loopback.

use std::net::IpAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::*;

pub(super) fn check() -> HealthCheck {
    HealthCheck {
        probe: Probe::Tcp,
        port: None,
        interval: Duration::from_millis(50),
        timeout: Duration::from_secs(1),
        rise: 2,
        fall: 2,
        initial_up: true,
        panic_below: 0,
    }
}

fn http() -> HealthCheck {
    let status = vec![(200, 299)];
    HealthCheck { probe: Probe::Http { path: "/up".to_owned(), host: None, status }, ..check() }
}

pub(super) fn target(service: &str, port: u16) -> Target {
    (Arc::from(service), BackendAddr { addr: IpAddr::from([127, 0, 0, 1]), port })
}

/// Checks under way, and what they have said.
struct Checks {
    targets: watch::Sender<Arc<Targets>>,
    verdicts: mpsc::Receiver<Verdict>,
    stats: Arc<Stats>,
    task: JoinHandle<()>,
}

impl Checks {
    fn of(targets: impl IntoIterator<Item = (Target, HealthCheck)>) -> Self {
        let targets = targets.into_iter().map(|(target, check)| (target, Arc::new(check))).collect();
        let (targets, watched) = watch::channel(Arc::new(targets));
        let (tell, verdicts) = mpsc::channel(4);
        let stats = Arc::new(Stats::default());
        let task = tokio::spawn(run(watched, tell, Arc::clone(&stats)));
        Self { targets, verdicts, stats, task }
    }

    async fn verdict(&mut self) -> Verdict {
        let verdict = tokio::time::timeout(Duration::from_secs(20), self.verdicts.recv()).await;
        verdict.expect("a verdict within 20 s").unwrap()
    }

    async fn next(&mut self) -> (u16, bool, String) {
        let verdict = self.verdict().await;
        (verdict.backend.port, verdict.up, verdict.detail.to_string())
    }
}

impl Drop for Checks {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn listener(port: u16) -> (TcpListener, u16) {
    let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

/// A server that sends `answer` to everybody after `pause`, and keeps or closes the connection.
async fn server(answer: &'static [u8], pause: Duration, close: bool) -> (JoinHandle<()>, u16) {
    let (listener, port) = listener(0).await;
    let serve = move |mut stream: TcpStream| async move {
        let _ = stream.read(&mut [0; 1024]).await;
        tokio::time::sleep(pause).await;
        let _ = stream.write_all(answer).await;
        if !close {
            let _ = stream.read(&mut [0; 1024]).await;
        }
    };
    let task = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream));
        }
    });
    (task, port)
}

#[tokio::test]
async fn up_down_and_up_again() {
    let (server, port) = listener(0).await;
    let mut checks = Checks::of([(target("a", port), check())]);
    assert_eq!(checks.next().await, (port, true, "connected".to_owned()));
    drop(server);
    assert_eq!(checks.next().await, (port, false, "connection refused".to_owned()));
    let _server = listener(port).await;
    assert_eq!(checks.next().await, (port, true, "connected".to_owned()));
    let read = checks.stats.read();
    assert!(read.outcomes[0].1 >= 3 && read.outcomes[1].1 >= 2, "{read:?}");
    assert_eq!((read.targets, read.units), (1, 1));
    assert_eq!(read.buckets.iter().sum::<u64>(), read.outcomes.iter().map(|(_, n)| n).sum::<u64>());
}

#[tokio::test]
async fn closed_in_order_not_reset() {
    let (server, port) = listener(0).await;
    let body = HealthCheck { interval: Duration::from_secs(60), ..http() };
    let _checks = Checks::of([(target("a", port), HealthCheck { probe: Probe::Tcp, ..body.clone() })]);
    let (mut stream, _) = server.accept().await.unwrap();
    assert_eq!(stream.read(&mut [0; 8]).await.unwrap(), 0);
    // Nor with a body that nobody has asked for.
    let _checks = Checks::of([(target("a", port), body)]);
    let (mut stream, _) = server.accept().await.unwrap();
    assert!(stream.read(&mut [0; 1024]).await.unwrap() > 20);
    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello").await.unwrap();
    assert_eq!(stream.read(&mut [0; 8]).await.unwrap(), 0);
}

#[tokio::test]
async fn http_answers_of_all_kinds() {
    let now = Duration::ZERO;
    let cases: [(&'static [u8], Duration, bool, bool, &str); 8] = [
        (b"HTTP/1.1 204 No Content\r\n\r\n", now, false, true, "HTTP 204"),
        (b"HTTP/1.1 200 OK\r\n\r\nx", Duration::from_millis(100), true, true, "HTTP 200"),
        (b"HTTP/1.1 503 Busy\r\n\r\n", now, false, false, "HTTP 503, wanted 200-299"),
        (b"SSH-2.0-x\r\n", now, false, false, "the answer is not HTTP/1: invalid HTTP version"),
        (b"", now, true, false, "closed the connection before an answer"),
        (
            b"HTTP/1.1 200 OK\r\nA",
            now,
            true,
            false,
            "closed the connection before the head of its answer was whole",
        ),
        (b"HTTP/1.1 200 OK\r\nA", now, false, false, "connected, but no answer within 1s"),
        (
            b"HTTP/1.1 200 OK\r\n\r\n",
            Duration::from_secs(60),
            false,
            false,
            "connected, but no answer within 1s",
        ),
    ];
    let mut wanted = BTreeMap::new();
    let mut servers = Vec::new();
    for (answer, pause, close, up, detail) in cases {
        let (server, port) = server(answer, pause, close).await;
        servers.push(server);
        wanted.insert(port, (up, detail.to_owned()));
    }
    let mut checks = Checks::of(wanted.keys().map(|port| (target("a", *port), http())));
    let mut told = BTreeMap::new();
    for _ in 0..wanted.len() {
        let (port, up, detail) = checks.next().await;
        told.insert(port, (up, detail));
    }
    assert_eq!(told, wanted);
}

#[tokio::test]
async fn a_backlog_that_nobody_accepts_from() {
    // The kernel answers for a server that hangs: only HTTP notices.
    let (_server, port) = listener(0).await;
    let mut checks = Checks::of([(target("http", port), http()), (target("tcp", port), check())]);
    assert_eq!(checks.next().await, (port, true, "connected".to_owned()));
    assert_eq!(checks.next().await, (port, false, "connected, but no answer within 1s".to_owned()));
    // A backlog that is full answers nothing at all.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
    let full = socket.listen(0).unwrap();
    let addr = full.local_addr().unwrap();
    let _first = TcpStream::connect(addr).await.unwrap();
    let mut checks = Checks::of([(target("tcp", addr.port()), check())]);
    assert_eq!(checks.next().await, (addr.port(), false, "no connection within 1s".to_owned()));
}

#[tokio::test]
async fn removed_targets_are_left_alone_at_once() {
    let (server, port) = listener(0).await;
    let patient = HealthCheck { timeout: Duration::from_secs(600), ..http() };
    let checks = Checks::of([(target("a", port), patient)]);
    let (mut stream, _) = server.accept().await.unwrap();
    assert!(stream.read(&mut [0; 1024]).await.unwrap() > 20);
    checks.targets.send_replace(Arc::default());
    // The check that is under way is broken off, long before its time.
    let ended = tokio::time::timeout(Duration::from_secs(60), stream.read(&mut [0; 8])).await;
    assert!(ended.is_ok());
    assert!(tokio::time::timeout(Duration::from_millis(300), server.accept()).await.is_err());
    assert_eq!(checks.stats.read().units, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_thousand_of_them_some_dead_some_silent() {
    // One listener answers for all of 127/8; the silent ones hang in a backlog that is full.
    let (server, port) = listener(0).await;
    let all = TcpListener::bind(("0.0.0.0", 0)).await.unwrap();
    let port_all = all.local_addr().unwrap().port();
    drop(server);
    let accept = tokio::spawn(async move {
        while let Ok((stream, _)) = all.accept().await {
            tokio::spawn(async move {
                let mut stream = stream;
                let _ = stream.read(&mut [0; 1]).await;
            });
        }
    });
    let silent = TcpSocket::new_v4().unwrap();
    silent.bind(([0, 0, 0, 0], 0).into()).unwrap();
    let silent = silent.listen(0).unwrap();
    let port_silent = silent.local_addr().unwrap().port();
    let _first = TcpStream::connect(("127.0.0.1", port_silent)).await.unwrap();

    let ports = [port_all, port_all, port, port_silent];
    let of = |at: u16| {
        let [high, low] = at.to_be_bytes();
        let addr = IpAddr::from([127, 9, high, low]);
        (Arc::from("many"), BackendAddr { addr, port: ports[usize::from(at % 4)] })
    };
    let settings = HealthCheck { interval: Duration::from_secs(1), fall: 1, ..check() };
    let mut checks = Checks::of((0..2000).map(|at| (of(at), settings.clone())));
    // A busy machine may take an answer for late at first; in the end each is what it is.
    let mut told = BTreeMap::new();
    let right = |port: u16, up: bool| up == (port == port_all);
    while told.len() < 2000 || told.iter().any(|((_, port), up)| !right(*port, *up)) {
        let verdict = checks.verdict().await;
        told.insert((verdict.backend.addr, verdict.backend.port), verdict.up);
    }
    let of = |wanted| told.keys().filter(|(_, port)| *port == wanted).count();
    assert_eq!((of(port_all), of(port), of(port_silent)), (1000, 500, 500));
    accept.abort();
}
