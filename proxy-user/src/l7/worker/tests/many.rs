use std::io::Write as _;
use std::sync::atomic::AtomicBool;

use super::http1::{GET, answer, ask, serve};
use super::*;

fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    text.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

/// Both ends of each connection are in this process: what is printed is the worker's memory and the test's own list.
#[test]
fn many_idle_connections_cost_little() {
    let most = rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap_or(1024);
    let wanted = 10_000.min((most.saturating_sub(500)) / 2);
    if wanted < 10_000 {
        eprintln!(
            "left out: 10,000 idle connections: {most} descriptors suffice for {wanted} (ulimit -n 21000)"
        );
    }
    let backend = Backend::new(serve);
    let mut rig = Rig::new("http1", &[backend.at], |_| {});
    let mut warm = rig.connect();
    assert_eq!(ask(&mut warm, GET).0, 200);
    let before = resident();
    let mut clients: Vec<TcpStream> = (0..wanted).map(|_| TcpStream::connect(rig.at).unwrap()).collect();
    rig.until(|rig| rig.stats.active >= wanted);
    for client in &mut clients {
        client.write_all(GET.as_bytes()).unwrap();
        answer(client);
    }
    let each = (resident().saturating_sub(before)) / wanted.max(1);
    eprintln!("{wanted} idle connections, each after a request: {each} bytes of memory each");
    assert!(each < 16 << 10, "far above the aim of 4 kB: {each}");
    assert_eq!(ask(&mut warm, GET).0, 200);
}

#[test]
fn endpoints_change_all_the_while_and_no_request_fails() {
    let backends: Vec<Backend> = (0..4).map(|_| Backend::new(serve)).collect();
    let all: Vec<SocketAddr> = backends.iter().map(|backend| backend.at).collect();
    let mut rig = Rig::new("http1", &all, |_| {});
    let stop = Arc::new(AtomicBool::new(false));
    let at = rig.at;
    let clients: Vec<_> = (0..6)
        .map(|_| {
            let stop = stop.clone();
            std::thread::spawn(move || {
                let mut client = TcpStream::connect(at).unwrap();
                client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
                let mut asked = 0_u64;
                while !stop.load(Ordering::SeqCst) {
                    assert_eq!(ask(&mut client, GET).0, 200);
                    asked += 1;
                }
                asked
            })
        })
        .collect();
    for turn in 0..60 {
        let some: Vec<SocketAddr> = all
            .iter()
            .enumerate()
            .filter(|(n, _)| *n != turn % 4 && *n != turn / 4 % 4)
            .map(|(_, a)| *a)
            .collect();
        rig.publish(Snapshot {
            version: VERSION,
            services: BTreeMap::from([("web".to_owned(), service(at, "http1", &some))]),
            ..Snapshot::default()
        });
        std::thread::sleep(Duration::from_millis(20));
    }
    stop.store(true, Ordering::SeqCst);
    let asked: u64 = clients.into_iter().map(|client| client.join().unwrap()).sum();
    assert!(asked > 100, "{asked}");
    assert_eq!(rig.fresh_stats().services["web"].answers.classes[1], asked);
}
