//! Compressed bodies of pushes, never unpacked to more than they say that they are, nor to more than a cap.

use std::io::Read;

/// What a subscription says that weir reads, best first. The server trims nothing.
pub(super) const ACCEPTED: &str = "zstd,gzip";

/// Most bytes of an unpacked body.
pub(super) const MAX_BODY: usize = 64 << 20;

/// Largest window that a zstd body may ask for: it is taken at once, whatever the body is.
const MAX_WINDOW: u64 = 8 << 20;

/// Unpacks a body that was `size` bytes long.
pub(super) fn unpack(encoding: &str, body: &[u8], size: i32) -> Result<Vec<u8>, String> {
    let size = usize::try_from(size)
        .ok()
        .filter(|size| (1..=MAX_BODY).contains(size))
        .ok_or_else(|| format!("a packed body of {size} bytes; from 1 to {MAX_BODY} are taken"))?;
    match encoding {
        "gzip" => bounded(flate2::read::GzDecoder::new(body), size),
        "zstd" => {
            let window = window(body).ok_or("it is no zstd")?;
            let most = MAX_WINDOW.max(u64::try_from(size).unwrap_or_default());
            if window > most {
                return Err(format!("a zstd window of {window} bytes; at most {most} are taken"));
            }
            bounded(ruzstd::decoding::StreamingDecoder::new(body).map_err(|e| e.to_string())?, size)
        }
        other => Err(format!("a body packed by \"{}\", which weir has not offered", other.escape_debug())),
    }
}

fn bounded(from: impl Read, size: usize) -> Result<Vec<u8>, String> {
    let mut body = Vec::new();
    let more = u64::try_from(size).unwrap_or(u64::MAX).saturating_add(1);
    from.take(more).read_to_end(&mut body).map_err(|error| error.to_string())?;
    if body.len() > size {
        return Err(format!("a packed body that is larger than the {size} bytes that it says"));
    }
    Ok(body)
}

/// The window that a zstd frame asks for (RFC 8878, 3.1.1.1): in the descriptor, or the whole content where there is none.
fn window(frame: &[u8]) -> Option<u64> {
    let (&[_, _, _, _, descriptor], rest) = frame.split_first_chunk()?;
    if descriptor & 0x20 == 0 {
        let window = u64::from(*rest.first()?);
        let base = 1_u64.checked_shl(10 + u32::try_from(window >> 3).ok()?)?;
        return Some(base + base / 8 * (window & 7));
    }
    let dictionary = [0, 1, 2, 4].get(usize::from(descriptor & 3)).copied()?;
    let size = rest.get(dictionary..)?;
    Some(match descriptor >> 6 {
        0 => u64::from(*size.first()?),
        1 => u64::from(u16::from_le_bytes(*size.first_chunk()?)) + 256,
        2 => u64::from(u32::from_le_bytes(*size.first_chunk()?)),
        _ => u64::from_le_bytes(*size.first_chunk()?),
    })
}
