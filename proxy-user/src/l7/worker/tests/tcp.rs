use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::time::Duration;

use super::*;

#[test]
fn bytes_go_both_ways_and_each_side_may_end_first() {
    let backend = Backend::new(echo);
    let rig = Rig::new("tcp", &[backend.at], |_| {});
    let mut client = rig.connect();
    for text in [&b"hello"[..], b"again"] {
        client.write_all(text).unwrap();
        assert_eq!(read_exactly(&mut client, text.len()), text);
    }
    client.write_all(b"last").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let mut rest = Vec::new();
    client.read_to_end(&mut rest).unwrap();
    assert_eq!(rest, b"last");
}

#[test]
fn bulk_arrives_whole_in_both_directions() {
    let backend = Backend::new(echo);
    let rig = Rig::new("tcp", &[backend.at], |_| {});
    let mut client = rig.connect();
    let sent: Vec<u8> = (0..40_000_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let mut writer = client.try_clone().unwrap();
    let copy = sent.clone();
    let thread = std::thread::spawn(move || {
        writer.write_all(&copy).unwrap();
        writer.shutdown(Shutdown::Write).unwrap();
    });
    let mut received = Vec::new();
    client.read_to_end(&mut received).unwrap();
    thread.join().unwrap();
    assert!(received == sent, "{} of {} bytes", received.len(), sent.len());
}

#[test]
fn the_clients_address_goes_before_the_first_byte() {
    let backend = Backend::new(echo);
    let rig = Rig::new("tcp", &[backend.at], |snapshot| {
        web(snapshot).client_address = ClientAddress::ProxyV2;
    });
    let mut client = rig.connect();
    client.write_all(b"x").unwrap();
    let mut wanted = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c".to_vec();
    let (peer, local) = (client.local_addr().unwrap(), rig.at);
    wanted.extend([127, 0, 0, 1, 127, 0, 0, 1]);
    wanted.extend(peer.port().to_be_bytes());
    wanted.extend(local.port().to_be_bytes());
    wanted.push(b'x');
    assert_eq!(read_exactly(&mut client, wanted.len()), wanted);
}

#[test]
fn a_dead_endpoint_is_passed_over() {
    let backend = Backend::new(echo);
    let mut rig = Rig::new("tcp", &[nobody(), backend.at], |_| {});
    for _ in 0..20 {
        let mut client = rig.connect();
        client.write_all(b"hello").unwrap();
        assert_eq!(read_exactly(&mut client, 5), b"hello");
    }
    let stats = rig.fresh_stats();
    assert_eq!((stats.services["web"].accepted, stats.services["web"].failed), (20, 0));
}

#[test]
fn a_client_that_does_not_read_holds_up_its_endpoint() {
    let written = Arc::new(AtomicU64::new(0));
    let counter = written.clone();
    let backend = Backend::new(move |mut stream| {
        let part = vec![7; 64 << 10];
        while stream.write_all(&part).is_ok() {
            counter.fetch_add(part.len() as u64, Ordering::SeqCst);
        }
    });
    let mut rig = Rig::new("tcp", &[backend.at], |_| {});
    let mut client = rig.connect();
    wait_until("it stands still", || {
        let before = written.load(Ordering::SeqCst);
        std::thread::sleep(Duration::from_millis(700));
        before > 0 && written.load(Ordering::SeqCst) == before
    });
    let before = written.load(Ordering::SeqCst);
    assert!(before < 64 << 20, "{before} bytes went into buffers");
    let taken = read_exactly(&mut client, 32 << 20);
    assert!(taken.iter().all(|byte| *byte == 7));
    assert!(rig.fresh_stats().services["web"].bytes_down >= 32 << 20);
}

#[test]
fn an_idle_connection_is_closed() {
    let backend = Backend::new(echo);
    let rig = Rig::new("tcp", &[backend.at], |snapshot| {
        web(snapshot).timeouts.idle = Duration::from_millis(100);
    });
    let mut client = rig.connect();
    assert_eq!(client.read(&mut [0; 8]).unwrap(), 0);
}

#[test]
fn an_endpoint_that_has_said_all_still_hears() {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let kept = heard.clone();
    let backend = Backend::new(move |mut stream| {
        let _ = stream.write_all(b"all that there is");
        let _ = stream.shutdown(Shutdown::Write);
        let mut bytes = Vec::new();
        let _ = stream.read_to_end(&mut bytes);
        *kept.lock().unwrap() = bytes;
    });
    let mut rig = Rig::new("tcp", &[backend.at], |_| {});
    let mut client = rig.connect();
    let mut said = Vec::new();
    client.read_to_end(&mut said).unwrap();
    assert_eq!(said, b"all that there is");
    let long: Vec<u8> = (0..3_000_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    client.write_all(&long).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    wait_until("it has heard all", || heard.lock().unwrap().len() == long.len());
    assert!(*heard.lock().unwrap() == long);
    rig.until(|rig| rig.stats.services.get("web").is_some_and(|web| web.accepted == 1 && web.active == 0));
    let stats = rig.fresh_stats().services["web"].clone();
    assert_eq!((stats.bytes_up, stats.bytes_down, stats.tunnels), (3_000_000, 17, 0));
}

#[test]
fn a_connection_is_not_idle_while_one_side_speaks_or_reads() {
    let backend = Backend::new(|mut stream| {
        for _ in 0..10 {
            std::thread::sleep(Duration::from_millis(100));
            let _ = stream.write_all(b"tick");
        }
        let _ = stream.write_all(&[7; 4_000_000]);
        let _ = stream.read(&mut [0; 8]);
    });
    let mut rig = Rig::new("tcp", &[backend.at], |snapshot| {
        web(snapshot).timeouts.idle = Duration::from_millis(500);
    });
    let mut client = rig.connect();
    rustix::net::sockopt::set_socket_recv_buffer_size(&client, 64 << 10).unwrap();
    assert_eq!(read_exactly(&mut client, 40), b"tick".repeat(10));
    for _ in 0..40 {
        std::thread::sleep(Duration::from_millis(50));
        assert!(read_exactly(&mut client, 100_000).iter().all(|byte| *byte == 7));
    }
    let begun = Instant::now();
    assert_eq!(client.read(&mut [0; 8]).unwrap(), 0, "now it is");
    assert!(begun.elapsed() < Duration::from_secs(5));
    rig.until(|rig| rig.stats.services.get("web").is_some_and(|web| web.active == 0));
}
