//! The header lines of a head that was decoded: their syntax holds.

use super::super::Head;

/// One header line.
#[derive(Clone, Copy, Debug)]
pub(super) struct Line<'a> {
    /// Name as sent.
    pub(super) name: &'a [u8],
    /// Value without whitespace around it.
    pub(super) value: &'a [u8],
    /// The line with its CRLF.
    pub(super) raw: &'a [u8],
}

/// Iterates over header lines.
#[derive(Clone, Debug)]
pub(super) struct Lines<'a> {
    rest: &'a [u8],
}

impl<'a> Lines<'a> {
    pub(super) fn of(message: &'a [u8], head: &Head) -> Self {
        Self { rest: head.headers.of(message) }
    }
}

impl<'a> Iterator for Lines<'a> {
    type Item = Line<'a>;

    fn next(&mut self) -> Option<Line<'a>> {
        let colon = find(self.rest, b':')?;
        let (name, after) = self.rest.split_at_checked(colon)?;
        let end = find(after, b'\n')? + 1;
        let (raw, rest) = self.rest.split_at_checked(colon + end)?;
        self.rest = rest;
        Some(Line { name, value: after.get(1..end)?.trim_ascii(), raw })
    }
}

/// Whether two names are one to a backend. To a CGI, `X_Forwarded_For` is `X-Forwarded-For`.
pub(super) fn same(one: &[u8], other: &[u8]) -> bool {
    let fold = |byte: &u8| if *byte == b'_' { b'-' } else { byte.to_ascii_lowercase() };
    one.len() == other.len() && one.iter().zip(other).all(|(one, other)| fold(one) == fold(other))
}

/// The parts of a comma-separated list, without whitespace around them and without empty ones.
pub(super) fn list(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(|part| !part.is_empty())
}

/// Offset of the first `byte`, eight at a time: lines are searched for each head that is passed on.
pub(super) fn find(bytes: &[u8], byte: u8) -> Option<usize> {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    let wanted = ONES.wrapping_mul(u64::from(byte));
    let (words, _) = bytes.as_chunks::<8>();
    let mut at = 0;
    for word in words {
        // A byte that is equal becomes zero, and zero bytes borrow their top bit (exact for the first of them).
        let other = u64::from_le_bytes(*word) ^ wanted;
        let zero = other.wrapping_sub(ONES) & !other & (ONES << 7);
        if zero != 0 {
            return Some(at + (zero.trailing_zeros() / 8) as usize);
        }
        at += 8;
    }
    let rest = bytes.get(at..)?.iter().position(|other| *other == byte)?;
    Some(at + rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_a_byte_is_found_wherever_it_is() {
        let mut bytes = [0x7f_u8; 40];
        for len in 0..bytes.len() {
            for at in 0..len {
                bytes.fill(0x7f);
                bytes[at..len].fill(0x80);
                assert_eq!(find(&bytes[..len], 0x80), Some(at));
                bytes[at] = 0;
                assert_eq!(find(&bytes[..len], 0), Some(at));
            }
            assert_eq!(find(&bytes[..len], b'x'), None);
        }
    }
}
