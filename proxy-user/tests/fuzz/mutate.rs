//! Damage: what a broken or hostile peer makes of good bytes.

/// Another input, made of one or two of these.
pub(crate) fn mutate(rng: &mut fastrand::Rng, corpus: &[Vec<u8>]) -> Vec<u8> {
    let pick = |rng: &mut fastrand::Rng| corpus[rng.usize(..corpus.len())].clone();
    let mut bytes = pick(rng);
    for _ in 0..=rng.u8(..6) {
        let at = rng.usize(..=bytes.len());
        let end = rng.usize(at..=bytes.len().min(at + 40));
        match rng.u8(..10) {
            0 => bytes.truncate(at),
            1 => drop(bytes.drain(at..end)),
            2 => {
                // Again and again: deep nesting, long lists.
                let times = if rng.u8(..8) == 0 { 1_000 } else { 20 };
                let piece = bytes[at..end].repeat(rng.usize(1..times));
                bytes.splice(at..at, piece);
            }
            3 => {
                let other = pick(rng);
                let from = rng.usize(..=other.len());
                bytes.splice(at.., other[from..].iter().copied());
            }
            4 => {
                let count = rng.usize(..9);
                let noise: Vec<u8> = std::iter::repeat_with(|| rng.u8(..)).take(count).collect();
                bytes.splice(at..at, noise);
            }
            5 => {
                // A length or a number.
                let number = EDGES[rng.usize(..EDGES.len())].to_be_bytes();
                let width = [1, 2, 4, 8][rng.usize(..4)];
                let number = &number[8 - width..];
                for (place, byte) in bytes[at..].iter_mut().zip(number) {
                    *place = *byte;
                }
            }
            6 => {
                let word = WORDS[rng.usize(..WORDS.len())].as_bytes();
                bytes.splice(at..end, word.iter().copied());
            }
            _ => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = if rng.bool() { *byte ^ (1 << rng.u8(..8)) } else { rng.u8(..) };
                }
            }
        }
    }
    bytes.truncate(LONGEST);
    bytes
}

const EDGES: [u64; 12] = [
    0,
    1,
    0x7f,
    0x80,
    0xff,
    0x7fff,
    0xffff,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    0x7fff_ffff_ffff_ffff,
    u64::MAX,
];
const WORDS: [&str; 16] = [
    "-1",
    "0",
    "1e999",
    "NaN",
    "99999999999999999999",
    "[",
    "{",
    "\"",
    "://",
    ":",
    "?",
    "&weight=",
    "%",
    "\r\n",
    "\0",
    "::",
];
const LONGEST: usize = 32 << 10;
