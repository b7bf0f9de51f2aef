//! Running the object: its verdicts, its counters by interface, its clock.

use std::thread;
use std::time::Duration;

use proxy_common::{Count, Reason, limits};
use proxy_user::kernel::testrun::{self, TestRunError};
use proxy_user::kernel::{clock, stats};

use crate::support::{load, sandbox};

const XDP_PASS: u32 = 2;

/// A broadcast ARP frame of minimal length.
fn arp() -> Vec<u8> {
    let mut frame = vec![0xff; 6];
    frame.extend([2, 0, 0, 0, 0, 1, 0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, 1]);
    frame.resize(60, 0);
    frame
}

#[test]
fn each_interface_counts_in_its_slot() {
    sandbox(|sandbox| {
        let (pins, first, mut maps) = sandbox.loaded();
        let second = load(&pins, 63);
        let veth = sandbox.veth("wan0");
        let frame = arp();
        let outcome = testrun::run(&first, &frame, veth.ifindex, 1).unwrap();
        assert_eq!((outcome.action, &outcome.packet), (XDP_PASS, &frame));
        testrun::run(&second, &frame, 0, 5).unwrap();

        let counted = |maps: &_, slot| stats::reasons(maps, slot).unwrap()[Reason::NonIp as usize].packets;
        assert_eq!((counted(&maps, 0), counted(&maps, 63), counted(&maps, 1)), (1, 5, 0));
        assert_eq!(stats::reasons(&maps, 0).unwrap().len(), limits::REASON_SLOTS as usize);
        stats::zero_reasons(&mut maps, 63).unwrap();
        assert!(stats::reasons(&maps, 63).unwrap().iter().all(|count| *count == Count::default()));
        assert_eq!(counted(&maps, 0), 1);
        assert!(stats::reasons(&maps, limits::INTERFACES).is_err());
    });
}

#[test]
fn live_frames_run_on_a_real_interface() {
    sandbox(|sandbox| {
        let (_pins, loaded, maps) = sandbox.loaded();
        let veth = sandbox.veth("wan0");
        testrun::run_live(&loaded, &arp(), veth.ifindex, 1_000, 64).unwrap();
        assert_eq!(stats::reasons(&maps, 0).unwrap()[Reason::NonIp as usize].packets, 1_000);
    });
}

#[test]
fn refusals_of_test_runs_are_told() {
    sandbox(|sandbox| {
        let (_pins, loaded, _maps) = sandbox.loaded();
        let no_interface = testrun::run(&loaded, &arp(), 4_242, 1).unwrap_err();
        assert!(matches!(no_interface, TestRunError::NoInterface(4_242)), "{no_interface}");
        let short = testrun::run(&loaded, &[0; 3], 0, 1).unwrap_err();
        assert!(matches!(short, TestRunError::Length(3)), "{short}");
    });
}

#[test]
fn the_clock_ticks() {
    sandbox(|sandbox| {
        let (_pins, loaded, _maps) = sandbox.loaded();
        let hz = clock::ticks_per_second(&loaded).unwrap();
        assert!([100, 250, 300, 1_000].contains(&hz));
        let start = clock::now(&loaded).unwrap();
        thread::sleep(Duration::from_millis(200));
        let ticks = clock::now(&loaded).unwrap().wrapping_sub(start);
        assert!(ticks >= hz / 5 - 1 && ticks < hz * 5, "{ticks} ticks of {hz} Hz");
    });
}
