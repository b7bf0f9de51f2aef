//! Frames on a wire: made on this CPU, sent into one end of a veth pair, met by the program in native mode at the other,
//! dropped there or sent back and dropped where they came from. All of it happens on one CPU and counts.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use aya::programs::xdp::XdpLink;
use aya::programs::{Xdp, XdpMode};
use proxy_common::Reason;
use proxy_user::lab::{Namespace, Port, Veth, run_in};

use super::Effort;
use super::case::syns;
use super::frame::{self, Flow, Segment};
use super::rig::{Load, PLAIN_DROP, PLAIN_SINK, PLAIN_TX, Plain, Rig, XDP_REDIRECT};
use super::stage::Stage;
use super::world::{Acl, DSR, NAT, World, listed};

/// A row, in frames a second.
pub(super) struct Wire {
    pub(super) name: &'static str,
    /// Millions of frames a second through weir.
    pub(super) mpps: f64,
    /// The same through a program that only counts them.
    pub(super) plain_mpps: f64,
}

impl Wire {
    /// Weir's share of the plain program's rate.
    pub(super) fn ratio(&self) -> f64 {
        self.mpps / self.plain_mpps
    }
}

/// Measures all rows, in a namespace of their own.
pub(super) fn run(stage: &Stage, flows: &[Flow], first: Flow, effort: Effort) -> Result<Vec<Wire>> {
    let namespace = Namespace::new("bench")?;
    // The stack's own packets (multicast listeners) would be counted too.
    for which in ["all", "default"] {
        namespace.set_sysctl(&format!("net/ipv6/conf/{which}/disable_ipv6"), "1")?;
    }
    let (near, far) = Veth::pair((&namespace, "near"), (&namespace, "far"))?;
    run_in(&namespace, || inside(stage, flows, first, effort, &near, &far))?
}

/// The two ends of the wire: frames leave at `near`, and the program is at `far`.
struct Ends<'a> {
    near: &'a Port,
    far: &'a Port,
    frames: u32,
}

fn inside(
    stage: &Stage,
    flows: &[Flow],
    first: Flow,
    effort: Effort,
    near: &Port,
    far: &Port,
) -> Result<Vec<Wire>> {
    let mut rig = Rig::new(flows)?;
    let mut world = World::new(&mut rig, stage.pins(), "live", Acl::Deny, far.index())?;
    // The test run comes in by another interface than the backends are behind.
    world.establish(&mut rig, &syns(true, first, 1), XDP_REDIRECT)?;
    // What is sent back must arrive somewhere; an end with a program takes frames from XDP.
    let _sink = attach(rig.plain(PLAIN_SINK)?, near)?;
    let ends = Ends { near, far, frames: effort.frames };
    let ours = |to, segment| Load {
        frame: frame::tcp(first.client(true), frame::port(first), to, segment),
        flows: 1,
    };
    let denied =
        Load { frame: frame::tcp(listed(true)?, frame::port(first), DSR[0], Segment::Ack), flows: 1 };
    let cases = [
        ("live-drop", denied, Reason::AclDrop, PLAIN_DROP),
        ("live-dsr-l2", ours(DSR[0], Segment::Ack), Reason::DsrL2, PLAIN_TX),
        ("live-nat", ours(NAT[0], Segment::Ack), Reason::Nat, PLAIN_TX),
    ];
    let mut best = [(Duration::MAX, Duration::MAX); 3];
    for _ in 0..effort.rounds {
        for ((name, load, reason, plain), (whole, floor)) in cases.iter().zip(&mut best) {
            let run =
                ends.plain(&mut rig, load, *plain).with_context(|| format!("plain program of {name}"))?;
            *floor = run.min(*floor);
            let run =
                ends.weir(&mut rig, &mut world, load, *reason).with_context(|| format!("row {name}"))?;
            *whole = run.min(*whole);
        }
    }
    let mpps = |time: Duration| 1e-6 / time.as_secs_f64();
    let rows = cases.iter().zip(best);
    Ok(rows
        .map(|((name, ..), (whole, floor))| Wire { name, mpps: mpps(whole), plain_mpps: mpps(floor) })
        .collect())
}

impl Ends<'_> {
    /// Through a program that only counts. The mean time of a frame.
    fn plain(&self, rig: &mut Rig, load: &Load, plain: Plain) -> Result<Duration> {
        let _link = attach(rig.plain(plain)?, self.far)?;
        let before = rig.counted(plain)?;
        let time = rig.send(load, self.near.index(), self.frames)?;
        arrived(u64::from(self.frames), || Ok(rig.counted(plain)?.wrapping_sub(before)))?;
        Ok(time)
    }

    /// Through weir.
    fn weir(&self, rig: &mut Rig, world: &mut World, load: &Load, reason: Reason) -> Result<Duration> {
        let _link = attach(world.loaded.xdp_mut()?, self.far)?;
        let before = world.counts()?;
        let sum = |counts: Vec<u64>| counts.into_iter().fold(0, u64::wrapping_add);
        let started = sum(before.clone());
        let time = rig.send(load, self.near.index(), self.frames)?;
        arrived(u64::from(self.frames), || Ok(sum(world.counts()?).wrapping_sub(started)))?;
        world.verify(&before, reason, u64::from(self.frames))?;
        Ok(time)
    }
}

/// Attaches until the link is dropped.
fn attach(program: &mut Xdp, port: &Port) -> Result<XdpLink> {
    let link = program.attach_to_if_index(port.index(), XdpMode::Driver);
    Ok(program.take_link(link.with_context(|| format!("attaching to {}", port.name()))?)?)
}

/// Waits for the last frames of a batch, which may still be on their way when the sender is done.
fn arrived(frames: u64, count: impl Fn() -> Result<u64>) -> Result<()> {
    let end = Instant::now() + PATIENCE;
    loop {
        let seen = count()?;
        if seen == frames {
            return Ok(());
        }
        ensure!(Instant::now() < end, "{seen} of {frames} frames arrived: the rate would not be true");
        thread::sleep(Duration::from_millis(5));
    }
}

const PATIENCE: Duration = Duration::from_secs(2);
