//! Buffers that connections borrow while they have bytes to keep: an idle connection has none.

/// Buffers nobody uses.
#[derive(Debug, Default)]
pub(super) struct Buffers {
    free: Vec<Vec<u8>>,
}

impl Buffers {
    /// Gives `buffer` room, if it has none.
    #[inline]
    pub(super) fn lend(&mut self, buffer: &mut Vec<u8>) {
        if buffer.capacity() == 0 {
            *buffer = self.free.pop().unwrap_or_else(|| Vec::with_capacity(FIRST));
        }
    }

    /// Takes the room of `buffer` back, and what is in it away.
    #[inline]
    pub(super) fn take_back(&mut self, buffer: &mut Vec<u8>) {
        let capacity = buffer.capacity();
        if capacity == 0 {
            return;
        }
        let mut buffer = std::mem::take(buffer);
        if capacity <= LARGEST && self.free.len() < MOST {
            buffer.clear();
            self.free.push(buffer);
        }
    }
}

/// Bytes of a new buffer.
const FIRST: usize = 2 << 10;
/// Larger ones go back to the allocator.
const LARGEST: usize = 64 << 10;
/// Buffers kept at most.
const MOST: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_comes_back_empty_and_bounded() {
        let mut buffers = Buffers::default();
        let mut buffer = Vec::new();
        buffers.lend(&mut buffer);
        buffer.extend_from_slice(b"abc");
        let place = buffer.as_ptr();
        buffers.take_back(&mut buffer);
        assert_eq!(buffer.capacity(), 0);
        buffers.lend(&mut buffer);
        assert!(buffer.is_empty());
        assert_eq!(buffer.as_ptr(), place);
        buffer.reserve(LARGEST + 1);
        buffers.take_back(&mut buffer);
        assert!(buffers.free.is_empty());
    }
}
