//! etcd, led over its JSON gateway.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proxy_user::lab::{Namespace, left_out};
use serde_json::{Value, json};

use crate::http::{get, post_json};
use crate::process::Process;
use crate::wait::wait_until;

/// A running etcd of one member. Dropping it kills it.
#[derive(Debug)]
pub(crate) struct Etcd {
    space: Namespace,
    address: Ipv4Addr,
    dir: PathBuf,
    process: Process,
}

impl Etcd {
    /// Starts it in a namespace that has the address, and waits until it serves. None, and it is said why, if it is not
    /// installed.
    pub(crate) fn start(space: &Namespace, address: Ipv4Addr, dir: &Path) -> Option<Self> {
        if Command::new("etcd").arg("--version").stdout(Stdio::null()).status().is_err() {
            left_out("etcd is not installed (Debian: etcd-server)");
            return None;
        }
        let dir = dir.join(format!("etcd-{address}"));
        let process = launch(space, address, &dir);
        let mut etcd = Self { space: space.clone(), address, dir, process };
        etcd.wait_ready();
        Some(etcd)
    }

    /// Where clients connect to.
    pub(crate) fn endpoint(&self) -> SocketAddr {
        SocketAddr::new(self.address.into(), CLIENT_PORT)
    }

    /// Sets a key, under a lease if there is one; the revision.
    pub(crate) fn put(&self, key: &str, value: &str, lease: Option<u64>) -> u64 {
        let answer = self.call(
            "kv/put",
            &json!({ "key": encode(key), "value": encode(value), "lease": lease.unwrap_or_default().to_string() }),
        );
        number(&answer["header"]["revision"])
    }

    /// Sets many keys.
    pub(crate) fn put_all(&self, pairs: &[(String, String)]) {
        for some in pairs.chunks(MOST_IN_ONE) {
            let put = |(key, value): &(String, String)| json!({ "requestPut": { "key": encode(key), "value": encode(value) } });
            self.call("kv/txn", &json!({ "success": some.iter().map(put).collect::<Vec<_>>() }));
        }
    }

    /// Deletes a key; how many were there.
    pub(crate) fn delete(&self, key: &str) -> u64 {
        number(&self.call("kv/deleterange", &json!({ "key": encode(key) }))["deleted"])
    }

    /// Deletes all keys that begin so; how many were there.
    pub(crate) fn delete_prefix(&self, prefix: &str) -> u64 {
        let mut end = prefix.as_bytes().to_vec();
        *end.last_mut().unwrap() += 1;
        let body = json!({ "key": encode(prefix), "range_end": STANDARD.encode(end) });
        number(&self.call("kv/deleterange", &body)["deleted"])
    }

    /// A key's value.
    pub(crate) fn value(&self, key: &str) -> Option<String> {
        let answer = self.call("kv/range", &json!({ "key": encode(key) }));
        let value = answer["kvs"].get(0)?["value"].as_str().unwrap_or_default().to_owned();
        Some(String::from_utf8(STANDARD.decode(value).unwrap()).unwrap())
    }

    /// Makes a lease that ends by itself after this many seconds.
    pub(crate) fn grant(&self, seconds: u64) -> u64 {
        number(&self.call("lease/grant", &json!({ "TTL": seconds.to_string() }))["ID"])
    }

    /// Ends a lease, and its keys with it.
    pub(crate) fn revoke(&self, lease: u64) {
        self.call("lease/revoke", &json!({ "ID": lease.to_string() }));
    }

    /// Forgets what was before a revision.
    pub(crate) fn compact(&self, revision: u64) {
        self.call("kv/compaction", &json!({ "revision": revision.to_string(), "physical": true }));
    }

    /// Stops it as it is: connections stay, nobody answers.
    pub(crate) fn freeze(&self) {
        self.process.freeze();
    }

    /// Lets it go on.
    pub(crate) fn thaw(&self) {
        self.process.thaw();
    }

    /// Ends it as a crash does.
    pub(crate) fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts it again after [`Self::kill`], with its data.
    pub(crate) fn restart(&mut self) {
        self.process.kill();
        self.process = launch(&self.space, self.address, &self.dir);
        self.wait_ready();
    }

    /// Ends it as a crash does and starts it anew, empty: revisions begin again.
    pub(crate) fn restart_empty(&mut self) {
        self.process.kill();
        std::fs::remove_dir_all(self.dir.join("data")).unwrap();
        self.restart();
    }

    fn wait_ready(&mut self) {
        let at = self.endpoint();
        wait_until("etcd", Duration::from_secs(60), || {
            self.process.assert_alive();
            get(&self.space, at, "/health").is_ok_and(|(status, _)| status == 200)
        });
    }

    fn call(&self, path: &str, body: &Value) -> Value {
        let answer = post_json(&self.space, self.endpoint(), &format!("/v3/{path}"), &body.to_string());
        let (status, text) = answer.unwrap_or_else(|error| panic!("etcd's {path}: {error}"));
        assert_eq!(status, 200, "etcd's {path}: {text}");
        serde_json::from_str(&text).unwrap()
    }
}

fn launch(space: &Namespace, address: Ipv4Addr, dir: &Path) -> Process {
    let (client, peer) = (format!("http://{address}:{CLIENT_PORT}"), format!("http://{address}:{PEER_PORT}"));
    let mut command = Command::new("etcd");
    command.arg("--data-dir").arg(dir.join("data"));
    command.args(["--listen-client-urls", &client, "--advertise-client-urls", &client]);
    command.args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer]);
    command.args(["--initial-cluster", &format!("default={peer}"), "--unsafe-no-fsync"]);
    Process::start("etcd", space, dir, &mut command)
}

fn encode(text: &str) -> String {
    STANDARD.encode(text)
}

/// The gateway writes 64-bit numbers as text, and leaves out zeros.
fn number(value: &Value) -> u64 {
    value.as_str().map(|text| text.parse().unwrap()).unwrap_or_default()
}

/// Changes of a transaction, by default.
const MOST_IN_ONE: usize = 128;
const CLIENT_PORT: u16 = 2379;
const PEER_PORT: u16 = 2380;
