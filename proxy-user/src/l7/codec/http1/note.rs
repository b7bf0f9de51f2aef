//! The client's address for the upstream: `X-Forwarded-For` and `Forwarded` (RFC 7239).

use std::io::Write as _;
use std::net::IpAddr;

use super::super::{ClientNote, Edits, Head, NoteStyle};
use super::fields::is;
use super::lines::{Line, Lines};

/// Whether a line makes room for what [`put`] writes, or is the word of a peer that is not trusted.
pub(super) fn replaces(line: &Line<'_>, edits: &Edits<'_>) -> bool {
    let Some(note) = edits.client else { return false };
    let forwarded = is(line.name, b"forwarded");
    let for_list = is(line.name, b"x-forwarded-for");
    if note.trusted {
        return (forwarded && says_forwarded(&note)) || (for_list && says_for_list(&note));
    }
    let prefix = line.name.get(..12).is_some_and(|prefix| is(prefix, b"x-forwarded-"));
    forwarded || prefix || is(line.name, b"x-real-ip")
}

/// Writes the fields: what a trusted peer said of clients before it, then the peer.
pub(super) fn put(message: &[u8], head: &Head, edits: &Edits<'_>, out: &mut Vec<u8>) {
    let Some(note) = edits.client else { return };
    let address = note.address.to_canonical();
    // Writing to memory does not fail.
    if says_for_list(&note) {
        out.extend_from_slice(b"X-Forwarded-For: ");
        put_before(message, head, &note, b"x-forwarded-for", out);
        let _ = write!(out, "{address}\r\n");
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
    for line in Lines::of(message, head).filter(|line| is(line.name, name) && !line.value.is_empty()) {
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
