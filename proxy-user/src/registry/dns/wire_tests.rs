//! Answers of knot 3.2.6 as recorded, and what they mean; and answers that nobody should send.

use hickory_resolver::proto::rr::{Name, RecordType};
use proptest::prelude::*;

use super::wire::{Asked, Reply, fuzz};

/// Reads a recorded answer as one to a question for `name`.
fn read(name: &str, kind: RecordType, hex: &str) -> Reply {
    let (asked, bytes) = exchange(name, kind, hex);
    asked.read(&bytes)
}

fn exchange(name: &str, kind: RecordType, hex: &str) -> (Asked, Vec<u8>) {
    let asked = Asked::new(&Name::from_ascii(name).unwrap(), kind, true).unwrap();
    let byte = |at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
    let mut bytes: Vec<u8> = (0..hex.len()).step_by(2).map(byte).collect();
    bytes[..2].copy_from_slice(&asked.bytes[..2]);
    (asked, bytes)
}

fn addrs(reply: Reply) -> (Vec<String>, u32) {
    match reply {
        Reply::Records(found) => (found.addrs.iter().map(ToString::to_string).collect(), found.ttl),
        other => panic!("{other:?}"),
    }
}

const A: &str = "12348500000100020000000103776562076578616d706c650000010001c00c000100010000000500040a000001c00c000100\
                 010000000500040a00000200002904d0000000000000";
const AAAA: &str = "12348500000100010000000103776562076578616d706c6500001c0001c00c001c000100000007001020010db80000000000\
                    0000000000000100002904d0000000000000";
const CNAME: &str = "12348500000100030000000103777777076578616d706c650000010001c00c0005000100000003000603776562c010c02900\
                     0100010000000500040a000001c029000100010000000500040a00000200002904d0000000000000";
const CNAME_OUT: &str = "123485000001000100000001036f7574076578616d706c650000010001c00c0005000100000003000b03776562056f74\
                         6865720000002904d0000000000000";
const SRV: &str = "123485000001000200000005025f68045f746370076578616d706c650000210001c00c002100010000000900130000000a0050\
                   03776562076578616d706c6500c00c002100010000000900120001000a0050026e73076578616d706c6500c033000100010000\
                   000500040a000001c033000100010000000500040a000002c033001c000100000007001020010db80000000000000000000000\
                   01c052000100010000000500047f00000100002904d0000000000000";
const NXDOMAIN: &str = "123485030001000000010001026e6f076578616d706c650000010001c00f00060001000000020021026e73c00f05\
                        61646d696ec00f0000000100000e1000000258000151800000000200002904d0000000000000";
const NODATA: &str = "123485000001000000010001026e73076578616d706c6500001c0001c00f0006000100000002001ec00c0561646d69\
                      6ec00f0000000100000e1000000258000151800000000200002904d0000000000000";
const TRUNCATED: &str = "123487000001000000000001046d616e79076578616d706c65000001000100002904d0000000000000";
const REFERRAL: &str = "123481000001000000010002017803737562076578616d706c650000010001c00e00020001000000050005026e73\
                        c00ec02b000100010000000500047f00000200002904d0000000000000";
const REFUSED: &str =
    "12348105000100000000000103776562056f74686572000001000100002904d0000000000006000f00020014";

#[test]
fn addresses_and_aliases() {
    let two = (vec!["10.0.0.1".to_owned(), "10.0.0.2".to_owned()], 5);
    assert_eq!(addrs(read("web.example.", RecordType::A, A)), two);
    assert_eq!(addrs(read("WEB.Example", RecordType::A, A)), two);
    assert_eq!(addrs(read("web.example.", RecordType::AAAA, AAAA)), (vec!["2001:db8::1".to_owned()], 7));
    // An alias holds for 3 s, what it leads to for 5.
    assert_eq!(addrs(read("www.example.", RecordType::A, CNAME)), (two.0, 3));
    let out = read("out.example.", RecordType::A, CNAME_OUT);
    assert_eq!(out, Reply::Alias(Name::from_ascii("web.other.").unwrap()));
}

#[test]
fn services_and_what_comes_along() {
    let Reply::Records(found) = read("_h._tcp.example.", RecordType::SRV, SRV) else { panic!() };
    let targets: Vec<String> = found
        .targets
        .iter()
        .map(|s| format!("{} {} {} {}", s.priority, s.weight, s.port, s.target))
        .collect();
    assert_eq!(targets, ["0 10 80 web.example.", "1 10 80 ns.example."]);
    let along: Vec<String> = found.along.iter().map(|(name, addr)| format!("{name} {addr}")).collect();
    assert_eq!(
        along,
        [
            "web.example. 10.0.0.1",
            "web.example. 10.0.0.2",
            "web.example. 2001:db8::1",
            "ns.example. 127.0.0.1"
        ]
    );
    assert_eq!(found.ttl, 5);
}

#[test]
fn nothing_is_not_failure() {
    let nothing = |nxdomain| Reply::Nothing { nxdomain, ttl: 2 };
    assert_eq!(read("no.example.", RecordType::A, NXDOMAIN), nothing(true));
    assert_eq!(read("ns.example.", RecordType::AAAA, NODATA), nothing(false));
    assert_eq!(read("many.example.", RecordType::A, TRUNCATED), Reply::Truncated);
    assert_eq!(read("web.other.", RecordType::A, REFUSED), Reply::Failed("REFUSED".to_owned()));
    assert!(matches!(read("x.sub.example.", RecordType::A, REFERRAL), Reply::Failed(_)));
    // The same without its authority to say so: an answer of nobody.
    let (asked, mut bytes) = exchange("no.example.", RecordType::A, NXDOMAIN);
    bytes[2] &= !4;
    assert!(matches!(asked.read(&bytes), Reply::Failed(_)));
    for (code, want) in [(1, Reply::Plain), (2, Reply::Failed("SERVFAIL".to_owned())), (4, Reply::Plain)] {
        bytes[3] = code;
        assert_eq!(asked.read(&bytes), want);
    }
}

#[test]
fn answers_to_somebody_else_are_passed_over() {
    let (asked, mut bytes) = exchange("web.example.", RecordType::A, A);
    assert_eq!(
        Asked::new(&Name::from_ascii("web.example.").unwrap(), RecordType::AAAA, false).unwrap().read(&bytes),
        Reply::Stray
    );
    assert_eq!(read("wec.example.", RecordType::A, A), Reply::Stray);
    assert_eq!(read("web.example.", RecordType::AAAA, A), Reply::Stray);
    assert_eq!(asked.read(&asked.bytes), Reply::Stray, "a question is no answer");
    bytes[1] ^= 1;
    assert_eq!(asked.read(&bytes), Reply::Stray);
    assert_eq!(asked.read(&[]), Reply::Stray);
}

#[test]
fn answers_that_break_off() {
    let (asked, bytes) = exchange("web.example.", RecordType::A, A);
    for end in 2..bytes.len() {
        let reply = asked.read(&bytes[..end]);
        assert!(matches!(reply, Reply::Failed(_)), "{end}: {reply:?}");
    }
    let (asked, mut bytes) = exchange("web.example.", RecordType::A, A);
    bytes[2] |= 2;
    bytes.truncate(60);
    assert_eq!(asked.read(&bytes), Reply::Truncated);
}

#[test]
fn more_records_than_fit_are_not_read() {
    let (asked, mut bytes) = exchange("web.example.", RecordType::A, A);
    for section in [4, 6, 8, 10] {
        let whole = bytes.clone();
        bytes[section..section + 2].fill(0xff);
        let reply = asked.read(&bytes);
        assert!(matches!(&reply, Reply::Failed(why) if why.contains("more records than fit")), "{reply:?}");
        bytes = whole;
    }
}

#[test]
fn aliases_in_a_ring_end() {
    // www.example. CNAME www.example., as nobody should write it.
    let ring = "12348500000100010000000003777777076578616d706c650000010001c00c00050001000000030002c00c";
    assert!(matches!(read("www.example.", RecordType::A, ring), Reply::Failed(_)));
}

proptest! {
    #[test]
    fn any_bytes(data in proptest::collection::vec(any::<u8>(), 0..400)) {
        fuzz(&data);
    }

    #[test]
    fn any_damaged_answer(at in 2usize..180, value in any::<u8>(), srv in any::<bool>()) {
        let (name, kind, hex) = if srv { ("_h._tcp.example.", RecordType::SRV, SRV) } else { ("www.example.", RecordType::A, CNAME) };
        let (asked, mut bytes) = exchange(name, kind, hex);
        let at = at % bytes.len();
        bytes[at.max(2)] = value;
        let _ = asked.read(&bytes);
        fuzz(&bytes);
    }
}
