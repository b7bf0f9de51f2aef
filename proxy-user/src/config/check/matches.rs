//! Whom a route has.

use std::ops::Range;

use super::Checker;
use super::header::is_token;
use super::l7_speaks::{Need, Speaks};
use crate::config::at::At;
use crate::config::problem::Code;
use crate::config::raw_route::{RawRoute, RawText};
use crate::config::text_or::TextOr;
use crate::l7::codec::http1::path_is_odd;
use crate::l7::snapshot::{HeaderMatch, Matches, QueryMatch, TextMatch};

/// Longest text to compare with, bytes.
const MAX_TEXT: usize = 4_096;

impl Checker<'_> {
    pub(super) fn matches(&mut self, raw: &RawRoute, speaks: Speaks) -> Matches {
        if let Some(at) = raw.path.as_ref().filter(|_| !speaks.http) {
            self.unmet("path", at.span.clone(), speaks, Need::Http);
        }
        if let Some(at) = raw.service.as_ref().filter(|_| !speaks.rpc) {
            self.unmet("service", at.span.clone(), speaks, Need::Rpc);
        }
        let mut headers = Vec::new();
        for (name, value) in &raw.headers {
            let pair = self.header_name(name).zip(self.wanted(value));
            headers.extend(pair.map(|(name, value)| HeaderMatch { name, value }));
        }
        if let Some((_, at)) = raw.query.first_key_value().filter(|_| !speaks.http) {
            self.unmet("query", at.span.clone(), speaks, Need::Http);
        }
        let mut query = Vec::new();
        for (name, value) in &raw.query {
            if name.value.is_empty() || name.value.len() > MAX_TEXT {
                let message = "this is not a name of a query's parameter";
                let hint = format!("give 1 to {MAX_TEXT} bytes of text, not encoded");
                self.report.error(Code::BadValue, message, hint, self.source.place(name.span.clone(), ""));
            }
            let value = self.wanted(value);
            query.extend(value.map(|value| QueryMatch { name: name.value.clone(), value }));
        }
        Matches {
            query,
            service: raw.service.as_ref().and_then(|at| self.wanted(at)),
            methods: raw.methods.iter().filter_map(|at| self.method(at, speaks)).collect(),
            path: raw.path.as_ref().and_then(|at| self.path(at)),
            headers,
            sources: self.prefixes(&raw.sources),
        }
    }

    fn wanted(&mut self, at: &At<TextOr<RawText>>) -> Option<TextMatch> {
        let (wanted, span): (fn(String) -> TextMatch, _) = match &at.value {
            TextOr::Text(text) => {
                return self.plain(text, &at.span).map(TextMatch::Exact);
            }
            TextOr::Long(RawText { prefix: Some(prefix), present: None }) => (TextMatch::Prefix, prefix),
            TextOr::Long(RawText { prefix: None, present: Some(present) }) => {
                return Some(if present.value { TextMatch::Present } else { TextMatch::Absent });
            }
            TextOr::Long(_) => {
                let message = "this says not, or twice, what the text must be";
                let hint = "write either { prefix = \"...\" } or { present = true }";
                self.report.error(Code::BadValue, message, hint, self.source.place(at.span.clone(), ""));
                return None;
            }
        };
        if span.value.is_empty() {
            let message = "every text begins with an empty one";
            let hint = "write { present = true } for any text";
            self.report.error(Code::BadValue, message, hint, self.source.place(span.span.clone(), ""));
            return None;
        }
        self.plain(&span.value, &span.span).map(wanted)
    }

    fn plain(&mut self, text: &str, span: &Range<usize>) -> Option<String> {
        if text.len() <= MAX_TEXT && !text.chars().any(char::is_control) {
            return Some(text.to_owned());
        }
        let message = "this text is too long or has control characters: no request has it";
        let hint = format!("give at most {MAX_TEXT} bytes of text in one line");
        self.report.error(Code::BadValue, message, hint, self.source.place(span.clone(), ""));
        None
    }

    fn path(&mut self, at: &At<TextOr<RawText>>) -> Option<TextMatch> {
        let found = self.wanted(at)?;
        let (TextMatch::Exact(path) | TextMatch::Prefix(path)) = &found else { return Some(found) };
        self.plain_path(path, &at.span, ", and such requests match nothing").then_some(found)
    }

    /// Whether this is a path alone that nobody reads as another; `odd` says what becomes of those.
    pub(super) fn plain_path(&mut self, path: &str, span: &Range<usize>, odd: &str) -> bool {
        let (message, hint) = if !path.starts_with('/') {
            (
                format!("the path `{}` does not begin with /", path.escape_debug()),
                "write it from / on, like /api",
            )
        } else if !path.bytes().all(|byte| byte.is_ascii_graphic()) || path.contains(['?', '#']) {
            let message = format!("`{}` is not a path alone", path.escape_debug());
            (message, "leave query and fragment out, and write other characters as in a URL, like %20")
        } else if path_is_odd(path) {
            let message = format!("`{path}` can be read as another path{odd}");
            (message, "write the path that is meant, without . or .. or empty segments")
        } else {
            return true;
        };
        self.report.error(Code::BadValue, message, hint, self.source.place(span.clone(), ""));
        false
    }

    fn method(&mut self, at: &At<String>, speaks: Speaks) -> Option<String> {
        let method = &at.value;
        let token = (1..=255).contains(&method.len()) && method.bytes().all(is_token);
        let only_http = speaks.http && !speaks.rpc;
        let (message, hint) = if !token {
            (format!("`{}` is not a method", method.escape_debug()), "write a name without blanks".to_owned())
        } else if only_http && method.bytes().any(|byte| byte.is_ascii_lowercase()) {
            let message = format!("HTTP's methods are in capitals, and `{method}` is not");
            (message, format!("write {}", method.to_ascii_uppercase()))
        } else {
            return Some(method.clone());
        };
        self.report.error(Code::BadValue, message, hint, self.source.place(at.span.clone(), ""));
        None
    }
}

#[cfg(test)]
mod tests {
    use super::path_is_odd;

    #[test]
    fn odd_paths() {
        for path in ["/", "/a", "/a/", "/a/b.c", "/.well-known/x", "/a%20b"] {
            assert!(!path_is_odd(path), "{path}");
        }
        for path in
            ["//", "/a//b", "/.", "/a/..", "/./a", "/a%2fb", "/a%2E", "/a\\b", "/%61", "/..a", "/;a", "/%zz"]
        {
            assert!(path_is_odd(path), "{path}");
        }
    }
}
