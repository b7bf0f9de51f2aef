//! The decision's read-only tables over the maps.

use core::mem::MaybeUninit;

use aya_ebpf::bindings::{bpf_fib_lookup as FibParams, xdp_md};
use aya_ebpf::btf_maps::lpm_trie::Key;
use aya_ebpf::helpers::generated::{bpf_fib_lookup, bpf_jiffies64};
use proxy_common::{
    AclClass, Addr, BackendValue, ConfigValue, DestinationValue, ServiceKey, ServiceValue, SnatValue,
};
use proxy_ebpf::{AlignedMac, FibHop, Switches, Tables};

use super::maps;

/// The maps, and the context for the one helper that needs it.
pub(crate) struct KernelTables {
    pub(crate) ctx: *mut xdp_md,
}

const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
const _: () = assert!(
    core::mem::offset_of!(ConfigValue, flags) % 8 == 0
        && core::mem::offset_of!(ConfigValue, acl_table) == core::mem::offset_of!(ConfigValue, flags) + 4
);
const FIB_SUCCESS: i64 = 0;
const FIB_PARAMS: i32 = 64;
const _: () = assert!(size_of::<FibParams>() == 64);

impl Tables for KernelTables {
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "the lower half")]
    fn now(&self) -> u32 {
        // SAFETY: a helper without arguments.
        unsafe { bpf_jiffies64() as u32 }
    }

    #[inline(always)]
    fn config(&self) -> Option<&ConfigValue> {
        maps::weir_config.get(0)
    }

    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "the two halves")]
    fn switches(&self) -> Option<Switches> {
        let config = maps::weir_config.get_ptr(0)?;
        // SAFETY: both fields lie in one aligned word of the value, flags first (asserted below). Volatile, so that it is
        // read once.
        let word = unsafe { (&raw const (*config).flags).cast::<u64>().read_volatile() };
        Some(Switches { flags: word as u32, acl_table: (word >> 32) as u32 })
    }

    #[inline(always)]
    fn filter_word(&self, word: u32) -> u64 {
        maps::weir_filter.get(word).copied().unwrap_or(0)
    }

    #[inline(always)]
    fn acl_class(&self, table: u32, addr: &Addr, is_v4: bool) -> Option<AclClass> {
        let mut key = MaybeUninit::uninit();
        let class = if is_v4 {
            let key = lpm_key_v4(&mut key, addr);
            if table == 0 { maps::weir_acl4_a.get(key) } else { maps::weir_acl4_b.get(key) }
        } else {
            let key = lpm_key_v6(&mut key, addr);
            if table == 0 { maps::weir_acl6_a.get(key) } else { maps::weir_acl6_b.get(key) }
        }?;
        maps::weir_classes.get(*class).copied()
    }

    #[inline(always)]
    fn destination(&self, addr: &Addr) -> Option<DestinationValue> {
        // SAFETY: copied at once; the map is not preallocated, so an element under a reader is never used again before
        // its grace period is over.
        unsafe { maps::weir_dests.get(addr).copied() }
    }

    #[inline(always)]
    fn service(&self, key: &ServiceKey) -> Option<&ServiceValue> {
        let mut words = MaybeUninit::uninit();
        let key = service_key(&mut words, key);
        // SAFETY: as above; an update replaces the element whole.
        unsafe { maps::weir_services.get(key) }
    }

    #[inline(always)]
    fn ring_slot(&self, block: u32, slot: u32) -> Option<u32> {
        let block = maps::weir_rings.get(block)?;
        block.slots.get((slot & 15) as usize).copied()
    }

    #[inline(always)]
    fn backend(&self, slot: u16) -> Option<&BackendValue> {
        maps::weir_backends.get(u32::from(slot))
    }

    #[inline(always)]
    fn snat(&self, index: u32) -> Option<&SnatValue> {
        maps::weir_snat.get(index)
    }

    #[inline(always)]
    fn fib(&self, from: &Addr, to: &Addr, is_v4: bool, ifindex: u32) -> Option<FibHop> {
        let mut hop = FibHop { ifindex, dst_mac: AlignedMac([0; 6]), src_mac: AlignedMac([0; 6]) };
        look_up_fib(self.ctx, from, to, is_v4, &mut hop).then_some(hop)
    }
}

/// Room for an LPM key: the length in bits, then the address. Written by words: the compiler would otherwise write an IPv6
/// address across their alignment, which the verifier refuses on the stack; so its key begins half a word in.
type LpmKey = MaybeUninit<[u64; 3]>;

#[inline(always)]
fn lpm_key_v4<'a>(key: &'a mut LpmKey, addr: &Addr) -> &'a Key<[u8; 4]> {
    let at: *mut u32 = key.as_mut_ptr().cast();
    // SAFETY: the first two words of five. `Key` is the length and the address, packed, and has no alignment.
    unsafe {
        at.write_volatile(32);
        at.add(1).write_volatile(u32::from_ne_bytes(addr.v4_octets()));
        &*at.cast()
    }
}

#[inline(always)]
fn lpm_key_v6<'a>(key: &'a mut LpmKey, addr: &Addr) -> &'a Key<[u8; 16]> {
    let (high, low) = addr.words();
    let at: *mut u64 = key.as_mut_ptr().cast();
    // SAFETY: the last five words of six, the address by halves: the map reads it so.
    unsafe {
        at.cast::<u32>().add(1).write_volatile(128);
        at.add(1).write_volatile(high.to_be());
        at.add(2).write_volatile(low.to_be());
        &*at.cast::<u32>().add(1).cast()
    }
}

/// A service's key as three whole words: the map hashes it by words at once, and a word just written by bytes makes the
/// CPU wait.
#[inline(always)]
fn service_key<'a>(words: &'a mut MaybeUninit<[u64; 3]>, key: &ServiceKey) -> &'a ServiceKey {
    let (high, low) = key.addr.words();
    let [p, q] = key.port.0;
    let at: *mut u64 = words.as_mut_ptr().cast();
    // SAFETY: all three words, of the key's size; any bytes are a key, and the words are aligned as it asks.
    unsafe {
        at.write_volatile(high.to_be());
        at.add(1).write_volatile(low.to_be());
        at.add(2).write_volatile(u64::from_ne_bytes([p, q, key.proto, 0, 0, 0, 0, 0]));
        &*at.cast()
    }
}

/// Asks the FIB; `hop` brings the ingress interface and takes the answer.
// The parameters take 64 bytes of stack, for the few who configure it.
#[inline(never)]
fn look_up_fib(ctx: *mut xdp_md, from: &Addr, to: &Addr, is_v4: bool, hop: &mut FibHop) -> bool {
    // SAFETY: plain data of the kernel's ABI; all zero is a value.
    let mut params: FibParams = unsafe { core::mem::zeroed() };
    params.ifindex = hop.ifindex;
    if is_v4 {
        params.family = AF_INET;
        params.__bindgen_anon_3.ipv4_src = u32::from_ne_bytes(from.v4_octets());
        params.__bindgen_anon_4.ipv4_dst = u32::from_ne_bytes(to.v4_octets());
    } else {
        params.family = AF_INET6;
        params.__bindgen_anon_3.ipv6_src = words(from);
        params.__bindgen_anon_4.ipv6_dst = words(to);
    }
    // SAFETY: the context is this program's own, the parameters are on its stack with their size.
    let found = unsafe { bpf_fib_lookup(ctx.cast(), &raw mut params, FIB_PARAMS, 0) };
    *hop = FibHop {
        ifindex: params.ifindex,
        dst_mac: AlignedMac(mac(&params.dmac)),
        src_mac: AlignedMac(mac(&params.smac)),
    };
    found == FIB_SUCCESS
}

/// Reads a MAC address of the helper's answer by halves of a word, which its place on the stack is aligned to.
#[inline(always)]
fn mac(bytes: &[u8; 6]) -> [u8; 6] {
    let at: *const u16 = bytes.as_ptr().cast();
    // SAFETY: three times two bytes of the six; both addresses stand at even offsets of an aligned structure.
    let [[a, b], [c, d], [e, f]] = unsafe {
        [at.read_volatile(), at.add(1).read_volatile(), at.add(2).read_volatile()].map(u16::to_ne_bytes)
    };
    [a, b, c, d, e, f]
}

/// An address as the helper takes it: four words in network order.
#[inline(always)]
fn words(addr: &Addr) -> [u32; 4] {
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = addr.octets();
    [
        u32::from_ne_bytes([a, b, c, d]),
        u32::from_ne_bytes([e, f, g, h]),
        u32::from_ne_bytes([i, j, k, l]),
        u32::from_ne_bytes([m, n, o, p]),
    ]
}
