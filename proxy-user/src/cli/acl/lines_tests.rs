use super::*;

fn prefixes(lines: &Lines) -> Vec<&str> {
    lines.entries.iter().map(|entry| entry.prefix.as_str()).collect()
}

#[test]
fn plain_lists_with_comments() {
    let lines = read("# head\n\n203.0.113.7\n198.51.100.0/24 ; SBL1\n2001:db8::/32 # why\n; end\n").unwrap();
    assert_eq!(prefixes(&lines), ["198.51.100.0/24", "203.0.113.7/32", "2001:db8::/32"]);
    assert_eq!(lines.entries[0].reason.as_deref(), Some("SBL1"));
    assert!(lines.rejected.is_empty());
}

#[test]
fn host_bits_are_cleared_and_doubles_merged() {
    let lines = read("10.1.2.3/8\n10.0.0.0/8 # last\n").unwrap();
    assert_eq!(prefixes(&lines), ["10.0.0.0/8"]);
    assert_eq!((lines.masked, lines.merged), (1, 1));
    assert_eq!(lines.entries[0].reason.as_deref(), Some("last"));
}

#[test]
fn bad_lines_are_named() {
    let lines = read("203.0.113.7\n300.1.1.1\n10.0.0.0/40\n10.0.0.1:80\n").unwrap();
    let numbers: Vec<u64> = lines.rejected.iter().map(|rejected| rejected.line).collect();
    assert_eq!(numbers, [2, 3, 4]);
    assert!(lines.rejected[0].reason.contains("300.1.1.1"), "{:?}", lines.rejected[0]);
}

#[test]
fn csv_with_an_end_and_a_reason() {
    let text = "prefix,end,reason\n10.0.0.0/8,4h,\"a, \"\"b\"\"\"\n10.1.0.0/16,2026-01-01T00:00:00Z,\n10.2.0.0/16,,x\n";
    let lines = read(text).unwrap();
    assert!(lines.rejected.is_empty(), "{:?}", lines.rejected);
    assert_eq!(lines.entries[0].ttl.as_deref(), Some("4h"));
    assert_eq!(lines.entries[0].reason.as_deref(), Some("a, \"b\""));
    assert_eq!(lines.entries[1].expires_at, Some("2026-01-01T00:00:00Z".parse().unwrap()));
    assert_eq!(lines.entries[2].reason.as_deref(), Some("x"));
}

#[test]
fn csv_faults() {
    for line in ["10.0.0.0/8,soon,x", "10.0.0.0/8,,\"x", "10.0.0.0/8,,a,b"] {
        assert_eq!(read(line).unwrap().rejected.len(), 1, "{line}");
    }
}

#[test]
fn ipset_save() {
    let text = "create bad hash:net family inet hashsize 1024 maxelem 65536 timeout 600 comment\n\
                add bad 203.0.113.0/24 timeout 300 comment \"ssh scan\"\n\
                add bad 198.51.100.1 timeout 0 packets 3 bytes 180\n\
                add bad 192.0.2.0/24 nomatch\n\
                add bad 192.0.2.1,tcp:80\n\
                add bad\n";
    let lines = read(text).unwrap();
    assert_eq!(prefixes(&lines), ["198.51.100.1/32", "203.0.113.0/24"]);
    assert_eq!(lines.entries[0].ttl, None);
    assert_eq!(lines.entries[1].ttl.as_deref(), Some("300s"));
    assert_eq!(lines.entries[1].reason.as_deref(), Some("ssh scan"));
    assert_eq!(lines.rejected.len(), 3);
}

#[test]
fn json_of_a_list() {
    let text = r#"{"v":1,"name":"deny","entries":[
        {"prefix":"10.0.0.0/8","origin":"api","expires_at":"2026-01-01T00:00:00Z","reason":"x"},
        {"prefix":"nonsense","origin":"api","expires_at":null,"reason":null}],"next":null}"#;
    let lines = read(text).unwrap();
    assert_eq!(prefixes(&lines), ["10.0.0.0/8"]);
    assert_eq!(lines.rejected[0].line, 2);
    assert_eq!(prefixes(&read(r#"["10.0.0.0/8"]"#).unwrap()), ["10.0.0.0/8"]);
    assert!(read(r#"{"entries":[],"next":"10.0.0.0/8"}"#).unwrap_err().contains("first page"));
    assert!(read("{").is_err());
}

#[test]
fn what_is_written_is_read_back() {
    let end: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
    for (end, reason) in
        [(None, None), (Some(end), None), (None, Some("scan, \"ssh\"")), (Some(end), Some("# x"))]
    {
        let text = write("10.0.0.0/8", end, reason);
        let lines = read(&text).unwrap();
        assert_eq!(lines.entries.len(), 1, "{text}");
        assert_eq!(lines.entries[0].expires_at, end, "{text}");
        assert_eq!(lines.entries[0].reason.as_deref(), reason, "{text}");
    }
}
