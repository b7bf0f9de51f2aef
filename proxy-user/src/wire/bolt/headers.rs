//! The header map of a frame: pairs of strings, each an i32 length and so many bytes; length -1 is null.

use super::BoltError;

/// The pairs of a header map, in order. A pair with a null on either side is left out, as SOFARPC leaves it out.
/// After an error there is nothing more.
#[derive(Clone, Debug)]
pub struct Headers<'a> {
    rest: &'a [u8],
}

impl<'a> Headers<'a> {
    /// Reads this map.
    #[must_use]
    pub const fn new(map: &'a [u8]) -> Self {
        Self { rest: map }
    }

    /// Value of the **last** pair with this key, the one that a Java peer has in its map. `None` also if the map is
    /// broken: check it once with [`Headers::check`].
    #[must_use]
    pub fn last(self, key: &[u8]) -> Option<&'a [u8]> {
        self.map_while(Result::ok).filter(|(name, _)| *name == key).last().map(|(_, value)| value)
    }

    /// Reads to the end.
    ///
    /// # Errors
    /// The lengths do not add up.
    pub fn check(self) -> Result<(), BoltError> {
        for pair in self {
            pair?;
        }
        Ok(())
    }

    fn string(&mut self) -> Result<Option<&'a [u8]>, BoltError> {
        let (len, rest) = self.rest.split_first_chunk().ok_or(BoltError::HeaderMap)?;
        match i32::from_be_bytes(*len) {
            -1 => {
                self.rest = rest;
                Ok(None)
            }
            len => {
                let len = usize::try_from(len).map_err(|_| BoltError::HeaderMap)?;
                let (text, rest) = rest.split_at_checked(len).ok_or(BoltError::HeaderMap)?;
                self.rest = rest;
                Ok(Some(text))
            }
        }
    }
}

impl<'a> Iterator for Headers<'a> {
    type Item = Result<(&'a [u8], &'a [u8]), BoltError>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.rest.is_empty() {
            match (self.string(), self.string()) {
                (Ok(Some(key)), Ok(Some(value))) => return Some(Ok((key, value))),
                (Ok(_), Ok(_)) => {}
                (Err(error), _) | (_, Err(error)) => {
                    self.rest = &[];
                    return Some(Err(error));
                }
            }
        }
        None
    }
}
