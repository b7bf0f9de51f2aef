//! What weir refuses, in words that name cause and cure.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;

use nix::mount::{MntFlags, umount2};
use nix::sched::{CloneFlags, unshare};
use proxy_user::kernel::adopt;
use proxy_user::kernel::attach::{Interface, Policy};
use proxy_user::kernel::bpffs::PinDir;
use proxy_user::kernel::load;
use proxy_user::kernel::schema::Capacity;
use proxy_user::lab::udp::UdpSender;

use crate::bed::{Family, bed, sandbox};
use crate::daemon::{Answer, Places};
use crate::l7_bed::{Leftovers, alive, services};
use crate::traffic::{pause, wait_for};

fn assert_says(answer: &Answer, exit: i32, words: &[&str]) {
    assert_eq!(answer.exit, exit, "{answer:?}");
    for word in words {
        assert!(answer.err.contains(word), "{word:?} is missing: {}", answer.err);
    }
}

#[test]
fn an_unknown_key_is_refused_with_a_suggestion() {
    bed(1, |bed| {
        bed.configure("[timeouts]\ntpc = \"2h\"\n");
        let config = bed.places().config();
        let answer = bed.places().fails(&["--config", config.to_str().unwrap()]);
        assert_says(&answer, 2, &["tpc", "weir.toml", "tcp"]);
    });
}

#[test]
fn a_second_daemon_is_refused_and_the_first_goes_on() {
    bed(1, |bed| {
        let family = Family::V4;
        let first = bed.start(&bed.service("web", "tcp", family, 80, ""));
        let _http = bed.http(family, 80);
        let config = bed.places().config();
        let pid = first.json(&["status"])["pid"].to_string();
        let answer = bed.places().fails(&["--config", config.to_str().unwrap()]);
        assert_says(&answer, 1, &["already runs", &pid, "--run-dir"]);
        bed.gets(family.client(), family.vip_at(80), 10);
        assert_eq!(first.json(&["status"])["ready"], true);

        // One with directories of its own meets the first one's program.
        let dir = bed.dir.join("other");
        fs::create_dir(&dir).unwrap();
        let answer = Places::new(dir).fails(&["--iface", "cl", "--vip", "tcp/198.51.100.77:80=10.2.1.1:80"]);
        assert_says(&answer, 1, &["cl", "weir"]);
        bed.gets(family.client(), family.vip_at(80), 10);
    });
}

#[test]
fn an_interface_that_is_not_there_is_named_with_those_that_are() {
    bed(1, |bed| {
        let answer = bed.places().fails(&["--iface", "eth9", "--vip", "tcp/198.51.100.10:80=10.2.1.1:80"]);
        assert_says(&answer, 1, &["eth9", "cl", "b1"]);
    });
}

#[test]
fn without_permission_nothing_is_touched() {
    bed(1, |bed| {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = bed.dir.join("nobody");
        fs::create_dir(&dir).unwrap();
        for path in [&bed.dir, &dir] {
            fs::set_permissions(path, fs::Permissions::from_mode(0o777)).unwrap();
        }
        // The build directory may be closed to others.
        let binary = dir.join("weir");
        fs::copy(env!("CARGO_BIN_EXE_weir"), &binary).unwrap();
        let places = Places::new(dir);
        let mut command = std::process::Command::new(binary);
        command.args(places.run(&["--iface", "cl", "--vip", "tcp/198.51.100.10:80=10.2.1.1:80"]).get_args());
        let answer = Answer::from(command.uid(65534).gid(65534).output().unwrap());
        assert_says(&answer, 5, &["Operation not permitted", "run as root"]);
    });
}

#[test]
fn a_foreign_program_is_named_and_left() {
    bed(1, |bed| {
        let pins = PinDir::prepare(&bed.dir.join("foreign")).unwrap();
        let sizes = Capacity { acl_v4: 1_024, acl_v6: 1_024, flows: 4_096 };
        let mut loaded = load::load(load::OBJECT, &pins, &sizes, 0).unwrap();
        let interface = Interface { ifindex: bed.weir_port.index(), name: "cl".into() };
        adopt::bring_up(&pins, &mut loaded, &interface, Policy::NativeOnly).unwrap();
        let answer = bed.places().fails(&["--iface", "cl", "--vip", "tcp/198.51.100.10:80=10.2.1.1:80"]);
        assert_says(&answer, 1, &["cl", "program"]);
    });
}

#[test]
fn a_start_that_sees_no_pins_leaves_the_data_path_and_its_workers() {
    bed(1, |bed| {
        let _leftovers = Leftovers(bed.places());
        let daemon = bed.start(&services(bed));
        let workers = daemon.wait_workers();
        let _http = bed.http(Family::V4, 80);
        daemon.terminate();
        assert_eq!(alive(&workers).len(), workers.len());
        let config = bed.places().config();
        let mut command = bed.places().run(&["--config", config.to_str().unwrap()]);
        let pins = bed.places().run_dir().join("bpf");
        // As for one that `ip netns exec` starts.
        let elsewhere = move || {
            unshare(CloneFlags::CLONE_NEWNS)?;
            Ok(umount2(&pins, MntFlags::MNT_DETACH)?)
        };
        // SAFETY: two system calls, which allocate nothing that outlives them.
        unsafe { command.pre_exec(elsewhere) };
        let answer = Answer::from(command.output().unwrap());
        assert_says(&answer, 1, &["already runs", "mount namespace", "nsenter"]);
        assert_eq!(alive(&workers).len(), workers.len());
        assert_eq!(bed.gets(Family::V4.client(), Family::V4.vip_at(80), 5), [5]);
        assert!(bed.get(Family::V4.denied(), Family::V4.vip_at(80)).is_err());
    });
}

#[test]
fn a_device_without_native_xdp_needs_leave_for_generic_mode() {
    sandbox(|dir, _weir| {
        let places = Places::new(dir.clone());
        let deny = dir.join("deny.txt");
        fs::write(&deny, "203.0.113.0/24\n").unwrap();
        let args = ["--iface", "lo", "--deny", deny.to_str().unwrap()];
        let answer = places.fails(&args);
        assert_says(&answer, 1, &["lo", "native", "auto"]);

        let daemon = places.spawn(&[&args[..], &["--mode", "auto"]].concat()).wait_ready();
        let status = daemon.json(&["status"]);
        assert_eq!(status["interfaces"][0]["mode"], "generic");
        let warnings = status["warnings"].as_array().unwrap();
        assert!(warnings.iter().any(|warning| warning["code"] == "generic_mode"), "{status}");
        daemon.done(&["detach"]);
    });
}

#[test]
fn a_list_that_does_not_fit_is_refused_whole() {
    bed(1, |bed| {
        let family = Family::V4;
        let text = bed.config_head().replace("acl_ipv4_prefixes = 1024", "acl_ipv4_prefixes = 16");
        fs::write(bed.places().config(), text + &bed.service("udp", "udp", family, 7000, "")).unwrap();
        let daemon = bed.places().start();
        let receivers = bed.udp_at(|n| family.backend_at(n, 7000));
        let send =
            |from| UdpSender::start(&bed.client, SocketAddr::new(from, 0), family.vip_at(7000), 500).unwrap();
        let denied = send(family.denied());
        wait_for("the load", || receivers[0].received() > 10);
        daemon.done(&["acl", "add", "10.1.0.66"]);
        let generation = daemon.json(&["status"])["generation"].clone();

        let file = bed.dir.join("many.txt");
        let many: String = (0..17).map(|n| format!("10.1.0.1\n192.0.2.{n}\n")).collect();
        fs::write(&file, many).unwrap();
        let answer = daemon.weir(&["acl", "import", "--list", "deny", "--replace", file.to_str().unwrap()]);
        assert_says(&answer, 1, &["16", "acl_ipv4_prefixes"]);
        assert_eq!(daemon.json(&["status"])["generation"], generation);
        pause(100);
        let before = receivers[0].received();
        pause(200);
        assert_eq!(receivers[0].received(), before, "the old entry is in force");
        drop(denied);
        let allowed = send(family.client());
        wait_for("the source of the refused list", || receivers[0].received() > before + 10);
        drop(allowed);
    });
}

#[test]
fn a_backend_that_is_this_host_is_refused() {
    bed(1, |bed| {
        let answer = bed.places().fails(&[
            "--iface",
            "cl",
            "--iface",
            "b1",
            "--vip",
            "tcp/198.51.100.10:80=10.2.1.254:80",
        ]);
        assert_says(&answer, 2, &["10.2.1.254", "this host itself", "another host"]);
        let daemon = bed.start("");
        let add = ["service", "add", "own", "--vip", "tcp/198.51.100.10:80", "--backend", "10.2.1.254:80"];
        assert_says(&daemon.weir(&add), 1, &["10.2.1.254", "this host itself"]);
    });
}

#[test]
fn a_place_for_pins_that_is_none_is_refused() {
    bed(1, |bed| {
        let places = bed.places();
        let run = |bpffs: PathBuf| {
            let args = ["--iface", "cl", "--vip", "tcp/198.51.100.10:80=10.2.1.1:80", "--bpffs"];
            places.fails(&[&args[..], &[bpffs.to_str().unwrap()]].concat())
        };
        let file = bed.dir.join("file");
        fs::write(&file, "").unwrap();
        assert_says(&run(file), 1, &["file", "--bpffs"]);
        let open = bed.dir.join("open");
        fs::create_dir_all(open.join("weir")).unwrap();
        {
            use std::os::unix::fs::PermissionsExt as _;
            fs::set_permissions(open.join("weir"), fs::Permissions::from_mode(0o777)).unwrap();
        }
        assert_says(&run(open), 1, &["open", "--bpffs"]);
    });
}
