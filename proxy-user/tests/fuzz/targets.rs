//! What is fuzzed, by name.

use proxy_user::l7::codec::fuzz as codec;
use proxy_user::wire::bolt::{Frame, FrameLimits, Head, Parsed};
use proxy_user::wire::hessian;
use proxy_user::{health, registry};

use crate::corpus::{bytes, recorded, texts};

/// Something that reads bytes from outside.
pub(crate) struct Target {
    pub(crate) name: &'static str,
    /// Panics when something does not hold that has to.
    pub(crate) entry: fn(&[u8]),
    pub(crate) corpus: fn() -> Vec<Vec<u8>>,
    /// How many times its size an input may cost.
    pub(crate) factor: usize,
    /// What any input may cost beside, in bytes: buffers, texts of errors.
    pub(crate) free: usize,
}

/// As DEFLATE packs at best, 1:1032; and a zstd window of at most 8 MiB, which is taken at once.
#[cfg(feature = "sofa")]
const PUSH: Target = Target {
    free: 24 << 20,
    factor: 1_100,
    ..target("sofa-push", registry::sofa::fuzz_push, || frames(false))
};
/// TOML's tables: two bytes begin one.
const FILE: Target = Target { factor: 1_000, ..target("file", registry::file::fuzz, files) };

const fn target(name: &'static str, entry: fn(&[u8]), corpus: fn() -> Vec<Vec<u8>>) -> Target {
    Target { name, entry, corpus, factor: 100, free: 8 << 10 }
}

pub(crate) const TARGETS: &[Target] = &[
    target("endpoint", registry::endpoint::fuzz, endpoints),
    FILE,
    target("health", health::fuzz, http),
    target("bolt-frame", bolt_frame, || frames(true)),
    target("bolt", codec::bolt, || with_seed(frames(true))),
    target("http1", codec::http1, || with_seed(http())),
    target("tcp", codec::tcp, || with_seed(http())),
    target("hessian", hessian::fuzz, || frames(false)),
    #[cfg(feature = "dns")]
    target("dns", registry::dns::fuzz, answers),
    #[cfg(feature = "etcd")]
    target("etcd", registry::etcd::fuzz, values),
    #[cfg(feature = "sofa")]
    PUSH,
];

/// Every part of a frame is within it, and what says that it is well is.
fn bolt_frame(data: &[u8]) {
    let Ok(Parsed::Head(head)) = Head::parse(data, FrameLimits::default()) else { return };
    let Ok(frame) = Frame::new(head, data) else { return };
    let length = frame.class().len() + frame.content().len();
    assert!(length <= data.len());
    let pairs = frame.headers().map_while(Result::ok).map(|(key, value)| key.len() + value.len());
    assert!(pairs.sum::<usize>() <= data.len());
    let _ = (frame.check_crc(), frame.headers().check());
}

/// Frames as they were recorded, or what they carry.
fn frames(whole: bool) -> Vec<Vec<u8>> {
    let recorded = recorded("src/registry/sofa/recorded").into_iter().chain(recorded("tests/codec/golden"));
    let content = |bytes: Vec<u8>| match Head::parse(&bytes, FrameLimits::default()) {
        Ok(Parsed::Head(head)) => Frame::new(head, &bytes).unwrap().content().to_vec(),
        _ => bytes,
    };
    recorded.map(|bytes| if whole { bytes } else { content(bytes) }).collect()
}

/// The codecs take their first byte for a number of their own.
fn with_seed(inputs: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    inputs.into_iter().map(|bytes| [&[7], bytes.as_slice()].concat()).collect()
}

fn http() -> Vec<Vec<u8>> {
    texts(&[
        "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "POST /p?q HTTP/1.1\r\nHost: a:80\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n0\r\nT: t\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.0 204 X\r\n\r\n",
    ])
}

fn endpoints() -> Vec<Vec<u8>> {
    texts(&[
        "10.0.0.1:80",
        "[2001:db8::1]:8080?weight=5",
        "bolt://10.0.0.1:12200?rpcVer=51302&serialization=hessian2&weight=100&appName=x&v=4.0&p=1&zone=a",
        "dubbo://10.0.0.1:20880/com.example.Hello?version=1.0&weight=50&side=provider&timestamp=1",
        "10.0.0.1:12200?_TIMEOUT=3000&_WEIGHT=20&app_name=y&_SERIALIZETYPE=4",
        "tri://user:secret@10.0.0.1:50051/a%20b?x=%3d",
    ])
}

fn files() -> Vec<Vec<u8>> {
    texts(&[
        "# web\n10.0.0.1:8080\n10.0.0.2:8080 50\n[2001:db8::1]:8080 0\n",
        r#"{"endpoints": ["10.0.0.1:80", {"address": "10.0.0.2:80", "weight": 5, "labels": {"a": "b"}}]}"#,
        r#"["10.0.0.1:80", {"address": "10.0.0.2:80", "enabled": false, "zone": "z"}]"#,
        "[[endpoints]]\naddress = \"10.0.0.2:8080\"\nweight = 50\nlabels = { a = \"b\" }\n",
        "endpoints = [\"10.0.0.1:80\"]\n",
    ])
}

/// Answers of knot 3.2.6.
#[cfg(feature = "dns")]
fn answers() -> Vec<Vec<u8>> {
    let question = "8500000100020000000103776562076578616d706c6500";
    let a = format!(
        "1234{question}00010001c00c000100010000000500040a000001c00c000100010000000500040a00000200002904d0000000000000"
    );
    let aliases = "12348500000100030000000103777777076578616d706c650000010001c00c0005000100000003000603776562c010c029000100010000000500040a000001c029000100010000000500040a00000200002904d0000000000000";
    let srv = "123485000001000200000005025f68045f746370076578616d706c650000210001c00c002100010000000900130000000a005003776562076578616d706c6500c00c002100010000000900120001000a0050026e73076578616d706c6500c033000100010000000500040a000001c033000100010000000500040a000002c033001c000100000007001020010db8000000000000000000000001c052000100010000000500047f00000100002904d0000000000000";
    [a.as_str(), aliases, srv].map(bytes).to_vec()
}

/// A key's end and a value with a zero between them; and a watch's answer with one event.
#[cfg(feature = "etcd")]
fn values() -> Vec<Vec<u8>> {
    let mut inputs = texts(&[
        "1\u{0}10.0.0.1:80?weight=5",
        "10.0.0.1:80\u{0}",
        "1\u{0}{\"address\":\"10.0.0.1\",\"port\":80,\"weight\":\"7\",\"zone\":\"z\",\"enabled\":true}",
        "1\u{0}{\"Op\":0,\"Addr\":\"10.0.0.1:80\",\"Metadata\":{\"weight\":3,\"a\":[1,{}]}}",
    ]);
    inputs
        .push(bytes("0a0608011002180310013a1b1219 0a042f612f31 1002 1803 2001 2a0b 31302e302e302e313a3830"));
    inputs
}
