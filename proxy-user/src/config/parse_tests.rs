use super::*;

fn net(text: &str) -> String {
    prefix(text).unwrap().net.to_string()
}

#[test]
fn prefixes_are_masked_and_unmapped_and_say_so() {
    assert_eq!(net("203.0.113.7"), "203.0.113.7/32");
    assert_eq!(net("2001:db8::7"), "2001:db8::7/128");
    assert_eq!(net("0.0.0.0/0"), "0.0.0.0/0");
    let masked = prefix("203.0.113.7/24").unwrap();
    assert_eq!((masked.net.to_string().as_str(), masked.masked), ("203.0.113.0/24", true));
    let mapped = prefix("::ffff:203.0.113.7/120").unwrap();
    assert_eq!(mapped.net.to_string(), "203.0.113.0/24");
    assert!(mapped.masked && mapped.unmapped);
    // Shorter than the mapped range itself: an IPv6 prefix like any other.
    assert!(!prefix("::ffff:0:0/95").unwrap().unmapped);
}

#[test]
fn bad_prefixes_are_told_apart() {
    assert!(matches!(prefix("300.1.1.1"), Err(ParseError::Address(_))));
    assert!(matches!(prefix("010.0.0.1"), Err(ParseError::Address(_))));
    assert!(matches!(prefix(""), Err(ParseError::Address(_))));
    assert!(matches!(prefix("10.0.0.0/33"), Err(ParseError::PrefixLength { max: 32, .. })));
    assert!(matches!(prefix("10.0.0.0/+8"), Err(ParseError::PrefixLength { .. })));
    assert!(matches!(prefix("10.0.0.0/"), Err(ParseError::PrefixLength { .. })));
    assert!(matches!(prefix("10.0.0.1:80"), Err(ParseError::PortInPrefix(_))));
}

#[test]
fn vips_and_backends_survive_printing() {
    for text in ["tcp/198.51.100.10:80", "udp/[2001:db8::1]:53", "tcp/198.51.100.10:0"] {
        assert_eq!(text.parse::<Vip>().unwrap().to_string(), text);
    }
    for text in ["10.0.0.11:8080", "[2001:db8::11]:0"] {
        assert_eq!(text.parse::<BackendAddr>().unwrap().to_string(), text);
    }
    assert_eq!("tcp/[::ffff:10.0.0.1]:80".parse::<Vip>().unwrap().to_string(), "tcp/10.0.0.1:80");
}

#[test]
fn bad_vips_are_told_apart() {
    type Case = (&'static str, fn(&ParseError) -> bool);
    let cases: [Case; 8] = [
        ("198.51.100.10:80", |e| matches!(e, ParseError::NoProtocol(_))),
        ("sctp/198.51.100.10:80", |e| matches!(e, ParseError::Protocol(_))),
        ("tcp/198.51.100.10", |e| matches!(e, ParseError::NoPort(_))),
        ("tcp/2001:db8::1:80", |e| matches!(e, ParseError::Brackets(_))),
        ("tcp/[2001:db8::1]", |e| matches!(e, ParseError::NoPort(_))),
        ("tcp/198.51.100.10:65536", |e| matches!(e, ParseError::Port(_))),
        ("tcp/198.51.100.10:+80", |e| matches!(e, ParseError::Port(_))),
        ("tcp/[198.51.100.10]:80", |e| matches!(e, ParseError::Address(_))),
    ];
    for (text, expected) in cases {
        let error = text.parse::<Vip>().unwrap_err();
        assert!(expected(&error), "{text}: {error}");
    }
}

#[test]
fn backends_take_the_vips_port_and_a_weight() {
    let parsed = weighted_backend("10.0.0.12@50", 80).unwrap();
    assert_eq!((parsed.0.to_string().as_str(), parsed.1), ("10.0.0.12:80", 50));
    assert_eq!(weighted_backend("[2001:db8::1]:8080", 80).unwrap().1, DEFAULT_WEIGHT);
    assert_eq!(backend("2001:db8::1", 443).unwrap().to_string(), "[2001:db8::1]:443");
    assert!(matches!(weighted_backend("10.0.0.12:80@1001", 80), Err(ParseError::Weight(_))));
}

#[test]
fn port_ranges_and_names() {
    assert_eq!(port_range("1024-32767"), Ok((1024, 32767)));
    for bad in ["0-10", "10-9", "10", "a-b", "1-65536", "-"] {
        assert!(port_range(bad).is_err(), "{bad}");
    }
    assert!(name("web_1.front-end").is_ok());
    for bad in ["", "Web", "a b", &"x".repeat(64)] {
        assert!(name(bad).is_err(), "{bad}");
    }
    let vip: Vip = "udp/[2001:db8::1]:53".parse().unwrap();
    assert!(name(&vip_name(&vip)).is_ok());
}

proptest::proptest! {
    #[test]
    fn no_text_panics(text in ".{0,64}") {
        let _ = prefix(&text);
        let _ = text.parse::<Vip>();
        let _ = weighted_backend(&text, 80);
        let _ = port_range(&text);
        let _ = name(&text);
    }
}
