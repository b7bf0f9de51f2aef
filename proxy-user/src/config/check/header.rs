//! Headers that the file names, and what is done to them.

use std::ops::Range;

use super::Checker;
use crate::config::at::At;
use crate::config::bounds::L7_CHANGES;
use crate::config::problem::Code;
use crate::config::raw_route::RawEdits;
use crate::l7::snapshot::{FRAMING, HeaderChange};

/// Longest name of a header, bytes.
const MAX_NAME: usize = 255;
/// Longest value of a header, bytes.
const MAX_VALUE: usize = 4_096;

impl Checker<'_> {
    /// A header's name: a token of RFC 9110.
    pub(super) fn header_name(&mut self, at: &At<String>) -> Option<String> {
        let fits = (1..=MAX_NAME).contains(&at.value.len()) && at.value.bytes().all(is_token);
        if fits {
            return Some(at.value.clone());
        }
        let message = format!("`{}` is not a name of a header", at.value.escape_debug());
        let hint = format!("a name has 1 to {MAX_NAME} letters, digits and any of !#$%&'*+-.^_`|~");
        self.report.error(Code::BadValue, message, hint, self.source.place(at.span.clone(), ""));
        None
    }

    pub(super) fn edits(&mut self, raw: Option<&At<RawEdits>>) -> Vec<HeaderChange> {
        let Some(At { value: raw, span }) = raw else { return Vec::new() };
        let mut changes = Vec::new();
        for at in &raw.remove {
            changes.extend(self.editable(at).map(HeaderChange::Remove));
        }
        for (name, value) in &raw.set {
            let pair = self.editable(name).zip(self.header_value(&value.value, &value.span));
            changes.extend(pair.map(|(name, value)| HeaderChange::Set(name, value)));
        }
        for (name, value) in &raw.add {
            let pair = self.editable(name).zip(self.header_value(&value.value, &value.span));
            changes.extend(pair.map(|(name, value)| HeaderChange::Add(name, value)));
        }
        if changes.len() > L7_CHANGES {
            let message = format!("{} changes of headers are more than a route may have", changes.len());
            let hint = format!("name at most {L7_CHANGES}");
            self.report.error(Code::TooMany, message, hint, self.source.place(span.clone(), ""));
        }
        changes
    }

    /// The name of a header that is not the protocol's own.
    pub(super) fn editable(&mut self, at: &At<String>) -> Option<String> {
        let name = self.header_name(at)?;
        if FRAMING.iter().any(|own| own.eq_ignore_ascii_case(&name)) {
            let message = format!("`{name}` is written by weir itself, as the protocol demands");
            let place = self.source.place(at.span.clone(), "");
            self.report.error(Code::BadValue, message, "name another header", place);
            return None;
        }
        Some(name)
    }

    /// A header's value: one line.
    pub(super) fn header_value(&mut self, value: &str, span: &Range<usize>) -> Option<String> {
        if value.len() <= MAX_VALUE && !value.chars().any(char::is_control) {
            return Some(value.to_owned());
        }
        let message = "this value of a header is too long or has control characters";
        let hint = format!("give at most {MAX_VALUE} bytes of text in one line");
        self.report.error(Code::BadValue, message, hint, self.source.place(span.clone(), ""));
        None
    }
}

pub(super) const fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'.'
                | b'^'
                | b'_'
                | b'`'
                | b'|'
                | b'~'
        )
}
