//! The packet behind its context's pointers.

use aya_ebpf::bindings::xdp_md;
use aya_ebpf::helpers::generated::bpf_xdp_get_buff_len;
use aya_ebpf::programs::XdpContext;
use proxy_ebpf::Frame;

/// Start and end are loaded once and kept as full words: re-reading the context's 32-bit fields per access works only
/// while everything is inlined.
pub(crate) struct PacketFrame {
    ctx: *mut xdp_md,
    start: usize,
    end: usize,
}

impl PacketFrame {
    #[inline(always)]
    pub(crate) fn new(ctx: &XdpContext) -> Self {
        Self { ctx: ctx.ctx, start: ctx.data(), end: ctx.data_end() }
    }

    #[inline(always)]
    fn at<const N: usize>(&self, offset: usize) -> Option<*mut [u8; N]> {
        // No header starts beyond 22 + 40 + 6 * 2,048 bytes and an ICMP error's quote, so this changes no offset; it tells
        // the verifier that there is a bound.
        let start = self.start + (offset & 0x3fff);
        (start + N <= self.end).then_some(start as *mut [u8; N])
    }
}

impl Frame for PacketFrame {
    #[inline(always)]
    fn len(&self) -> usize {
        self.end - self.start
    }

    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "a frame's length")]
    fn total_len(&self) -> usize {
        // SAFETY: the context is this program's own.
        unsafe { bpf_xdp_get_buff_len(self.ctx) as usize }
    }

    #[inline(always)]
    fn reload(&mut self) {
        // SAFETY: the context is this program's own. Volatile, or the compiler would know the values and keep the old ones.
        let (start, end) = unsafe {
            ((&raw const (*self.ctx).data).read_volatile(), (&raw const (*self.ctx).data_end).read_volatile())
        };
        self.start = start as usize;
        self.end = end as usize;
    }

    #[inline(always)]
    fn window<const N: usize>(&self, offset: usize) -> Option<&[u8; N]> {
        // SAFETY: `at` has compared the window's end with the packet's; bytes have no alignment; the reference borrows
        // from the frame, which alone hands out windows.
        self.at(offset).map(|window| unsafe { &*window })
    }

    #[inline(always)]
    fn window_mut<const N: usize>(&mut self, offset: usize) -> Option<&mut [u8; N]> {
        // SAFETY: as above; the borrow is exclusive.
        self.at(offset).map(|window| unsafe { &mut *window })
    }
}
