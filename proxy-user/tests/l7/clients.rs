//! Clients and servers that others wrote, through a worker: curl, Python's and Node's.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::process::{Command, Stdio};

use proxy_user::lab::left_out;

use crate::bed::{Program, Worker, find};

/// A server's script, and where it listens; `None`: its language is not installed.
fn server(program: &str, script: &str) -> Option<(Program, SocketAddr)> {
    let Some(path) = find(program) else {
        left_out(&format!("{script}: {program} is not installed"));
        return None;
    };
    let mut child = Command::new(path)
        .arg(format!("{}/tests/l7/peers/{script}", env!("CARGO_MANIFEST_DIR")))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let output = child.stdout.take().unwrap();
    let program = Program(child);
    BufReader::new(output).read_line(&mut line).unwrap();
    let port: u16 = line.trim().parse().unwrap();
    Some((program, ([127, 0, 0, 1], port).into()))
}

fn servers() -> Vec<(&'static str, Program, SocketAddr)> {
    [("python3", "server.py"), ("node", "server.js")]
        .into_iter()
        .filter_map(|(program, script)| server(program, script).map(|(child, at)| (script, child, at)))
        .collect()
}

/// Runs a program to its end; what it wrote. It must succeed.
pub(crate) fn run(program: &str, arguments: &[&str], input: &[u8]) -> Option<Vec<u8>> {
    let Some(path) = find(program) else {
        left_out(&format!("{program} as a client: it is not installed"));
        return None;
    };
    let mut child = Command::new(path)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    let writer = std::thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().unwrap();
    let _ = writer.join().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {}: {error}", output.status);
    Some(output.stdout)
}

#[test]
fn scripts_of_python_and_node() {
    for (name, _server, at) in servers() {
        let mut worker = Worker::new("http1", at, |_| {});
        let (ip, port) = (worker.at.ip().to_string(), worker.at.port().to_string());
        let python = name == "server.py";
        for (program, script) in [("python3", "client.py"), ("node", "client.js")] {
            // Node's own server speaks no WebSocket.
            if script == "client.py" && !python {
                continue;
            }
            let path = format!("{}/tests/l7/peers/{script}", env!("CARGO_MANIFEST_DIR"));
            let mut arguments = vec![path.as_str(), &ip, &port];
            if python {
                arguments.push("websocket");
            }
            if let Some(said) = run(program, &arguments, b"") {
                assert_eq!(String::from_utf8(said).unwrap().trim(), "fine", "{script} with {name}");
            }
        }
        let web = worker.stats().services["web"].clone();
        assert_eq!(
            (web.requests_active, web.reasons.len(), web.answers.classes[4]),
            (0, 0, 0),
            "{name}: {web:?}"
        );
    }
}

#[test]
fn curl() {
    for (name, _server, at) in servers() {
        let worker = Worker::new("http1", at, |_| {});
        let url = format!("http://{}", worker.at);
        let curl = |arguments: &[&str], input: &[u8]| {
            let all: Vec<&str> = ["-sS", "--max-time", "20"].iter().chain(arguments).copied().collect();
            run("curl", &all, input)
        };
        let Some(plain) = curl(&[&url], b"") else { return };
        assert_eq!(plain, b"hello", "{name}");

        // Several on one connection.
        let many: Vec<String> = (0..5).map(|n| format!("{url}/{n}")).collect();
        let mut arguments = vec!["-w", "[%{num_connects}]"];
        arguments.extend(many.iter().map(String::as_str));
        let said = String::from_utf8(curl(&arguments, b"").unwrap()).unwrap();
        assert_eq!(said, "hello[1]hello[0]hello[0]hello[0]hello[0]", "{name}");

        // A chunked upload, of unknown length; one that waits for 100; one of HTTP/1.0.
        let long = vec![b'z'; 3 << 20];
        assert_eq!(curl(&["-T", "-", &url], &long).unwrap(), long, "{name}, chunked");
        let waits = ["--data-binary", "@-", "-H", "Expect: 100-continue", "--expect100-timeout", "15", &url];
        assert_eq!(curl(&waits, &long).unwrap(), long, "{name}, Expect");
        assert_eq!(curl(&["--http1.0", "--data-binary", "@-", &url], b"old").unwrap(), b"old", "{name}");
        let chunked = format!("{url}/chunked");
        assert_eq!(curl(&["--http1.0", &chunked], b"").unwrap(), b"hello", "{name}, no chunks for the old");

        let head = String::from_utf8(curl(&["-I", &url], b"").unwrap()).unwrap().to_ascii_lowercase();
        assert!(head.starts_with("http/1.1 200") && head.contains("content-length: 5\r\n"), "{name}: {head}");
        let raw = String::from_utf8(curl(&["--raw", "-i", &chunked], b"").unwrap()).unwrap();
        assert!(raw.contains("X-Sum: 42\r\n\r\n"), "{name}, a trailer: {raw}");
        for status in ["204", "304"] {
            let path = format!("{url}/{status}");
            let said = curl(&["-w", "%{http_code}", &path, &url], b"").unwrap();
            assert_eq!(String::from_utf8(said).unwrap(), format!("{status}hello200"), "{name}");
        }
    }
}
