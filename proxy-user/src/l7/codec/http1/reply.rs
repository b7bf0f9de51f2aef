//! An answer of weir's own.

use std::io::Write as _;

use super::super::{Asked, Reply, ReplyEnd};
use super::forward::put;
use super::notes::Notes;

/// Writes the answer. Of a request that could not be read, `asked` is the default: the connection closes.
pub(super) fn reply(asked: &Asked, reply: &Reply<'_>, out: &mut Vec<u8>) -> ReplyEnd {
    let notes = Notes::of(asked);
    let close = reply.close || !notes.keep;
    let text = reply.reason.map_or("", |reason| reason.text()).as_bytes();
    let body = if reply.body.is_empty() { text } else { reply.body };
    let bodiless = matches!(reply.status, 100..=199 | 204 | 304);
    // Writing to memory does not fail.
    let _ = write!(out, "HTTP/1.1 {} {}\r\n", reply.status, phrase(reply.status));
    for (name, value) in reply.headers {
        put(name, value, out);
    }
    if !bodiless {
        let typed = reply.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case(b"content-type"));
        if !body.is_empty() && !typed {
            out.extend_from_slice(b"Content-Type: text/plain\r\n");
        }
        let _ = write!(out, "Content-Length: {}\r\n", body.len());
    }
    if close {
        out.extend_from_slice(b"Connection: close\r\n");
    } else if !notes.http11 {
        out.extend_from_slice(b"Connection: keep-alive\r\n");
    }
    out.extend_from_slice(b"\r\n");
    if !bodiless && !notes.head {
        out.extend_from_slice(body);
    }
    if close { ReplyEnd::Close } else { ReplyEnd::Keep }
}

/// RFC 9110, 15. Others go without a phrase, which is optional.
const fn phrase(status: u16) -> &'static str {
    match status {
        100 => "Continue",
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        204 => "No Content",
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        304 => "Not Modified",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        410 => "Gone",
        413 => "Content Too Large",
        414 => "URI Too Long",
        417 => "Expectation Failed",
        421 => "Misdirected Request",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        _ => "",
    }
}
