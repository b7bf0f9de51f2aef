//! A name that the nemesis ill-treats: knot, with a record for each entry. An entry with a weight or a path cannot be
//! said in address records and is left out; addresses in 10.3/16, which the harness gives weight 0, are put on loopback.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::thread;
use std::time::Duration;

use proxy_user::lab::{Namespace, Port};

use crate::bed::{Bed, Link};
use crate::knot::{BROKEN, Knot};
use crate::meddler::Meddler;
use crate::sources::{MEDDLER, NAME, Source};

/// knot with one zone.
pub(crate) struct Names {
    knot: Knot,
    records: BTreeSet<Ipv4Addr>,
    link: Link,
    meddler: Meddler,
}

impl Names {
    pub(crate) fn start(bed: &Bed) -> Option<Self> {
        let (space, address) = (Namespace::new("knot").unwrap(), Ipv4Addr::new(10, 99, 5, 1));
        let lo = Port::named(&space, "lo").unwrap();
        lo.add_address(format!("{address}/32").parse().unwrap()).unwrap();
        let knot = Knot::start(&space, address, &bed.dir, &[(ZONE, "")])?;
        let meddler = Meddler::start(&space, knot.endpoint(), MEDDLER, OVER_TCP);
        Some(Self { knot, records: BTreeSet::new(), link: bed.link(&space, address), meddler })
    }

    fn change(&mut self, records: BTreeSet<Ipv4Addr>) {
        let mut lines = vec![format!("del {NAME} A")];
        lines.extend(records.iter().map(|address| format!("add {NAME} 1 A {address}")));
        self.knot.update(ZONE, &lines.iter().map(String::as_str).collect::<Vec<_>>());
        self.records = records;
    }

    /// Starts it again with what it has.
    fn restart(&mut self) {
        let records = self.records.iter().map(|address| format!("{NAME} 1 A {address}\n"));
        self.knot.write(ZONE, &records.collect::<String>());
        self.knot.restart();
    }
}

impl Source for Names {
    fn link(&self) -> Option<&Link> {
        Some(&self.link)
    }

    fn config(&self) -> (String, String) {
        let at = self.meddler.at();
        (
            format!(
                "[registry.main]\nkind = \"dns\"\nservers = [\"{at}\"]\ntimeout = \"500ms\"\n\
                 min_ttl = \"200ms\"\nmax_ttl = \"1s\"\n"
            ),
            format!("{{ registry = \"main\", service = \"{NAME}.{ZONE}\", port = 80, record = \"a\" }}"),
        )
    }

    fn publish(&mut self, entries: &[String], passed: &mut dyn FnMut(&[String])) {
        let records: BTreeSet<_> = entries.iter().filter_map(|entry| record(entry)).collect();
        let said: Vec<String> = records.iter().map(|address| format!("{address}:80")).collect();
        passed(&said);
        self.change(records);
    }

    fn deregister_all(&mut self) -> bool {
        self.change(BTreeSet::new());
        true
    }

    fn freeze(&mut self, time: Duration) {
        self.knot.freeze();
        thread::sleep(time);
        self.knot.thaw();
    }

    fn kill(&mut self, time: Duration) {
        self.knot.kill();
        thread::sleep(time);
        self.restart();
    }

    fn restart_empty(&mut self) -> bool {
        self.records.clear();
        self.restart();
        true
    }

    fn crowd(&mut self, entries: &[String], count: usize, passed: &mut dyn FnMut(&[String])) -> usize {
        let mut records: BTreeSet<_> = entries.iter().filter_map(|entry| record(entry)).collect();
        let said: Vec<String> = records.iter().map(|address| format!("{address}:80")).collect();
        passed(&said);
        let count = count.min(MOST);
        let strangers = (0..count).map(|n| Ipv4Addr::from(0x7f01_0000 + u32::try_from(n).unwrap()));
        records.extend(strangers);
        self.change(records);
        count
    }

    fn fail(&mut self, time: Duration) {
        self.knot.write(ZONE, BROKEN);
        self.knot.restart();
        thread::sleep(time);
        self.restart();
    }

    fn meddler(&self) -> Option<&Meddler> {
        Some(&self.meddler)
    }
}

fn record(entry: &str) -> Option<Ipv4Addr> {
    if let Some(rest) = entry.strip_prefix("http://10.3.") {
        return format!("127.3.{}", rest.split(':').next()?).parse().ok();
    }
    Some(*entry.parse::<SocketAddrV4>().ok()?.ip())
}

const ZONE: &str = "example";
/// More do not fit into an answer.
const MOST: usize = 3_500;
/// The length of an answer that does not come.
const OVER_TCP: &[&[u8]] = &[&[0xff, 0xff]];
