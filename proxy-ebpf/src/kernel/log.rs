//! What the object says for itself: that it is loaded, and faults that cannot be. Never per packet.

use aya_ebpf::bindings::xdp_action;
use aya_ebpf::programs::XdpContext;
use aya_log_ebpf::{error, info};
use proxy_common::{Reason, SCHEMA_VERSION};
use proxy_ebpf::Outcome;

use super::count;

/// Says that the object is loaded.
#[inline(always)]
pub(crate) fn hello(ctx: &XdpContext) -> u32 {
    info!(ctx, "loaded for interface slot {}, maps of version {}", count::interface_slot(), SCHEMA_VERSION);
    xdp_action::XDP_PASS
}

/// Logs the first, second, fourth, eighth and so on packet that a fault has cost on this CPU.
#[inline(always)]
pub(super) fn faults<'a>(ctx: &XdpContext, outcome: &'a Outcome) -> &'a Outcome {
    if outcome.reason == Reason::HelperFailed {
        let packets = count::packets(Reason::HelperFailed);
        if packets.is_power_of_two() {
            fault(ctx, packets);
        }
    }
    outcome
}

// Rare: a call keeps the record off other packets' stack.
#[inline(never)]
fn fault(ctx: &XdpContext, packets: u64) -> u32 {
    error!(ctx, "a table that must exist does not answer: {} packets dropped on this CPU", packets);
    0
}
