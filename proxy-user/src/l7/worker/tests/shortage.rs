//! A worker whose connections have taken every descriptor.

use std::os::fd::AsFd as _;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::*;

/// Set in a process of its own: others must not go short.
const ALONE: &str = "WEIR_TEST_SHORTAGE";

#[test]
fn a_want_of_descriptors_does_not_cost_the_daemon() {
    if std::env::var_os(ALONE).is_some() {
        return short();
    }
    let name = "l7::worker::tests::shortage::a_want_of_descriptors_does_not_cost_the_daemon";
    let mut alone = std::process::Command::new(std::env::current_exe().unwrap());
    let ended = alone.args([name, "--exact", "--nocapture"]).env(ALONE, "1").output().unwrap();
    let said = String::from_utf8_lossy(&ended.stdout).into_owned() + &String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.success() && said.contains("1 passed"), "{said}");
}

fn short() {
    let mut rig = Rig::new("http1", &[], |snapshot| {
        for number in 0..400_u32 {
            let at = std::net::Ipv4Addr::from_bits(0x7f10_0000 + number);
            snapshot.services.insert(format!("s{number}"), service((at, 1).into(), "http1", &[]));
        }
    });
    let (ours, theirs) = Channel::pair().unwrap();
    Channel::new(theirs, TO_WORKER).unwrap().send(&"x", &[std::io::stderr().as_fd()]).unwrap();
    assert!(serde_json::to_vec(&rig.fresh_stats()).unwrap().len() > 32 << 10, "in a memory file");
    let open = std::fs::read_dir("/proc/self/fd").unwrap();
    let numbers = open.filter_map(|entry| entry.unwrap().file_name().to_str().unwrap().parse::<u64>().ok());
    let highest = numbers.max().unwrap();
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: Some(highest + 1), ..limit }).unwrap();
    let mut all = Vec::new();
    while let Ok(file) = std::fs::File::open("/dev/null") {
        all.push(file);
    }
    assert!(matches!(ours.receive::<String>(), Err(ChannelError::Shortage)));
    std::thread::sleep(Duration::from_millis(2_500));
    drop(all);
    setrlimit(Resource::Nofile, limit).unwrap();
    let mut reports = 0;
    while let Ok(received) = rig.daemon.receive::<FromWorker>() {
        reports += u32::from(matches!(received.message, FromWorker::Stats(_)));
    }
    assert!(reports > 0, "by the descriptor that is kept for it");
    rig.fresh_stats();
}
