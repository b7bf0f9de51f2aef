//! Chunked framing (RFC 9112, 7.1), strictly: CRLF only, no whitespace around a size, extensions and trailers capped.
//!
//! Two readers that differ on a size or a line's end see two different messages; so whatever could be read in
//! two ways is refused.

use super::super::{Fault, LocalReason, Refusal};
use super::Progress;

/// Where in a chunked body the next byte falls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chunks {
    at: At,
    /// Bytes of extensions and trailers that may still come.
    spare: u16,
    /// Lower-case beginning of the trailer's name that is being read.
    name: [u8; NAME],
    name_len: u8,
}

/// Bytes of extensions and trailers that a body may have in all.
const SPARE: u16 = 8192;
/// Digits of a chunk's size: 15 of them cannot overflow.
const DIGITS: u8 = 15;
/// The longest name in [`FORBIDDEN`].
const NAME: usize = 17;
/// Fields that may not come after the body: what frames or routes a message is settled by then (RFC 9110, 6.5.1), and so is
/// who the client is.
const FORBIDDEN: [&[u8]; 14] = [
    b"transfer-encoding",
    b"content-length",
    b"host",
    b"connection",
    b"te",
    b"trailer",
    b"upgrade",
    b"authorization",
    b"cookie",
    b"forwarded",
    b"x-real-ip",
    b"x-forwarded-for",
    b"x-forwarded-host",
    b"x-forwarded-proto",
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    Size { value: u64, digits: u8 },
    Extension { last: bool, size: u64 },
    SizeEnd { last: bool, size: u64 },
    Data(u64),
    DataCr,
    DataLf,
    LineStart,
    Name,
    Value,
    LineEnd,
    LastLf,
}

impl Default for Chunks {
    fn default() -> Self {
        Self { at: At::Size { value: 0, digits: 0 }, spare: SPARE, name: [0; NAME], name_len: 0 }
    }
}

impl Chunks {
    pub(super) fn advance(&mut self, bytes: &[u8], each: &mut dyn FnMut(&[u8])) -> Result<Progress, Refusal> {
        let mut used = 0;
        let mut payload = 0;
        while let Some(rest) = bytes.get(used..).filter(|rest| !rest.is_empty()) {
            if let At::Data(left) = self.at {
                let here = usize::try_from(left).unwrap_or(usize::MAX).min(rest.len());
                super::show(rest, here, each);
                used += here;
                payload += here;
                let left = left - here as u64;
                self.at = if left == 0 { At::DataCr } else { At::Data(left) };
                continue;
            }
            let Some(byte) = rest.first() else { break };
            used += 1;
            if self.step(*byte)? {
                return Ok(Progress { used, payload, done: true });
            }
        }
        Ok(Progress { used, payload, done: false })
    }

    /// Takes one byte of framing; `true` if the body ends with it.
    fn step(&mut self, byte: u8) -> Result<bool, Refusal> {
        self.at = match self.at {
            At::Size { value, digits } => match (hex(byte), byte) {
                (Some(digit), _) if digits < DIGITS => {
                    At::Size { value: value << 4 | u64::from(digit), digits: digits + 1 }
                }
                (Some(_), _) => return Err(refusal("a chunk's size has more than 15 digits")),
                (None, b'\r') if digits > 0 => At::SizeEnd { last: value == 0, size: value },
                (None, b';') if digits > 0 => {
                    self.pay()?;
                    At::Extension { last: value == 0, size: value }
                }
                _ => {
                    return Err(refusal("a chunk's size is not hexadecimal digits and CRLF (RFC 9112, 7.1)"));
                }
            },
            At::Extension { last, size } => {
                self.pay()?;
                match byte {
                    b'\r' => At::SizeEnd { last, size },
                    b'\t' | b' '..=b'~' => At::Extension { last, size },
                    _ => return Err(refusal("a control or non-ASCII character in a chunk's extension")),
                }
            }
            At::SizeEnd { last: true, .. } if byte == b'\n' => At::LineStart,
            At::SizeEnd { last: false, size } if byte == b'\n' => At::Data(size),
            At::DataCr if byte == b'\r' => At::DataLf,
            At::DataLf if byte == b'\n' => At::Size { value: 0, digits: 0 },
            At::LineStart if byte == b'\r' => At::LastLf,
            At::LineStart => {
                self.name_len = 0;
                self.name_byte(byte)?;
                At::Name
            }
            At::Name if byte == b':' => self.name_end()?,
            At::Name => {
                self.name_byte(byte)?;
                At::Name
            }
            At::Value => {
                self.pay()?;
                match byte {
                    b'\r' => At::LineEnd,
                    b'\t' | b' '..=b'~' | 0x80.. => At::Value,
                    _ => return Err(refusal("a control character in a trailer (RFC 9110, 5.5)")),
                }
            }
            At::LineEnd if byte == b'\n' => At::LineStart,
            At::LastLf if byte == b'\n' => return Ok(true),
            At::SizeEnd { .. } | At::DataCr | At::DataLf | At::LineEnd | At::LastLf | At::Data(_) => {
                return Err(refusal("no CRLF where a chunk or trailer ends (RFC 9112, 7.1)"));
            }
        };
        Ok(false)
    }

    fn name_byte(&mut self, byte: u8) -> Result<(), Refusal> {
        self.pay()?;
        if !is_token(byte) {
            return Err(refusal("a trailer's name is no token, or is folded (RFC 9112, 5.2)"));
        }
        if let Some(place) = self.name.get_mut(usize::from(self.name_len)) {
            // Some readers take an underscore for a hyphen.
            *place = if byte == b'_' { b'-' } else { byte.to_ascii_lowercase() };
        }
        self.name_len = self.name_len.saturating_add(1);
        Ok(())
    }

    fn name_end(&mut self) -> Result<At, Refusal> {
        let name = self.name.get(..usize::from(self.name_len));
        if name.is_some_and(|name| FORBIDDEN.contains(&name)) {
            return Err(refusal(
                "a trailer that may only be a header: it frames or routes (RFC 9110, 6.5.1)",
            ));
        }
        Ok(At::Value)
    }

    fn pay(&mut self) -> Result<(), Refusal> {
        const LONG: Refusal =
            Refusal::fatal(LocalReason::TooLarge, "chunk extensions and trailers of more than 8192 bytes")
                .of(Fault::Framing);
        self.spare = self.spare.checked_sub(1).ok_or(LONG)?;
        Ok(())
    }
}

/// Whether a byte may stand in a field's name (RFC 9110, 5.6.2).
pub(in crate::l7::codec) const fn is_token(byte: u8) -> bool {
    matches!(byte, b'!' | b'#'..=b'\'' | b'*' | b'+' | b'-' | b'.' | b'^'..=b'z' | b'|' | b'~')
        || byte.is_ascii_alphanumeric()
}

const fn hex(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

const fn refusal(what: &'static str) -> Refusal {
    Refusal::fatal(LocalReason::BadRequest, what).of(Fault::Framing)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Payload and how many bytes were used, with the input cut at `cut`.
    fn read(bytes: &[u8], cut: usize) -> Result<Option<(Vec<u8>, usize)>, Refusal> {
        let mut chunks = Chunks::default();
        let mut payload = Vec::new();
        let (front, back) = bytes.split_at(cut);
        let first = chunks.advance(front, &mut |part| payload.extend_from_slice(part))?;
        if first.done {
            return Ok(Some((payload, first.used)));
        }
        assert_eq!(first.used, front.len());
        let second = chunks.advance(back, &mut |part| payload.extend_from_slice(part))?;
        Ok(second.done.then_some((payload, cut + second.used)))
    }

    #[test]
    fn every_cut_reads_the_same() {
        let cases: [(&[u8], &[u8], usize); 6] = [
            (b"0\r\n\r\n", b"", 5),
            (b"5\r\nhello\r\n0\r\n\r\nGET", b"hello", 15),
            (b"1\r\na\r\n2\r\nbc\r\n000\r\n\r\n", b"abc", 20),
            (b"A;x=\"y z\"\r\n0123456789\r\n0;last\r\n\r\n", b"0123456789", 33),
            (b"0\r\nX-Sum: 1\r\nY:\r\n\r\n", b"", 19),
            (b"3\r\n\r\n\r\r\n0\r\n\r\n", b"\r\n\r", 13),
        ];
        for (bytes, payload, used) in cases {
            for cut in 0..=bytes.len() {
                let read = read(bytes, cut).unwrap();
                assert_eq!(read, Some((payload.to_vec(), used)), "{bytes:?} at {cut}");
            }
        }
    }

    #[test]
    fn what_two_could_read_in_two_ways_is_refused() {
        let cases: [&[u8]; 30] = [
            b"\r\n",
            b" 5\r\nhello",
            b"5 \r\nhello",
            b"5\t;a\r\n",
            b"+5\r\nhello",
            b"-1\r\n",
            b"0x5\r\nhello",
            b"5\nhello",
            b"5\rhello",
            b"5\r\nhellooo",
            b"5\r\nhello\n0\r\n\r\n",
            b"5\r\nhello\r0",
            b"0\n\n",
            b"0\r\n\n",
            b"0\r\n\rX",
            b"g\r\n",
            b";a\r\n",
            b"5;a\n",
            b"5;\0\r\n",
            b"5;\x80\r\n",
            b"1000000000000000\r\n",
            b"0\r\n folded: 1\r\n",
            b"0\r\nA: 1\r\n B\r\n",
            b"0\r\nA : 1\r\n",
            b"0\r\nA\r\n",
            b"0\r\nContent-Length: 5\r\n\r\n",
            b"0\r\ntransfer-ENCODING: chunked\r\n\r\n",
            b"0\r\nX-Forwarded-For: 6.6.6.6\r\n\r\n",
            b"0\r\nx_forwarded_for: 6.6.6.6\r\n\r\n",
            b"0\r\nForwarded: for=6.6.6.6\r\n\r\n",
        ];
        for bytes in cases {
            for cut in 0..=bytes.len() {
                assert!(read(bytes, cut).is_err(), "{bytes:?} at {cut}");
            }
        }
    }

    #[test]
    fn what_is_not_payload_is_capped() {
        let mut bytes = b"1;".to_vec();
        bytes.resize(usize::from(SPARE) + 3, b'a');
        assert_eq!(read(&bytes, 0).unwrap_err().reason, LocalReason::TooLarge);
        let mut bytes = b"0\r\n".to_vec();
        bytes.extend(b"a: 1\r\n".repeat(2500));
        assert_eq!(read(&bytes, 0).unwrap_err().reason, LocalReason::TooLarge);
    }
}
