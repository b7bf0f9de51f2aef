//! The hand-off to the L7 path: connections to VIPs that nothing is bound to, served by worker processes that come and go.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::bed::{FAMILIES, Family, bed};
use crate::l7_bed::{
    ESTABLISHED, LISTEN, Leftovers, PORTS, alive, ask, assert_clean, begin, get_locally, has_address,
    local_routes, services, sockets, waits,
};
use crate::traffic::{pause, wait_for};

#[test]
fn connections_reach_workers_with_both_addresses_and_nothing_bound_to_the_vip() {
    bed(2, |bed| {
        let _leftovers = Leftovers(bed.places());
        let daemon = bed.start(&services(bed));
        daemon.wait_workers();
        for family in FAMILIES {
            let _servers: Vec<_> = PORTS.into_iter().map(|port| bed.http(family, port)).collect();
            let _nat = bed.http(family, 81);
            for port in PORTS {
                let answered = bed.gets(family.client(), family.vip_at(port), 40);
                assert_eq!(answered.iter().sum::<usize>(), 40);
                assert!(answered.iter().all(|count| *count > 5), "every backend has its share: {answered:?}");
            }
            bed.gets(family.client(), family.vip_at(81), 10);

            let mut talk = bed.talk(family.vip_at(8080));
            talk.ask().unwrap();
            let found = sockets(bed, family);
            let ends = (family.vip_at(8080), talk.name(), ESTABLISHED);
            assert!(found.contains(&ends), "{ends:?} in {found:?}");
            let bound = found.iter().filter(|(_, _, state)| *state == LISTEN);
            assert!(bound.clone().all(|(local, ..)| local.ip().is_loopback()), "{found:?}");
            assert!(bound.count() >= 1);
            assert!(!has_address(bed, family.vip()), "the VIP is no interface's");

            let denied = bed.get_within(family.denied(), family.vip_at(80), Duration::from_millis(300));
            assert!(denied.is_err(), "{denied:?}");
            // What XDP does not see, as it enters by no interface: allowed and denied.
            assert!(get_locally(bed, family, 2));
            assert!(!get_locally(bed, family, 1));
            let other = bed.get_within(family.client(), family.vip_at(22), Duration::from_millis(300));
            assert!(other.is_err(), "{other:?}");
        }
        assert!(daemon.hits("block") >= 2);
        assert!(daemon.reason("deliver") > 500);
        assert!(daemon.reason("unknown_port") >= 2);
        for n in ["4", "6"] {
            assert_eq!(daemon.service(&format!("l7-{n}-80"))["connections"], 40, "denied ones do not count");
        }
        let status = daemon.json(&["status"]);
        assert_eq!(status["ready"], true, "{status:#}");
        let explained = daemon.json(&["explain", "10.1.0.1", "198.51.100.10", "tcp", "80"]);
        assert_eq!((&explained["verdict"], &explained["reason"]), (&"pass".into(), &"deliver".into()));
    });
}

#[test]
fn workers_are_confined() {
    bed(1, |bed| {
        let _leftovers = Leftovers(bed.places());
        // What the daemon's starter leaves open comes to the daemon, and shall not go on to workers.
        let left_open = fs::File::open("/proc/self/status").unwrap();
        fcntl(&left_open, FcntlArg::F_SETFD(FdFlag::empty())).unwrap();
        let daemon = bed.start(&services(bed));
        for pid in daemon.wait_workers() {
            let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
            let value = |key: &str| {
                let line = status.lines().find(|line| line.starts_with(key)).unwrap();
                line.split_once(':').unwrap().1.trim().to_owned()
            };
            for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
                assert_eq!(u64::from_str_radix(&value(set), 16).unwrap(), 0, "{set} of {pid}");
            }
            assert_eq!(value("NoNewPrivs"), "1");
            assert!(value("Uid").split_whitespace().all(|uid| uid != "0"), "{status}");
            assert!(value("Gid").split_whitespace().all(|gid| gid != "0"), "{status}");
            assert_eq!(value("Groups"), "");
            assert_eq!(value("Threads"), "1");
            let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
            let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
            assert_eq!(core.split_whitespace().nth(4), Some("0"), "{core}");
            assert_eq!(fs::read_link(format!("/proc/{pid}/cwd")).unwrap().as_os_str(), "/");
            // Its two listeners, twice (to hand back), its control socket and its connection to the daemon, and what it
            // waits by, one to spare, and the log: nothing of the daemon's maps, programs, files, netlink or other sockets.
            let log = fs::read_link(format!("/proc/{pid}/fd/2")).unwrap();
            let mut open: BTreeMap<String, usize> = BTreeMap::new();
            for entry in fs::read_dir(format!("/proc/{pid}/fd")).unwrap().map(Result::unwrap) {
                let link = fs::read_link(entry.path()).unwrap();
                if link != log {
                    let link = link.to_string_lossy().into_owned();
                    let kind = if link.starts_with("socket:") { "socket".to_owned() } else { link };
                    *open.entry(kind).or_default() += 1;
                }
            }
            let wanted = [
                ("/dev/null", 2),
                ("anon_inode:[eventpoll]", 3),
                ("anon_inode:[signalfd]", 1),
                ("socket", 6),
            ];
            assert_eq!(open, wanted.map(|(kind, count)| (kind.to_owned(), count)).into());
            // Not dumpable: its files in /proc are root's.
            let owner = fs::metadata(format!("/proc/{pid}/environ")).map(|meta| {
                use std::os::unix::fs::MetadataExt as _;
                meta.uid()
            });
            assert_eq!(owner.unwrap(), 0);
        }
    });
}

#[test]
fn a_killed_worker_harms_its_own_connections_only_and_its_backlog_waits() {
    bed(1, |bed| {
        let _leftovers = Leftovers(bed.places());
        let daemon = bed.start(&services(bed));
        let workers = daemon.wait_workers();
        if workers.len() < 2 {
            proxy_user::lab::left_out("a killed worker beside others: this machine has one CPU");
            return;
        }
        for family in FAMILIES {
            let _http = bed.http(family, 80);
            let mut talks: Vec<_> = (0..40).map(|_| bed.talk(family.vip_at(80))).collect();
            talks.iter_mut().for_each(|talk| assert!(talk.ask().is_ok()));
            // Stopped first, so that its backlog is not empty when it ends.
            let victim = daemon.workers()[0];
            kill(Pid::from_raw(victim), Signal::SIGSTOP).unwrap();
            let waiting: Vec<_> = (0..40).map(|_| begin(bed, family.vip_at(80))).collect();
            // Those of the others are accepted by now, and answered below.
            pause(200);
            assert!(waits(bed, family) > 0, "some connections wait for the stopped worker");
            kill(Pid::from_raw(victim), Signal::SIGKILL).unwrap();
            for socket in &waiting {
                assert!(ask(socket).starts_with("HTTP/1.1 200"));
            }
            let lost = talks.iter_mut().filter_map(|talk| talk.ask().err()).count();
            assert!((1..40).contains(&lost), "{lost} of 40 connections were the killed worker's");
            wait_for("the successor", || {
                let now = daemon.workers();
                now.len() == workers.len() && !now.contains(&victim)
            });
            bed.gets(family.client(), family.vip_at(80), 20);
            daemon.wait_status("all workers serve again", |status| status["ready"] == true);
        }
    });
}

#[test]
fn no_client_is_refused_while_workers_restart() {
    bed(1, |bed| {
        let _leftovers = Leftovers(bed.places());
        let daemon = bed.start(&services(bed));
        daemon.wait_workers();
        for family in FAMILIES {
            let _http = bed.http(family, 80);
            for round in 0..4 {
                let signal = if round % 2 == 0 { Signal::SIGKILL } else { Signal::SIGTERM };
                let sockets: Vec<_> = (0..30)
                    .map(|n| {
                        if n == 10 {
                            daemon
                                .workers()
                                .iter()
                                .for_each(|pid| kill(Pid::from_raw(*pid), signal).unwrap_or_default());
                        }
                        begin(bed, family.vip_at(80))
                    })
                    .collect();
                pause(100);
                for socket in &sockets {
                    let error = socket.take_error().unwrap();
                    let refused = error.map(|error| error.kind());
                    assert_ne!(refused, Some(std::io::ErrorKind::ConnectionRefused), "round {round}");
                }
                daemon.wait_workers();
                bed.gets(family.client(), family.vip_at(80), 10);
            }
        }
    });
}

#[test]
fn a_worker_that_is_told_to_end_finishes_its_connections() {
    bed(1, |bed| {
        let _leftovers = Leftovers(bed.places());
        let daemon = bed.start(&services(bed));
        let family = Family::V6;
        let _http = bed.http(family, 80);
        let before = daemon.wait_workers();
        let mut talks: Vec<_> = (0..20).map(|_| bed.talk(family.vip_at(80))).collect();
        talks.iter_mut().for_each(|talk| assert!(talk.ask().is_ok()));
        before.iter().for_each(|pid| kill(Pid::from_raw(*pid), Signal::SIGTERM).unwrap());
        wait_for("the successors", || daemon.workers().len() == 2 * before.len());
        bed.gets(family.client(), family.vip_at(80), 20);
        talks.iter_mut().for_each(|talk| assert!(talk.ask().is_ok(), "it drains"));
        drop(talks);
        wait_for("the end of those told to end", || alive(&before).is_empty());
        assert_eq!(daemon.json(&["status"])["ready"], true);
    });
}

#[test]
fn workers_outlive_the_daemon_and_are_taken_over() {
    bed(1, |bed| {
        let _leftovers = Leftovers(bed.places());
        let mut daemon = bed.start(&services(bed));
        let workers = daemon.wait_workers();
        let mut talks = Vec::new();
        let mut servers = Vec::new();
        for family in FAMILIES {
            servers.push(bed.http(family, 80));
            talks.extend((0..10).map(|_| bed.talk(family.vip_at(80))));
        }
        for crash in [true, false] {
            talks.iter_mut().for_each(|talk| assert!(talk.ask().is_ok()));
            match crash {
                true => daemon.crash(),
                false => drop(daemon.terminate()),
            }
            pause(200);
            talks.iter_mut().for_each(|talk| assert!(talk.ask().is_ok()));
            for family in FAMILIES {
                bed.gets(family.client(), family.vip_at(80), 20);
                let denied = bed.get_within(family.denied(), family.vip_at(80), Duration::from_millis(200));
                assert!(denied.is_err(), "denied also without a daemon");
            }
            daemon = bed.places().start();
            assert_eq!(daemon.wait_workers(), workers, "taken over, not started anew");
            talks.iter_mut().for_each(|talk| assert!(talk.ask().is_ok()));
            bed.gets(Family::V4.client(), Family::V4.vip_at(80), 20);
        }
        // What they serve by is the new daemon's to say.
        let backend = Family::V4.backend_at(1, 80).to_string();
        daemon.done(&["backend", "drain", "l7-4-80", &backend]);
        assert!(bed.get(Family::V4.client(), Family::V4.vip_at(80)).is_err(), "no backend takes connections");
        let mut old = talks.swap_remove(0);
        assert!(old.ask().is_ok(), "an established connection goes on");
    });
}

#[test]
fn a_worker_of_another_build_is_replaced_without_a_gap() {
    bed(1, |bed| {
        let _leftovers = Leftovers(bed.places());
        let family = Family::V4;
        let daemon = bed.start(&services(bed));
        let before = daemon.wait_workers();
        let _http = bed.http(family, 80);
        let mut talk = bed.talk(family.vip_at(80));
        talk.ask().unwrap();
        daemon.terminate();

        let daemon = bed.places().start_copy();
        wait_for("the successors", || {
            daemon.workers().iter().filter(|pid| !before.contains(pid)).count() == before.len()
        });
        talk.ask().unwrap();
        bed.gets(family.client(), family.vip_at(80), 40);
        talk.ask().unwrap();
        drop(talk);
        wait_for("the end of the old ones", || alive(&before).is_empty());
        bed.gets(family.client(), family.vip_at(80), 10);
    });
}

/// One worker, so that all that comes waits for it.
#[test]
fn a_worker_that_hangs_is_killed_and_what_waits_gets_its_successor() {
    bed(1, |bed| {
        let _leftovers = Leftovers(bed.places());
        let daemon = bed.start(&format!("{}\n[l7]\nworkers = 1\n", services(bed)));
        wait_for("the worker", || daemon.workers().len() == 1);
        let victim = daemon.workers()[0];
        let _servers: Vec<_> = FAMILIES.into_iter().map(|family| bed.http(family, 80)).collect();
        bed.gets(Family::V4.client(), Family::V4.vip_at(80), 5);
        // An honest stall.
        kill(Pid::from_raw(victim), Signal::SIGSTOP).unwrap();
        pause(4_000);
        kill(Pid::from_raw(victim), Signal::SIGCONT).unwrap();
        bed.gets(Family::V4.client(), Family::V4.vip_at(80), 5);
        assert_eq!(daemon.workers(), [victim]);

        kill(Pid::from_raw(victim), Signal::SIGSTOP).unwrap();
        let waiting: Vec<_> =
            FAMILIES.iter().flat_map(|family| (0..20).map(|_| begin(bed, family.vip_at(80)))).collect();
        pause(7_500);
        assert_eq!(daemon.workers(), [victim], "it has its time");
        assert_eq!(FAMILIES.map(|family| waits(bed, family)), [20, 20]);
        wait_for("the successor", || daemon.workers().len() == 1 && daemon.workers() != [victim]);
        for socket in &waiting {
            assert!(ask(socket).starts_with("HTTP/1.1 200"));
        }
        daemon.wait_status("it serves", |status| status["ready"] == true);
        let worker = &daemon.json(&["l7", "status"])["workers"][0];
        assert_eq!((&worker["restarts"], &worker["hangs"]), (&1.into(), &1.into()), "{worker:#}");
        assert!(worker["last_end"].as_str().unwrap().contains("no sign of life"), "{worker:#}");
        assert!(daemon.log().contains("no sign of life"));
    });
}

#[test]
fn a_worker_that_hangs_is_killed_by_the_next_daemon() {
    bed(1, |bed| {
        let _leftovers = Leftovers(bed.places());
        let family = Family::V4;
        let daemon = bed.start(&services(bed));
        let before = daemon.wait_workers();
        let _http = bed.http(family, 80);
        kill(Pid::from_raw(before[0]), Signal::SIGSTOP).unwrap();
        daemon.crash();
        let daemon = bed.places().start();
        let after = daemon.wait_workers();
        assert!(!after.contains(&before[0]) && before[1..].iter().all(|pid| after.contains(pid)));
        assert!(alive(&before[..1]).is_empty());
        bed.gets(family.client(), family.vip_at(80), 40);
    });
}

#[test]
fn services_come_and_go_and_a_detach_leaves_nothing() {
    bed(1, |bed| {
        let _leftovers = Leftovers(bed.places());
        let family = Family::V6;
        let daemon = bed.start("");
        assert!(daemon.workers().is_empty(), "nobody needs one");
        let backend = family.backend_at(1, 80).to_string();
        let vip = format!("tcp/{}", family.vip_at(80));
        let add = ["service", "add", "web", "--vip", &vip, "--backend", &backend, "--forward", "l7"];
        daemon.done(&add);
        let _http = bed.http(family, 80);
        bed.gets(family.client(), family.vip_at(80), 20);
        daemon.done(&["service", "del", "web"]);
        assert!(local_routes(bed).is_empty(), "{:?}", local_routes(bed));
        assert!(bed.get_within(family.client(), family.vip_at(80), Duration::from_millis(300)).is_err());
        daemon.done(&add);
        bed.gets(family.client(), family.vip_at(80), 20);
        assert_eq!(local_routes(bed), [family.vip()].into());

        let workers = daemon.wait_workers();
        let mut daemon = daemon;
        // It drains as long as somebody who asks for a detach waits, and no longer.
        let mut talk = bed.talk(family.vip_at(80));
        talk.ask().unwrap();
        daemon.done(&["detach"]);
        assert!(talk.ask().is_err());
        assert!(daemon.wait_end().success());
        assert_clean(bed, &workers);

        // The same without a daemon.
        let daemon = bed.places().start();
        bed.gets(family.client(), family.vip_at(80), 5);
        let workers = daemon.wait_workers();
        daemon.crash();
        assert_eq!(bed.places().detach().exit, 0);
        assert_clean(bed, &workers);
    });
}
