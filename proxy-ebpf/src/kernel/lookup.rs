//! Socket look-up: a connection to a service of mode `l7` goes to the listeners of the L7 path, whatever they are bound
//! to; everything else is none of this program's business.

use aya_ebpf::bindings::{bpf_sk_lookup, sk_action};
use aya_ebpf::programs::SkLookupContext;
use proxy_common::{Addr, Mode, Port, ServiceKey, limits, proto};

use super::{maps, tables};

/// One look-up: of a packet that belongs to no connection and no half-open one.
#[inline(always)]
pub(crate) fn run(ctx: &SkLookupContext) -> u32 {
    match wanted(ctx.lookup) {
        Some((addr, port, family)) if is_l7(addr, port) => assign(ctx, family),
        _ => sk_action::SK_PASS,
    }
}

/// Destination of a TCP packet: address, port, and the family's number in `weir_listeners`.
#[inline(always)]
fn wanted(lookup: *mut bpf_sk_lookup) -> Option<(Addr, Port, u32)> {
    // SAFETY: fields of this program's own context, each read by itself: the verifier knows no wider access.
    let (family, protocol, port) = unsafe {
        (
            (&raw const (*lookup).family).read_volatile(),
            (&raw const (*lookup).protocol).read_volatile(),
            (&raw const (*lookup).local_port).read_volatile(),
        )
    };
    if protocol != u32::from(proto::TCP) {
        return None;
    }
    #[expect(clippy::cast_possible_truncation, reason = "a port in host order")]
    let port = Port::new(port as u16);
    match family {
        AF_INET => {
            // SAFETY: as above.
            let addr = unsafe { (&raw const (*lookup).local_ip4).read_volatile() };
            Some((Addr::v4(addr.to_ne_bytes()), port, 0))
        }
        AF_INET6 => {
            // SAFETY: as above, word by word.
            let words: [u32; 4] = unsafe {
                let at = (&raw const (*lookup).local_ip6).cast::<u32>();
                [
                    at.read_volatile(),
                    at.add(1).read_volatile(),
                    at.add(2).read_volatile(),
                    at.add(3).read_volatile(),
                ]
            };
            let [[a, b, c, d], [e, f, g, h], [i, j, k, l], [m, n, o, p]] = words.map(u32::to_ne_bytes);
            Some((Addr::v6([a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p]), port, 1))
        }
        _ => None,
    }
}

/// Whether the port's service, else the address's service for every port, is one of mode `l7`: as the packet's decision
/// asks.
#[inline(always)]
fn is_l7(addr: Addr, port: Port) -> bool {
    let mut key = ServiceKey::new(addr, port, proto::TCP);
    let mode = |key: &ServiceKey| tables::service(key).map(|service| service.mode);
    let found = mode(&key).or_else(|| {
        key.port = Port::default();
        mode(&key)
    });
    found == Some(Mode::L7 as u8)
}

/// The first listener that is there; the kernel spreads connections over its group. Without one the packet is dropped:
/// a client that hears nothing asks again, one that hears a reset gives up.
#[inline(always)]
fn assign(ctx: &SkLookupContext, family: u32) -> u32 {
    for worker in 0..limits::LISTENERS {
        if maps::weir_listeners.redirect_sk_lookup(ctx, family * limits::LISTENERS + worker, 0).is_ok() {
            return sk_action::SK_PASS;
        }
    }
    sk_action::SK_DROP
}

const AF_INET: u32 = 2;
const AF_INET6: u32 = 10;
