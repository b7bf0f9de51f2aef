//! What the decision sees of a packet: windows of fixed size, or nothing.

/// A frame from its Ethernet header on. Windows borrow from the frame, so that none outlives a change of its bounds.
pub trait Frame {
    /// Bytes that windows can reach.
    fn len(&self) -> usize;

    /// Whether there is not one byte.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All bytes, with those in further buffers (multi-buffer XDP). May cost a call: ask only where `len` is short.
    fn total_len(&self) -> usize;

    /// Reads the frame's bounds anew. Changes nothing that can be seen; called where the path's branches come together,
    /// so that the verifier forgets what each branch had proved of the bounds and sees the rest once.
    fn reload(&mut self) {}

    /// `N` bytes at an offset.
    fn window<const N: usize>(&self, offset: usize) -> Option<&[u8; N]>;

    /// `N` bytes at an offset, to change.
    fn window_mut<const N: usize>(&mut self, offset: usize) -> Option<&mut [u8; N]>;
}
