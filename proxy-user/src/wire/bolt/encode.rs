//! Frames to bytes, appended to a buffer that the caller keeps.

use super::{BoltError, Head, Kind, Version, codec, command};

/// Appends a frame of these parts. The lengths in `head` are not used: they come from the parts.
///
/// # Errors
/// A part is longer than its length field can say; nothing is appended then.
pub fn encode(
    head: &Head,
    class: &[u8],
    headers: &[u8],
    content: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), BoltError> {
    let small = |part: &[u8], what| {
        i16::try_from(part.len()).map(i16::unsigned_abs).map_err(|_| BoltError::Overflow(what))
    };
    let head = Head {
        class_len: small(class, "the class name")?,
        header_len: small(headers, "the header map")?,
        content_len: i32::try_from(content.len())
            .map_err(|_| BoltError::Overflow("the content"))?
            .unsigned_abs(),
        ..*head
    };
    let start = out.len();
    out.reserve(head.total_len());
    encode_head(&head, out);
    out.extend_from_slice(class);
    out.extend_from_slice(headers);
    out.extend_from_slice(content);
    if head.version.has_crc() {
        let crc = crc32fast::hash(out.get(start..).unwrap_or_default());
        out.extend_from_slice(&crc.to_be_bytes());
    }
    Ok(())
}

/// Appends the fixed part alone, as it is in `head`.
pub fn encode_head(head: &Head, out: &mut Vec<u8>) {
    let switch = match head.version {
        Version::V1 => {
            out.push(1);
            None
        }
        Version::V2 { ver1, switch } => {
            out.extend_from_slice(&[2, ver1]);
            Some(switch)
        }
    };
    out.push(match head.kind {
        Kind::Response { .. } => 0,
        Kind::Request { .. } => 1,
        Kind::OneWay { .. } => 2,
    });
    out.extend_from_slice(&head.command.to_be_bytes());
    out.push(head.ver2);
    out.extend_from_slice(&head.id.to_be_bytes());
    out.push(head.codec);
    out.extend(switch);
    match head.kind {
        Kind::Response { status } => out.extend_from_slice(&status.to_be_bytes()),
        Kind::Request { timeout } | Kind::OneWay { timeout } => {
            out.extend_from_slice(&timeout.to_be_bytes());
        }
    }
    out.extend_from_slice(&head.class_len.to_be_bytes());
    out.extend_from_slice(&head.header_len.to_be_bytes());
    out.extend_from_slice(&head.content_len.to_be_bytes());
}

/// Appends one pair of a header map.
///
/// # Errors
/// A string of 2 GiB or more; nothing is appended then.
pub fn put_header(key: &[u8], value: &[u8], map: &mut Vec<u8>) -> Result<(), BoltError> {
    let len = |text: &[u8]| i32::try_from(text.len()).map_err(|_| BoltError::Overflow("a header"));
    let (key_len, value_len) = (len(key)?, len(value)?);
    map.extend_from_slice(&key_len.to_be_bytes());
    map.extend_from_slice(key);
    map.extend_from_slice(&value_len.to_be_bytes());
    map.extend_from_slice(value);
    Ok(())
}

/// Appends a heartbeat.
pub fn encode_heartbeat(version: Version, id: u32, out: &mut Vec<u8>) {
    empty(version, Kind::Request { timeout: -1 }, command::HEARTBEAT, id, codec::HESSIAN2, out);
}

/// Appends the answer to a heartbeat; `id` is the heartbeat's.
pub fn encode_heartbeat_reply(version: Version, id: u32, out: &mut Vec<u8>) {
    empty(version, Kind::Response { status: 0 }, command::HEARTBEAT, id, codec::HESSIAN2, out);
}

/// Appends MOSN's go-away. Only for peers that are known to take it: Java's sofa-bolt breaks the connection.
pub fn encode_goaway(version: Version, id: u32, out: &mut Vec<u8>) {
    empty(version, Kind::Request { timeout: -1 }, command::GOAWAY, id, codec::HESSIAN2, out);
}

/// Appends a response without class and content: sofa-bolt makes an exception of any status but
/// [`super::status::SUCCESS`] (`RpcResponseResolver`), and needs neither for it.
pub fn encode_error(version: Version, id: u32, codec: u8, status: u16, out: &mut Vec<u8>) {
    empty(version, Kind::Response { status }, command::RESPONSE, id, codec, out);
}

fn empty(version: Version, kind: Kind, command: u16, id: u32, codec: u8, out: &mut Vec<u8>) {
    let head =
        Head { version, kind, command, ver2: 1, id, codec, class_len: 0, header_len: 0, content_len: 0 };
    let start = out.len();
    encode_head(&head, out);
    if version.has_crc() {
        let crc = crc32fast::hash(out.get(start..).unwrap_or_default());
        out.extend_from_slice(&crc.to_be_bytes());
    }
}
