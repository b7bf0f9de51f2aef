//! The helper object: puts a packet in place before every run and hands it to the program to measure.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use aya::maps::{Array, MapData, PerCpuArray, ProgramArray};
use aya::programs::{ProgramFd, Xdp};
use aya::{Ebpf, TestRun as _, TestRunAttrs, TestRunOptions};

use super::frame::{self, Flow};

static OBJECT: &[u8] = aya::include_bytes_aligned!("../../bpf/bench.bpf.o");

/// `xdp_action` numbers.
pub(super) const XDP_DROP: u32 = 1;
pub(super) const XDP_PASS: u32 = 2;
pub(super) const XDP_TX: u32 = 3;
pub(super) const XDP_REDIRECT: u32 = 4;

/// Programs without work, which answer an action at once.
const FLOORS: [(u32, &str); 3] =
    [(XDP_DROP, "bench_floor_drop"), (XDP_PASS, "bench_floor_pass"), (XDP_TX, "bench_floor_tx")];

/// A program for the wire that counts and does no more.
#[derive(Clone, Copy)]
pub(super) struct Plain {
    name: &'static str,
    counter: u32,
}

/// Drops.
pub(super) const PLAIN_DROP: Plain = Plain { name: "bench_plain_drop", counter: 0 };
/// Sends back.
pub(super) const PLAIN_TX: Plain = Plain { name: "bench_plain_tx", counter: 1 };
/// Drops what was sent back.
pub(super) const PLAIN_SINK: Plain = Plain { name: "bench_sink", counter: 2 };

const RESTORE: &str = "bench_restore";

/// What a run sends.
#[derive(Clone)]
pub(super) struct Load {
    /// The packet.
    pub(super) frame: Vec<u8>,
    /// Flows written over its source in turn; 1 leaves it alone. A power of two.
    pub(super) flows: u32,
}

/// The loaded helpers.
pub(super) struct Rig {
    ebpf: Ebpf,
    run: Array<MapData, [u32; 4]>,
    template: Array<MapData, [u64; 10]>,
    targets: ProgramArray<MapData>,
    next_target: u32,
}

impl Rig {
    /// Loads the helpers and gives them the flows.
    pub(super) fn new(flows: &[Flow]) -> Result<Self> {
        let mut ebpf = Ebpf::load(OBJECT).context("loading the benchmark's helper object")?;
        let wire = [PLAIN_DROP, PLAIN_TX, PLAIN_SINK].map(|plain| plain.name);
        for name in [RESTORE].into_iter().chain(FLOORS.map(|(_, name)| name)).chain(wire) {
            program(&mut ebpf, name)?.load().with_context(|| format!("loading the helper program {name}"))?;
        }
        let mut list: Array<_, u64> = map(&mut ebpf, "bench_flows")?.try_into()?;
        for (index, flow) in (0..).zip(flows) {
            list.set(index, flow.word(), 0)?;
        }
        let run = map(&mut ebpf, "bench_run")?.try_into()?;
        let template = map(&mut ebpf, "bench_template")?.try_into()?;
        let mut targets: ProgramArray<_> = map(&mut ebpf, "bench_targets")?.try_into()?;
        for (action, name) in FLOORS {
            targets.set(action, program(&mut ebpf, name)?.fd()?, 0)?;
        }
        Ok(Self { ebpf, run, template, targets, next_target: 8 })
    }

    /// Adds a program to measure, and answers its target number. Targets [`XDP_DROP`], [`XDP_PASS`] and [`XDP_TX`] are
    /// the floors.
    pub(super) fn add(&mut self, program: &ProgramFd) -> Result<u32> {
        let target = self.next_target;
        self.targets.set(target, program, 0).context("making a program a tail call's target")?;
        self.next_target += 1;
        Ok(target)
    }

    /// Runs a target on `repeat` packets; it must answer `action`. The mean time of a packet.
    pub(super) fn measure(&mut self, load: &Load, target: u32, action: u32, repeat: u32) -> Result<Duration> {
        self.aim(load, target)?;
        let mut output = vec![0; load.frame.len() + 256];
        let options = TestRunOptions {
            data_in: Some(&load.frame),
            data_out: Some(&mut output),
            repeat,
            ..TestRunOptions::new()
        };
        let restore = program(&mut self.ebpf, RESTORE)?;
        let result = restore.test_run(options).context("running a program on test packets")?;
        ensure!(
            result.return_value == action,
            "the program answered action {} and not {action}",
            result.return_value
        );
        Ok(result.duration)
    }

    /// Sends `repeat` frames out of an interface. The mean time of a frame, with what the frames caused behind the
    /// interface on this CPU.
    pub(super) fn send(&mut self, load: &Load, ifindex: u32, repeat: u32) -> Result<Duration> {
        self.aim(load, XDP_TX)?;
        let length = u32::try_from(load.frame.len())?;
        // struct xdp_md: data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex.
        let context: Vec<u8> = [0, length, 0, ifindex, 0, 0].into_iter().flat_map(u32::to_ne_bytes).collect();
        let options = TestRunOptions {
            data_in: Some(&load.frame),
            ctx_in: Some(&context),
            repeat,
            attrs: TestRunAttrs::new().xdp_live_frames(BATCH),
            ..TestRunOptions::new()
        };
        let restore = program(&mut self.ebpf, RESTORE)?;
        Ok(restore.test_run(options).context("sending live frames (Linux 5.18 or newer)")?.duration)
    }

    /// A program for the wire, to attach.
    pub(super) fn plain(&mut self, plain: Plain) -> Result<&mut Xdp> {
        program(&mut self.ebpf, plain.name)
    }

    /// Packets that it has counted.
    pub(super) fn counted(&self, plain: Plain) -> Result<u64> {
        let map = self.ebpf.map("bench_counts").context("the helper object has no map bench_counts")?;
        let counts: PerCpuArray<_, u64> = map.try_into()?;
        Ok(counts.get(&plain.counter, 0)?.iter().sum())
    }

    fn aim(&mut self, load: &Load, target: u32) -> Result<()> {
        ensure!(
            load.flows.is_power_of_two() && load.flows <= frame::FLOWS,
            "a number of flows that has no mask"
        );
        let mut words = [0; 10];
        for (word, bytes) in words.iter_mut().zip(load.frame.as_chunks::<8>().0) {
            *word = u64::from_ne_bytes(*bytes);
        }
        self.template.set(0, words, 0)?;
        self.run.set(0, [0, load.flows - 1, u32::from(load.flows > 1), target], 0)?;
        Ok(())
    }
}

/// Frames that leave together.
const BATCH: u32 = 64;

fn program<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut Xdp> {
    let program =
        ebpf.program_mut(name).with_context(|| format!("the helper object has no program {name}"))?;
    Ok(program.try_into()?)
}

fn map(ebpf: &mut Ebpf, name: &str) -> Result<aya::maps::Map> {
    ebpf.take_map(name).with_context(|| format!("the helper object has no map {name}"))
}
