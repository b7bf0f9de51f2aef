//! Registries that the nemesis ill-treats, all led alike.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use proxy_user::lab::Namespace;

use crate::bed::{Bed, Link};
use crate::etcd::Etcd;
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
}

/// SOFARegistry 6.3.0 with its own Java client.
pub(crate) struct Sofa {
    registry: SofaRegistry,
    publisher: Publisher,
    published: bool,
    link: Link,
}

impl Sofa {
    pub(crate) fn start(bed: &Bed) -> Option<Self> {
        let (space, address) = (Namespace::new("registry").unwrap(), Ipv4Addr::new(10, 99, 3, 1));
        let registry = SofaRegistry::start(Version::V6, &space, address, &bed.dir)?;
        let link = bed.link(&space, address);
        let publisher = Publisher::start("publisher", &bed.backends[0], &bed.dir, registry.endpoint(), &[])?;
        Some(Self { registry, publisher, published: false, link })
    }
}

impl Source for Sofa {
    fn link(&self) -> Option<&Link> {
        Some(&self.link)
    }

    fn config(&self) -> (String, String) {
        let at = self.registry.endpoint();
        (
            format!("[registry.main]\nkind = \"sofa\"\nendpoints = [\"{at}\"]\ngroup = \"{GROUP}\"\n"),
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
}

/// etcd, a key for each entry.
pub(crate) struct EtcdKeys {
    etcd: Etcd,
    entries: Vec<String>,
    link: Link,
}

impl EtcdKeys {
    pub(crate) fn start(bed: &Bed) -> Option<Self> {
        let (space, address) = (Namespace::new("etcd").unwrap(), Ipv4Addr::new(10, 99, 4, 1));
        let lo = proxy_user::lab::Port::named(&space, "lo").unwrap();
        lo.add_address(format!("{address}/32").parse().unwrap()).unwrap();
        let etcd = Etcd::start(&space, address, &bed.dir)?;
        Some(Self { etcd, entries: Vec::new(), link: bed.link(&space, address) })
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
        let at = self.etcd.endpoint();
        (
            format!(
                "[registry.main]\nkind = \"etcd\"\nendpoints = [\"http://{at}\"]\ntimeout = \"1s\"\nkeepalive = \"5s\"\n"
            ),
            format!("{{ registry = \"main\", service = \"/{NAME}\" }}"),
        )
    }

    fn publish(&mut self, entries: &[String], passed: &mut dyn FnMut(&[String])) {
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
        self.etcd.restart_empty();
        true
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
}

const NAME: &str = "nemesis";
