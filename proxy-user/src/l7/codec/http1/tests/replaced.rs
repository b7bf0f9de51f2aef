//! What the upstream is told of a host that it does not find in `Host`.

use super::*;

/// Whom the client has asked, where the upstream does not find it in `Host`.
#[test]
fn the_host_that_was_replaced_is_told_where_the_client_is() {
    let with = |more: &str, host: Option<&str>, style, trusted, headers: &[HeaderEdit<'_>]| {
        let text = format!("GET / HTTP/1.1\r\nHost: a:80\r\n{more}\r\n");
        let address = "1.2.3.4".parse().unwrap();
        let client = Some(ClientNote { address, style, header: b"x-c", trusted });
        let edits = Edits { client, host: host.map(str::as_bytes), headers, ..Edits::default() };
        let out = pass_request(&text, &edits);
        out.split_once("\r\nHost: ").unwrap().1.strip_suffix("\r\n\r\n").unwrap().replace("\r\n", "|")
    };
    let said = "X-Forwarded-Host: evil\r\n";
    let (list, named, forwarded) = (NoteStyle::XForwardedFor, NoteStyle::Named, NoteStyle::Forwarded);
    for (more, host, style, trusted, wanted) in [
        (said, Some("in"), list, false, "in|X-Forwarded-For: 1.2.3.4|X-Forwarded-Host: a:80"),
        (said, Some("in"), list, true, "in|X-Forwarded-Host: evil|X-Forwarded-For: 1.2.3.4"),
        (
            "X_Forwarded_Host: evil\r\n",
            Some("in"),
            list,
            true,
            "in|X-Forwarded-For: 1.2.3.4|X-Forwarded-Host: a:80",
        ),
        (said, None, list, false, "a:80|X-Forwarded-For: 1.2.3.4"),
        ("", Some("a:80"), list, false, "a:80|X-Forwarded-For: 1.2.3.4"),
        ("", Some("in"), forwarded, false, "in|Forwarded: for=1.2.3.4;host=\"a:80\""),
        (
            "Forwarded: for=b;host=c\r\n",
            Some("in"),
            forwarded,
            true,
            "in|Forwarded: for=b;host=c, for=1.2.3.4;host=\"a:80\"",
        ),
        (said, Some("in"), named, false, "in|x-c: 1.2.3.4"),
    ] {
        assert_eq!(with(more, host, style, trusted, &[]), wanted);
    }
    let set = [HeaderEdit::Set(b"X-Forwarded-Host", b"mine")];
    assert_eq!(
        with(said, Some("in"), list, false, &set),
        "in|X-Forwarded-Host: mine|X-Forwarded-For: 1.2.3.4"
    );
}
