//! What the generator and its backend say: requests and answers, byte for byte.

/// Bytes of a message's content.
pub(super) const CONTENT: usize = 1024;

/// A protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Speech {
    Http1,
    Bolt,
    /// Blocks of [`CONTENT`] that come back.
    Echo,
    /// Bytes in one direction.
    Bulk,
}

const GET: &[u8] = b"GET /bench HTTP/1.1\r\nHost: bench\r\nUser-Agent: weir-bench\r\nAccept: */*\r\n\r\n";
const OK: &[u8] =
    b"HTTP/1.1 200 OK\r\nServer: bench\r\nContent-Type: application/octet-stream\r\nContent-Length: 1024\r\n\r\n";
const HEADERS: [(&str, &str); 3] = [
    ("service", "com.example.EchoService:1.0"),
    ("sofa_head_method_name", "echo"),
    ("sofa_head_target_app", "bench"),
];
const REQUEST_CLASS: &str = "com.alipay.sofa.rpc.core.request.SofaRequest";
const RESPONSE_CLASS: &str = "com.alipay.sofa.rpc.core.response.SofaResponse";

impl Speech {
    /// A request; Bolt's has `id`.
    pub(super) fn request(self, id: u32, out: &mut Vec<u8>) {
        match self {
            Self::Http1 => out.extend_from_slice(GET),
            Self::Bolt => bolt(true, id, out),
            Self::Echo => out.extend_from_slice(&[b'e'; CONTENT]),
            Self::Bulk => {}
        }
    }

    /// An answer.
    pub(super) fn answer(self, id: u32, out: &mut Vec<u8>) {
        match self {
            Self::Http1 => {
                out.extend_from_slice(OK);
                out.extend_from_slice(&[b'h'; CONTENT]);
            }
            Self::Bolt => bolt(false, id, out),
            Self::Echo => out.extend_from_slice(&[b'e'; CONTENT]),
            Self::Bulk => {}
        }
    }

    /// Length and id of the message at the front of `bytes`; `None`: it is not whole.
    pub(super) fn message(self, bytes: &[u8], answer: bool) -> Option<(usize, u32)> {
        let (length, id) = match self {
            Self::Http1 => {
                let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
                (end + if answer { CONTENT } else { 0 }, 0)
            }
            Self::Bolt => {
                let lengths = if answer { 12 } else { 14 };
                let part = |at: usize, len: usize| number(bytes, lengths + at, len);
                (lengths + 8 + part(0, 2)? + part(2, 2)? + part(4, 4)?, bolt_id(bytes)?)
            }
            Self::Echo => (CONTENT, 0),
            Self::Bulk => return None,
        };
        (bytes.len() >= length).then_some((length, id))
    }

    /// Whether the answer at the front of `bytes` begins as the backend's do. Looked at before [`Self::message`], since an
    /// error has another length.
    pub(super) fn succeeds(self, bytes: &[u8]) -> bool {
        let begins = |with: &[u8]| bytes.iter().zip(with).all(|(one, other)| one == other);
        match self {
            Self::Http1 => begins(b"HTTP/1.1 200 "),
            // Less than a head is no error yet.
            Self::Bolt => begins(&[1, 0, 0, 2]) && number(bytes, 10, 2).is_none_or(|status| status == 0),
            Self::Echo => begins(b"e"),
            Self::Bulk => true,
        }
    }
}

fn number(bytes: &[u8], at: usize, len: usize) -> Option<usize> {
    let part = bytes.get(at..at + len)?;
    Some(part.iter().fold(0_usize, |sum, byte| sum << 8 | usize::from(*byte)))
}

fn bolt_id(bytes: &[u8]) -> Option<u32> {
    u32::try_from(number(bytes, 5, 4)?).ok()
}

fn bolt(request: bool, id: u32, out: &mut Vec<u8>) {
    let mut map = Vec::new();
    if request {
        for text in HEADERS.iter().flat_map(|(name, value)| [name, value]) {
            map.extend_from_slice(&u32::try_from(text.len()).unwrap_or_default().to_be_bytes());
            map.extend_from_slice(text.as_bytes());
        }
    }
    let class = if request { REQUEST_CLASS } else { RESPONSE_CLASS };
    out.extend_from_slice(if request { &[1, 1, 0, 1, 1] } else { &[1, 0, 0, 2, 1] });
    out.extend_from_slice(&id.to_be_bytes());
    out.push(1);
    if request {
        out.extend_from_slice(&3000_u32.to_be_bytes());
    } else {
        out.extend_from_slice(&[0, 0]);
    }
    out.extend_from_slice(&u16::try_from(class.len()).unwrap_or_default().to_be_bytes());
    out.extend_from_slice(&u16::try_from(map.len()).unwrap_or_default().to_be_bytes());
    out.extend_from_slice(&u32::try_from(CONTENT).unwrap_or_default().to_be_bytes());
    out.extend_from_slice(class.as_bytes());
    out.extend_from_slice(&map);
    out.extend_from_slice(&[b'b'; CONTENT]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_found_and_an_error_is_not_taken_for_one() {
        for speech in [Speech::Http1, Speech::Bolt, Speech::Echo] {
            let mut answer = Vec::new();
            speech.answer(7, &mut answer);
            for len in 0..answer.len() {
                assert!(speech.succeeds(&answer[..len]), "{speech:?} {len}");
                assert_eq!(speech.message(&answer[..len], true), None, "{speech:?} {len}");
            }
            let id = if speech == Speech::Bolt { 7 } else { 0 };
            assert_eq!(speech.message(&answer, true), Some((answer.len(), id)));
        }
        assert!(!Speech::Http1.succeeds(b"HTTP/1.1 503 Service Unavailable"));
        let mut busy = Vec::new();
        Speech::Bolt.answer(7, &mut busy);
        busy[11] = 4;
        assert!(!Speech::Bolt.succeeds(&busy));
    }
}
