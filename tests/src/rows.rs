//! Rows: a description, settings, packets in their order, and for each the reason and the packet that leaves, written by
//! hand. Every row runs on the library, on the naive oracle and on the loaded object.

mod acl;
mod deliver;
mod direct;
mod errors;
mod flows;
mod headers;
mod scene;
mod services;

use proxy_common::{Class, Reason};

use crate::engine::Verdict;
use crate::object::Object;
use crate::packet::Packet;
use crate::trial::{Trial, hex};
use crate::world::World;

/// A row.
pub struct Row {
    /// What it shows.
    pub name: &'static str,
    /// Settings at the beginning.
    pub world: World,
    /// Entries that the flow table takes.
    pub capacity: u32,
    /// What happens.
    pub steps: Vec<Step>,
}

/// Something that happens.
pub enum Step {
    /// A frame comes in.
    Frame {
        /// Its bytes.
        frame: Vec<u8>,
        /// By this interface.
        ingress: u32,
        /// Why it is treated as it is.
        reason: Reason,
        /// The verdict and the frame after it, for steered packets.
        out: Option<(Verdict, Vec<u8>)>,
    },
    /// The settings become these.
    Set(Box<World>),
    /// So many ticks pass. The kernel's clock can't be set, so that such rows run without the object.
    Wait(u32),
}

/// Capacity of rows that do not care.
pub const ROOM: u32 = 1_024;

impl Row {
    fn new(name: &'static str, world: World) -> Self {
        Self { name, world, capacity: ROOM, steps: Vec::new() }
    }

    /// A packet that is dropped or passes, by interface 1.
    fn stops(self, packet: &Packet, reason: Reason) -> Self {
        self.frame(packet.build(), reason)
    }

    /// The same for several.
    fn stops_all(self, packets: impl Iterator<Item = Packet>, reason: Reason) -> Self {
        packets.fold(self, |row, packet| row.stops(&packet, reason))
    }

    /// The same as bytes.
    fn frame(mut self, frame: Vec<u8>, reason: Reason) -> Self {
        assert_ne!(reason.class(), Class::Steer);
        self.steps.push(Step::Frame { frame, ingress: 1, reason, out: None });
        self
    }

    /// A packet that comes in by interface 1 and is steered.
    fn steers(self, packet: &Packet, reason: Reason, verdict: Verdict, out: &Packet) -> Self {
        self.steers_from(1, packet, reason, verdict, out)
    }

    /// The same by another interface.
    fn steers_from(
        mut self,
        ingress: u32,
        packet: &Packet,
        reason: Reason,
        verdict: Verdict,
        out: &Packet,
    ) -> Self {
        let out = Some((verdict, out.build()));
        self.steps.push(Step::Frame { frame: packet.build(), ingress, reason, out });
        self
    }

    fn set(mut self, world: World) -> Self {
        self.steps.push(Step::Set(Box::new(world)));
        self
    }

    fn wait(mut self, ticks: u32) -> Self {
        self.steps.push(Step::Wait(ticks));
        self
    }

    fn capacity(mut self, entries: u32) -> Self {
        self.capacity = entries;
        self
    }

    /// Whether it can run on the object.
    pub fn runs_on_object(&self) -> bool {
        !self.steps.iter().any(|step| matches!(step, Step::Wait(_)))
    }

    /// Runs it; panics at the first difference.
    pub fn run(&self, object: Option<&mut Object>) {
        let mut trial = Trial::new(&self.world, self.capacity as usize, object);
        for (number, step) in (1..).zip(&self.steps) {
            let place = format!("row \"{}\", step {number}", self.name);
            match step {
                Step::Set(world) => trial.set(world),
                Step::Wait(ticks) => trial.advance(*ticks),
                Step::Frame { frame, ingress, reason, out } => {
                    let (found, result) = trial
                        .run(frame, *ingress)
                        .unwrap_or_else(|difference| panic!("{place}: {difference}"));
                    assert_eq!(found.label(), reason.label(), "{place}: {}", hex(frame));
                    let (verdict, expected) = match (out, reason.class()) {
                        (Some((verdict, expected)), _) => (*verdict, expected),
                        (None, Class::Pass) => (Verdict::Pass, frame),
                        (None, _) => (Verdict::Drop, &result.frame),
                    };
                    assert_eq!(result.verdict, verdict, "{place}");
                    assert_eq!(hex(&result.frame), hex(expected), "{place}");
                }
            }
            trial.compare_counters().unwrap_or_else(|difference| panic!("{place}: {difference}"));
        }
        trial.compare_flows().unwrap_or_else(|difference| panic!("row \"{}\": {difference}", self.name));
    }
}

/// All rows.
pub fn all() -> Vec<Row> {
    [
        headers::rows(),
        acl::rows(),
        services::rows(),
        direct::rows(),
        deliver::rows(),
        flows::rows(),
        errors::rows(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
