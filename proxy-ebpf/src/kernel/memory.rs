//! The decision's flow memory over the maps. References that it lends point into map values: plain data, which other
//! CPUs may write at the same time. Every field is a word or a byte array whose torn value does no more harm than a
//! lost update: a time stamp, a state, a fingerprint.

use aya_ebpf::bindings::BPF_NOEXIST;
use proxy_common::{BudgetValue, CacheLine, FlowKey, FlowValue};
use proxy_ebpf::{ClaimError, Memory, Scratch};

use super::maps;

/// The maps.
pub(crate) struct KernelMemory;

const EEXIST: i32 = -17;

/// This CPU's room for what is known of the packet.
#[inline(always)]
pub(super) fn scratch() -> Option<&'static mut Scratch> {
    // SAFETY: this CPU's own slot; XDP programs are not preempted by one another, and this is called once for each
    // packet. All zero, as the map begins, is a valid value.
    maps::weir_packet.get_ptr_mut(0).map(|scratch| unsafe { &mut *scratch })
}

impl Memory for KernelMemory {
    #[inline(always)]
    fn flow(&mut self, key: &FlowKey) -> Option<&mut FlowValue> {
        // SAFETY: the pointer is the map's own, valid while the program runs; see the module's page for sharing.
        maps::weir_flows.get_ptr_mut(key).map(|flow| unsafe { &mut *flow })
    }

    #[inline(always)]
    fn flow_claim(&mut self, key: &FlowKey, fill: impl FnOnce(&mut FlowValue)) -> Result<(), ClaimError> {
        let scratch = maps::weir_scratch.get_ptr_mut(0).ok_or(ClaimError::Full)?;
        // SAFETY: this CPU's own slot; XDP programs are not preempted by one another.
        let scratch = unsafe { &mut *scratch };
        *scratch = FlowValue::default();
        fill(scratch);
        match maps::weir_flows.insert(key, scratch, u64::from(BPF_NOEXIST)) {
            Ok(()) => Ok(()),
            Err(EEXIST) => Err(ClaimError::Taken),
            Err(_) => Err(ClaimError::Full),
        }
    }

    #[inline(always)]
    fn flow_remove(&mut self, key: &FlowKey) {
        // Gone already is as good.
        let _ = maps::weir_flows.remove(key);
    }

    #[inline(always)]
    fn budget(&mut self, service: u16) -> Option<&mut BudgetValue> {
        // SAFETY: as for flows.
        maps::weir_budget.get_ptr_mut(u32::from(service)).map(|budget| unsafe { &mut *budget })
    }

    #[inline(always)]
    fn spent(&mut self) -> Option<&mut BudgetValue> {
        // SAFETY: this CPU's own slot.
        maps::weir_spent.get_ptr_mut(0).map(|spent| unsafe { &mut *spent })
    }

    #[inline(always)]
    fn cache_line(&mut self, line: u32) -> Option<&mut CacheLine> {
        // SAFETY: as for flows; each way is one aligned word.
        maps::weir_cache.get_ptr_mut(line).map(|line| unsafe { &mut *line })
    }
}
