//! A frame as it leaves: with another id, and other headers if a route wants them.

use std::io::Write as _;

use super::super::{ClientNote, Edits, Forwarded, Head, HeaderEdit, LocalReason, Refusal};
use super::{refusal, wire_id};
use crate::wire::bolt::{self, BoltError, FrameLimits, Headers, Parsed, put_header};

/// Writes another id in place.
pub(super) fn patch(message: &mut [u8], head: &Head, id: u64) {
    if !head.whole {
        // The hot path: no checksum, so four bytes are all.
        let at = head.id.map_or(0, |place| place.at as usize);
        if let Some(place) = message.get_mut(at..).and_then(<[u8]>::first_chunk_mut) {
            *place = wire_id(id).to_be_bytes();
        }
    } else if let Some(wire) = wire_head(message) {
        // Only a frame that is not complete fails, which `whole` excludes.
        let _ = bolt::patch_id(message, &wire, wire_id(id));
    }
}

pub(super) fn forward(
    message: &[u8],
    head: &Head,
    edits: &Edits<'_>,
    out: &mut Vec<u8>,
) -> Result<Forwarded, Refusal> {
    let used = if head.whole { head.total().unwrap_or_default() } else { head.len as u64 };
    let used = usize::try_from(used).unwrap_or(usize::MAX);
    let taken = message
        .get(..used)
        .ok_or(refusal(LocalReason::Internal, "bolt: forwarded before it was complete"))?;
    let noted = edits.client.is_some_and(|note| !note.header.is_empty());
    if edits.headers.is_empty() && !noted {
        let start = out.len();
        out.extend_from_slice(taken);
        if let (Some(id), Some(copy)) = (edits.id, out.get_mut(start..)) {
            patch(copy, head, id);
        }
    } else {
        rebuild(taken, head, edits, out)?;
    }
    Ok(Forwarded { used, dechunk: false, close: false })
}

/// Writes the frame with another header map.
fn rebuild(taken: &[u8], head: &Head, edits: &Edits<'_>, out: &mut Vec<u8>) -> Result<(), Refusal> {
    let lost = refusal(LocalReason::Internal, "bolt: a frame that was decoded cannot be read again");
    let mut wire = wire_head(taken).ok_or(lost)?;
    wire.id = edits.id.map_or(wire.id, wire_id);
    let start = out.len();
    bolt::encode_head(&wire, out);
    out.extend_from_slice(taken.get(wire.fixed_len()..wire.headers_at()).unwrap_or_default());
    let map_at = out.len();
    let written = map(head.headers.of(taken), edits, out)
        .and_then(|()| i16::try_from(out.len() - map_at).map_err(|_| BoltError::Overflow("the header map")));
    let Ok(header_len) = written else {
        out.truncate(start);
        return Err(refusal(
            LocalReason::TooLarge,
            "bolt: the header map with its changes passes 32,767 bytes",
        ));
    };
    wire.header_len = header_len.unsigned_abs();
    // The map's length, now that it is known: before the content's, at the end of the fixed part.
    let len_at = start + wire.fixed_len() - 6;
    if let Some(place) = out.get_mut(len_at..len_at + 2) {
        place.copy_from_slice(&wire.header_len.to_be_bytes());
    }
    out.extend_from_slice(taken.get(head.len..).unwrap_or_default());
    if wire.version.has_crc()
        && let Some(copy) = out.get_mut(start..)
        && bolt::patch_id(copy, &wire, wire.id).is_err()
    {
        return Err(lost);
    }
    Ok(())
}

/// Writes the pairs that stay, then those that are new.
fn map(old: &[u8], edits: &Edits<'_>, out: &mut Vec<u8>) -> Result<(), BoltError> {
    let note = edits.client.filter(|note| !note.header.is_empty());
    let replaced = |name: &[u8]| {
        note.is_some_and(|note| note.header == name)
            || edits.headers.iter().any(|edit| match edit {
                HeaderEdit::Set(other, _) | HeaderEdit::Remove(other) => *other == name,
                HeaderEdit::Add(..) => false,
            })
    };
    for pair in Headers::new(old) {
        let (name, value) = pair?;
        if !replaced(name) {
            put_header(name, value, out)?;
        }
    }
    for edit in edits.headers {
        if let HeaderEdit::Set(name, value) | HeaderEdit::Add(name, value) = edit {
            put_header(name, value, out)?;
        }
    }
    note.map_or(Ok(()), |note| put_note(old, &note, out))
}

/// Writes the header that tells who the client is: behind what a trusted peer says of clients before it.
fn put_note(old: &[u8], note: &ClientNote<'_>, out: &mut Vec<u8>) -> Result<(), BoltError> {
    let start = out.len();
    put_header(note.header, b"", out)?;
    let value_at = out.len();
    if note.trusted
        && let Some(before) = Headers::new(old).last(note.header).filter(|before| !before.is_empty())
    {
        out.extend_from_slice(before);
        out.extend_from_slice(b", ");
    }
    // Writing to memory does not fail.
    let _ = write!(out, "{}", note.address.to_canonical());
    let len = i32::try_from(out.len() - value_at).map_err(|_| BoltError::Overflow("a header"));
    let len = len.inspect_err(|_| out.truncate(start))?;
    if let Some(place) = out.get_mut(value_at - 4..value_at) {
        place.copy_from_slice(&len.to_be_bytes());
    }
    Ok(())
}

fn wire_head(message: &[u8]) -> Option<bolt::Head> {
    match bolt::Head::parse(message, FrameLimits { max_frame: usize::MAX }) {
        Ok(Parsed::Head(head)) => Some(head),
        Ok(Parsed::More(_)) | Err(_) => None,
    }
}
