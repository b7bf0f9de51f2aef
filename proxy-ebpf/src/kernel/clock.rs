//! The data path's clock, for the daemon.

use aya_ebpf::bindings::xdp_action;
use aya_ebpf::helpers::generated::{bpf_jiffies64, bpf_ktime_get_ns};
use aya_ebpf::programs::XdpContext;
use proxy_ebpf::Frame;

use super::frame::PacketFrame;

/// Jiffies, then nanoseconds since boot, each as u64 in little-endian order, into the first 16 bytes.
#[inline(always)]
pub(crate) fn write(ctx: XdpContext) -> u32 {
    let mut frame = PacketFrame::new(&ctx);
    // SAFETY: helpers without arguments.
    let (jiffies, nanoseconds) = unsafe { (bpf_jiffies64(), bpf_ktime_get_ns()) };
    let Some(window) = frame.window_mut::<16>(0) else { return xdp_action::XDP_DROP };
    let (first, second) = window.split_at_mut(8);
    first.copy_from_slice(&jiffies.to_le_bytes());
    second.copy_from_slice(&nanoseconds.to_le_bytes());
    xdp_action::XDP_PASS
}
