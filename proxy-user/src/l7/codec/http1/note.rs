//! The client's address for the upstream: `X-Forwarded-For`, `Forwarded` (RFC 7239), or a header that the service names.

use std::io::Write as _;
use std::net::IpAddr;

use super::super::{ClientNote, Edits, Head, NoteStyle};
use super::lines::{Line, Lines, same};

/// Whether a line makes room for what [`put`] writes, or is the word of a peer that is not trusted.
pub(super) fn replaces(line: &Line<'_>, edits: &Edits<'_>) -> bool {
    let Some(note) = edits.client else { return false };
    let is = |name: &[u8]| same(line.name, name);
    if note.trusted {
        return (says_forwarded(&note) && is(b"forwarded"))
            || (says_for_list(&note) && is(b"x-forwarded-for"))
            || (says_named(&note) && is(note.header));
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
    if says_forwarded(&note) {
        out.extend_from_slice(b"Forwarded: ");
        put_before(message, head, &note, b"forwarded", out);
        let _ = match address {
            IpAddr::V4(address) => write!(out, "for={address}\r\n"),
            IpAddr::V6(address) => write!(out, "for=\"[{address}]\"\r\n"),
        };
    }
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

const fn says_for_list(note: &ClientNote<'_>) -> bool {
    matches!(note.style, NoteStyle::XForwardedFor | NoteStyle::Both)
}

const fn says_forwarded(note: &ClientNote<'_>) -> bool {
    matches!(note.style, NoteStyle::Forwarded | NoteStyle::Both)
}

const fn says_named(note: &ClientNote<'_>) -> bool {
    matches!(note.style, NoteStyle::Named) && !note.header.is_empty()
}
