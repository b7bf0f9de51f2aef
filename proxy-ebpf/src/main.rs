//! weir's programs: entry points over the decision library, and socket look-up for the L7 path. Each is one expression,
//! so that no verdict is lost.
#![cfg_attr(target_arch = "bpf", no_std, no_main)]

#[cfg(target_arch = "bpf")]
mod kernel;

#[cfg(target_arch = "bpf")]
mod programs {
    use aya_ebpf::macros::{sk_lookup, xdp};
    use aya_ebpf::programs::{SkLookupContext, XdpContext};

    use crate::kernel;

    /// The program for devices and kernels that know multi-buffer frames (Linux 5.18).
    #[xdp(frags)]
    pub(crate) fn weir(ctx: XdpContext) -> u32 {
        kernel::run(ctx)
    }

    /// The same without the frags flag, for those that refuse it.
    #[xdp]
    pub(crate) fn weir_nofrags(ctx: XdpContext) -> u32 {
        kernel::run(ctx)
    }

    /// Connections to services of mode `l7`; attached to the network namespace.
    #[sk_lookup]
    pub(crate) fn weir_lookup(ctx: SkLookupContext) -> u32 {
        kernel::lookup::run(&ctx)
    }

    /// Writes the jiffies and the nanoseconds of now into the packet's first 16 bytes; for test runs only.
    #[xdp]
    pub(crate) fn weir_clock(ctx: XdpContext) -> u32 {
        kernel::clock::write(ctx)
    }

    /// Logs that the object is loaded; run once by the daemon, for each interface.
    #[xdp]
    pub(crate) fn weir_hello(ctx: XdpContext) -> u32 {
        kernel::log::hello(&ctx)
    }

    /// Does nothing: the floor under a test run's figures.
    #[xdp]
    pub(crate) fn weir_floor(_ctx: XdpContext) -> u32 {
        aya_ebpf::bindings::xdp_action::XDP_PASS
    }

    #[panic_handler]
    fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
        loop {}
    }

    #[unsafe(link_section = "license")]
    #[unsafe(no_mangle)]
    static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
}

/// On the host there is nothing to run: the programs are built for the BPF target by `cargo xtask build-ebpf`.
#[cfg(not(target_arch = "bpf"))]
fn main() {}
