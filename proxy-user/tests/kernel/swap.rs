//! Swapping the program under traffic: every packet meets exactly one program.

use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use proxy_user::kernel::adopt::{How, bring_up};
use proxy_user::kernel::attach::Policy;
use proxy_user::kernel::maps::Maps;
use proxy_user::kernel::stats;

use crate::support::{ip, load, sandbox};

#[test]
fn every_packet_is_counted_once_across_swaps() {
    sandbox(|sandbox| {
        let (pins, mut loaded, maps) = sandbox.loaded();
        // No IPv6 addresses, so that the stack sends nothing of its own.
        ip("link add wan0 type veth peer name wan0-peer");
        for end in ["wan0", "wan0-peer"] {
            ip(&format!("link set {end} addrgenmode none up"));
        }
        ip("address add 10.0.0.1/24 dev wan0-peer");
        ip("neighbour add 10.0.0.2 lladdr 02:00:00:00:00:02 dev wan0-peer");
        let veth = crate::support::interface("wan0");
        bring_up(&pins, &mut loaded, &veth, Policy::NativeOnly).unwrap();

        let stop = AtomicBool::new(false);
        let sent = thread::scope(|scope| {
            let sender = scope.spawn(|| send_until(&stop));
            for _ in 0..30 {
                let mut newer = load(&pins, 0);
                assert_eq!(bring_up(&pins, &mut newer, &veth, Policy::NativeOnly).unwrap().how, How::Adopted);
            }
            stop.store(true, Ordering::Relaxed);
            sender.join().unwrap()
        });
        assert!(sent > 100, "{sent}");
        for _ in 0..50 {
            if counted(&maps) >= sent {
                break;
            }
            thread::sleep(Duration::from_millis(20));
        }
        assert_eq!(counted(&maps), sent);
    });
}

/// Sends datagrams at a pace that the veth's ring keeps up with; returns their number.
fn send_until(stop: &AtomicBool) -> u64 {
    let socket = UdpSocket::bind("10.0.0.1:0").unwrap();
    let mut sent = 0;
    while !stop.load(Ordering::Relaxed) {
        socket.send_to(b"weir", "10.0.0.2:9").unwrap();
        sent += 1;
        thread::sleep(Duration::from_micros(100));
    }
    sent
}

fn counted(maps: &Maps) -> u64 {
    stats::reasons(maps, 0).unwrap().iter().map(|count| count.packets).sum()
}
