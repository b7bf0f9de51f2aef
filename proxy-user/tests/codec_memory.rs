//! No input makes a codec allocate beyond what its size allows. A test binary of its own: it counts every allocation.
#![allow(clippy::indexing_slicing, reason = "helpers of tests fail loudly")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use proxy_user::l7::codec::{CODECS, Codec, Decoded, Limits, Session, Side, fuzz};

const HOSTILE: &str = include_str!("l7/hostile.txt");

thread_local! {
    static BYTES: Cell<usize> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: every call goes to the system's allocator as it came; counting touches no memory but a thread's own cell.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _ = BYTES.try_with(|bytes| bytes.set(bytes.get().saturating_add(layout.size())));
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(place, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Bytes that `work` allocates.
fn allocated(work: impl FnOnce()) -> usize {
    BYTES.set(0);
    work();
    BYTES.get()
}

fn decode_all(codec: &dyn Codec, side: Side, bytes: &[u8]) {
    let mut session = Session::new(side, Limits::default());
    let mut rest = bytes;
    while let Ok(Decoded::Head(mut head)) = codec.decode(&mut session, rest) {
        codec.headers(rest, &head, &mut |_, _| true);
        rest = rest.get(head.len..).unwrap_or_default();
        match head.body.advance(rest, &mut |_| ()) {
            Ok(progress) if progress.done && head.len > 0 => rest = &rest[progress.used..],
            Ok(_) | Err(_) => return,
        }
    }
}

/// Frames of Bolt that lie about each of their lengths, and the lines of the table of hostile requests.
fn inputs() -> Vec<Vec<u8>> {
    let mut inputs: Vec<Vec<u8>> = HOSTILE
        .lines()
        .filter_map(|line| line.splitn(3, '\t').nth(2))
        .map(|text| text.replace("\\r", "\r").replace("\\n", "\n").into_bytes())
        .collect();
    let heartbeat = b"\x01\x01\0\x01\x01\0\0\0\x07\x01\0\0\0\0\0\0\0\0\0\0\0\0";
    for place in 0..heartbeat.len() {
        for value in [0, 1, 2, 0x7f, 0x80, 0xff] {
            let mut bytes = heartbeat.to_vec();
            bytes[place] = value;
            inputs.push(bytes.clone());
            bytes.extend_from_slice(&[0x7f; 40]);
            inputs.push(bytes);
        }
    }
    inputs
}

#[test]
fn decoding_allocates_nothing() {
    for bytes in inputs() {
        for codec in CODECS {
            for side in [Side::Client, Side::Upstream] {
                let count = allocated(|| decode_all(codec, side, &bytes));
                assert_eq!(count, 0, "{} allocates for {bytes:?}", codec.name());
            }
        }
    }
}

#[test]
fn all_of_a_codec_allocates_at_most_a_hundred_times_its_input() {
    for mut bytes in inputs() {
        bytes.insert(0, 0x1f);
        for entry in [fuzz::http1, fuzz::bolt, fuzz::tcp] {
            let count = allocated(|| entry(&bytes));
            assert!(count <= 100 * bytes.len() + 1024, "{count} bytes for {bytes:?}");
        }
    }
}
