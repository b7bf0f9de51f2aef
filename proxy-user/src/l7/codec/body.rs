//! A message's body, fed with bytes as they come. Nothing is copied: what is used may go out as it is.

mod chunks;

pub use chunks::Chunks;

use super::Refusal;

/// How a body is framed, and how much of it is still to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// There is none, or it is complete.
    None,
    /// So many bytes.
    Length(u64),
    /// HTTP/1 chunks.
    Chunked(Chunks),
    /// All that comes until its sender closes; then the message was complete.
    UntilClose,
    /// All that comes, in both directions, without messages.
    Tunnel,
}

/// What [`Body::advance`] took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Bytes from the front that belong to this body, framing included.
    pub used: usize,
    /// How many of these are payload.
    pub payload: usize,
    /// The body is complete.
    pub done: bool,
}

impl Body {
    /// Takes what of `bytes` belongs to the body, and shows its payload without framing to `each`. An empty slice is
    /// fine: it tells if anything is missing.
    ///
    /// # Errors
    /// Framing that is wrong or ambiguous. The bytes before it may have gone out; the connection ends here.
    pub fn advance(&mut self, bytes: &[u8], each: &mut dyn FnMut(&[u8])) -> Result<Progress, Refusal> {
        match self {
            Self::None => Ok(Progress { done: true, ..Progress::default() }),
            Self::Length(left) => {
                let used = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                *left -= used as u64;
                let done = *left == 0;
                show(bytes, used, each);
                if done {
                    *self = Self::None;
                }
                Ok(Progress { used, payload: used, done })
            }
            Self::Chunked(chunks) => {
                let progress = chunks.advance(bytes, each)?;
                if progress.done {
                    *self = Self::None;
                }
                Ok(progress)
            }
            Self::UntilClose | Self::Tunnel => {
                show(bytes, bytes.len(), each);
                Ok(Progress { used: bytes.len(), payload: bytes.len(), done: false })
            }
        }
    }

    /// Whether the end of the connection is the proper end of this body.
    #[must_use]
    pub const fn may_end_here(&self) -> bool {
        matches!(self, Self::None | Self::UntilClose | Self::Tunnel)
    }
}

fn show(bytes: &[u8], used: usize, each: &mut dyn FnMut(&[u8])) {
    if let Some(payload) = bytes.get(..used).filter(|payload| !payload.is_empty()) {
        each(payload);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(mut body: Body, parts: &[&[u8]]) -> (Vec<u8>, Vec<usize>, bool) {
        let mut payload = Vec::new();
        let mut used = Vec::new();
        let mut done = false;
        for part in parts {
            let progress = body.advance(part, &mut |bytes| payload.extend_from_slice(bytes)).unwrap();
            used.push(progress.used);
            done = progress.done;
        }
        (payload, used, done)
    }

    #[test]
    fn a_length_ends_where_it_says() {
        assert_eq!(all(Body::Length(5), &[b"abc", b"defg"]), (b"abcde".to_vec(), vec![3, 2], true));
        assert_eq!(all(Body::Length(0), &[b"x"]), (vec![], vec![0], true));
        assert_eq!(all(Body::None, &[b"x"]), (vec![], vec![0], true));
    }

    #[test]
    fn without_a_length_all_is_body() {
        assert_eq!(all(Body::UntilClose, &[b"abc", b""]), (b"abc".to_vec(), vec![3, 0], false));
        assert!(Body::UntilClose.may_end_here());
        assert!(!Body::Length(1).may_end_here());
        assert!(!Body::Chunked(Chunks::default()).may_end_here());
    }
}
