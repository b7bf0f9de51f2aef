//! A real etcd of one member on loopback, led over its JSON gateway.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::lab::left_out;
use crate::registry::etcd::settings::{Raw, Settings};

/// A running server. Dropping it kills it and removes its data.
pub(super) struct Peer {
    dir: TempDir,
    port: u16,
    args: Vec<String>,
    child: Child,
}

impl Peer {
    /// Starts one; none, and it is said why, if etcd is not installed.
    pub(super) fn start() -> Option<Self> {
        let mut peer = Self::start_with("http", |_| Vec::new())?;
        peer.wait_ready();
        Some(peer)
    }

    /// Starts one with further arguments, which may name files in its folder.
    pub(super) fn start_with(scheme: &str, args: impl Fn(&Path) -> Vec<String>) -> Option<Self> {
        if Command::new("etcd").arg("--version").stdout(Stdio::null()).status().is_err() {
            left_out("a real etcd: it is not installed (Debian: apt-get install etcd-server)");
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        let (port, other) = (free_port(), free_port());
        let (client, peer) = (format!("{scheme}://127.0.0.1:{port}"), format!("http://127.0.0.1:{other}"));
        let mut all: Vec<String> =
            ["--data-dir".to_owned(), dir.path().join("data").display().to_string()].into();
        for (name, value) in [
            ("--listen-client-urls", &client),
            ("--advertise-client-urls", &client),
            ("--listen-peer-urls", &peer),
            ("--initial-advertise-peer-urls", &peer),
            ("--initial-cluster", &format!("default={peer}")),
        ] {
            all.extend([name.to_owned(), value.clone()]);
        }
        all.push("--unsafe-no-fsync".to_owned());
        all.extend(args(dir.path()));
        let child = launch(&dir, &all);
        Some(Self { dir, port, args: all, child })
    }

    /// A file in its folder.
    pub(super) fn file(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    /// Writes a file into its folder.
    pub(super) fn write(&self, name: &str, text: &str) -> String {
        std::fs::write(self.dir.path().join(name), text).unwrap();
        self.file(name)
    }

    /// Settings with this server as the only one, and further lines.
    pub(super) fn settings(&self, scheme: &str, more: &str) -> Settings {
        let text = format!("endpoints = ['{scheme}://127.0.0.1:{}']\nkeepalive = '5s'\n{more}", self.port);
        toml::from_str::<Raw>(&text).unwrap().check(Path::new("/")).unwrap()
    }

    /// Sets a key, under a lease if there is one.
    pub(super) fn put(&self, key: &str, value: &str, lease: Option<u64>) {
        let lease = lease.unwrap_or_default().to_string();
        self.call("kv/put", &json!({ "key": encode(key), "value": encode(value), "lease": lease }));
    }

    /// Sets many keys at once.
    pub(super) fn put_all(&self, pairs: &[(String, String)]) {
        for pairs in pairs.chunks(100) {
            let put = |(key, value): &(String, String)| json!({ "requestPut": { "key": encode(key), "value": encode(value) } });
            self.call("kv/txn", &json!({ "success": pairs.iter().map(put).collect::<Vec<_>>() }));
        }
    }

    /// Deletes a key.
    pub(super) fn delete(&self, key: &str) {
        self.call("kv/deleterange", &json!({ "key": encode(key) }));
    }

    /// Deletes all keys that begin so, in one revision.
    pub(super) fn delete_prefix(&self, prefix: &str) {
        let (_, end) = super::super::range::of_prefix(prefix);
        self.call("kv/deleterange", &json!({ "key": encode(prefix), "range_end": STANDARD.encode(end) }));
    }

    /// A key's value.
    pub(super) fn value(&self, key: &str) -> Option<String> {
        let answer = self.call("kv/range", &json!({ "key": encode(key) }));
        let value = answer["kvs"].get(0)?["value"].as_str().unwrap_or_default().to_owned();
        Some(String::from_utf8(STANDARD.decode(value).unwrap()).unwrap())
    }

    /// Makes a lease of so many seconds.
    pub(super) fn grant(&self, seconds: u64) -> u64 {
        let answer = self.call("lease/grant", &json!({ "TTL": seconds.to_string() }));
        answer["ID"].as_str().unwrap().parse().unwrap()
    }

    /// Forgets all revisions before the newest.
    pub(super) fn compact(&self) -> i64 {
        let revision = self.call("kv/range", &json!({ "key": encode("x") }))["header"]["revision"].clone();
        self.call("kv/compaction", &json!({ "revision": revision, "physical": true }));
        revision.as_str().unwrap().parse().unwrap()
    }

    /// A call of the gateway; it must succeed.
    pub(super) fn call(&self, path: &str, body: &Value) -> Value {
        let (status, text) = self.post(path, &body.to_string()).unwrap();
        assert_eq!(status, 200, "etcd's {path}: {text}");
        serde_json::from_str(&text).unwrap()
    }

    /// Stops it as it is: connections stay, nobody answers.
    pub(super) fn freeze(&self) {
        kill(self.pid(), Signal::SIGSTOP).unwrap();
    }

    /// Lets it go on.
    pub(super) fn thaw(&self) {
        kill(self.pid(), Signal::SIGCONT).unwrap();
    }

    /// Ends it as a crash does.
    pub(super) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts it again, with its data.
    pub(super) fn restart(&mut self) {
        self.child = launch(&self.dir, &self.args);
        self.wait_ready();
    }

    /// Starts it again, empty.
    pub(super) fn restart_empty(&mut self) {
        std::fs::remove_dir_all(self.dir.path().join("data")).unwrap();
        self.restart();
    }

    fn wait_ready(&mut self) {
        let end = Instant::now() + Duration::from_secs(60);
        while !self
            .post("kv/range", &json!({ "key": encode("x") }).to_string())
            .is_ok_and(|(status, _)| status == 200)
        {
            if self.child.try_wait().unwrap().is_some() || Instant::now() > end {
                panic!(
                    "etcd does not start:\n{}",
                    std::fs::read_to_string(self.dir.path().join("log")).unwrap()
                );
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn post(&self, path: &str, body: &str) -> std::io::Result<(u16, String)> {
        let to = SocketAddr::from((Ipv4Addr::LOCALHOST, self.port));
        let mut stream = TcpStream::connect_timeout(&to, Duration::from_secs(5))?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        // HTTP/1.0: no chunks, and the server closes.
        write!(stream, "POST /v3/{path} HTTP/1.0\r\nContent-Length: {}\r\n\r\n{body}", body.len())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        let status = head.split(' ').nth(1).and_then(|word| word.parse().ok()).unwrap_or_default();
        Ok((status, body.to_owned()))
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().try_into().unwrap())
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn launch(dir: &TempDir, args: &[String]) -> Child {
    let log = File::options().create(true).append(true).open(dir.path().join("log")).unwrap();
    let mut command = Command::new("etcd");
    command.args(args).stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
    command.spawn().unwrap()
}

fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

fn encode(text: &str) -> String {
    STANDARD.encode(text)
}
