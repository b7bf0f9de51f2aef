//! The built binary without a daemon: usage, exit codes, checks, completion.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::process::{Command, Output, Stdio};

fn weir(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_weir")).args(args).output().unwrap()
}

fn exit(output: &Output) -> i32 {
    output.status.code().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// A directory with a file of this text; the file's path, and that of a socket where nobody listens.
fn scene(text: &str) -> (tempfile::TempDir, String, String) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("weir.toml");
    std::fs::write(&file, text).unwrap();
    let socket = dir.path().join("weir.sock").display().to_string();
    (dir, file.display().to_string(), socket)
}

#[test]
fn usage_errors_exit_2_and_touch_nothing() {
    let (_dir, _file, socket) = scene("");
    for args in [
        &["no-such-command"][..],
        &["acl", "add"],
        &["acl", "add", "300.1.1.1"],
        &["acl", "add", "10.0.0.0/8", "--ttl", "soon"],
        &["acl", "add", "10.0.0.0/8", "--action", "pass"],
        &["acl", "add", "10.0.0.0/8", "--list", "Not A Name", "--create"],
        &["acl", "test", "10.0.0.0/8"],
        &["explain", "192.0.2.1", "198.51.100.1", "sctp", "80"],
        &["explain", "192.0.2.1", "198.51.100.1", "tcp", "0"],
        &["explain", "192.0.2.1", "2001:db8::1", "tcp", "80"],
        &["service", "add", "web", "--vip", "198.51.100.10:80"],
        &["service", "add", "Web", "--vip", "tcp/198.51.100.10:80"],
        &["backend", "weight", "web", "10.0.0.11:80", "1001"],
        &["backend", "weight", "Not A Name", "10.0.0.11:80", "1"],
        &["stats", "--watch=0s"],
        &["-o", "yaml", "status"],
        &["-q", "-v", "status"],
        &["run"],
        &["check"],
    ] {
        let output = weir(&[&["--socket", &socket], args].concat());
        assert_eq!(exit(&output), 2, "{args:?}: {}", stderr(&output));
        assert_eq!(stdout(&output), "", "{args:?}");
        assert!(!stderr(&output).is_empty(), "{args:?}");
    }
}

#[test]
fn commands_of_a_daemon_that_is_not_there_exit_3() {
    let (_dir, list, socket) = scene("10.0.0.0/8\n");
    for args in [
        &["status"][..],
        &["stats"],
        &["reload"],
        &["metrics"],
        &["config", "show"],
        &["explain", "192.0.2.1", "198.51.100.1", "tcp", "80"],
        &["acl", "add", "10.0.0.0/8"],
        &["acl", "del", "10.0.0.0/8"],
        &["acl", "list"],
        &["acl", "lists"],
        &["acl", "list", "deny", "--all"],
        &["acl", "test", "10.0.0.1"],
        &["acl", "import", &list, "--list", "deny"],
        &["acl", "export", "deny"],
        &["service", "list"],
        &["service", "show", "web"],
        &["service", "add", "web", "--vip", "tcp/198.51.100.10:80"],
        &["service", "del", "web"],
        &["backend", "add", "web", "10.0.0.11:80"],
        &["backend", "del", "web", "10.0.0.11"],
        &["backend", "weight", "web", "10.0.0.11:80", "0"],
        &["backend", "drain", "web", "10.0.0.11:80"],
        &["backend", "undrain", "web", "10.0.0.11:80"],
    ] {
        let output = weir(&[&["--socket", &socket], args].concat());
        assert_eq!(exit(&output), 3, "{args:?}: {}", stderr(&output));
        assert!(stderr(&output).contains("weir run"), "{args:?}: {}", stderr(&output));
        assert!(stderr(&output).contains(&socket), "{args:?}: {}", stderr(&output));
    }
}

#[test]
fn failures_are_json_where_json_is_asked_for() {
    let (_dir, _file, socket) = scene("");
    let output = weir(&["--socket", &socket, "-o", "json", "status"]);
    let error: serde_json::Value = serde_json::from_str(&stderr(&output)).unwrap();
    assert_eq!(error["v"], 1);
    assert_eq!(error["error"]["code"], "unreachable");
    assert_eq!(error["error"]["exit"], 3);
}

#[test]
fn without_a_command_and_without_a_daemon_there_is_help() {
    let (_dir, _file, socket) = scene("");
    let output = weir(&["--socket", &socket]);
    assert_eq!(exit(&output), 0);
    assert!(stdout(&output).contains("Usage: weir"));
}

#[test]
fn help_and_version_go_to_stdout() {
    for args in [&["--help"][..], &["acl", "--help"], &["acl", "import", "--help"], &["version"]] {
        let output = weir(args);
        assert_eq!(exit(&output), 0, "{args:?}");
        assert!(stderr(&output).is_empty() && !stdout(&output).is_empty(), "{args:?}");
    }
    let version: serde_json::Value =
        serde_json::from_str(&stdout(&weir(&["version", "-o", "json"]))).unwrap();
    assert_eq!(version["v"], 1);
}

#[test]
fn completion_for_every_shell() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let output = weir(&["completion", shell]);
        assert_eq!(exit(&output), 0);
        assert!(stdout(&output).contains("explain"), "{shell}");
    }
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_weir"))
        .args(["completion", "bash"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(exit(&output), 0, "{}", stderr(&output));
}

#[test]
fn a_good_configuration_is_ok() {
    let (_dir, file, _socket) = scene(
        "version = 1\n[interface.eth0]\n[[service]]\nname = \"web\"\nvip = \"tcp/198.51.100.10:80\"\n\
         backends = [\"10.0.0.11:8080\", \"10.0.0.12:8080\"]\n",
    );
    let output = weir(&["check", "--no-env", "--config", &file]);
    assert_eq!(exit(&output), 0, "{}{}", stdout(&output), stderr(&output));
    assert!(stdout(&output).starts_with("ok, 0 errors"), "{}", stdout(&output));
    assert!(stdout(&output).contains("1 services with 2 backends"), "{}", stdout(&output));
}

#[test]
fn a_bad_configuration_is_named_with_its_place() {
    let (_dir, file, _socket) = scene("version = 1\n[interface.eth0]\nmod = \"auto\"\n");
    let output = weir(&["check", "--no-env", "--config", &file]);
    assert_eq!(exit(&output), 1);
    let text = stdout(&output);
    assert!(text.contains("weir.toml:3:1") && text.contains("did you mean `mode`?"), "{text}");
    let json = weir(&["-o", "json", "check", "--no-env", "--config", &file]);
    let report: serde_json::Value = serde_json::from_str(&stdout(&json)).unwrap();
    assert_eq!((exit(&json), &report["ok"], &report["errors"]), (1, &false.into(), &1.into()));
    assert_eq!(report["configuration"][0]["line"], 3);
}

#[test]
fn flags_are_checked_like_a_file() {
    let vip = "tcp/198.51.100.10:80=10.0.0.11:8080";
    let good = weir(&["check", "--no-env", "--iface", "eth0", "--vip", vip]);
    assert_eq!(exit(&good), 0, "{}", stdout(&good));
    let vip = "tcp/198.51.100.10:80=198.51.100.10:80";
    let own = weir(&["check", "--no-env", "--iface", "eth0", "--vip", vip]);
    assert_eq!(exit(&own), 1, "{}", stdout(&own));
}

#[test]
fn the_machine_is_checked_too() {
    let (_dir, _file, socket) = scene("");
    let vip = "tcp/198.51.100.10:80=10.0.0.11:8080";
    let output = weir(&["--socket", &socket, "check", "--iface", "no-such-if", "--vip", vip]);
    assert_eq!(exit(&output), 1);
    let text = stdout(&output);
    assert!(text.contains("error[env.interface]: there is no interface `no-such-if` here"), "{text}");
    assert!(text.contains("warning[env.local_clients]"), "{text}");
}

#[test]
fn the_schema_is_json() {
    let schema: serde_json::Value = serde_json::from_str(&stdout(&weir(&["config", "schema"]))).unwrap();
    assert!(schema["properties"]["service"].is_object());
}

#[test]
fn a_list_with_bad_lines_is_refused_before_any_daemon_is_asked() {
    let (_dir, file, socket) = scene("10.0.0.0/8\nnonsense\n");
    let output = weir(&["--socket", &socket, "acl", "import", &file, "--list", "deny"]);
    assert_eq!(exit(&output), 1, "{}", stderr(&output));
    assert!(stderr(&output).contains("line 2: `nonsense`"), "{}", stderr(&output));
    let json = weir(&["--socket", &socket, "-o", "json", "acl", "import", &file, "--list", "deny"]);
    let report: serde_json::Value = serde_json::from_str(&stdout(&json)).unwrap();
    assert_eq!(report["rejected"][0]["line"], 2);
    assert_eq!(report["applied"], false);
}
