//! L7 settings by the command: routes of a service of the API and of the file change under load, and outlive the daemon.

use std::fs;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use crate::bed::{Bed, Family, bed};
use crate::daemon::Daemon;
use crate::l7_bed::Leftovers;
use crate::traffic::wait_for;

const V4: Family = Family::V4;

/// Loads that ask again and again over one connection each, and who answered how often. A request that fails, or a
/// connection that ends, ends its load with a panic.
struct Load {
    answered: Arc<[AtomicU64; 2]>,
    loads: Vec<crate::traffic::Repeat>,
}

impl Load {
    fn start(bed: &Bed, port: u16) -> Self {
        let answered: Arc<[AtomicU64; 2]> = Arc::default();
        let loads = (0..3).map(|_| {
            let (counts, mut talk) = (Arc::clone(&answered), bed.asker(V4.client(), V4.vip_at(port)));
            let cell = Mutex::new(move || {
                counts[talk.number("/", "") - 1].fetch_add(1, Ordering::Relaxed);
            });
            bed.repeat(move || cell.lock().unwrap()())
        });
        let loads = loads.collect();
        Self { answered, loads }
    }

    fn count(&self, of: usize) -> u64 {
        self.answered[of - 1].load(Ordering::Relaxed)
    }

    /// Waits until backend `of` answers, and the other no more.
    fn goes_to(&self, of: usize) {
        let (start, other) = (self.count(of), 3 - of);
        wait_for("requests by the route in force", || self.count(of) > start + 50);
        let (now, before) = (self.count(of), self.count(other));
        wait_for("more of them", || self.count(of) > now + 50);
        // Each load may have had a request under way.
        assert!(self.count(other) <= before + 3, "the other route is no longer taken");
    }

    fn end(self) {
        assert!(self.loads.into_iter().all(|load| load.stop() > 0));
    }
}

/// Writes a file of settings, and names it.
fn file(bed: &Bed, name: &str, text: &str) -> String {
    let path = bed.places().dir().join(name);
    fs::write(&path, text).unwrap();
    path.display().to_string()
}

fn add(daemon: &Daemon, name: &str, port: u16, backend: usize, more: &[&str]) {
    let (vip, backend) = (format!("tcp/{}", V4.vip_at(port)), V4.backend_at(backend, 80).to_string());
    let args = ["service", "add", name, "--vip", &vip, "--backend", &backend, "--forward", "l7"];
    daemon.done(&[&args, more].concat());
}

#[test]
fn routes_change_by_the_command_under_load_and_outlive_the_daemon() {
    bed(2, |bed| {
        let _leftovers = Leftovers(bed.places());
        let mut daemon = bed.start("");
        add(&daemon, "next", 81, 2, &["--codec", "http1"]);
        let routes = "codec = \"http1\"\n[[service.route]]\nname = \"all\"\nto = \"TO\"\n";
        let to = |name: &str| file(bed, name, &routes.replace("TO", name));
        // The service is never there without its routes.
        add(&daemon, "shop", 80, 1, &["--l7", &to("next")]);
        daemon.wait_workers();
        let _http = bed.http(V4, 80);
        let load = Load::start(bed, 80);
        load.goes_to(2);
        for (name, of) in [("shop", 1), ("next", 2), ("shop", 1)] {
            let planned = daemon.done(&["l7", "set", "shop", "--file", &to(name), "--dry-run"]);
            assert!(planned.out.starts_with("~ route */all\nshop: this would change"), "{planned:?}");
            let set = daemon.done(&["l7", "set", "shop", "--file", &to(name)]);
            assert!(set.out.starts_with("~ route */all\nshop: set how it is served"), "{set:?}");
            load.goes_to(of);
        }
        // What is refused, stale or only planned changes nothing.
        let bad = daemon.weir(&["l7", "set", "shop", "--file", &to("nowhere")]);
        assert_eq!(bad.exit, 1, "{bad:?}");
        assert!(bad.err.contains("/route/0/to") && bad.err.contains("no service `nowhere`"), "{bad:?}");
        let stale = daemon.weir(&["--if-gen", "1", "l7", "set", "shop", "--file", &to("next")]);
        assert_eq!(stale.exit, 4, "{stale:?}");
        let gone = daemon.weir(&["service", "del", "next"]);
        assert_eq!(gone.exit, 0, "nothing leads there any more: {gone:?}");
        add(&daemon, "next", 81, 2, &["--codec", "http1"]);
        load.goes_to(1);
        let shown = daemon.done(&["l7", "show", "shop"]);
        assert!(shown.out.ends_with(&routes.replace("[[", "\n[[").replace("TO", "shop")), "{shown:?}");

        // Workers outlive the daemon; what the API has set, too.
        daemon.crash();
        load.goes_to(1);
        daemon = bed.places().start();
        load.goes_to(1);
        assert_eq!(daemon.done(&["l7", "show", "shop"]).out.lines().nth(2), shown.out.lines().nth(2));
        daemon.done(&["l7", "set", "shop", "--file", &to("next")]);
        load.goes_to(2);
        let successor = bed.places().start_with(&["--replace"]);
        assert!(daemon.wait_end().success());
        load.goes_to(2);
        successor.done(&["l7", "set", "shop", "--file", &to("shop")]);
        load.goes_to(1);
        let config = successor.done(&["config", "show"]).out;
        assert!(config.contains("codec = \"http1\"") && config.contains("[[services.route]]"), "{config}");
        load.end();
    });
}

#[test]
fn a_service_of_the_file_keeps_what_the_command_has_set_through_a_reload() {
    bed(2, |bed| {
        let _leftovers = Leftovers(bed.places());
        let service = |name: &str, port: u16, backend: usize, more: &str| {
            format!(
                "[[service]]\nname = \"{name}\"\nvip = \"tcp/{}\"\nforward = \"l7\"\ncodec = \"http1\"\n\
                 backends = [\"{}\"]\n{more}\n",
                V4.vip_at(port),
                V4.backend_at(backend, 80)
            )
        };
        let config = |more: &str| service("shop", 80, 1, more) + &service("next", 81, 2, "");
        let daemon = bed.start(&config(""));
        daemon.wait_workers();
        let _http = bed.http(V4, 80);
        let load = Load::start(bed, 80);
        load.goes_to(1);
        let routes = file(bed, "routes.toml", "codec = \"http1\"\n[[route]]\nto = \"next\"\n");
        daemon.done(&["l7", "set", "shop", "--file", &routes]);
        load.goes_to(2);
        bed.configure(&config("[service.l7]\naccess_log = 0\n"));
        daemon.done(&["reload"]);
        load.goes_to(2);
        assert_eq!(daemon.json(&["status"])["overrides"], serde_json::json!(["shop/l7"]));
        // A file that has no destination for the routes any more is refused, and nothing changes.
        bed.configure(&service("shop", 80, 1, ""));
        let refused = daemon.weir(&["reload"]);
        assert_eq!(refused.exit, 1, "{refused:?}");
        assert!(refused.err.contains("weir l7 unset shop"), "{refused:?}");
        load.goes_to(2);
        // A start goes on without them, by what the file says, until it has the destination again.
        daemon.crash();
        let daemon = bed.places().start();
        load.goes_to(1);
        let status = daemon.json(&["status"]);
        assert!(status["warnings"].to_string().contains("orphaned_l7"), "{status:#}");
        bed.configure(&config(""));
        daemon.done(&["reload"]);
        load.goes_to(2);
        let shown = daemon.done(&["service", "show", "shop", "--no-rates"]).out;
        let told = "codec \"http1\", routes: 1, hosts with their own: 0, set by the API over the file";
        assert!(shown.contains(told), "{shown}");
        let unset = daemon.done(&["l7", "unset", "shop"]);
        assert!(unset.out.contains("- route */1\n"), "{unset:?}");
        load.goes_to(1);
        daemon.done(&["reload"]);
        assert_eq!(daemon.json(&["status"])["overrides"], serde_json::json!([]));
        load.goes_to(1);
        load.end();
    });
}

#[test]
fn whom_the_command_has_denied_stays_out_when_a_start_sets_its_settings_aside() {
    bed(2, |bed| {
        let _leftovers = Leftovers(bed.places());
        let service = |name: &str, port: u16, backend: usize| {
            format!(
                "[[service]]\nname = \"{name}\"\nvip = \"tcp/{}\"\nforward = \"l7\"\ncodec = \"http1\"\n\
                 backends = [\"{}\"]\n",
                V4.vip_at(port),
                V4.backend_at(backend, 80)
            )
        };
        let list = "[[acl.list]]\nname = \"out\"\norder = 9\naction = \"drop\"\nscope = \"services\"\nentries = [\"203.0.113.0/24\"]\n";
        let whole = format!("{list}{}{}", service("shop", 80, 1), service("next", 81, 2));
        let mut daemon = bed.start(&whole);
        daemon.wait_workers();
        let _http = bed.http(V4, 80);
        let status = || bed.asker(V4.client(), V4.vip_at(80)).ask("/", "vip", "").status;
        assert_eq!(status(), 200);
        let settings = format!(
            "codec = \"http1\"\nl7 = {{ access = {{ rules = [{{ action = \"deny\", sources = [\"{}\"] }}], lists = [\"out\"] }} }}\n[[route]]\nto = \"next\"\n",
            V4.client()
        );
        let settings = file(bed, "settings.toml", &settings);
        daemon.done(&["l7", "set", "shop", "--file", &settings]);
        wait_for("the client is denied", || status() == 403);
        // Without a destination of the routes, then without the list, then in another mode.
        for (config, holds, answer) in [
            (format!("{list}{}", service("shop", 80, 1)), "access", Some(403)),
            (service("shop", 80, 1) + &service("next", 81, 2), "refusal", Some(403)),
            (whole.replacen("forward = \"l7\"\ncodec = \"http1\"\n", "", 1), "refusal", None),
        ] {
            bed.configure(&config);
            let refused = daemon.weir(&["reload"]);
            assert!(refused.exit == 1 && refused.err.contains("weir l7 unset shop"), "{refused:?}");
            daemon.crash();
            daemon = bed.places().start();
            match answer {
                Some(answer) => wait_for("an answer by the new state", || status() == answer),
                None => {
                    let patience = std::time::Duration::from_millis(300);
                    assert!(bed.get_within(V4.client(), V4.vip_at(80), patience).is_err());
                }
            }
            let shown = daemon.json(&["l7", "show", "shop"]);
            assert_eq!(shown["set_aside"]["holds"], holds, "{shown:#}");
            let printed = daemon.done(&["l7", "show", "shop", "--set-aside"]).out;
            assert!(printed.contains("to = \"next\"") && printed.contains("lists = [\"out\"]"), "{printed}");
            assert!(daemon.json(&["status"])["warnings"].to_string().contains("orphaned_l7"));
            // Back in force by a reload of the file that they fit.
            bed.configure(&whole);
            let reloaded = daemon.json(&["reload"]);
            assert!(reloaded["warnings"].to_string().contains("covered_l7"), "{reloaded:#}");
            wait_for("the client is denied", || status() == 403);
            assert!(daemon.json(&["l7", "show", "shop"])["set_aside"].is_null());
        }
        daemon.done(&["l7", "unset", "shop"]);
        wait_for("the file's hold", || status() == 200);
    });
}
