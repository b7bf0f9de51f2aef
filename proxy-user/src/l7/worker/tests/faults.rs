//! Faults of weir's own.

use std::io::Write as _;

use super::bolt::{frame_with, read_response};
use super::http1::{GET, ask, serve};
use super::*;

#[test]
fn a_fault_ends_its_own_connection_and_no_other() {
    let backend = Backend::new(serve);
    let mut rig = Rig::new("http1", &[backend.at], |_| {});
    let (mut other, mut slow) = (rig.connect(), rig.connect());
    assert_eq!(ask(&mut other, GET).0, 200);
    slow.write_all(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    for _ in 0..3 {
        let mut faulty = rig.connect();
        assert_eq!(ask(&mut faulty, GET).0, 200);
        faulty.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nX-Fault: 1\r\n\r\n").unwrap();
        assert_eq!(faulty.read(&mut [0; 8]).unwrap_or(0), 0, "it is closed");
        assert_eq!(ask(&mut other, GET).0, 200);
    }
    assert_eq!(http1::answer(&mut slow).0, 200, "what was under way goes on");
    assert_eq!(ask(&mut rig.connect(), GET).0, 200);
    let stats = rig.fresh_stats().services["web"].clone();
    assert_eq!((stats.panics, stats.active, stats.requests_active), (3, 2, 0));
}

#[test]
fn a_fault_on_a_shared_connection_harms_no_other_client() {
    let backend = Backend::new(bolt::serve);
    let mut rig = Rig::new("bolt", &[backend.at], |_| {});
    let (mut other, mut faulty) = (rig.connect(), rig.connect());
    other.write_all(&bolt::frame(1, "a", b"one")).unwrap();
    assert_eq!(read_response(&mut other), (1, 0, b"one".to_vec()));
    faulty.write_all(&frame_with(1, &[("service", "a"), ("x-fault", "1")], b"")).unwrap();
    assert_eq!(faulty.read(&mut [0; 8]).unwrap_or(0), 0);
    other.write_all(&bolt::frame(2, "a", b"two")).unwrap();
    assert_eq!(read_response(&mut other), (2, 0, b"two".to_vec()));
    assert_eq!(backend.connections(), 1, "the shared connection went on");
    assert_eq!(rig.fresh_stats().services["web"].panics, 1);
}
