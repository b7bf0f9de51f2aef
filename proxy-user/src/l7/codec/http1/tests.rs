use super::super::{
    Body, ClientNote, Edits, Fault, HeaderEdit, Kind, Limits, LocalReason, NoteStyle, Reply, ReplyEnd,
};
use super::*;

fn session(side: Side) -> Session {
    Session::new(side, Limits::default())
}

fn ask(text: &str) -> Head {
    match Http1.decode(&mut session(Side::Client), text.as_bytes()).unwrap() {
        Decoded::Head(head) => head,
        Decoded::More(_) => panic!("more wanted of {text:?}"),
    }
}

fn answer(asked: &Head, text: &str) -> Result<Head, Refusal> {
    let mut session = session(Side::Upstream);
    session.asked = asked.asked;
    match Http1.decode(&mut session, text.as_bytes())? {
        Decoded::Head(head) => Ok(head),
        Decoded::More(_) => panic!("more wanted of {text:?}"),
    }
}

fn pass(text: &str, head: &Head, edits: &Edits<'_>) -> (String, Forwarded) {
    let mut out = Vec::new();
    let done = Http1.forward(text.as_bytes(), head, edits, &mut out).unwrap();
    (String::from_utf8(out).unwrap(), done)
}

fn pass_request(text: &str, edits: &Edits<'_>) -> String {
    pass(text, &ask(text), edits).0
}

fn pass_response(request: &str, text: &str) -> (String, Forwarded) {
    let asked = ask(request);
    let head = answer(&asked, text).unwrap();
    pass(text, &head, &Edits { asked: asked.asked, ..Edits::default() })
}

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const OLD: &str = "GET / HTTP/1.0\r\n\r\n";
const OLD_KEEP: &str = "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n";
const HEAD: &str = "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n";
const SOCKET: &str = "GET /s HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";

#[test]
fn detection() {
    for (bytes, want) in [
        (&b""[..], Detect::More),
        (b"G", Detect::More),
        (b"GET", Detect::More),
        (b"GET ", Detect::More),
        (b"GET /", Detect::Yes),
        (b"\r", Detect::More),
        (b"\r\nPOST h", Detect::Yes),
        (b"M-SEARCH * HTTP/1.1", Detect::Yes),
        (b"PRI * HTTP/2.0", Detect::No),
        (b"get /", Detect::No),
        (b"AA /", Detect::No),
        (b"GET\t/", Detect::No),
        (b"GET  /", Detect::No),
        (b"\x01\x01\0\x01\x01", Detect::No),
        (b"\x16\x03\x01", Detect::No),
        (b"ABCDEFGHIJKLMNOPQRSTUVWXYZ", Detect::No),
    ] {
        assert_eq!(Http1.detect(bytes), want, "{bytes:?}");
    }
}

#[test]
fn a_request_is_described_by_offsets() {
    let text = "\r\nPOST /a/b?c=d HTTP/1.1\r\nHost:  ex:80 \r\nX-A:\r\nContent-Length: 5\r\n\r\nhello";
    let found = ask(text);
    let bytes = text.as_bytes();
    assert_eq!((found.kind, found.body, found.keep), (Kind::Request, Body::Length(5), true));
    assert_eq!(&bytes[found.len..], b"hello");
    assert_eq!(found.keys.method.of(bytes), b"POST");
    assert_eq!((found.keys.path.of(bytes), found.keys.query.of(bytes)), (&b"/a/b"[..], &b"c=d"[..]));
    assert_eq!(found.keys.host.of(bytes), b"ex:80");
    assert_eq!(Http1.header(bytes, &found, b"x-a"), Some(&b""[..]));
    assert_eq!(Http1.header(bytes, &found, b"x-b"), None);
    let mut names = Vec::new();
    Http1.headers(bytes, &found, &mut |name, _| {
        names.push(name);
        names.len() < 2
    });
    assert_eq!(names, [&b"Host"[..], b"X-A"]);
}

#[test]
fn targets() {
    for (line, host, path, query) in [
        ("GET http://B:8/x?y", "B:8", "/x", "y"),
        ("GET http://B:8", "B:8", "/", ""),
        ("GET HTTPS://B:8?y", "B:8", "/", "y"),
        ("OPTIONS *", "b:8", "*", ""),
        ("GET /?", "b:8", "/", ""),
    ] {
        let text = format!("{line} HTTP/1.1\r\nHost: b:8\r\n\r\n");
        let found = ask(&text);
        let part = |span: super::super::Span| String::from_utf8_lossy(span.of(text.as_bytes())).into_owned();
        assert_eq!((&*part(found.keys.host), &*part(found.keys.path)), (host, path), "{line}");
        assert_eq!(part(found.keys.query), query, "{line}");
    }
    assert_eq!(
        pass_request("GET http://b/x?y HTTP/1.1\r\nHost: b\r\n\r\n", &Edits::default()),
        "GET /x?y HTTP/1.1\r\nHost: b\r\n\r\n"
    );
    assert_eq!(
        pass_request("GET /? HTTP/1.1\r\nHost: b\r\n\r\n", &Edits::default()),
        "GET /? HTTP/1.1\r\nHost: b\r\n\r\n"
    );
}

#[test]
fn connections_go_on_as_their_version_says() {
    for (version, connection, keep) in [
        ("1.1", "", true),
        ("1.1", "Connection: a, CLOSE\r\n", false),
        ("1.1", "Connection: keep-alive\r\nConnection: close\r\n", false),
        ("1.0", "", false),
        ("1.0", "Connection: Keep-Alive\r\n", true),
        ("1.0", "Connection: keep-alive, close\r\n", false),
    ] {
        let text = format!("GET / HTTP/{version}\r\nHost: a\r\n{connection}\r\n");
        assert_eq!(ask(&text).keep, keep, "{text}");
    }
}

#[test]
fn expectations() {
    let expects = |text: &str| ask(text).expects;
    assert!(expects("PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-Continue\r\nContent-Length: 1\r\n\r\n"));
    assert!(!expects("PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\r\n"));
    assert!(!expects("PUT / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n"));
}

#[test]
fn a_request_leaves_without_what_was_for_this_connection() {
    let text = "POST /p HTTP/1.1\r\nA: 1\r\nHost: a\r\nConnection: keep-alive, X-Secret, te\r\nKeep-Alive: 5\r\n\
                TE: trailers\r\nProxy-Connection: x\r\nx-secret: 2\r\nUpgrade: h2c\r\nHTTP2-Settings: x\r\n\
                Transfer-Encoding: chunked\r\nB: 3 \r\n\r\n0\r\n\r\n";
    assert_eq!(
        pass_request(text, &Edits::default()),
        "POST /p HTTP/1.1\r\nHost: a\r\nA: 1\r\nTransfer-Encoding: chunked\r\nB: 3 \r\n\r\n"
    );
    assert_eq!(pass_request(OLD, &Edits::default()), "GET / HTTP/1.1\r\nHost: \r\n\r\n");
}

#[test]
fn a_request_leaves_with_edits() {
    let text = "GET /p HTTP/1.1\r\nHost: a\r\nX-A: 1\r\nx-a: 2\r\nX-B: 3\r\nContent-Length: 1\r\n\r\n";
    let edits = Edits {
        headers: &[
            HeaderEdit::Set(b"X-A", b"n"),
            HeaderEdit::Remove(b"x-b"),
            HeaderEdit::Add(b"X-C", b"1\r\nX-D: 2"),
            HeaderEdit::Set(b"Content-Length", b"9"),
            HeaderEdit::Remove(b"Host"),
        ],
        host: Some(b"other"),
        path: Some(b"/q?r"),
        ..Edits::default()
    };
    assert_eq!(
        pass_request(text, &edits),
        "GET /q?r HTTP/1.1\r\nHost: other\r\nContent-Length: 1\r\nX-A: n\r\nX-C: 1  X-D: 2\r\n\r\n"
    );
}

#[test]
fn the_client_is_named() {
    let text = "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 9.9.9.9\r\nX-Real-IP: 8.8.8.8\r\n\
                x-forwarded-for: 7.7.7.7\r\nForwarded: for=9.9.9.9\r\nX-Forwarded-Proto: https\r\n\r\n";
    let with = |address: &str, style, trusted| {
        let client = ClientNote { address: address.parse().unwrap(), style, header: b"", trusted };
        let out = pass_request(text, &Edits { client: Some(client), ..Edits::default() });
        out.strip_prefix("GET / HTTP/1.1\r\nHost: a\r\n").unwrap().to_owned()
    };
    assert_eq!(with("::ffff:1.2.3.4", NoteStyle::XForwardedFor, false), "X-Forwarded-For: 1.2.3.4\r\n\r\n");
    assert_eq!(
        with("2001:db8::1", NoteStyle::Both, false),
        "X-Forwarded-For: 2001:db8::1\r\nForwarded: for=\"[2001:db8::1]\"\r\n\r\n"
    );
    assert_eq!(
        with("1.2.3.4", NoteStyle::XForwardedFor, true),
        "X-Real-IP: 8.8.8.8\r\nForwarded: for=9.9.9.9\r\nX-Forwarded-Proto: https\r\n\
         X-Forwarded-For: 9.9.9.9, 7.7.7.7, 1.2.3.4\r\n\r\n"
    );
    let forwarded = with("1.2.3.4", NoteStyle::Forwarded, true);
    assert!(forwarded.ends_with("\r\nForwarded: for=9.9.9.9, for=1.2.3.4\r\n\r\n"));
}

/// What an edit takes away, a CGI finds under no name that it takes for the same.
#[test]
fn edits_act_on_all_fields_that_a_backend_may_take_for_one() {
    let text = "GET / HTTP/1.1\r\nHost: a\r\nX_User: root\r\nx-user: root\r\nX-User: root\r\nX-Role: a\r\n\
                X_Role: b\r\nX-Rolf: c\r\n\r\n";
    let headers = &[HeaderEdit::Set(b"X-User", b"me"), HeaderEdit::Remove(b"x_role")];
    assert_eq!(
        pass_request(text, &Edits { headers, ..Edits::default() }),
        "GET / HTTP/1.1\r\nHost: a\r\nX-Rolf: c\r\nX-User: me\r\n\r\n"
    );
    let text = "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 9.9.9.9\r\nX_Forwarded_For: 6.6.6.6\r\n\r\n";
    let client = ClientNote {
        address: "1.2.3.4".parse().unwrap(),
        style: NoteStyle::XForwardedFor,
        header: b"",
        trusted: true,
    };
    assert_eq!(
        pass_request(text, &Edits { client: Some(client), ..Edits::default() }),
        "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 9.9.9.9, 1.2.3.4\r\n\r\n",
        "a hop that is trusted has not written the other"
    );
}

#[test]
fn bodies_of_answers() {
    let body = |request: &str, status: &str| {
        answer(&ask(request), &format!("HTTP/1.1 {status}\r\n\r\n")).map(|head| (head.kind, head.body))
    };
    let end = (Kind::Response, Body::None);
    assert_eq!(body(GET, "200 OK\r\nContent-Length: 3"), Ok((Kind::Response, Body::Length(3))));
    assert_eq!(body(GET, "200 OK"), Ok((Kind::Response, Body::UntilClose)));
    assert_eq!(body(GET, "200"), Ok((Kind::Response, Body::UntilClose)));
    assert!(matches!(body(GET, "200 OK\r\nTransfer-Encoding: chunked"), Ok((_, Body::Chunked(_)))));
    for (request, status) in [
        (HEAD, "200 OK\r\nContent-Length: 3"),
        (HEAD, "200 OK\r\nTransfer-Encoding: chunked"),
        (GET, "304 Not Modified\r\nContent-Length: 3"),
        (GET, "204 No Content"),
        (GET, "204 No Content\r\nContent-Length: 0"),
    ] {
        assert_eq!(body(request, status), Ok(end), "{status}");
    }
    assert_eq!(body(GET, "100 Continue"), Ok((Kind::Interim, Body::None)));
    assert_eq!(
        body(SOCKET, "101 Up\r\nUpgrade: websocket\r\nConnection: upgrade"),
        Ok((Kind::Response, Body::Tunnel))
    );
    for (request, status) in [
        (GET, "101 Up\r\nUpgrade: websocket"),
        (SOCKET, "101 Up\r\nUpgrade: h2c"),
        (GET, "204 No\r\nContent-Length: 3"),
        (GET, "204 No\r\nTransfer-Encoding: chunked"),
        (GET, "103 Hints\r\nContent-Length: 3"),
        (GET, "200 OK\r\nContent-Length: 3\r\nContent-Length: 3"),
        (GET, "200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked"),
        (GET, "200 OK\r\nTransfer-Encoding: gzip, chunked"),
        (GET, "200 OK\r\nA : 3"),
        (GET, "200 OK\r\nA: 3\r\n b"),
        (GET, "200 OK\nA: 3"),
        (GET, "600 OK"),
        (GET, "099 OK"),
        (GET, "2x0 OK"),
    ] {
        assert_eq!(body(request, status).unwrap_err().reason, LocalReason::BadResponse, "{status}");
    }
    assert!(answer(&ask(GET), "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").is_err());
    assert!(answer(&ask(GET), "\r\nHTTP/1.1 200 OK\r\n\r\n").is_err());
}

#[test]
fn answers_leave_as_the_client_can_read_them() {
    let sized = "HTTP/1.0 200 Fine\r\nConnection: close\r\nKeep-Alive: 1\r\nContent-Length: 1\r\n\r\n";
    let (out, done) = pass_response(GET, sized);
    assert_eq!((&*out, done.close), ("HTTP/1.1 200 Fine\r\nContent-Length: 1\r\n\r\n", false));
    let (out, done) = pass_response(OLD_KEEP, sized);
    assert_eq!(out, "HTTP/1.1 200 Fine\r\nContent-Length: 1\r\nConnection: keep-alive\r\n\r\n");
    assert!(!done.close);
    let (out, done) = pass_response(OLD, sized);
    assert!(out.ends_with("\r\nConnection: close\r\n\r\n") && done.close);

    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    let (out, done) = pass_response(GET, chunked);
    assert_eq!((&*out, done.dechunk, done.close), (chunked, false, false));
    let (out, done) = pass_response(OLD_KEEP, chunked);
    assert_eq!(
        (&*out, done.dechunk, done.close),
        ("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n", true, true)
    );

    let (out, done) = pass_response(GET, "HTTP/1.1 200 OK\r\n\r\n");
    assert_eq!((&*out, done.close), ("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n", true));
    assert_eq!(pass_response(GET, "HTTP/1.1 100 Continue\r\n\r\n").0, "HTTP/1.1 100 Continue\r\n\r\n");
    assert_eq!(pass_response(OLD_KEEP, "HTTP/1.1 100 Continue\r\n\r\n").0, "");
    let up = "HTTP/1.1 101 Up\r\nUpgrade: websocket\r\nConnection: upgrade\r\nX: 1\r\n\r\n";
    let (out, done) = pass_response(SOCKET, up);
    assert_eq!(out, "HTTP/1.1 101 Up\r\nUpgrade: websocket\r\nX: 1\r\nConnection: upgrade\r\n\r\n");
    assert!(!done.close);
    let (out, _) = pass_response(HEAD, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n");
    assert!(out.contains("Content-Length: 9"));
    let (out, _) = pass_response(GET, "HTTP/1.1 204 No\r\nContent-Length: 0\r\n\r\n");
    assert!(!out.contains("Content-Length"));
}

#[test]
fn an_upgrade_is_passed_on_or_taken_out() {
    let out = pass_request(SOCKET, &Edits::default());
    assert_eq!(out, "GET /s HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n");
    let mut session = Session::new(Side::Client, Limits { upgrade: false, ..Limits::default() });
    let Ok(Decoded::Head(head)) = Http1.decode(&mut session, SOCKET.as_bytes()) else { panic!() };
    assert_eq!(pass(SOCKET, &head, &Edits::default()).0, "GET /s HTTP/1.1\r\nHost: a\r\n\r\n");
}

#[test]
fn a_tunnel_by_connect() {
    let text = "CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n";
    let refused = Http1.decode(&mut session(Side::Client), text.as_bytes()).unwrap_err();
    assert_eq!(refused.status, 405);
    let mut open = Session::new(Side::Client, Limits { connect: true, ..Limits::default() });
    let Ok(Decoded::Head(asked)) = Http1.decode(&mut open, text.as_bytes()) else { panic!() };
    assert_eq!(pass(text, &asked, &Edits::default()).0, text);
    let yes = answer(&asked, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n").unwrap();
    assert_eq!(yes.body, Body::Tunnel);
    let no = answer(&asked, "HTTP/1.1 407 No\r\nContent-Length: 5\r\n\r\n").unwrap();
    assert_eq!(no.body, Body::Length(5));
}

#[test]
fn limits_hold_before_a_head_is_complete() {
    let limits = Limits { head: 200, headers: 4, body: 10, ..Limits::default() };
    let refused = |text: &str| {
        let mut session = Session::new(Side::Client, limits);
        Http1.decode(&mut session, text.as_bytes()).unwrap_err()
    };
    let long = format!("GET /{} HTTP/1.1\r\nHost: a\r\n", "a".repeat(200));
    assert_eq!((refused(&long).status, refused(&long).reason), (431, LocalReason::TooLarge));
    assert_eq!(refused(&format!("{long}\r\n")).status, 431);
    let many = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "A: b\r\n".repeat(4));
    assert_eq!(refused(&many).status, 431);
    let body = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\n";
    assert_eq!(refused(body).status, 413);
}

#[test]
fn every_reason_reaches_a_client() {
    for request in [GET, OLD, OLD_KEEP, HEAD] {
        let asked = ask(request);
        for reason in LocalReason::ALL {
            let mut out = Vec::new();
            let end = Http1.reply(&asked.asked, &Reply::error(reason, false), &mut out);
            let text = String::from_utf8(out).unwrap();
            let found = answer(&asked, &text).unwrap();
            assert_eq!(found.status.http, reason.http_status());
            assert_eq!((end == ReplyEnd::Keep, found.keep), (asked.keep, asked.keep), "{text}");
            let rest = &text[found.len..];
            assert_eq!(rest, if request == HEAD { "" } else { reason.text() });
        }
    }
    let mut out = Vec::new();
    let redirect =
        Reply { status: 302, reason: None, headers: &[(b"Location", b"/x")], body: b"", close: false };
    assert_eq!(Http1.reply(&ask(GET).asked, &redirect, &mut out), ReplyEnd::Keep);
    assert_eq!(out, b"HTTP/1.1 302 Found\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n");
    // Of a request that could not be read: the connection ends.
    assert_eq!(
        Http1.reply(&Asked::default(), &Reply::error(LocalReason::BadRequest, false), &mut out),
        ReplyEnd::Close
    );
}

#[test]
fn each_refusal_says_of_what_kind_it_is() {
    for (request, fault) in [
        ("GET / HTTP/1.1\r\n\r\n", Fault::Host),
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", Fault::Host),
        ("GET http://a/ HTTP/1.1\r\nHost: b\r\n\r\n", Fault::Host),
        ("GET /# HTTP/1.1\r\nHost: a\r\n\r\n", Fault::Target),
        ("GET / HTTP/3.0\r\nHost: a\r\n\r\n", Fault::Version),
        ("get / HTTP/1.1\r\nHost: a\r\n\r\n", Fault::Method),
        ("GET / HTTP/1.1\r\nHost: a\r\nA b: c\r\n\r\n", Fault::Syntax),
        ("GET / HTTP/1.1\r\nHost: a\r\nExpect: x\r\n\r\n", Fault::Expect),
        ("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n", Fault::Framing),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            Fault::Framing,
        ),
        ("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999\r\n\r\n", Fault::BodySize),
    ] {
        let found = Http1.decode(&mut Session::new(Side::Client, Limits::default()), request.as_bytes());
        assert_eq!(found.unwrap_err().fault, Some(fault), "{request}");
    }
}
