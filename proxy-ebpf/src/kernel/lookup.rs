//! Socket look-up: a connection to a service of mode `l7` goes to the listeners of the L7 path, whatever they are bound
//! to; everything else is none of this program's business.

use aya_ebpf::bindings::{bpf_sk_lookup, sk_action};
use aya_ebpf::programs::SkLookupContext;
use proxy_common::{Addr, Mode, Port, ServiceKey, limits, proto};

use proxy_ebpf::Tables as _;

use super::maps;
use super::tables::KernelTables;

/// One look-up: of a packet that belongs to no connection and no half-open one.
#[inline(always)]
pub(crate) fn run(ctx: &SkLookupContext) -> u32 {
    let tables = KernelTables { ctx: core::ptr::null_mut() };
    match wanted(ctx.lookup) {
        // XDP has asked the same for what came by an interface that weir is attached to, and nobody for all else.
        Some(wanted) if is_l7(&tables, &wanted) => {
            if proxy_ebpf::may_connect(&tables, &wanted.src, wanted.family == V4) {
                assign(ctx, wanted.family)
            } else {
                sk_action::SK_DROP
            }
        }
        _ => sk_action::SK_PASS,
    }
}

/// A TCP packet to this host.
struct Wanted {
    src: Addr,
    dst: Addr,
    port: Port,
    /// The family's number in `weir_listeners`.
    family: u32,
}

#[inline(always)]
fn wanted(lookup: *mut bpf_sk_lookup) -> Option<Wanted> {
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
            let (src, dst) = unsafe {
                (
                    (&raw const (*lookup).remote_ip4).read_volatile(),
                    (&raw const (*lookup).local_ip4).read_volatile(),
                )
            };
            Some(Wanted {
                src: Addr::v4(src.to_ne_bytes()),
                dst: Addr::v4(dst.to_ne_bytes()),
                port,
                family: V4,
            })
        }
        AF_INET6 => {
            // SAFETY: the context is this program's own.
            let (src, dst) =
                unsafe { (v6(&raw const (*lookup).remote_ip6), v6(&raw const (*lookup).local_ip6)) };
            Some(Wanted { src, dst, port, family: V6 })
        }
        _ => None,
    }
}

/// An IPv6 address of the context, word by word.
///
/// # Safety
/// `at` must be a field of the program's context.
#[inline(always)]
unsafe fn v6(at: *const [u32; 4]) -> Addr {
    let at = at.cast::<u32>();
    // SAFETY: the four words of the field.
    let words: [u32; 4] = unsafe {
        [at.read_volatile(), at.add(1).read_volatile(), at.add(2).read_volatile(), at.add(3).read_volatile()]
    };
    let [[a, b, c, d], [e, f, g, h], [i, j, k, l], [m, n, o, p]] = words.map(u32::to_ne_bytes);
    Addr::v6([a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p])
}

/// Whether the port's service, else the address's service for every port, is one of mode `l7`: as the packet's decision
/// asks.
#[inline(always)]
fn is_l7(tables: &KernelTables, wanted: &Wanted) -> bool {
    let mut key = ServiceKey::new(wanted.dst, wanted.port, proto::TCP);
    let mode = |key: &ServiceKey| tables.service(key).map(|service| service.mode);
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

const V4: u32 = 0;
const V6: u32 = 1;
const AF_INET: u32 = 2;
const AF_INET6: u32 = 10;
