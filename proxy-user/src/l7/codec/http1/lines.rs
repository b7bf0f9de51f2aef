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
        let colon = self.rest.iter().position(|byte| *byte == b':')?;
        let (name, after) = self.rest.split_at_checked(colon)?;
        let end = after.iter().position(|byte| *byte == b'\n')? + 1;
        let (raw, rest) = self.rest.split_at_checked(colon + end)?;
        self.rest = rest;
        Some(Line { name, value: after.get(1..end)?.trim_ascii(), raw })
    }
}

/// The parts of a comma-separated list, without whitespace around them and without empty ones.
pub(super) fn list(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(|part| !part.is_empty())
}
