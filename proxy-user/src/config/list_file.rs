//! List files: one address or prefix a line, `#` begins a comment. One bad line refuses the whole file.

use std::ops::Range;

use super::parse::{self, ParseError, Prefix};
use super::problem::Code;
use super::report::Report;
use super::source::{Source, cut};

/// Longest line, bytes; comments of published lists stay well below.
const MAX_LINE: usize = 4_096;

/// Calls `each` with every prefix and its byte offsets; findings go to the report.
pub(super) fn parse(
    source: &Source,
    report: &mut Report,
    mut each: impl FnMut(&mut Report, Prefix, Range<usize>),
) {
    if source.text().is_empty() {
        let message = "the file is empty: it may be half-written";
        let hint = "put a comment line into a list that is meant to be empty";
        report.error(Code::Truncated, message, hint, source.place(0..0, ""));
    }
    let mut start = 0;
    for line in source.text().split_inclusive('\n') {
        let whole = line.ends_with('\n');
        let content = line.split('#').next().unwrap_or_default();
        let text = content.trim();
        let indent = content.len() - content.trim_start().len();
        let span = start + indent..start + indent + text.len();
        start += line.len();
        if line.len() > MAX_LINE {
            let hint = "write one address or prefix a line; the file may be damaged";
            let message = format!("this line is longer than {MAX_LINE} bytes");
            report.error(Code::TooLarge, message, hint, source.place(span, ""));
            continue;
        }
        if !whole {
            unfinished(source, report, text, span.clone());
        }
        if text.is_empty() {
            continue;
        }
        match parse::prefix(text) {
            Ok(prefix) => each(report, prefix, span),
            Err(error) => bad_line(source, report, &error, span, whole),
        }
    }
}

/// The last line has no end. Its text may be all of it, so it holds, but the operator hears of it.
fn unfinished(source: &Source, report: &mut Report, text: &str, span: Range<usize>) {
    if text.is_empty() || parse::prefix(text).is_ok() {
        let message = "the last line has no end: the file may be half-written";
        let hint = "end it with a newline; write list files under another name and rename them into place";
        report.warning(Code::Truncated, message, hint, source.place(span, ""));
    }
}

fn bad_line(source: &Source, report: &mut Report, error: &ParseError, span: Range<usize>, whole: bool) {
    let (what, how) = error.what_and_how();
    let what = if what.len() > 200 { format!("{}...`", cut(&what, 200)) } else { what };
    if whole {
        report.error(Code::BadValue, what, how, source.place(span, ""));
    } else {
        let message = format!("{what}, and the file ends here without a newline: it is half-written");
        let hint = "write it again, under another name, and rename it into place";
        report.error(Code::Truncated, message, hint, source.place(span, ""));
    }
}
