//! Registries that the nemesis ill-treats, all led alike.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use proxy_user::lab::Namespace;

use crate::bed::{Bed, Link};
use crate::etcd::Etcd;
use crate::meddler::Meddler;
use crate::registry::{SofaRegistry, Version};
use crate::rpc::{GROUP, Publisher};

/// A registry with one name, and who writes there.
pub(crate) trait Source {
    /// Its table, and what a service's `discover` says.
    fn config(&self) -> (String, String);

    /// Makes these texts, in their order, all that the name has. `passed` hears of every state on the way before it
    /// can be seen.
    fn publish(&mut self, entries: &[String], passed: &mut dyn FnMut(&[String]));

    /// Deregisters everything at once; true if the registry then says that there is nothing.
    fn deregister_all(&mut self) -> bool;

    /// The way to it, if it is a server.
    fn link(&self) -> Option<&Link> {
        None
    }

    /// Stops it as it is for a time.
    fn freeze(&mut self, time: Duration);

    /// Ends it as a crash does, and starts it after a time; what it had is there again sooner or later.
    fn kill(&mut self, time: Duration);

    /// The same, with its data lost; true if what was registered does not come back by itself.
    fn restart_empty(&mut self) -> bool;

    /// Adds so many entries that can never be backends to these, or fewer, until the next is published; how many.
    fn crowd(&mut self, entries: &[String], count: usize, passed: &mut dyn FnMut(&[String])) -> usize;

    /// Answers with errors for a time, if it can be made to.
    fn fail(&mut self, _time: Duration) {}

    /// Who stands before it, if it is a server.
    fn meddler(&self) -> Option<&Meddler> {
        None
    }
}

/// SOFARegistry 6.3.0 with its own Java client.
pub(crate) struct Sofa {
    registry: SofaRegistry,
    publisher: Publisher,
    published: bool,
    link: Link,
    meddler: Meddler,
}

impl Sofa {
    pub(crate) fn start(bed: &Bed) -> Option<Self> {
        let (space, address) = (Namespace::new("registry").unwrap(), Ipv4Addr::new(10, 99, 3, 1));
        let registry = SofaRegistry::start(Version::V6, &space, address, &bed.dir)?;
        let link = bed.link(&space, address);
        let publisher = Publisher::start("publisher", &bed.backends[0], &bed.dir, registry.endpoint(), &[])?;
        let meddler = Meddler::start(&space, registry.session(), MEDDLER, BOLT);
        Some(Self { registry, publisher, published: false, link, meddler })
    }
}

impl Source for Sofa {
    fn link(&self) -> Option<&Link> {
        Some(&self.link)
    }

    fn config(&self) -> (String, String) {
        let (at, session, meddler) = (self.registry.endpoint(), self.registry.session(), self.meddler.at());
        (
            format!(
                "[registry.main]\nkind = \"sofa\"\nendpoints = [\"{at}\"]\ngroup = \"{GROUP}\"\n\
                 addresses = {{ \"{session}\" = \"{meddler}\" }}\n"
            ),
            format!("{{ registry = \"main\", service = \"{NAME}\" }}"),
        )
    }

    fn publish(&mut self, entries: &[String], passed: &mut dyn FnMut(&[String])) {
        passed(entries);
        let entries: Vec<&str> = entries.iter().map(String::as_str).collect();
        self.publisher.publish(NAME, &entries);
        self.published = true;
    }

    fn deregister_all(&mut self) -> bool {
        if std::mem::take(&mut self.published) {
            self.publisher.unpublish(NAME);
        }
        true
    }

    fn freeze(&mut self, time: Duration) {
        self.registry.freeze();
        thread::sleep(time);
        self.registry.thaw();
    }

    fn kill(&mut self, time: Duration) {
        self.registry.kill();
        thread::sleep(time);
        self.registry.restart_empty();
    }

    fn restart_empty(&mut self) -> bool {
        self.registry.restart_empty();
        // The client registers again what it had.
        false
    }

    fn crowd(&mut self, entries: &[String], count: usize, passed: &mut dyn FnMut(&[String])) -> usize {
        let count = count.min(MOST_IN_SOFA);
        let all: Vec<String> = entries.iter().cloned().chain(strangers(count)).collect();
        self.publish(&all, passed);
        count
    }

    fn fail(&mut self, time: Duration) {
        self.registry.stop_push(true);
        thread::sleep(time);
        self.registry.stop_push(false);
    }

    fn meddler(&self) -> Option<&Meddler> {
        Some(&self.meddler)
    }
}

/// etcd, a key for each entry.
pub(crate) struct EtcdKeys {
    etcd: Etcd,
    entries: Vec<String>,
    crowded: bool,
    link: Link,
    meddler: Meddler,
}

impl EtcdKeys {
    pub(crate) fn start(bed: &Bed) -> Option<Self> {
        let (space, address) = (Namespace::new("etcd").unwrap(), Ipv4Addr::new(10, 99, 4, 1));
        let lo = proxy_user::lab::Port::named(&space, "lo").unwrap();
        lo.add_address(format!("{address}/32").parse().unwrap()).unwrap();
        let etcd = Etcd::start(&space, address, &bed.dir)?;
        let meddler = Meddler::start(&space, etcd.endpoint(), MEDDLER, HTTP2);
        let link = bed.link(&space, address);
        Some(Self { etcd, entries: Vec::new(), crowded: false, link, meddler })
    }

    fn key(n: usize) -> String {
        format!("/{NAME}/{n:05}")
    }
}

impl Source for EtcdKeys {
    fn link(&self) -> Option<&Link> {
        Some(&self.link)
    }

    fn config(&self) -> (String, String) {
        let at = self.meddler.at();
        (
            format!(
                "[registry.main]\nkind = \"etcd\"\nendpoints = [\"http://{at}\"]\ntimeout = \"1s\"\nkeepalive = \"5s\"\n"
            ),
            format!("{{ registry = \"main\", service = \"/{NAME}\" }}"),
        )
    }

    fn publish(&mut self, entries: &[String], passed: &mut dyn FnMut(&[String])) {
        if std::mem::take(&mut self.crowded) {
            self.etcd.delete_prefix(&format!("/{NAME}/crowd/"));
        }
        for (n, entry) in entries.iter().enumerate() {
            match self.entries.get_mut(n) {
                Some(old) if old == entry => continue,
                Some(old) => old.clone_from(entry),
                None => self.entries.push(entry.clone()),
            }
            passed(&self.entries);
            self.etcd.put(&Self::key(n), entry, None);
        }
        while self.entries.len() > entries.len() {
            self.entries.pop();
            passed(&self.entries);
            self.etcd.delete(&Self::key(self.entries.len()));
        }
    }

    fn deregister_all(&mut self) -> bool {
        self.entries.clear();
        self.etcd.delete_prefix(&format!("/{NAME}/"));
        true
    }

    fn freeze(&mut self, time: Duration) {
        self.etcd.freeze();
        thread::sleep(time);
        self.etcd.thaw();
    }

    fn kill(&mut self, time: Duration) {
        self.etcd.kill();
        thread::sleep(time);
        self.etcd.restart();
    }

    fn restart_empty(&mut self) -> bool {
        self.entries.clear();
        self.crowded = false;
        self.etcd.restart_empty();
        true
    }

    fn crowd(&mut self, entries: &[String], count: usize, passed: &mut dyn FnMut(&[String])) -> usize {
        self.publish(entries, passed);
        let pairs = strangers(count).enumerate().map(|(n, value)| (format!("/{NAME}/crowd/{n:06}"), value));
        self.etcd.put_all(&pairs.collect::<Vec<_>>());
        self.crowded = true;
        count
    }

    fn meddler(&self) -> Option<&Meddler> {
        Some(&self.meddler)
    }
}

/// A file in JSON. Its crashes are its absence, its frost is a half-written text.
pub(crate) struct Json {
    dir: PathBuf,
    text: String,
}

impl Json {
    pub(crate) fn start(bed: &Bed) -> Self {
        let dir = bed.dir.join("endpoints");
        std::fs::create_dir_all(&dir).unwrap();
        Self { dir, text: "[]".to_owned() }
    }

    fn write(&mut self) {
        let new = self.dir.join("new");
        std::fs::write(&new, &self.text).unwrap();
        std::fs::rename(new, self.dir.join(NAME)).unwrap();
    }
}

impl Source for Json {
    fn config(&self) -> (String, String) {
        (
            format!("[registry.main]\nkind = \"file\"\ndir = \"{}\"\npoll = \"1s\"\n", self.dir.display()),
            format!("{{ registry = \"main\", service = \"{NAME}\", format = \"json\" }}"),
        )
    }

    fn publish(&mut self, entries: &[String], passed: &mut dyn FnMut(&[String])) {
        passed(entries);
        self.text = serde_json::to_string(entries).unwrap();
        self.write();
    }

    fn deregister_all(&mut self) -> bool {
        self.text = "[]".to_owned();
        self.write();
        true
    }

    fn freeze(&mut self, time: Duration) {
        std::fs::write(self.dir.join(NAME), &self.text[..self.text.len() - 1]).unwrap();
        thread::sleep(time);
        self.write();
    }

    fn kill(&mut self, time: Duration) {
        let _ = std::fs::remove_file(self.dir.join(NAME));
        thread::sleep(time);
        self.write();
    }

    fn restart_empty(&mut self) -> bool {
        std::fs::write(self.dir.join(NAME), "").unwrap();
        thread::sleep(Duration::from_millis(300));
        self.write();
        false
    }

    fn crowd(&mut self, entries: &[String], count: usize, passed: &mut dyn FnMut(&[String])) -> usize {
        let all: Vec<String> = entries.iter().cloned().chain(strangers(count)).collect();
        self.publish(&all, passed);
        count
    }
}

/// The name of everything.
pub(crate) const NAME: &str = "nemesis";
/// Port of the one who stands before a registry.
pub(crate) const MEDDLER: u16 = 19600;
/// Entries of one publisher. The server takes 50,000 after 10 s and never pushes 100,000 in the memory that it has here.
const MOST_IN_SOFA: usize = 20_000;
/// A request whose content has 2 GiB.
const BOLT: &[&[u8]] = &[&[1, 1, 0, 1, 1, 0, 0, 0, 9, 1, 0, 0, 0x10, 0, 0, 40, 0, 0, 0x7f, 0xff, 0xff, 0xff]];
/// A frame of 16 MiB, and a message of 4 GiB.
const HTTP2: &[&[u8]] =
    &[&[0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 1], &[0, 0, 5, 0, 0, 0, 0, 0, 1, 0, 0xff, 0xff, 0xff, 0xff]];

/// Entries that are never backends: this host's own loopback.
fn strangers(count: usize) -> impl Iterator<Item = String> {
    (0..count).map(|n| format!("127.{}.{}.{}:80", n / 62_500, n / 250 % 250, n % 250 + 1))
}
