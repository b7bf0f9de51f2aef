//! What a head costs: decoded, and passed on. `cargo bench -p proxy-user --bench codec`.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion};
use proxy_user::l7::codec::{Codec, Decoded, Edits, Head, Limits, Session, Side, by_name};
use proxy_user::wire::bolt::{self, Version, command, encode, put_header};

/// A browser's request to a site behind a proxy.
const REQUEST: &[u8] = b"GET /catalog/items/4711?page=2&sort=price HTTP/1.1\r\nHost: shop.example.com\r\n\
User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\n\
Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\nAccept-Language: en-US,en;q=0.5\r\n\
Accept-Encoding: gzip, deflate, br\r\nReferer: https://shop.example.com/catalog\r\nConnection: keep-alive\r\n\
Cookie: session=0123456789abcdef0123456789abcdef; theme=dark\r\nCache-Control: max-age=0\r\n\r\n";

/// What a load generator sends.
const SMALL: &[u8] = b"GET / HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n\r\n";

const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\nDate: Mon, 23 Nov 2026 01:00:00 GMT\r\n\
Content-Type: application/octet-stream\r\nContent-Length: 1024\r\nLast-Modified: Sun, 22 Nov 2026 01:00:00 GMT\r\n\
Connection: keep-alive\r\nETag: \"692112d0-400\"\r\nAccept-Ranges: bytes\r\n\r\n";

/// The header map of a call by SOFARPC 5.13.
const MAP: [(&str, &str); 11] = [
    ("sofa_head_target_service", "Hello:1.0"),
    ("app", "cons"),
    ("rpc_trace_context.sofaRpcId", "0"),
    ("protocol", "bolt"),
    ("rpc_trace_context.samp", "true"),
    ("rpc_trace_context.sofaTraceId", "0a630001179537894883510019190"),
    ("service", "Hello:1.0"),
    ("rpc_trace_context.sysPenAttrs", ""),
    ("rpc_trace_context.sofaPenAttrs", ""),
    ("sofa_head_method_name", "say"),
    ("type", "sync"),
];

fn call(version: Version) -> Vec<u8> {
    let mut map = Vec::new();
    let mut out = Vec::new();
    let fits = MAP.iter().all(|(key, value)| put_header(key.as_bytes(), value.as_bytes(), &mut map).is_ok());
    let kind = bolt::Kind::Request { timeout: 3000 };
    let head = bolt::Head {
        version,
        kind,
        command: command::REQUEST,
        ver2: 1,
        id: 1,
        codec: 1,
        class_len: 0,
        header_len: 0,
        content_len: 0,
    };
    let class = b"com.alipay.sofa.rpc.core.request.SofaRequest";
    assert!(fits && encode(&head, class, &map, &[0x4f; 1024], &mut out).is_ok());
    out
}

fn head(codec: &dyn Codec, session: &mut Session, bytes: &[u8]) -> Option<Head> {
    match codec.decode(session, bytes) {
        Ok(Decoded::Head(head)) => Some(head),
        Ok(Decoded::More(_)) | Err(_) => None,
    }
}

fn measure(criterion: &mut Criterion, codec: &dyn Codec, name: &str, side: Side, bytes: &[u8]) {
    let mut group = criterion.benchmark_group(codec.name());
    let mut session = Session::new(side, Limits::default());
    group.bench_function(BenchmarkId::new("decode", name), |bencher| {
        bencher.iter(|| head(codec, &mut session, black_box(bytes)));
    });
    let found = head(codec, &mut session, bytes);
    assert!(found.is_some(), "{name} is not taken");
    let mut out = Vec::with_capacity(1 << 16);
    group.bench_function(BenchmarkId::new("forward", name), |bencher| {
        bencher.iter(|| {
            out.clear();
            let edits = Edits { id: Some(2), ..Edits::default() };
            found.map(|head| codec.forward(black_box(bytes), &head, &edits, &mut out))
        });
    });
    group.finish();
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    if let (Some(http1), Some(bolt)) = (by_name("http1"), by_name("bolt")) {
        measure(&mut criterion, http1, "browser", Side::Client, REQUEST);
        measure(&mut criterion, http1, "small", Side::Client, SMALL);
        measure(&mut criterion, http1, "response", Side::Upstream, RESPONSE);
        measure(&mut criterion, bolt, "v1", Side::Client, &call(Version::V1));
        measure(&mut criterion, bolt, "v2-crc", Side::Client, &call(Version::V2_CRC));
    }
    criterion.final_summary();
}
