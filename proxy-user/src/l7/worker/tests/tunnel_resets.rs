//! A side of a tunnel is reset: the other hears so, and the right one is counted.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::Shutdown;

use super::*;

/// Resets a connection of a backend's, of which others have copies.
fn reset_now(stream: &TcpStream) {
    rustix::net::connect_unspec(stream).unwrap();
}

/// All that comes, and how it ends.
fn all(stream: &mut TcpStream) -> (Vec<u8>, Option<ErrorKind>) {
    let mut said = Vec::new();
    let end = stream.read_to_end(&mut said);
    (said, end.err().map(|error| error.kind()))
}

#[test]
fn a_client_that_resets_is_not_its_endpoints_fault() {
    let backend = Backend::new(|mut stream| while stream.write_all(&[7; 65536]).is_ok() {});
    let mut rig = Rig::new("tcp", &[backend.at], |_| {});
    for _ in 0..20 {
        let mut client = rig.connect();
        read_exactly(&mut client, 3_000_000);
        reset(client);
    }
    let over = |web: &crate::l7::stats::ServiceStats| web.active == 0 && web.accepted == 20;
    rig.until(|rig| rig.stats.services.get("web").is_some_and(over));
    let stats = rig.fresh_stats().services["web"].clone();
    assert_eq!((stats.endpoints[&backend.at].resets, stats.resets), (0, 0));
}

#[test]
fn an_endpoint_that_resets_an_upload_is_counted() {
    let backend = Backend::new(|mut stream| {
        stream.read_exact(&mut [0; 500_000]).unwrap();
        reset_now(&stream);
    });
    let mut rig = Rig::new("tcp", &[backend.at], |_| {});
    for _ in 0..10 {
        let mut client = rig.connect();
        while client.write_all(&[1; 65536]).is_ok() {}
    }
    let over = |web: &crate::l7::stats::ServiceStats| web.active == 0 && web.accepted == 10;
    rig.until(|rig| rig.stats.services.get("web").is_some_and(over));
    let stats = rig.fresh_stats().services["web"].clone();
    assert_eq!(stats.endpoints[&backend.at].resets, 10);
}

#[test]
fn an_endpoints_reset_is_no_orderly_end() {
    for (len, last) in
        [(10, Duration::from_millis(100)), (10, Duration::ZERO), (3_000_000, Duration::from_millis(300))]
    {
        let backend = Backend::new(move |mut stream| {
            let _ = stream.read(&mut [0; 8]);
            let _ = stream.write_all(&vec![7; len]);
            std::thread::sleep(last);
            reset_now(&stream);
        });
        let rig = Rig::new("tcp", &[backend.at], |_| {});
        let mut client = rig.connect();
        client.write_all(b"x").unwrap();
        let (said, end) = all(&mut client);
        assert_eq!(end, Some(ErrorKind::ConnectionReset), "{} of {len} bytes", said.len());
        if last > Duration::ZERO {
            assert_eq!(said.len(), len, "what it had said comes before");
        }
    }
}

#[test]
fn nor_is_a_clients() {
    let ends = Arc::new(Mutex::new(Vec::new()));
    let kept = ends.clone();
    let backend = Backend::new(move |mut stream| {
        let heard = all(&mut stream);
        kept.lock().unwrap().push(heard);
    });
    let rig = Rig::new("tcp", &[backend.at], |_| {});
    let mut client = rig.connect();
    client.write_all(b"half of it").unwrap();
    std::thread::sleep(Duration::from_millis(100));
    reset(client);
    wait_until("it hears of it", || ends.lock().unwrap().len() == 1);
    assert_eq!(
        ends.lock().unwrap().pop().unwrap(),
        (b"half of it".to_vec(), Some(ErrorKind::ConnectionReset))
    );
    // One that has said all has.
    let mut client = rig.connect();
    client.write_all(b"all of it").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    wait_until("it hears the end", || ends.lock().unwrap().len() == 1);
    reset(client);
    assert_eq!(ends.lock().unwrap().pop().unwrap(), (b"all of it".to_vec(), None));
}
