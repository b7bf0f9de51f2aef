use std::io::Write as _;
use std::sync::atomic::AtomicBool;

use super::bolt::{frame, read_response};
use super::http1::{GET, ask, serve};
use super::*;

#[test]
fn endpoints_change_all_the_while_and_no_request_fails() {
    under_changes("http1", serve, |client, _| assert_eq!(ask(client, GET).0, 200));
}

#[test]
fn nor_does_one_on_shared_connections() {
    under_changes("bolt", bolt::serve, |client, turn| {
        // Several at once, so that connections are never idle.
        let ids = turn * 4..turn * 4 + 4;
        for id in ids.clone() {
            client.write_all(&frame(id, "a", &id.to_be_bytes())).unwrap();
        }
        // Of several endpoints, in any order.
        let mut answers: Vec<_> = ids.clone().map(|_| read_response(client)).collect();
        answers.sort();
        let wanted: Vec<_> = ids.map(|id| (id, 0, id.to_be_bytes().to_vec())).collect();
        assert_eq!(answers, wanted);
    });
}

/// Changes the endpoints under load by `ask`, which sends one or four requests.
fn under_changes(codec: &str, serve: fn(TcpStream), asks: fn(&mut TcpStream, u32)) {
    let backends: Vec<Backend> = (0..4).map(|_| Backend::new(serve)).collect();
    let all: Vec<SocketAddr> = backends.iter().map(|backend| backend.at).collect();
    let mut rig = Rig::new(codec, &all, |_| {});
    let stop = Arc::new(AtomicBool::new(false));
    let at = rig.at;
    let clients: Vec<_> = (0..6)
        .map(|_| {
            let stop = stop.clone();
            std::thread::spawn(move || {
                let mut client = TcpStream::connect(at).unwrap();
                client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
                let mut turn = 0;
                while !stop.load(Ordering::SeqCst) {
                    asks(&mut client, turn);
                    turn += 1;
                }
                u64::from(turn)
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
            services: BTreeMap::from([("web".to_owned(), service(at, codec, &some))]),
            ..Snapshot::default()
        });
        std::thread::sleep(Duration::from_millis(20));
    }
    stop.store(true, Ordering::SeqCst);
    let asked: u64 = clients.into_iter().map(|client| client.join().unwrap()).sum();
    assert!(asked > 100, "{asked}");
    let stats = rig.fresh_stats().services["web"].clone();
    let each = if codec == "bolt" { 4 } else { 1 };
    assert_eq!((stats.answers.classes[1], stats.requests_active), (asked * each, 0));
    assert_eq!(stats.answers.classes.iter().sum::<u64>(), asked * each);
}
