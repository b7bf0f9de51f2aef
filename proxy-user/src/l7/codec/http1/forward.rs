//! A head as it leaves: fields of this connection taken out (RFC 9110, 7.6.1), the route's edits put in.

use super::super::{Body, Edits, Forwarded, Head, HeaderEdit, Kind, LocalReason, PathEdit, Refusal};
use super::fields::is;
use super::lines::{Line, Lines, list, same};
use super::note;
use super::notes::Notes;
use super::response::{may_say_length, status_and_reason};

pub(super) fn forward(
    message: &[u8],
    head: &Head,
    edits: &Edits<'_>,
    out: &mut Vec<u8>,
) -> Result<Forwarded, Refusal> {
    if message.len() < head.len {
        return Err(Refusal::fatal(LocalReason::Internal, "http1: forwarded before its head was complete"));
    }
    Ok(if head.kind == Kind::Request {
        request(message, head, edits, out)
    } else {
        response(message, head, edits, out)
    })
}

fn request(message: &[u8], head: &Head, edits: &Edits<'_>, out: &mut Vec<u8>) -> Forwarded {
    let notes = Notes::of(&head.asked);
    out.reserve(head.len + 128);
    out.extend_from_slice(head.keys.method.of(message));
    out.push(b' ');
    let sent_host = head.keys.host.of(message);
    // The target of a tunnel is its host, and no route's to change.
    let host = if notes.connect { sent_host } else { edits.host.unwrap_or(sent_host) };
    if notes.connect {
        out.extend_from_slice(host);
    } else {
        put_target(message, head, edits.path, out);
    }
    out.extend_from_slice(b" HTTP/1.1\r\nHost: ");
    out.extend_from_slice(host);
    out.extend_from_slice(b"\r\n");
    let named = Named(head.own != 0);
    let mut run = Run { lines: head.headers.of(message), start: 0, end: 0 };
    for line in Lines::of(message, head) {
        let stays = match rule(line.name) {
            Rule::EndToEnd => true,
            Rule::Host | Rule::ThisConnection => false,
            Rule::Upgrade => notes.upgrade,
            Rule::Coding | Rule::Length => true,
            Rule::Expect => head.expects,
        };
        let stays = stays
            && !named.has(message, head, &line)
            && !edited(&line, edits)
            && !note::replaces(&line, edits);
        run.take(line.raw.len(), stays, out);
    }
    run.flush(out);
    if notes.upgrade {
        out.extend_from_slice(b"Connection: upgrade\r\n");
    }
    put_edits(edits, out);
    note::put(message, head, edits, out);
    out.extend_from_slice(b"\r\n");
    Forwarded { used: head.len, dechunk: false, close: false }
}

/// Path and query. The asterisk of `OPTIONS` stands for the server, and is no path to change.
#[inline]
fn put_target(message: &[u8], head: &Head, edit: PathEdit<'_>, out: &mut Vec<u8>) {
    let path = head.keys.path.of(message);
    let (front, rest) = if path == b"*" { (path, &b""[..]) } else { edit.parts(path) };
    out.extend_from_slice(front);
    out.extend_from_slice(rest);
    // An empty query is not the same as none (RFC 3986, 6.2.3).
    if head.keys.query.start != 0 {
        out.push(b'?');
        out.extend_from_slice(head.keys.query.of(message));
    }
}

fn response(message: &[u8], head: &Head, edits: &Edits<'_>, out: &mut Vec<u8>) -> Forwarded {
    let notes = Notes::of(&edits.asked);
    if head.kind == Kind::Interim && !notes.http11 {
        // A client of HTTP/1.0 knows none (RFC 9110, 15.2).
        return Forwarded { used: head.len, dechunk: false, close: false };
    }
    let tunnel = head.body == Body::Tunnel;
    let dechunk = matches!(head.body, Body::Chunked(_)) && !notes.http11;
    let close = head.kind != Kind::Interim
        && !tunnel
        && (edits.close || dechunk || !notes.keep || head.body == Body::UntilClose);
    out.reserve(head.len + 64);
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(status_and_reason(message, head));
    let named = Named(head.own != 0);
    let mut run = Run { lines: head.headers.of(message), start: 0, end: 0 };
    for line in Lines::of(message, head) {
        let stays = match rule(line.name) {
            Rule::EndToEnd | Rule::Host | Rule::Expect => true,
            Rule::ThisConnection => false,
            Rule::Upgrade => head.status.http == 101,
            Rule::Coding => may_say_length(head, &notes) && notes.http11,
            Rule::Length => may_say_length(head, &notes),
        };
        run.take(line.raw.len(), stays && !named.has(message, head, &line) && !edited(&line, edits), out);
    }
    run.flush(out);
    put_edits(edits, out);
    if head.status.http == 101 {
        out.extend_from_slice(b"Connection: upgrade\r\n");
    } else if close {
        out.extend_from_slice(b"Connection: close\r\n");
    } else if !notes.http11 && head.kind != Kind::Interim {
        out.extend_from_slice(b"Connection: keep-alive\r\n");
    }
    out.extend_from_slice(b"\r\n");
    Forwarded { used: head.len, dechunk, close }
}

/// What becomes of a field, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rule {
    EndToEnd,
    /// Written anew in front.
    Host,
    /// Between this connection's two ends only.
    ThisConnection,
    Upgrade,
    Coding,
    Length,
    Expect,
}

#[inline]
fn rule(name: &[u8]) -> Rule {
    match name.len() {
        2 if is(name, b"te") => Rule::ThisConnection,
        4 if is(name, b"host") => Rule::Host,
        6 if is(name, b"expect") => Rule::Expect,
        7 if is(name, b"upgrade") => Rule::Upgrade,
        10 if is(name, b"connection") || is(name, b"keep-alive") => Rule::ThisConnection,
        14 if is(name, b"content-length") => Rule::Length,
        // HTTP/2 settings ride on an upgrade that is not passed on.
        14 if is(name, b"http2-settings") => Rule::ThisConnection,
        16 if is(name, b"proxy-connection") => Rule::ThisConnection,
        17 if is(name, b"transfer-encoding") => Rule::Coding,
        _ => Rule::EndToEnd,
    }
}

/// Lines that stay, one behind the other: copied at once.
struct Run<'a> {
    lines: &'a [u8],
    start: usize,
    end: usize,
}

impl Run<'_> {
    fn take(&mut self, len: usize, stays: bool, out: &mut Vec<u8>) {
        if stays {
            self.end += len;
        } else {
            self.flush(out);
            self.end += len;
            self.start = self.end;
        }
    }

    fn flush(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.lines.get(self.start..self.end).unwrap_or_default());
        self.start = self.end;
    }
}

/// Whether `Connection` names other fields than those that [`rule`] knows: rare, and dear to look for.
#[derive(Clone, Copy)]
struct Named(bool);

impl Named {
    fn has(self, message: &[u8], head: &Head, line: &Line<'_>) -> bool {
        self.0
            && connections(message, head)
                .any(|connection| list(connection.value).any(|option| option.eq_ignore_ascii_case(line.name)))
    }
}

fn connections<'a>(message: &'a [u8], head: &Head) -> impl Iterator<Item = Line<'a>> {
    Lines::of(message, head).filter(|line| line.name.len() == 10 && is(line.name, b"connection"))
}

/// Whether an edit takes the line away: also one that a CGI takes for the same field, or a client could say there what the
/// edit is to keep it from saying. Fields that frame the message are nobody's to edit.
fn edited(line: &Line<'_>, edits: &Edits<'_>) -> bool {
    edits.headers.iter().any(|edit| match edit {
        HeaderEdit::Set(name, _) | HeaderEdit::Remove(name) => {
            same(name, line.name) && rule(line.name) == Rule::EndToEnd
        }
        HeaderEdit::Add(..) => false,
    })
}

fn put_edits(edits: &Edits<'_>, out: &mut Vec<u8>) {
    for edit in edits.headers {
        if let HeaderEdit::Set(name, value) | HeaderEdit::Add(name, value) = edit
            && rule(name) == Rule::EndToEnd
        {
            put(name, value, out);
        }
    }
}

/// Writes a field. A line break in a value would begin another: it becomes a space.
pub(super) fn put(name: &[u8], value: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend(value.iter().map(|byte| if matches!(byte, b'\r' | b'\n' | 0) { b' ' } else { *byte }));
    out.extend_from_slice(b"\r\n");
}
