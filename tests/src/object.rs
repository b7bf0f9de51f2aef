//! The committed kernel object, loaded without attaching, and run by `BPF_PROG_TEST_RUN`.
//!
//! It runs in a network namespace of its own with an extra pair of links, so that packets can come in by interfaces 1,
//! 2 and 3. The object's own loader is not used: a fault there must not hide one here.

mod counters;
mod links;

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};
use aya::maps::lpm_trie::Key;
use aya::maps::{Array, HashMap, LpmTrie, MapData, PerCpuArray};
use aya::programs::{TestRun, TestRunOptions, Xdp};
use aya::{Ebpf, EbpfLoader, Pod};
use ipnet::IpNet;
use proxy_common::{
    AclClass, Addr, BackendValue, BudgetValue, CacheLine, ConfigValue, Count, DestinationValue, FlowKey,
    FlowValue, RingBlock, ServiceKey, ServiceValue, SnatValue, TrafficCount,
};

use crate::engine::{self, Verdict};
use crate::world::Maps;

/// The loaded object.
pub struct Object {
    config: Array<MapData, ConfigValue>,
    filter: Array<MapData, u64>,
    destinations: HashMap<MapData, Addr, DestinationValue>,
    services: HashMap<MapData, ServiceKey, ServiceValue>,
    rings: Array<MapData, RingBlock>,
    backends: Array<MapData, BackendValue>,
    snat: Array<MapData, SnatValue>,
    acl4: [LpmTrie<MapData, [u8; 4], u32>; 2],
    acl6: [LpmTrie<MapData, [u8; 16], u32>; 2],
    classes: Array<MapData, AclClass>,
    flows: HashMap<MapData, FlowKey, FlowValue>,
    cache: Array<MapData, CacheLine>,
    budget: Array<MapData, BudgetValue>,
    spent: PerCpuArray<MapData, BudgetValue>,
    reason_counts: PerCpuArray<MapData, Count>,
    list_counts: PerCpuArray<MapData, Count>,
    service_counts: PerCpuArray<MapData, TrafficCount>,
    backend_counts: PerCpuArray<MapData, TrafficCount>,
    ebpf: Ebpf,
    out: Vec<u8>,
    used: Used,
}

/// Slot of the program's counters.
const INTERFACE_SLOT: u32 = 1;

impl Object {
    /// Loads it, with room for so many flow entries. Moves the calling thread to a new network namespace.
    ///
    /// # Errors
    /// Without the rights or the kernel for it.
    pub fn load(flows: u32) -> Result<Self> {
        links::isolate().context("make a network namespace with two links")?;
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../proxy-user/bpf/weir.bpf.o");
        let bytes = std::fs::read(&path).with_context(|| format!("read {}", path.display()))?;
        let mut loader = EbpfLoader::new();
        loader.override_global("INTERFACE_SLOT", &INTERFACE_SLOT, true).map_max_entries("weir_flows", flows);
        for acl in ["weir_acl4_a", "weir_acl4_b", "weir_acl6_a", "weir_acl6_b"] {
            loader.map_max_entries(acl, 4_096);
        }
        let mut ebpf = loader.load(&bytes).context("load the object's maps")?;
        for name in ["weir", "weir_clock"] {
            let program: &mut Xdp =
                ebpf.program_mut(name).with_context(|| format!("program `{name}`"))?.try_into()?;
            program.load().map_err(|error| anyhow!("load program `{name}`: {}", tail(&error.to_string())))?;
        }
        // Programs hold the maps from here on, so that they can be taken from the loader.
        Ok(Self {
            config: Array::try_from(take(&mut ebpf, "weir_config")?)?,
            filter: Array::try_from(take(&mut ebpf, "weir_filter")?)?,
            destinations: HashMap::try_from(take(&mut ebpf, "weir_dests")?)?,
            services: HashMap::try_from(take(&mut ebpf, "weir_services")?)?,
            rings: Array::try_from(take(&mut ebpf, "weir_rings")?)?,
            backends: Array::try_from(take(&mut ebpf, "weir_backends")?)?,
            snat: Array::try_from(take(&mut ebpf, "weir_snat")?)?,
            acl4: [
                LpmTrie::try_from(take(&mut ebpf, "weir_acl4_a")?)?,
                LpmTrie::try_from(take(&mut ebpf, "weir_acl4_b")?)?,
            ],
            acl6: [
                LpmTrie::try_from(take(&mut ebpf, "weir_acl6_a")?)?,
                LpmTrie::try_from(take(&mut ebpf, "weir_acl6_b")?)?,
            ],
            classes: Array::try_from(take(&mut ebpf, "weir_classes")?)?,
            flows: HashMap::try_from(take(&mut ebpf, "weir_flows")?)?,
            cache: Array::try_from(take(&mut ebpf, "weir_cache")?)?,
            budget: Array::try_from(take(&mut ebpf, "weir_budget")?)?,
            spent: PerCpuArray::try_from(take(&mut ebpf, "weir_spent")?)?,
            reason_counts: PerCpuArray::try_from(take(&mut ebpf, "stats_reasons")?)?,
            list_counts: PerCpuArray::try_from(take(&mut ebpf, "stats_lists")?)?,
            service_counts: PerCpuArray::try_from(take(&mut ebpf, "stats_services")?)?,
            backend_counts: PerCpuArray::try_from(take(&mut ebpf, "stats_backends")?)?,
            ebpf,
            out: vec![0; 65_536],
            used: Used::default(),
        })
    }

    /// Runs a frame of at least 14 bytes that came in by interface 1, 2 or 3.
    ///
    /// # Errors
    /// The kernel's, or a verdict that weir never gives.
    pub fn run(&mut self, frame: &[u8], ingress: u32) -> Result<engine::Result> {
        let program: &Xdp = self.ebpf.program("weir").context("program `weir`")?.try_into()?;
        // struct xdp_md: data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex.
        let mut context = [0; 24];
        context[4..8].copy_from_slice(&(frame.len() as u32).to_ne_bytes());
        context[12..16].copy_from_slice(&ingress.to_ne_bytes());
        let result = program.test_run(TestRunOptions {
            data_in: Some(frame),
            data_out: Some(&mut self.out),
            ctx_in: Some(&context),
            ..TestRunOptions::new()
        })?;
        let verdict = match result.return_value {
            1 => Verdict::Drop,
            2 => Verdict::Pass,
            3 => Verdict::Tx,
            4 => Verdict::Redirect,
            other => bail!("the program returned {other}"),
        };
        Ok(engine::Result { verdict, frame: self.out[..result.data_size_out as usize].to_vec() })
    }

    /// The data path's clock: jiffies, lower half.
    ///
    /// # Errors
    /// The kernel's.
    pub fn ticks(&self) -> Result<u32> {
        let program: &Xdp = self.ebpf.program("weir_clock").context("program `weir_clock`")?.try_into()?;
        let mut out = [0; 64];
        program.test_run(TestRunOptions {
            data_in: Some(&[0; 64]),
            data_out: Some(&mut out),
            ..TestRunOptions::new()
        })?;
        Ok(u32::from_le_bytes([out[0], out[1], out[2], out[3]]))
    }

    /// The flow entries.
    ///
    /// # Errors
    /// The kernel's.
    pub fn flow_entries(&self) -> Result<Vec<(FlowKey, FlowValue)>> {
        Ok(self.flows.iter().collect::<std::result::Result<_, _>>()?)
    }

    /// Makes a flow entry by hand.
    ///
    /// # Errors
    /// The kernel's.
    pub fn put_flow(&mut self, key: &FlowKey, value: &FlowValue) -> Result<()> {
        Ok(self.flows.insert(key, value, 0)?)
    }

    /// Notes slots that are about to be used.
    pub fn note(&mut self, used: Used) {
        self.used.filter_words.extend(used.filter_words);
        self.used.backends.extend(used.backends);
        self.used.services.extend(used.services);
        self.used.lists.extend(used.lists);
    }

    /// Takes out every setting, flow, cache entry and counter.
    ///
    /// # Errors
    /// The kernel's.
    pub fn clear(&mut self) -> Result<()> {
        let used = std::mem::take(&mut self.used);
        clear_map(&mut self.destinations)?;
        clear_map(&mut self.services)?;
        clear_map(&mut self.flows)?;
        for trie in &mut self.acl4 {
            clear_trie(trie)?;
        }
        for trie in &mut self.acl6 {
            clear_trie(trie)?;
        }
        for word in &used.filter_words {
            self.filter.set(*word, 0, 0)?;
        }
        for slot in &used.backends {
            self.backends.set(u32::from(*slot), BackendValue::default(), 0)?;
        }
        for id in &used.services {
            self.budget.set(u32::from(*id), BudgetValue::default(), 0)?;
        }
        for line in 0..self.cache.len() {
            if self.cache.get(&line, 0)? != CacheLine::default() {
                self.cache.set(line, CacheLine::default(), 0)?;
            }
        }
        let cpus = aya::util::nr_cpus().map_err(|(_, error)| error)?;
        self.spent.set(0, vec![BudgetValue::default(); cpus].try_into()?, 0)?;
        self.clear_counters(&used, cpus)
    }
}

/// Slots that a test has used, of the maps that can't be listed.
#[derive(Clone, Debug, Default)]
pub struct Used {
    /// Words of `weir_filter`.
    pub filter_words: BTreeSet<u32>,
    /// Slots of `weir_backends`.
    pub backends: BTreeSet<u16>,
    /// Service ids.
    pub services: BTreeSet<u16>,
    /// List slots.
    pub lists: BTreeSet<u16>,
}

impl Maps for Object {
    fn config(&mut self, value: ConfigValue) {
        self.config.set(0, value, 0).expect("weir_config");
    }
    fn filter_word(&mut self, word: u32, value: u64) {
        self.filter.set(word, value, 0).expect("weir_filter");
    }
    fn destination(&mut self, addr: Addr, value: DestinationValue) {
        self.destinations.insert(addr, value, 0).expect("weir_dests");
    }
    fn service(&mut self, key: ServiceKey, value: ServiceValue) {
        self.services.insert(key, value, 0).expect("weir_services");
    }
    fn ring_block(&mut self, block: u32, value: RingBlock) {
        self.rings.set(block, value, 0).expect("weir_rings");
    }
    fn backend(&mut self, slot: u16, value: BackendValue) {
        self.backends.set(u32::from(slot), value, 0).expect("weir_backends");
    }
    fn snat(&mut self, index: u32, value: SnatValue) {
        self.snat.set(index, value, 0).expect("weir_snat");
    }
    fn acl(&mut self, table: u32, prefix: &IpNet, class: u32) {
        let length = u32::from(prefix.prefix_len());
        let done = match prefix {
            IpNet::V4(v4) => {
                self.acl4[table as usize].insert(&Key::new(length, v4.network().octets()), class, 0)
            }
            IpNet::V6(v6) => {
                self.acl6[table as usize].insert(&Key::new(length, v6.network().octets()), class, 0)
            }
        };
        done.expect("weir_acl");
    }
    fn class(&mut self, index: u32, value: AclClass) {
        self.classes.set(index, value, 0).expect("weir_classes");
    }
}

/// The end of a long message: the verifier says last what is wrong.
fn tail(text: &str) -> &str {
    let start = text.char_indices().rev().nth(1_500).map_or(0, |(at, _)| at);
    &text[start..]
}

fn take(ebpf: &mut Ebpf, name: &str) -> Result<aya::maps::Map> {
    ebpf.take_map(name).with_context(|| format!("map `{name}` is not in the object"))
}

fn clear_map<K: Pod, V: Pod>(map: &mut HashMap<MapData, K, V>) -> Result<()> {
    let keys: Vec<K> = map.keys().collect::<std::result::Result<_, _>>()?;
    for key in keys {
        map.remove(&key)?;
    }
    Ok(())
}

fn clear_trie<K: Pod>(map: &mut LpmTrie<MapData, K, u32>) -> Result<()> {
    let keys: Vec<Key<K>> = map.keys().collect::<std::result::Result<_, _>>()?;
    for key in keys {
        map.remove(&key)?;
    }
    Ok(())
}
