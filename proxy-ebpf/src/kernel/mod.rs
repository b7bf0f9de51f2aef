//! The shell around the decision: packet pointers, maps, counters, verdict. All unsafe code of the data path is here.

pub(crate) mod clock;
mod count;
mod frame;
pub(crate) mod log;
pub(crate) mod lookup;
mod maps;
mod memory;
mod tables;

use aya_ebpf::bindings::xdp_action;
use aya_ebpf::helpers::generated::bpf_redirect;
use aya_ebpf::programs::XdpContext;
use proxy_common::Class;
use proxy_ebpf::Outcome;

/// One packet.
#[inline(always)]
pub(crate) fn run(ctx: XdpContext) -> u32 {
    let mut frame = frame::PacketFrame::new(&ctx);
    // SAFETY: `ctx` is the program's own context, valid while it runs.
    let ingress = unsafe { (*ctx.ctx).ingress_ifindex };
    let Some(scratch) = memory::scratch() else { return xdp_action::XDP_ABORTED };
    let tables = tables::KernelTables { ctx: ctx.ctx };
    let outcome = proxy_ebpf::decide(&mut frame, &tables, &mut memory::KernelMemory, scratch, ingress);
    verdict(log::faults(&ctx, count::count(outcome)), ingress)
}

/// The only place where a reason becomes an action.
#[inline(always)]
fn verdict(outcome: &Outcome, ingress: u32) -> u32 {
    match outcome.reason.class() {
        Class::Pass => xdp_action::XDP_PASS,
        Class::Drop => xdp_action::XDP_DROP,
        Class::Steer if outcome.ifindex == ingress => xdp_action::XDP_TX,
        Class::Steer => redirect(outcome.ifindex),
    }
}

/// Sends the packet out of another interface. Answers XDP_REDIRECT, or XDP_ABORTED for flags that the kernel refuses.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an XDP action: 0 to 4")]
fn redirect(ifindex: u32) -> u32 {
    // SAFETY: a helper that takes numbers only.
    unsafe { bpf_redirect(ifindex, 0) as u32 }
}
