//! The fuzz entries on bytes that proptest makes: close to what is valid, so that they get past the first line.

use proptest::prelude::*;
use proxy_user::l7::codec::fuzz;

const WORDS: [&str; 44] = [
    "GET ",
    "POST ",
    "HEAD ",
    "CONNECT ",
    "/",
    "/a?b",
    "http://a/",
    "a:1",
    " HTTP/1.1\r\n",
    " HTTP/1.0\r\n",
    "HTTP/1.1 200 OK\r\n",
    "HTTP/1.1 101 X\r\n",
    "HTTP/1.0 204 X\r\n",
    "HTTP/1.1 100 \r\n",
    "HTTP/1.1 304 X\r\n",
    "Host: a\r\n",
    "Host: a:1\r\n",
    "Host:",
    "Content-Length: 3\r\n",
    "Content-Length:",
    "Transfer-Encoding: chunked\r\n",
    "Transfer-Encoding:",
    "Connection: close\r\n",
    "Connection: keep-alive\r\n",
    "Connection: upgrade\r\n",
    "Connection: x\r\n",
    "Upgrade: websocket\r\n",
    "X: y\r\n",
    "Expect: 100-continue\r\n",
    "\r\n",
    "\r\n\r\n",
    "\n",
    "\r",
    " ",
    "\t",
    ":",
    ",",
    "3\r\nabc\r\n",
    "0\r\n\r\n",
    "0\r\n",
    ";x",
    "abc",
    "%2e",
    "\0",
];

fn http() -> impl Strategy<Value = Vec<u8>> {
    let word = prop_oneof![
        20 => prop::sample::select(&WORDS[..]).prop_map(|word| word.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 1..4),
    ];
    let line = prop_oneof![
        Just(b"GET / HTTP/1.1\r\nHost: a\r\n".to_vec()),
        Just(b"POST /p HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec()),
        Just(b"HTTP/1.1 200 OK\r\n".to_vec()),
        Just(Vec::new()),
    ];
    (any::<u8>(), line, prop::collection::vec(word, 0..16)).prop_map(|(seed, line, words)| {
        let mut bytes = vec![seed];
        bytes.extend(line);
        bytes.extend(words.concat());
        bytes
    })
}

fn bolt() -> impl Strategy<Value = Vec<u8>> {
    let part = || prop::collection::vec(any::<u8>(), 0..12);
    let pair = prop_oneof![
        (part(), part()).prop_map(|(key, value)| {
            let mut bytes = Vec::new();
            proxy_user::wire::bolt::put_header(&key, &value, &mut bytes).unwrap();
            bytes
        }),
        Just(b"\0\0\0\x07service\0\0\0\x01a".to_vec()),
        Just(b"\xff\xff\xff\xff\0\0\0\0".to_vec()),
        prop::collection::vec(any::<u8>(), 0..6),
    ];
    let frame = (
        (1_u8..3, 1_u8..3, 0_u8..3, prop::sample::select(&[0_u16, 1, 2, 100, 7][..])),
        (any::<u32>(), 0_u8..2, any::<i32>()),
        (part(), prop::collection::vec(pair, 0..4), part(), -2_i8..3),
    );
    let frame = frame.prop_map(
        |((proto, ver1, kind, command), (id, switch, timeout), (class, map, content, lie))| {
            use proxy_user::wire::bolt::{Head, Kind, Version, encode};
            let version = if proto == 1 { Version::V1 } else { Version::V2 { ver1, switch } };
            let kind = match kind {
                0 => Kind::Response { status: 0x10 },
                1 => Kind::Request { timeout },
                _ => Kind::OneWay { timeout },
            };
            let head = Head {
                version,
                kind,
                command,
                ver2: 1,
                id,
                codec: 1,
                class_len: 0,
                header_len: 0,
                content_len: 0,
            };
            let mut bytes = Vec::new();
            encode(&head, &class, &map.concat(), &content, &mut bytes).unwrap();
            let length = bytes.get_mut(if proto == 1 { 17 } else { 19 });
            if let Some(length) = length.filter(|_| lie == 2) {
                *length = length.wrapping_add(1);
            }
            bytes
        },
    );
    (any::<u8>(), prop::collection::vec(frame, 1..4)).prop_map(|(seed, frames)| {
        let mut bytes = vec![seed];
        bytes.extend(frames.concat());
        bytes
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn http1(data in http()) {
        fuzz::http1(&data);
    }

    #[test]
    fn bolt_frames(data in bolt()) {
        fuzz::bolt(&data);
    }

    #[test]
    fn noise(data in prop::collection::vec(any::<u8>(), 0..300)) {
        fuzz::http1(&data);
        fuzz::bolt(&data);
        fuzz::tcp(&data);
    }
}
