//! The built binary against a daemon that gives fixed answers: exit codes, requests, output.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests")]

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};

/// The body of a refusal.
macro_rules! problem {
    ($status:literal, $code:literal) => {
        concat!(
            r#"{"type":"about:blank","title":"t","status":"#,
            $status,
            r#","code":""#,
            $code,
            r#"","detail":"the detail","hint":"the hint","generation":7}"#
        )
    };
}

/// Method and path that a request begins with, and the status and body of its answer.
type Rule = (&'static str, u16, &'static str);

/// A daemon that answers each request by the first rule that fits, else with 404, and remembers the requests.
struct Daemon {
    dir: tempfile::TempDir,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Daemon {
    fn new(rules: &'static [Rule]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(dir.path().join("weir.sock")).unwrap();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&requests);
        // Ends with the test's process.
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let request = read_request(&mut stream);
                seen.lock().unwrap().push(request.clone());
                answer(&mut stream, &request, rules);
            }
        });
        Self { dir, requests }
    }

    fn weir(&self, args: &[&str]) -> Output {
        self.weir_with(args, "")
    }

    fn weir_with(&self, args: &[&str], input: &str) -> Output {
        let mut child = Command::new(env!("CARGO_BIN_EXE_weir"))
            .arg("--socket")
            .arg(self.dir.path().join("weir.sock"))
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    }

    /// The requests so far that begin with this.
    fn requests(&self, begin: &str) -> Vec<String> {
        let all = self.requests.lock().unwrap();
        all.iter().filter(|request| request.starts_with(begin)).cloned().collect()
    }
}

fn read_request(stream: &mut UnixStream) -> String {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let count = stream.read(&mut buffer).unwrap();
        bytes.extend_from_slice(&buffer[..count]);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n")
            && body.len() >= content_length(head)
        {
            return text;
        }
        assert!(count > 0, "the request ended early: {text}");
    }
}

fn content_length(head: &str) -> usize {
    let head = head.to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
    length.map_or(0, |length| length.trim().parse().unwrap())
}

fn answer(stream: &mut UnixStream, request: &str, rules: &[Rule]) {
    let missing = ("", 404, problem!(404, "unknown_route"));
    let (_, status, body) = rules.iter().find(|rule| request.starts_with(rule.0)).unwrap_or(&missing);
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status} x\r\ncontent-type: application/json\r\netag: \"7\"\r\ncontent-length: {length}\r\n\r\n"
    );
    stream.write_all((head + body).as_bytes()).unwrap();
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

const APPLIED: &str = r#"{"generation":8,"changed":true,"dry_run":false,
    "counts":{"added":1,"updated":0,"unchanged":0,"removed":0,"refused":0},"items":[],"warnings":[]}"#;
const PARTLY: &str = r#"{"generation":8,"changed":true,"dry_run":false,
    "counts":{"added":1,"updated":0,"unchanged":0,"removed":0,"refused":1},"warnings":[],
    "items":[{"item":"10.1.0.0/16","operation":"add","outcome":"refused","code":"origin_conflict",
    "note":"of the file"}]}"#;
const NO_LISTS: &str =
    r#"{"generation":7,"default":"pass","interface_default":"pass","management":[],"lists":[]}"#;

#[test]
fn problems_become_exit_codes() {
    let daemon = Daemon::new(&[
        ("PATCH /v1/acl/lists/stale", 412, problem!(412, "stale_generation")),
        ("PATCH /v1/acl/lists/secret", 403, problem!(403, "not_permitted")),
        ("PATCH /v1/acl/lists/new", 418, problem!(418, "a_code_of_the_future")),
    ]);
    for (list, code) in [("stale", 4), ("secret", 5), ("new", 1), ("unknown", 1)] {
        let output = daemon.weir(&["acl", "add", "10.0.0.0/8", "--list", list]);
        assert_eq!(exit(&output), code, "{list}: {}", stderr(&output));
        assert!(stderr(&output).contains("the detail") && stderr(&output).contains("hint: the hint"));
    }
}

#[test]
fn add_makes_the_default_list_and_says_so() {
    let daemon =
        Daemon::new(&[("GET /v1/acl/lists ", 200, NO_LISTS), ("PATCH /v1/acl/lists/deny", 200, APPLIED)]);
    let output = daemon.weir(&["acl", "add", "203.0.113.0/24", "--ttl", "4h", "--reason", "scan"]);
    assert_eq!(exit(&output), 0, "{}", stderr(&output));
    assert!(stderr(&output).contains("making the list deny, action drop"), "{}", stderr(&output));
    assert_eq!(stdout(&output), "added 1 to deny (generation 8)\n");
    let patch = daemon.requests("PATCH").remove(0);
    let body: serde_json::Value = serde_json::from_str(patch.split_once("\r\n\r\n").unwrap().1).unwrap();
    assert_eq!(body["action"], "drop");
    assert_eq!(body["add"][0]["prefix"], "203.0.113.0/24");
    assert_eq!(body["add"][0]["ttl"], "4h");
}

#[test]
fn views_with_rates_take_two_readings() {
    const STATS: &str = r#"{"at":"2026-01-01T00:00:00Z","generation":7,"epoch":"a","lists":[],"maps":[],"snat":[],
        "services":[],"interfaces":[{"interface":"eth0","reasons":[
        {"reason":"acl_drop","verdict":"drop","packets":1234,"bytes":5}]}]}"#;
    let daemon = Daemon::new(&[
        ("GET /v1/stats ", 200, STATS),
        ("GET /v1/services ", 200, r#"{"generation":7,"services":[]}"#),
    ]);
    let stats = daemon.weir(&["stats"]);
    assert_eq!(exit(&stats), 0, "{}", stderr(&stats));
    let row = "eth0       drop     acl_drop    1.23k      5   --   --";
    assert!(stdout(&stats).contains(row), "{}", stdout(&stats));
    assert_eq!(daemon.requests("GET /v1/stats").len(), 2);
    let mut watch = Command::new(env!("CARGO_BIN_EXE_weir"))
        .arg("--socket")
        .arg(daemon.dir.path().join("weir.sock"))
        .args(["stats", "--watch"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    drop(watch.stdout.take());
    assert!(watch.wait().unwrap().success(), "watching ends when nobody reads any more");
    let services = daemon.weir(&["service", "list"]);
    assert_eq!(exit(&services), 0, "{}", stderr(&services));
    assert!(stdout(&services).starts_with("no services"), "{}", stdout(&services));
}

#[test]
fn quiet_leaves_the_words_out() {
    let daemon =
        Daemon::new(&[("GET /v1/acl/lists ", 200, NO_LISTS), ("PATCH /v1/acl/lists/deny", 200, APPLIED)]);
    let output = daemon.weir(&["-q", "acl", "add", "203.0.113.0/24"]);
    assert_eq!((stdout(&output), stderr(&output)), (String::new(), String::new()));
}

#[test]
fn if_gen_becomes_if_match() {
    let daemon = Daemon::new(&[("PATCH /v1/acl/lists/bad", 200, APPLIED)]);
    let output = daemon.weir(&["--if-gen", "7", "acl", "del", "10.0.0.0/8", "--list", "bad", "-o", "json"]);
    assert_eq!(exit(&output), 0, "{}", stderr(&output));
    let json: serde_json::Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!((&json["v"], &json["generation"]), (&1.into(), &8.into()));
    assert!(daemon.requests("PATCH")[0].to_ascii_lowercase().contains("if-match: \"7\""));
}

#[test]
fn an_import_in_part_exits_6() {
    let daemon = Daemon::new(&[("PATCH /v1/acl/lists/bad?atomic=false", 200, PARTLY)]);
    let args = ["acl", "import", "-", "--list", "bad", "--skip-bad"];
    let output = daemon.weir_with(&args, "10.0.0.0/8\n10.1.0.0/16\nnonsense\n");
    assert_eq!(exit(&output), 6, "{}", stderr(&output));
    let report = "bad: 2 accepted, 0 merged, 0 masked, 2 rejected; 1 added";
    assert!(stdout(&output).starts_with(report), "{}", stdout(&output));
    assert!(stderr(&output).contains("line 3: `nonsense`"), "{}", stderr(&output));
    assert!(stderr(&output).contains("`10.1.0.0/16`: of the file"), "{}", stderr(&output));
}

#[test]
fn a_replacing_import_is_bound_to_the_generation_that_was_read() {
    const LIST: &str = r#"{"generation":7,"name":"bad","order":10,"action":"drop","scope":"all","origin":"api",
        "entries_v4":0,"entries_v6":0,"entries_api":0,"expiring":0,"orphaned":false,"entries":[],"next":null}"#;
    let daemon = Daemon::new(&[
        ("GET /v1/acl/lists/bad?", 200, LIST),
        ("GET /v1/acl/lists/none?", 404, problem!(404, "unknown_list")),
        ("PUT /v1/acl/lists/bad", 200, APPLIED),
    ]);
    let output = daemon.weir_with(&["acl", "import", "-", "--list", "bad", "--replace"], "10.0.0.0/8\n");
    assert_eq!(exit(&output), 0, "{}", stderr(&output));
    assert!(daemon.requests("PUT")[0].to_ascii_lowercase().contains("if-match: \"7\""));
    let absent = daemon.weir_with(&["acl", "import", "-", "--list", "none", "--replace"], "10.0.0.0/8\n");
    assert_eq!(exit(&absent), 1);
    assert!(stderr(&absent).contains("--create"), "{}", stderr(&absent));
}

#[test]
fn what_is_exported_is_imported() {
    const LIST: &str = r#"{"generation":7,"name":"bad","order":10,"action":"drop","scope":"all","origin":"api",
        "entries_v4":2,"entries_v6":0,"entries_api":2,"expiring":1,"orphaned":false,"next":null,"entries":[
        {"prefix":"10.0.0.0/8","origin":"api","expires_at":null,"reason":null},
        {"prefix":"10.1.0.0/16","origin":"api","expires_at":"2040-01-01T00:00:00Z","reason":"a, \"b\""}]}"#;
    let daemon =
        Daemon::new(&[("GET /v1/acl/lists/bad?", 200, LIST), ("PATCH /v1/acl/lists/bad", 200, APPLIED)]);
    for form in ["table", "json"] {
        let exported = stdout(&daemon.weir(&["-o", form, "acl", "export", "bad"]));
        let output = daemon.weir_with(&["acl", "import", "-", "--list", "bad"], &exported);
        assert_eq!(exit(&output), 0, "{}", stderr(&output));
        assert!(stdout(&output).starts_with("bad: 2 accepted, 0 merged, 0 masked, 0 rejected"));
        let patch = daemon.requests("PATCH").pop().unwrap();
        assert!(patch.contains(r#""expires_at":"2040-01-01T00:00:00Z","reason":"a, \"b\"""#), "{patch}");
    }
}

#[test]
fn deleting_what_is_not_there_succeeds_and_says_so() {
    let daemon = Daemon::new(&[("DELETE /v1/services/web", 404, problem!(404, "unknown_service"))]);
    let output = daemon.weir(&["service", "del", "web"]);
    assert_eq!(exit(&output), 0);
    assert!(stderr(&output).contains("there is no service web"));
}

#[test]
fn an_answer_that_is_not_understood_is_a_failure() {
    let daemon = Daemon::new(&[("GET /v1/status", 200, "{}")]);
    let output = daemon.weir(&["status"]);
    assert_eq!(exit(&output), 1);
    assert!(stderr(&output).contains("did not answer in order"), "{}", stderr(&output));
}

#[test]
fn detach_asks_the_daemon_and_reports_what_is_left() {
    let daemon =
        Daemon::new(&[("POST /v1/detach", 200, r#"{"removed":["eth0"],"left":["/run/weir/bpf: busy"]}"#)]);
    let output = daemon.weir(&["detach"]);
    assert_eq!(exit(&output), 6);
    assert_eq!(stdout(&output), "removed eth0\nLEFT /run/weir/bpf: busy\n");
}

const SETTINGS: &str = r#"{"generation":7,"service":"web","origin":"api","overridden":true,"settings":{
    "codec":"http1","l7":{"trusted":["10.0.0.0/8"],"limits":{"requests":5}},
    "route":[{"name":"a","headers":{"x y":"1"},"to":"next"}],"host":[{"hosts":["b"],"route":[{}]}]}}"#;
const SET: &str = r#"{"generation":8,"changed":true,"dry_run":true,"warnings":[{"code":"w","detail":"the detail"}],
    "counts":{"added":1,"updated":1,"unchanged":0,"removed":1,"refused":0},"items":[
    {"item":"codec","operation":"add","outcome":"updated","note":"a becomes b"},
    {"item":"route */x","operation":"add","outcome":"added"},{"item":"route */y","operation":"remove","outcome":"removed"}]}"#;

#[test]
fn l7_settings_are_shown_as_text_that_can_be_set_again() {
    let daemon =
        Daemon::new(&[("GET /v1/services/web/l7 ", 200, SETTINGS), ("PUT /v1/services/web/l7", 200, SET)]);
    let shown = daemon.weir(&["l7", "show", "web"]);
    assert_eq!(exit(&shown), 0, "{}", stderr(&shown));
    let text = stdout(&shown);
    let rest = text.split_once("generation 7\n").unwrap().1.split_once('\n').unwrap().1;
    assert_eq!(
        rest,
        "codec = \"http1\"\n\n[service.l7]\nlimits = { requests = 5 }\ntrusted = [\"10.0.0.0/8\"]\n\n\
         [[service.route]]\nheaders = { \"x y\" = \"1\" }\nname = \"a\"\nto = \"next\"\n\n\
         [[service.host]]\nhosts = [\"b\"]\n\n[[service.host.route]]\n"
    );
    let json = stdout(&daemon.weir(&["-o", "json", "l7", "show", "web"]));
    assert!(json.contains(r#""origin":"api""#) && json.contains(r#""v":1"#), "{json}");
    let body = |request: &str| -> serde_json::Value {
        serde_json::from_str(request.split_once("\r\n\r\n").unwrap().1).unwrap()
    };
    // A header's name is checked here as it is there.
    let text = text.replace("x y", "x-y");
    let args = ["--if-gen", "7", "l7", "set", "web", "--file", "-", "--dry-run"];
    let set = daemon.weir_with(&args, &text);
    assert_eq!(exit(&set), 0, "{}", stderr(&set));
    assert_eq!(
        stdout(&set),
        "~ codec: a becomes b\n+ route */x\n- route */y\n\
         web: this would change, and nothing was changed (generation 8)\n"
    );
    assert!(stderr(&set).contains("warning w: the detail"));
    let request = daemon.requests("PUT /v1/services/web/l7?dry_run=true").remove(0);
    assert!(request.to_ascii_lowercase().contains("if-match: \"7\""), "{request}");
    assert_eq!(body(&request)["route"][0]["headers"]["x-y"], "1");
    let again = daemon.weir_with(&args, &body(&request).to_string());
    assert_eq!(exit(&again), 0, "JSON is read, too: {}", stderr(&again));
    assert_eq!(body(&daemon.requests("PUT").remove(1)), body(&request));
}

#[test]
fn l7_settings_with_a_mistake_never_reach_the_daemon() {
    let daemon = Daemon::new(&[("PUT /v1/services/web/l7", 200, SET)]);
    for (text, told) in [
        ("", "standard input is empty"),
        ("codec = \"http9\"\n", "did you mean `http1`"),
        ("codec = \"http1\"\n[[route]]\npat = \"/\"\n", "--> standard input:3:1"),
        ("codec = [", "error[config.syntax]"),
        ("{\"codec\":\"http1\",\"route\":[{\"to\":7}]}", "/route/0/to: `to` takes no integer"),
        ("{\"codec\"", "cannot be read as JSON"),
        ("{}", "nothing is said of how the service is served"),
        ("# codec = \"http1\"\n", "weir l7 unset"),
        ("{\"codec\":\"tcp\",\"codec\":\"http1\"}", "codec: `codec` stands twice"),
        ("{\"codec\":\"\u{9b}31m\u{202e}\"}", "\\u009B31m\\u202E"),
    ] {
        let output = daemon.weir_with(&["l7", "set", "web", "--file", "-"], text);
        assert_eq!((exit(&output), stdout(&output)), (1, String::new()), "{text}");
        assert!(stderr(&output).contains(told), "{text}: {}", stderr(&output));
    }
    let missing = daemon.weir(&["l7", "set", "web", "--file", "/nowhere/routes.toml"]);
    assert_eq!(exit(&missing), 1);
    assert!(stderr(&missing).contains("cannot read /nowhere/routes.toml"), "{}", stderr(&missing));
    assert_eq!(daemon.requests("PUT").len(), 0);
}

#[test]
fn a_service_is_added_with_its_l7_settings() {
    let daemon = Daemon::new(&[
        ("GET /v1/services/web ", 404, problem!(404, "unknown_service")),
        ("PUT /v1/services/", 200, APPLIED),
        ("DELETE /v1/services/web/l7", 200, APPLIED),
    ]);
    let add = ["service", "add", "web", "--vip", "tcp/198.51.100.10:80", "--forward", "l7"];
    let with = |more: &[&str], input: &str| daemon.weir_with(&[&add, more].concat(), input);
    let output = with(&["--codec", "bolt", "--codec", "http1", "--dry-run"], "");
    assert_eq!(exit(&output), 0, "{}", stderr(&output));
    let first = daemon.requests("PUT /v1/services/web?dry_run=true").remove(0);
    assert!(first.contains(r#""codec":["bolt","http1"]"#), "{first}");
    let output = with(&["--l7", "-"], "codec = \"http1\"\n[[service.route]]\nname = \"a\"\n");
    assert_eq!(exit(&output), 0, "{}", stderr(&output));
    let second = daemon.requests("PUT").remove(1);
    assert!(
        second.contains(r#""codec":"http1""#) && second.contains(r#""route":[{"name":"a"}]"#),
        "{second}"
    );
    for (more, code) in
        [(&["--codec", "http9"][..], 1), (&["--codec", "http1", "--l7", "-"], 2), (&["--l7", "/nowhere"], 1)]
    {
        assert_eq!(exit(&with(more, "codec = \"tcp\"\n")), code, "{more:?}");
    }
    let nat = ["service", "add", "web", "--vip", "tcp/198.51.100.10:80", "--codec", "http1"];
    let output = daemon.weir(&nat);
    assert_eq!(exit(&output), 2);
    assert!(stderr(&output).contains("--forward l7"), "{}", stderr(&output));
    assert_eq!(daemon.requests("PUT").len(), 2);
    let unset = daemon.weir(&["l7", "unset", "web"]);
    assert_eq!((exit(&unset), stdout(&unset)), (0, "web: dropped what was set (generation 8)\n".into()));
}
