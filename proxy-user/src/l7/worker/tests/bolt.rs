use std::io::Write as _;

use super::*;

/// A request: id, header `service`, content.
pub(super) fn frame(id: u32, service: &str, content: &[u8]) -> Vec<u8> {
    frame_with(id, &[("service", service)], content)
}

pub(super) fn frame_with(id: u32, headers: &[(&str, &str)], content: &[u8]) -> Vec<u8> {
    let mut map = Vec::new();
    for (name, value) in headers {
        crate::wire::bolt::put_header(name.as_bytes(), value.as_bytes(), &mut map).unwrap();
    }
    let mut frame = vec![1, 1, 0, 1, 1];
    frame.extend(id.to_be_bytes());
    frame.push(1);
    frame.extend(3000_u32.to_be_bytes());
    frame.extend(1_u16.to_be_bytes());
    frame.extend(u16::try_from(map.len()).unwrap().to_be_bytes());
    frame.extend(u32::try_from(content.len()).unwrap().to_be_bytes());
    frame.push(b'C');
    frame.extend(map);
    frame.extend(content);
    frame
}

/// Reads a request: id and content.
pub(super) fn read_request(stream: &mut TcpStream) -> Option<(u32, Vec<u8>)> {
    read_whole(stream).map(|(id, _, content)| (id, content))
}

/// Reads a request: id, header map, content.
pub(super) fn read_whole(stream: &mut TcpStream) -> Option<(u32, Vec<u8>, Vec<u8>)> {
    let mut head = [0; 22];
    stream.read_exact(&mut head).ok()?;
    let number =
        |at: usize, len: usize| head[at..at + len].iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte));
    let mut rest = vec![0; number(14, 2) + number(16, 2) + number(18, 4)];
    stream.read_exact(&mut rest).ok()?;
    let content = rest.split_off(rest.len() - number(18, 4));
    let map = rest.split_off(number(14, 2));
    Some((u32::try_from(number(5, 4)).unwrap(), map, content))
}

pub(super) fn response(id: u32, status: u16, content: &[u8]) -> Vec<u8> {
    let mut frame = vec![1, 0, 0, 2, 1];
    frame.extend(id.to_be_bytes());
    frame.push(1);
    frame.extend(status.to_be_bytes());
    frame.extend([0; 4]);
    frame.extend(u32::try_from(content.len()).unwrap().to_be_bytes());
    frame.extend(content);
    frame
}

/// Reads a response: id, status, content.
pub(super) fn read_response(stream: &mut TcpStream) -> (u32, u16, Vec<u8>) {
    let head = read_exactly(stream, 20);
    let number =
        |at: usize, len: usize| head[at..at + len].iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte));
    let rest = read_exactly(stream, number(12, 2) + number(14, 2) + number(16, 4));
    (u32::try_from(number(5, 4)).unwrap(), u16::try_from(number(10, 2)).unwrap(), rest)
}

/// Answers in the reverse order of what comes, two at a time where `pairs`.
pub(super) fn serve(mut stream: TcpStream) {
    while let Some((id, content)) = read_request(&mut stream) {
        match content.as_slice() {
            b"silent" => {}
            b"die" => return,
            b"twice" => {
                let mut both = response(id, 0, b"one");
                both.extend(response(id, 0, b"two"));
                let _ = stream.write_all(&both);
            }
            _ => {
                if stream.write_all(&response(id, 0, &content)).is_err() {
                    return;
                }
            }
        }
    }
}

#[test]
fn clients_share_a_connection_and_get_their_own_ids_back() {
    let backend = Backend::new(serve);
    let mut rig = Rig::new("bolt", &[backend.at], |_| {});
    let mut clients: Vec<_> = (0..8).map(|_| rig.connect()).collect();
    for (number, client) in (0_u8..).zip(&mut clients) {
        let mut all = Vec::new();
        for id in 0..100 {
            all.extend(frame(id, "a:1.0", &[number; 300]));
        }
        client.write_all(&all).unwrap();
    }
    for (number, client) in (0_u8..).zip(&mut clients) {
        for id in 0..100 {
            assert_eq!(read_response(client), (id, 0, vec![number; 300]));
        }
    }
    assert_eq!(backend.connections(), 1);
    let stats = rig.fresh_stats().services["web"].clone();
    assert_eq!((stats.requests, stats.answers.classes[1], stats.requests_active), (800, 800, 0));
}

#[test]
fn ids_wrap_at_the_width_of_the_wire() {
    let ids = Arc::new(Mutex::new(Vec::new()));
    let seen = ids.clone();
    let backend = Backend::new(move |mut stream| {
        while let Some((id, content)) = read_request(&mut stream) {
            seen.lock().unwrap().push(id);
            let _ = stream.write_all(&response(id, 0, &content));
        }
    });
    let rig = Rig::new("bolt", &[backend.at], |_| {});
    let mut client = rig.connect();
    for turn in 0..100_u32 {
        let id = u32::MAX - 50 + turn.min(50);
        client.write_all(&frame(id, "a", &turn.to_be_bytes())).unwrap();
        assert_eq!(read_response(&mut client), (id, 0, turn.to_be_bytes().to_vec()));
    }
    let ids = ids.lock().unwrap();
    let wraps = ids.windows(2).filter(|pair| pair[1] < pair[0]).count();
    assert_eq!((wraps, ids.len()), (1, 100), "{ids:x?}");
    assert!(ids[0] > u32::MAX - 0x0020_0000, "{:x}", ids[0]);
}

#[test]
fn heartbeats_are_answered_here() {
    let backend = Backend::new(serve);
    let rig = Rig::new("bolt", &[backend.at], |_| {});
    let mut client = rig.connect();
    client.write_all(b"\x01\x01\0\0\x01\0\0\0\x07\x01\xff\xff\xff\xff\0\0\0\0\0\0\0\0").unwrap();
    let ack = read_exactly(&mut client, 20);
    assert_eq!((&ack[..5], &ack[5..9]), (&[1, 0, 0, 0, 1][..], &[0, 0, 0, 7][..]));
    assert_eq!(backend.connections(), 0);
}

#[test]
fn long_messages_in_pieces_do_not_hold_up_others() {
    let backend = Backend::new(serve);
    let rig = Rig::new("bolt", &[backend.at], |_| {});
    let (mut slow, mut quick) = (rig.connect(), rig.connect());
    let long = frame(1, "a", &vec![9; 1_000_000]);
    slow.write_all(&long[..500_000]).unwrap();
    for id in 0..10 {
        quick.write_all(&frame(id, "a", b"x")).unwrap();
        assert_eq!(read_response(&mut quick), (id, 0, b"x".to_vec()));
    }
    slow.write_all(&long[500_000..]).unwrap();
    assert_eq!(read_response(&mut slow).2.len(), 1_000_000);
}

#[test]
fn what_fails_is_said_in_the_protocol_and_late_answers_go_nowhere() {
    let backend = Backend::new(serve);
    let rig = Rig::new("bolt", &[backend.at], |snapshot| {
        web(snapshot).timeouts.request = Some(Duration::from_millis(200));
    });
    let mut client = rig.connect();
    client.write_all(&frame(5, "a", b"silent")).unwrap();
    assert_eq!(read_response(&mut client), (5, 7, Vec::new()), "timed out");
    client.write_all(&frame(6, "a", b"twice")).unwrap();
    assert_eq!(read_response(&mut client), (6, 0, b"one".to_vec()));
    client.write_all(&frame(7, "a", b"next")).unwrap();
    assert_eq!(read_response(&mut client), (7, 0, b"next".to_vec()));
    client.write_all(&frame(8, "a", b"die")).unwrap();
    assert_eq!(read_response(&mut client).0, 8);
    client.write_all(&frame(9, "a", b"alive")).unwrap();
    assert_eq!(read_response(&mut client), (9, 0, b"alive".to_vec()));
    let rig = Rig::new("bolt", &[], |_| {});
    let mut client = rig.connect();
    client.write_all(&frame(1, "a", b"x")).unwrap();
    let (id, status, _) = read_response(&mut client);
    assert_eq!(id, 1);
    assert_ne!(status, 0);
}

#[test]
fn what_was_not_sent_goes_to_another_endpoint() {
    let backend = Backend::new(serve);
    let mut rig = Rig::new("bolt", &[nobody(), backend.at], |_| {});
    let mut client = rig.connect();
    for id in 0..40 {
        client.write_all(&frame(id, "a", b"x")).unwrap();
        assert_eq!(read_response(&mut client), (id, 0, b"x".to_vec()), "request {id}");
    }
    assert!(rig.fresh_stats().services["web"].retries > 0);
}

#[test]
fn a_shared_connection_that_is_silent_is_asked_and_given_up() {
    let beats = Arc::new(AtomicU64::new(0));
    let counter = beats.clone();
    let backend = Backend::new(move |mut stream| {
        while let Some((id, content)) = read_request(&mut stream) {
            if content.is_empty() {
                counter.fetch_add(1, Ordering::SeqCst);
            } else {
                let _ = stream.write_all(&response(id, 0, &content));
            }
        }
    });
    let rig = Rig::new("bolt", &[backend.at], |snapshot| {
        web(snapshot).rules.pool.heartbeat = Duration::from_millis(100);
    });
    let mut client = rig.connect();
    client.write_all(&frame(1, "a", b"x")).unwrap();
    read_response(&mut client);
    std::thread::sleep(Duration::from_millis(600));
    assert!(beats.load(Ordering::SeqCst) >= 1);
    client.write_all(&frame(2, "a", b"y")).unwrap();
    assert_eq!(read_response(&mut client), (2, 0, b"y".to_vec()));
    assert!(backend.connections() >= 2, "the first did not answer its heartbeat");
}

#[test]
fn a_shared_connection_ends_by_its_age_and_without_requests() {
    let backend = Backend::new(serve);
    for (longest, idle) in [(100, 0), (0, 100)] {
        let mut rig = Rig::new("bolt", &[backend.at], |snapshot| {
            web(snapshot).rules.pool.longest = Duration::from_millis(longest);
            web(snapshot).rules.pool.idle = Duration::from_millis(idle);
        });
        let mut client = rig.connect();
        for id in 0..4 {
            client.write_all(&frame(id, "a", b"x")).unwrap();
            assert_eq!(read_response(&mut client).0, id);
            std::thread::sleep(Duration::from_millis(150));
        }
        rig.until(|rig| {
            let web = rig.stats.services.get("web");
            web.is_some_and(|web| {
                web.requests == 4
                    && web.endpoints.get(&backend.at).is_some_and(|there| there.connections == 0)
            })
        });
    }
}
