//! The client's address for the upstream: `X-Forwarded-For`, `Forwarded` (RFC 7239), or a header that the service names.

use std::io::Write as _;
use std::net::IpAddr;

use super::super::{ClientNote, Edits, Head, HeaderEdit, NoteStyle};
use super::lines::{Line, Lines, same};

/// Whether a line makes room for what [`put`] writes, or is the word of a peer that is not trusted.
pub(super) fn replaces(line: &Line<'_>, edits: &Edits<'_>) -> bool {
    let Some(note) = edits.client else { return false };
    let is = |name: &[u8]| same(line.name, name);
    if note.trusted {
        return (says_forwarded(&note) && is(b"forwarded"))
            || (says_for_list(&note) && is(b"x-forwarded-for"))
            || (says_named(&note) && is(note.header))
            // Not the trusted peer's own word: see `put_before`.
            || (says_for_list(&note) && edits.host.is_some() && is_disguised(line));
    }
    let prefix = line.name.get(..12).is_some_and(|prefix| same(prefix, b"x-forwarded-"));
    prefix || is(b"forwarded") || is(b"x-real-ip") || (says_named(&note) && is(note.header))
}

/// Writes the fields: what a trusted peer said of clients before it, then the peer.
pub(super) fn put(message: &[u8], head: &Head, edits: &Edits<'_>, out: &mut Vec<u8>) {
    let Some(note) = edits.client else { return };
    let address = note.address.to_canonical();
    // Writing to memory does not fail.
    for (says, name) in [(says_for_list(&note), &b"X-Forwarded-For"[..]), (says_named(&note), note.header)] {
        if says {
            out.extend_from_slice(name);
            out.extend_from_slice(b": ");
            put_before(message, head, &note, name, out);
            let _ = write!(out, "{address}\r\n");
        }
    }
    let host = replaced_host(message, head, edits);
    if says_forwarded(&note) {
        out.extend_from_slice(b"Forwarded: ");
        put_before(message, head, &note, b"forwarded", out);
        let _ = match address {
            IpAddr::V4(address) => write!(out, "for={address}"),
            IpAddr::V6(address) => write!(out, "for=\"[{address}]\""),
        };
        if let Some(host) = host {
            // A host has no character that would need more than the quotes.
            out.extend_from_slice(b";host=\"");
            out.extend_from_slice(host);
            out.push(b'"');
        }
        out.extend_from_slice(b"\r\n");
    }
    if let Some(host) = host
        && says_for_list(&note)
        && !says_host(message, head, &note, edits)
    {
        out.extend_from_slice(b"X-Forwarded-Host: ");
        out.extend_from_slice(host);
        out.extend_from_slice(b"\r\n");
    }
}

/// The host that the client has asked for, if the upstream does not find it in `Host`.
fn replaced_host<'a>(message: &'a [u8], head: &Head, edits: &Edits<'_>) -> Option<&'a [u8]> {
    let host = head.keys.host.of(message);
    (edits.host.is_some_and(|other| other != host) && !host.is_empty()).then_some(host)
}

/// Whether somebody who counts has said what the first host was: a trusted peer, or the route.
fn says_host(message: &[u8], head: &Head, note: &ClientNote<'_>, edits: &Edits<'_>) -> bool {
    let by_route = edits.headers.iter().any(|edit| {
        let (HeaderEdit::Set(name, _) | HeaderEdit::Add(name, _) | HeaderEdit::Remove(name)) = edit;
        same(name, FORWARDED_HOST)
    });
    by_route
        || note.trusted && Lines::of(message, head).any(|line| line.name.eq_ignore_ascii_case(FORWARDED_HOST))
}

fn put_before(message: &[u8], head: &Head, note: &ClientNote<'_>, name: &[u8], out: &mut Vec<u8>) {
    if !note.trusted {
        return;
    }
    // Not `X_Forwarded_For`: a trusted proxy that does not know it may have passed on what its client said in it.
    let says = |line: &Line<'_>| line.name.eq_ignore_ascii_case(name) && !line.value.is_empty();
    for line in Lines::of(message, head).filter(says) {
        out.extend_from_slice(line.value);
        out.extend_from_slice(b", ");
    }
}

/// Whether a CGI takes the line for the first host, though its name is another.
fn is_disguised(line: &Line<'_>) -> bool {
    same(line.name, FORWARDED_HOST) && !line.name.eq_ignore_ascii_case(FORWARDED_HOST)
}

const FORWARDED_HOST: &[u8] = b"x-forwarded-host";

const fn says_for_list(note: &ClientNote<'_>) -> bool {
    matches!(note.style, NoteStyle::XForwardedFor | NoteStyle::Both)
}

const fn says_forwarded(note: &ClientNote<'_>) -> bool {
    matches!(note.style, NoteStyle::Forwarded | NoteStyle::Both)
}

const fn says_named(note: &ClientNote<'_>) -> bool {
    matches!(note.style, NoteStyle::Named) && !note.header.is_empty()
}
