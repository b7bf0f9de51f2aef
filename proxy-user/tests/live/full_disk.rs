//! A disk that is full for a while: what the API sets is refused and told, and nothing needs a restart.

use std::fs;
use std::io::Write as _;
use std::path::Path;

use nix::mount::{MsFlags, mount};
use serde_json::Value;

use crate::bed::{Family, bed};

#[test]
fn a_full_disk_refuses_changes_until_there_is_space_again() {
    bed(1, |bed| {
        // In the mounts of this test alone.
        let state = bed.dir.join("state");
        fs::create_dir(&state).unwrap();
        mount(Some("weir"), &state, Some("tmpfs"), MsFlags::empty(), Some("size=8m,mode=700")).unwrap();
        let family = Family::V4;
        let text = bed.config_head().replace("acl_ipv4_prefixes = 1024", "acl_ipv4_prefixes = 16384");
        fs::write(bed.places().config(), text + &bed.service("web", "tcp", family, 80, "")).unwrap();
        let daemon = bed.places().start();
        let _http = bed.http(family, 80);
        daemon.done(&["acl", "add", "192.0.2.1", "--reason", "before"]);
        let pid = daemon.json(&["status"])["pid"].clone();
        let seen = daemon.json(&["status"])["generation"].to_string();

        let filler = fill(&state);
        let file = bed.dir.join("many.txt");
        let net = format!("{}/32", family.client());
        let many: String = (0..8_000_u32).map(|n| format!("10.9.{}.{} # many\n", n / 250, n % 250)).collect();
        fs::write(&file, many + &net + "\n").unwrap();
        let import = ["acl", "import", "--list", "deny", file.to_str().unwrap(), "--if-gen", &seen];
        for _ in 0..3 {
            let refused = daemon.weir(&import);
            assert_eq!(refused.exit, 1, "{refused:?}");
            assert!(refused.err.contains("state.redb") && refused.err.contains("space"), "{refused:?}");
        }
        let status = daemon.json(&["status"]);
        assert!(store(&status).is_some_and(|detail| detail.contains("state.redb")), "{status:#}");
        assert_eq!(status["ready"], false);
        assert_eq!(entries(&status), 1, "what was refused is not in force: {status:#}");
        assert!(bed.get(family.client(), family.vip_at(80)).is_ok());

        fs::remove_file(filler).unwrap();
        // Nobody has changed anything: the generation that was seen before all this still stands for the state.
        daemon.done(&import);
        let status = daemon.wait_status("all is well", |status| status["ready"] == true);
        assert_eq!(store(&status), None, "{status:#}");
        assert_eq!((entries(&status), &status["pid"]), (8_002, &pid));
        assert!(bed.get(family.client(), family.vip_at(80)).is_err(), "it is in force");
        let stale = daemon.weir(&["acl", "add", "192.0.2.2", "--if-gen", &seen]);
        assert_eq!(stale.exit, 4, "{stale:?}");

        // And lasts.
        daemon.crash();
        let daemon = bed.places().start();
        assert_eq!(entries(&daemon.json(&["status"])), 8_002);
    });
}

/// Takes all the space that there is.
fn fill(dir: &Path) -> std::path::PathBuf {
    let path = dir.join("filler");
    let mut file = fs::File::create(&path).unwrap();
    while file.write_all(&[1; 4096]).is_ok() {}
    path
}

/// Why the state cannot be stored.
fn store(status: &Value) -> Option<String> {
    let conditions = status["conditions"].as_array().unwrap();
    let found =
        conditions.iter().find(|condition| condition["name"] == "store" && condition["ok"] == false)?;
    Some(found["detail"].to_string())
}

fn entries(status: &Value) -> u64 {
    status["counts"]["acl_entries"].as_u64().unwrap()
}
