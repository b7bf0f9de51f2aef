//! The configuration is read again.

use std::fs;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::bed::{Bed, Family, bed};
use crate::traffic::wait_for;

const LIST: &str = r#"
[[acl.list]]
name = "block"
order = 10
action = "drop"
entries = ["10.1.0.66"]
"#;

fn denied(bed: &Bed) -> bool {
    let family = Family::V4;
    bed.get_within(family.denied(), family.vip_at(80), Duration::from_millis(300)).is_err()
}

#[test]
fn a_reload_replaces_what_the_file_said_and_nothing_else() {
    bed(1, |bed| {
        let family = Family::V4;
        let web = bed.service("web", "tcp", family, 80, "");
        let daemon = bed.start(&(web.clone() + LIST));
        let _http = bed.http(family, 80);
        assert!(denied(bed));
        daemon.done(&["acl", "add", "10.9.0.0/16", "--list", "block"]);
        daemon.done(&["acl", "add", "10.8.0.0/16"]);
        let before = daemon.json(&["status"])["generation"].as_u64().unwrap();

        bed.configure(&(web.clone() + &LIST.replace("10.1.0.66", "10.1.0.67")));
        let answer = daemon.json(&["reload"]);
        assert_eq!(answer["changed"], true);
        assert_eq!(answer["generation"], before + 1);
        assert!(!denied(bed), "the file's entry is replaced");
        assert_eq!(daemon.json(&["acl", "test", "10.9.1.1"])["traffic"]["action"], "drop");
        assert_eq!(daemon.json(&["acl", "test", "10.8.1.1"])["traffic"]["action"], "drop");
        assert_eq!(daemon.json(&["acl", "test", "10.1.0.67"])["traffic"]["action"], "drop");
        let again = daemon.json(&["reload"]);
        assert_eq!((&again["changed"], &again["generation"]), (&false.into(), &answer["generation"]));

        bed.configure(&(web + LIST));
        daemon.signal(Signal::SIGHUP);
        wait_for("the reload", || daemon.json(&["status"])["generation"] == before + 2);
        assert!(denied(bed));
    });
}

#[test]
fn a_bad_file_changes_nothing_and_is_reported() {
    bed(1, |bed| {
        let family = Family::V4;
        let good = bed.service("web", "tcp", family, 80, "") + LIST;
        let daemon = bed.start(&good);
        let _http = bed.http(family, 80);
        let generation = daemon.json(&["status"])["generation"].clone();
        let whole = fs::read_to_string(bed.places().config()).unwrap();
        let cut = whole.find("entries").unwrap() + 12;
        for (text, cause) in [
            (whole[..cut].to_owned(), "weir.toml"),
            (whole.replace("version = 1", "version = 1\nsede = 4"), "seed"),
            (whole.replace("10.2.1.1", "198.51.100.10"), "198.51.100.10"),
            (whole.replace("10.2.1.1:80", "10.2.1.254:80"), "this host itself"),
            (whole.replace("[interface.cl]", "[interface.cl]\n[interface.eth9]"), "no interface eth9"),
        ] {
            fs::write(bed.places().config(), &text).unwrap();
            let answer = daemon.weir(&["reload"]);
            assert_eq!(answer.exit, 1, "{answer:?}");
            assert!(answer.err.contains(cause), "{cause}: {answer:?}");
            let status = daemon.json(&["status"]);
            assert_eq!(status["generation"], generation);
            let error = status["last_reload"]["error"].as_str().unwrap();
            assert!(error.contains(cause), "{cause}: {error}");
            bed.gets(family.client(), family.vip_at(80), 3);
            assert!(denied(bed), "the old list is in force");
        }
        bed.configure(&good);
        daemon.done(&["reload"]);
        assert!(daemon.json(&["status"])["last_reload"]["error"].is_null());
    });
}
