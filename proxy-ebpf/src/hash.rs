//! Hashes of addresses and flows. All are inlined multiplications: a call costs more than the whole hash.

use proxy_common::{Addr, FlowKey};

const K0: u64 = 0x9e37_79b9_7f4a_7c15;
const K1: u64 = 0xbf58_476d_1ce4_e5b9;
const K2: u64 = 0x94d0_49bb_1331_11eb;

/// Bucket of the destination filter for an address, below `limits::FILTER_BUCKETS`.
#[inline(always)]
#[must_use]
pub const fn filter_bucket(addr: &Addr) -> u32 {
    let (high, low) = addr.words();
    ((high.wrapping_mul(K0) ^ low).wrapping_mul(K1) >> 48) as u32
}

/// Hash of a flow's client side, which picks the ring slot. The VIP's address is left out, since each service has its
/// own ring; its port is in, for services of any port.
#[inline(always)]
#[must_use]
pub const fn flow_hash(seed: u64, key: &FlowKey) -> u64 {
    let (high, low) = key.src.words();
    let ports = ports_word(key);
    finish(step(step(step(seed, high), low), ports))
}

/// Hash of the whole tuple under this instance's secret: cache tags and source-NAT ports.
#[inline(always)]
#[must_use]
pub const fn secret_hash(secret: u64, key: &FlowKey) -> u64 {
    let (high, low) = key.dst.words();
    finish(step(step(flow_hash(secret, key), high), low))
}

/// Ring slot of a hash, below `length`: the upper half of the hash scaled, without a division.
#[inline(always)]
#[must_use]
pub const fn ring_index(hash: u64, length: u32) -> u32 {
    (((hash >> 32) * length as u64) >> 32) as u32
}

#[inline(always)]
const fn step(hash: u64, word: u64) -> u64 {
    let mixed = (hash ^ word).wrapping_mul(K0);
    mixed ^ (mixed >> 32)
}

#[inline(always)]
const fn finish(hash: u64) -> u64 {
    let mixed = hash.wrapping_mul(K1);
    let mixed = (mixed ^ (mixed >> 29)).wrapping_mul(K2);
    mixed ^ (mixed >> 32)
}

#[inline(always)]
const fn ports_word(key: &FlowKey) -> u64 {
    let [a, b] = key.sport.0;
    let [c, d] = key.dport.0;
    u64::from_be_bytes([0, 0, 0, key.proto, a, b, c, d])
}
