//! The table of hostile requests.

const TABLE: &str = include_str!("hostile.txt");

/// Name, bytes, and whether they are to be taken, of each row.
pub(crate) fn rows() -> Vec<(&'static str, Vec<u8>, bool)> {
    let lines = TABLE.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| {
            let fields: Vec<_> = line.splitn(3, '\t').collect();
            let [verdict, name, text] = fields[..] else { panic!("three fields wanted: {line}") };
            assert!(matches!(verdict, "take" | "refuse"), "{line}");
            (name, unescape(text), verdict == "take")
        })
        .collect()
}

fn unescape(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        out.extend_from_slice(&rest.as_bytes()[..at]);
        let (kind, after) = rest[at + 1..].split_at(1);
        rest = after;
        match kind {
            "r" => out.push(b'\r'),
            "n" => out.push(b'\n'),
            "t" => out.push(b'\t'),
            "\\" => out.push(b'\\'),
            "x" => {
                out.push(u8::from_str_radix(&rest[..2], 16).unwrap());
                rest = &rest[2..];
            }
            "*" => {
                let (repeat, after) = rest.split_once("\\;").unwrap();
                let (times, what) = repeat.split_once('x').unwrap();
                out.extend(unescape(what).repeat(times.parse().unwrap()));
                rest = after;
            }
            other => panic!("unknown escape {other} in {text}"),
        }
    }
    out.extend_from_slice(rest.as_bytes());
    out
}
