use proptest::prelude::*;

use super::*;

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

#[test]
fn numbers_in_every_form() {
    for (text, want) in [
        ("90", 0),
        ("80", -16),
        ("bf", 47),
        ("c830", 48),
        ("c000", -2048),
        ("cfff", 2047),
        ("d40800", 2048),
        ("d00000", -262_144),
        ("d7ffff", 262_143),
        ("4900040000", 262_144),
        ("49ffffffff", -1),
    ] {
        assert_eq!(read(&hex(text)).unwrap().root().clone(), Value::Int(want), "{text}");
    }
    for (text, want) in [
        ("e0", 0),
        ("d8", -8),
        ("ef", 15),
        ("f000", -2048),
        ("ffff", 2047),
        ("3fffff", 262_143),
        ("380000", -262_144),
        ("7700040000", 262_144),
        ("4c0000018bcfe56800", 1_700_000_000_000),
    ] {
        assert_eq!(read(&hex(text)).unwrap().root().clone(), Value::Long(want), "{text}");
    }
    for (text, want) in [("67", 0.0), ("68", 1.0), ("69ff", -1.0), ("6a0100", 256.0), ("6b40200000", 2.5)] {
        assert_eq!(read(&hex(text)).unwrap().root().clone(), Value::Double(want), "{text}");
    }
}

#[test]
fn typed_lists_maps_and_references() {
    let long = hex("56 74 0004 6a2e4c69 6e02 0161 0162 7a");
    let document = read(&long).unwrap();
    assert_eq!(document.items(document.root()).len(), 2);
    // A list with two lists, the second by the number of the first's type; then a reference to the first.
    let document = read(&hex("56 56 74 0001 61 7a 76 90 92 54 46 4a 01 7a")).unwrap();
    let items = document.items(document.root());
    assert_eq!((document.items(&items[0]).len(), document.items(&items[1]).len()), (0, 2));
    assert_eq!(items[2], items[0]);
    let document = read(&hex("4d 74 0001 61 0161 91 7a")).unwrap();
    assert_eq!(document.pairs(document.root())[0].1.number(), Some(1));
}

#[test]
fn a_list_may_have_itself() {
    let document = read(&hex("56 4a 00 7a")).unwrap();
    assert_eq!(document.items(document.root()), [document.root().clone()]);
}

#[test]
fn what_is_refused() {
    assert_eq!(read(&[]).unwrap_err(), HessianError::Short(0));
    assert_eq!(read(&hex("4f7f")).unwrap_err(), HessianError::Tag { tag: 0x7f, at: 1, what: "length" });
    assert_eq!(read(&hex("6f90")).unwrap_err(), HessianError::Range("definition"));
    assert_eq!(read(&hex("4a00")).unwrap_err(), HessianError::Range("reference"));
    assert_eq!(read(&[b'V'; 1000]).unwrap_err(), HessianError::Deep);
    assert_eq!(read(&hex("53ffff61")).unwrap_err(), HessianError::Short(4));
    assert_eq!(read(&hex("4f 49 7fffffff")).unwrap_err(), HessianError::Short(6));
    // A class without fields, and a list of very many of its objects.
    assert!(matches!(read(&hex("76 90 49 7fffffff")).unwrap_err(), HessianError::Range(_)));
}

fn written(value: impl FnOnce(&mut Writer)) -> Vec<u8> {
    let mut writer = Writer::new();
    value(&mut writer);
    writer.into_bytes()
}

fn again(value: impl FnOnce(&mut Writer)) -> Value {
    read(&written(value)).unwrap().root().clone()
}

proptest! {
    #[test]
    fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        fuzz(&bytes);
    }

    #[test]
    fn tags_only(bytes in prop::collection::vec(prop::sample::select(b"NTFVvMOoz\x6e\x90\x91\x01tRJK\x75".to_vec()), 0..80)) {
        fuzz(&bytes);
    }

    #[test]
    fn what_is_written_is_read(int in any::<i32>(), long in any::<i64>(), small in -300_000_i64..300_000, text in any::<String>()) {
        prop_assert_eq!(again(|w| w.int(int)), Value::Int(int));
        prop_assert_eq!(again(|w| w.long(long)), Value::Long(long));
        prop_assert_eq!(again(|w| w.long(small)), Value::Long(small));
        let small = i32::try_from(small).unwrap();
        prop_assert_eq!(again(|w| w.int(small)), Value::Int(small));
        prop_assert_eq!(again(|w| w.text(&text)), Value::Text(text.clone()));
    }
}

#[test]
fn long_texts_go_in_chunks_that_split_no_character() {
    for text in ["x".repeat(70_000), format!("{}😀{}", "y".repeat(0x7fff), "z".repeat(9))] {
        let bytes = written(|w| w.text(&text));
        assert_eq!(read(&bytes).unwrap().root().text(), Some(text.as_str()));
    }
    let split = written(|w| w.text(&format!("{}😀", "y".repeat(0x7fff))));
    assert_eq!(split[..3], [b's', 0x7f, 0xff]);
}
