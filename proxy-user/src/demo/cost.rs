//! What a denied packet costs, beside a program that does nothing: test runs of the kernel, on the daemon's own maps.

use super::error::DemoError;
use super::place::Place;
use super::syn::{self, Ends};
use super::topology::{CLIENT, Topology, VIP};
use crate::kernel::bpffs::PinDir;
use crate::kernel::load::{self, OBJECT};
use crate::kernel::schema::Capacity;
use crate::kernel::testrun::{self, TestRunError};
use crate::lab::run_in;

/// Nanoseconds a packet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cost {
    /// Of a denied packet.
    pub(super) packet: u64,
    /// Of a program that only returns; what the test run itself takes.
    pub(super) floor: u64,
}

/// Loads the object once more, on the maps that the daemon has pinned, and runs it on a denied packet, which no run
/// changes. The best of several runs counts: the machine has other work too.
pub(super) fn measure(lab: &Topology, place: &Place) -> Result<Cost, DemoError> {
    let from = std::net::SocketAddrV4::new(CLIENT, 20_000);
    let packet = syn::frame(&Ends { macs: (lab.client_port.mac(), lab.front.mac()), from, to: VIP });
    let ingress = lab.front.index();
    let pins = PinDir::open(&place.pins())?;
    // A test run can only claim to come from an interface of its own namespace.
    run_in(&lab.weir, || {
        let mut loaded =
            load::load(OBJECT, &pins, &Capacity::default(), UNUSED_SLOT).map_err(TestRunError::from)?;
        let mut cost = Cost { packet: u64::MAX, floor: u64::MAX };
        for _ in 0..ROUNDS {
            let run = testrun::run(&loaded, &packet, ingress, REPEAT)?;
            if run.action != XDP_DROP {
                return Err(DemoError::Measured(run.action));
            }
            cost.packet = cost.packet.min(nanoseconds(run.duration));
            cost.floor = cost.floor.min(nanoseconds(loaded.floor(&packet, REPEAT)?));
        }
        Ok(cost)
    })?
}

fn nanoseconds(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// The last slot of the counters, which no interface of the demo has.
const UNUSED_SLOT: u32 = proxy_common::limits::INTERFACES - 1;
const ROUNDS: u32 = 5;
const REPEAT: u32 = 200_000;
const XDP_DROP: u32 = 1;
