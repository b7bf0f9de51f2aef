//! SOFARegistry's own server, session, meta and data in one process, as described in `tests/peers/README.md`.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proxy_user::lab::{Namespace, Port};
use serde_json::{Value, json};

use crate::http::{Answer, get, post_form, post_json};
use crate::jars::Project;
use crate::java::java;
use crate::process::Process;
use crate::scratch::scratch;
use crate::wait::wait_until;

/// The server's version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    /// 6.3.0: Protobuf and Hessian.
    V6,
    /// 5.4.3: Hessian only.
    V5,
}

/// A running server. Every start is an empty registry.
#[derive(Debug)]
pub(crate) struct SofaRegistry {
    version: Version,
    class_path: String,
    home: PathBuf,
    space: Namespace,
    address: Ipv4Addr,
    process: Process,
}

impl SofaRegistry {
    /// A server 6.3.0 that all tests of this process share, at [`SHARED_ADDRESS`]; they keep apart by the names that they
    /// publish. None, and it is said why, if it cannot be had here.
    pub(crate) fn shared() -> Option<&'static Self> {
        static SHARED: OnceLock<Arc<SofaRegistry>> = OnceLock::new();
        Project::Registry6.class_path()?;
        Some(SHARED.get_or_init(|| {
            let (sender, receiver) = mpsc::channel();
            // Peers end with the thread that started them: this one stays.
            thread::spawn(move || {
                let space = Namespace::new("registry").unwrap();
                let started = Self::start(Version::V6, &space, SHARED_ADDRESS, &scratch());
                let _ = sender.send(Arc::new(started.unwrap()));
                loop {
                    thread::park();
                }
            });
            receiver.recv().expect("the shared registry has not started; see above")
        }))
    }

    /// Starts a server in a namespace, gives it the address (on `lo`) and waits until it serves. None, and it is said
    /// why, if it cannot be had here.
    pub(crate) fn start(version: Version, space: &Namespace, address: Ipv4Addr, home: &Path) -> Option<Self> {
        let project = if version == Version::V6 { Project::Registry6 } else { Project::Registry5 };
        let class_path = project.class_path()?;
        // It refuses to run with loopback addresses alone.
        let lo = Port::named(space, "lo").unwrap();
        lo.add_address(format!("{address}/32").parse().unwrap()).unwrap();
        let home = home.join(format!("registry-{address}"));
        let process = launch(version, &class_path, space, &home);
        let mut registry = Self { version, class_path, home, space: space.clone(), address, process };
        registry.wait_ready();
        Some(registry)
    }

    /// Where clients begin: its session server's HTTP port.
    pub(crate) fn endpoint(&self) -> SocketAddr {
        self.at(SESSION_HTTP)
    }

    /// Where clients subscribe: its session server's Bolt port.
    pub(crate) fn session(&self) -> SocketAddr {
        self.at(9600)
    }

    /// Its namespace.
    pub(crate) fn space(&self) -> &Namespace {
        &self.space
    }

    /// Its address.
    pub(crate) fn address(&self) -> Ipv4Addr {
        self.address
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

    /// Ends it as a crash does and starts it anew, empty; waits until it serves.
    pub(crate) fn restart_empty(&mut self) {
        self.process.kill();
        self.process = launch(self.version, &self.class_path, &self.space, &self.home);
        self.wait_ready();
    }

    /// Takes what clients at these addresses have published out of the lists, and what they publish from now on. Seen by
    /// subscribers after about 5 s.
    pub(crate) fn clients_off(&self, clients: &[Ipv4Addr]) {
        self.client_manager("clientOff", clients);
    }

    /// Ends [`Self::clients_off`]: the server closes the clients' connections, so that they register again.
    pub(crate) fn clients_on(&self, clients: &[Ipv4Addr]) {
        self.client_manager("clientOpen", clients);
    }

    /// While on, subscriptions are answered and nothing is pushed.
    pub(crate) fn stop_push(&self, on: bool) {
        let verb = if on { "open" } else { "close" };
        let answer = get(&self.space, self.at(META_HTTP), &format!("/stopPushDataSwitch/{verb}"));
        assert_ok("stopPushDataSwitch", answer);
    }

    /// Compresses pushes from this many characters on, or none.
    pub(crate) fn compress(&self, from: Option<u32>) {
        let body = json!({
            "enabled": from.is_some(), "compressMinSize": from.unwrap_or(4096), "forbidEncodes": [],
        });
        let answer = post_json(&self.space, self.at(META_HTTP), "/compress/push/switch", &body.to_string());
        assert_ok("compress/push/switch", answer);
    }

    /// The entries that its session server holds of a data id's publishers.
    pub(crate) fn published(&self, data_id: &str, group: &str) -> Vec<String> {
        let id = format!("{data_id}%23%40%23DEFAULT_INSTANCE_ID%23%40%23{group}");
        let path = format!("/digest/pub/data/query?dataInfoId={id}");
        let text = assert_ok(&path, get(&self.space, self.endpoint(), &path));
        let answer: Value = serde_json::from_str(&text).unwrap();
        let publishers = answer["PUB"].as_array().into_iter().flatten();
        let entries = publishers.flat_map(|publisher| publisher["dataList"].as_array().into_iter().flatten());
        entries.map(|entry| java_text(&STANDARD.decode(entry["bytes"].as_str().unwrap()).unwrap())).collect()
    }

    fn client_manager(&self, verb: &str, clients: &[Ipv4Addr]) {
        let ips: Vec<String> = clients.iter().map(Ipv4Addr::to_string).collect();
        let path = format!("/api/clientManager/{verb}");
        let body = format!("ips={}", ips.join("%3B"));
        assert_ok(&path, post_form(&self.space, self.at(META_HTTP), &path, &body));
    }

    fn wait_ready(&mut self) {
        let ports: &[u16] = match self.version {
            Version::V6 => &[META_HTTP, 9622, SESSION_HTTP],
            Version::V5 => &[SESSION_HTTP],
        };
        // On a busy machine a start now and then fails, with or without an end of the process.
        let (mut starts, mut begin) = (1, Instant::now());
        wait_until(&format!("SOFARegistry's {ports:?}"), START * STARTS, || {
            let over = self.process.has_ended() || begin.elapsed() > START;
            if over && starts < STARTS {
                println!("SOFARegistry's start has failed; once more");
                (starts, begin) = (starts + 1, Instant::now());
                self.process.kill();
                self.process = launch(self.version, &self.class_path, &self.space, &self.home);
            }
            self.process.assert_alive();
            ports.iter().all(|port| {
                get(&self.space, self.at(*port), "/health/check").is_ok_and(|(status, _)| status == 200)
            })
        });
    }

    fn at(&self, port: u16) -> SocketAddr {
        SocketAddr::new(self.address.into(), port)
    }
}

fn launch(version: Version, class_path: &str, space: &Namespace, home: &Path) -> Process {
    let heap_mb = if version == Version::V6 { 256 } else { 384 };
    let properties: Vec<String> = PROPERTIES.iter().map(|text| format!("-D{text}")).collect();
    let main = "com.alipay.sofa.registry.server.integration.RegistryApplication";
    let mut command = java(class_path, home, heap_mb, &properties, main);
    Process::start("registry", space, home, &mut command)
}

/// A serialized `java.lang.String`: magic and version, the type's letter, length, text.
fn java_text(bytes: &[u8]) -> String {
    assert_eq!(bytes.get(..5), Some(&[0xac, 0xed, 0, 5, b't'][..]), "not a Java string: {bytes:x?}");
    String::from_utf8_lossy(&bytes[7..]).into_owned()
}

fn assert_ok(what: &str, answer: std::io::Result<Answer>) -> String {
    let (status, body) = answer.unwrap_or_else(|error| panic!("{what}: {error}"));
    assert_eq!(status, 200, "{what}: {body}");
    body
}

/// Of [`SofaRegistry::shared`].
pub(crate) const SHARED_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 1);

const SESSION_HTTP: u16 = 9603;
const META_HTTP: u16 = 9615;
/// After this a start has failed. 13 s on a machine that does nothing else.
const START: Duration = Duration::from_secs(100);
/// How often it may be started until it serves.
const STARTS: u32 = 4;

/// Shorter waits than its own, so that a push takes 0.7 s instead of 2 s. 5.4.3 ignores most of them.
const PROPERTIES: [&str; 6] = [
    "network_interface_binding=lo",
    "registry.data.slot.num=16",
    "session.server.dataChangeDebouncingMillis=50",
    "session.server.dataChangeMaxDebouncingMillis=100",
    "session.server.pushDataTaskDebouncingMillis=20",
    "data.server.notifyIntervalMillis=50",
];
