//! Helper programs of `cargo xtask bench`. `bench_restore` makes the packet what it was before the last run and goes on
//! to the program to measure; the floors behind the same wrapper show what that alone costs.
#![cfg_attr(target_arch = "bpf", no_std, no_main)]

#[cfg(target_arch = "bpf")]
mod programs {
    #![expect(non_upper_case_globals, reason = "a map is named by its static")]

    use aya_ebpf::bindings::xdp_action;
    use aya_ebpf::btf_maps::{Array, PerCpuArray, ProgramArray};
    use aya_ebpf::macros::{btf_map, xdp};
    use aya_ebpf::programs::XdpContext;

    /// Next flow, mask of the flow's number, whether the flow is written into the packet, target.
    #[btf_map]
    static bench_run: Array<[u32; 4], 1> = Array::new();
    /// The packet's first bytes.
    #[btf_map]
    static bench_template: Array<[u64; V6_WORDS], 1> = Array::new();
    /// Flows: four bytes of source address, two of source port, two unused.
    #[btf_map]
    static bench_flows: Array<u64, FLOWS> = Array::new();
    /// Programs to measure.
    #[btf_map]
    static bench_targets: ProgramArray<64> = ProgramArray::new();
    /// Packets dropped, sent back and taken in at the far end by the plain programs.
    #[btf_map]
    static bench_counts: PerCpuArray<u64, 3> = PerCpuArray::new();

    const FLOWS: usize = 131_072;
    /// 14 + 20 + 20 bytes of headers and two more.
    const V4_WORDS: usize = 7;
    /// 14 + 40 + 20 bytes of headers and six more.
    const V6_WORDS: usize = 10;

    /// Writes the packet, then runs the target on it.
    #[xdp(frags)]
    pub(crate) fn bench_restore(ctx: XdpContext) -> u32 {
        if let Some(target) = restore(&ctx) {
            // SAFETY: nothing here waits to be dropped.
            unsafe { bench_targets.tail_call(&ctx, target) };
        }
        xdp_action::XDP_ABORTED
    }

    /// The floor of a packet that passes.
    #[xdp(frags)]
    pub(crate) fn bench_floor_pass(_ctx: XdpContext) -> u32 {
        xdp_action::XDP_PASS
    }

    /// The floor of a packet that is dropped.
    #[xdp(frags)]
    pub(crate) fn bench_floor_drop(_ctx: XdpContext) -> u32 {
        xdp_action::XDP_DROP
    }

    /// The floor of a packet that is sent back.
    #[xdp(frags)]
    pub(crate) fn bench_floor_tx(_ctx: XdpContext) -> u32 {
        xdp_action::XDP_TX
    }

    /// On the wire: counts and drops.
    #[xdp(frags)]
    pub(crate) fn bench_plain_drop(_ctx: XdpContext) -> u32 {
        counted(0, xdp_action::XDP_DROP)
    }

    /// On the wire: counts and sends back.
    #[xdp(frags)]
    pub(crate) fn bench_plain_tx(_ctx: XdpContext) -> u32 {
        counted(1, xdp_action::XDP_TX)
    }

    /// On the wire: the far end, where what was sent back is counted and dropped.
    #[xdp(frags)]
    pub(crate) fn bench_sink(_ctx: XdpContext) -> u32 {
        counted(2, xdp_action::XDP_DROP)
    }

    /// The target's number, once the packet is as it shall be.
    #[inline(always)]
    fn restore(ctx: &XdpContext) -> Option<u32> {
        // SAFETY: one CPU at a time runs this program; the rows are read and written as plain words.
        let run = unsafe { &mut *bench_run.get_ptr_mut(0)? };
        let [next, mask, patched, target] = run;
        let template = bench_template.get(0)?;
        let flow = *bench_flows.get(*next & *mask)?;
        *next = next.wrapping_add(1);
        let (start, end) = (ctx.data(), ctx.data_end());
        let (address, port) = if start + V6_WORDS * 8 <= end {
            // In two halves: a longer copy would become a call.
            let [a, b, c, d, e, f, g, h, i, j] = *template;
            // SAFETY: the packet's bytes up to there have just been compared with its end.
            unsafe {
                *(start as *mut [u64; V6_WORDS / 2]) = [a, b, c, d, e];
                *((start + V6_WORDS * 4) as *mut [u64; V6_WORDS / 2]) = [f, g, h, i, j];
            }
            (34, 54)
        } else if start + V4_WORDS * 8 <= end {
            let [a, b, c, d, e, f, g, ..] = *template;
            // SAFETY: as above.
            unsafe { *(start as *mut [u64; V4_WORDS]) = [a, b, c, d, e, f, g] };
            (26, 34)
        } else {
            return None;
        };
        if *patched != 0 && start + V4_WORDS * 8 <= end {
            // SAFETY: both fields are within the headers compared above; packets may be read at any alignment.
            unsafe {
                ((start + address) as *mut u32).write_unaligned(address_of(flow));
                ((start + port) as *mut u16).write_unaligned(port_of(flow));
            }
        }
        Some(*target)
    }

    /// The address of a flow's number: its lower half.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "takes the lower half")]
    fn address_of(flow: u64) -> u32 {
        flow as u32
    }

    /// The port of a flow's number: the 16 bits above the address.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "takes 16 bits")]
    fn port_of(flow: u64) -> u16 {
        (flow >> 32) as u16
    }

    #[inline(always)]
    fn counted(index: u32, action: u32) -> u32 {
        if let Some(count) = bench_counts.get_ptr_mut(index) {
            // SAFETY: this CPU's own slot.
            unsafe { *count = (*count).wrapping_add(1) };
        }
        action
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
