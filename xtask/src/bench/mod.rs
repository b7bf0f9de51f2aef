//! `cargo xtask bench`: what a packet costs in the loaded object, and how many frames a second go over a veth pair.
//!
//! A plain `repeat` of a test run would measure the second packet as the first one left it. So a helper program puts the
//! packet back before every run, picks the next flow, and tail-calls the program; a floor is an empty program in that
//! place with the same packet and the same answer. Rows are measured in turn, round after round, and the quietest round
//! counts, since the machine's other work comes and goes. Each row is compared with the object's own counters.

mod case;
mod frame;
pub(crate) mod l7;
mod live;
pub(crate) mod registry;
mod report;
mod rig;
mod stage;
mod world;

use anyhow::{Context as _, Result, ensure};

use case::{Row, Tables};
use rig::Rig;
use stage::Stage;

/// How much to measure.
#[derive(Clone, Copy)]
struct Effort {
    rounds: usize,
    /// Packets of a row in a round.
    packets: u32,
    /// Frames of a row on the wire in a round.
    frames: u32,
}

const FULL: Effort = Effort { rounds: 9, packets: 8 * frame::FLOWS, frames: 2_000_000 };
const QUICK: Effort = Effort { rounds: 5, packets: 2 * frame::FLOWS, frames: 400_000 };

/// Measures and prints.
pub(crate) fn run(json: bool, quick: bool) -> Result<()> {
    ensure!(
        nix::unistd::geteuid().is_root(),
        "bench loads programs and makes network namespaces: run it as root"
    );
    let effort = if quick { QUICK } else { FULL };
    let stage = Stage::new()?;
    let flows = frame::flows();
    let first = *flows.first().context("there are no flows")?;
    if !json {
        report::preface(effort.rounds, effort.packets, effort.frames, stage.cpu());
    }
    let rows = micro(&stage, &flows, first, effort)?;
    let wire = live::run(&stage, &flows, first, effort)?;
    if json {
        return report::json(&rows, &wire);
    }
    report::table(&rows, &wire);
    Ok(())
}

fn micro(stage: &Stage, flows: &[frame::Flow], first: frame::Flow, effort: Effort) -> Result<Vec<Row>> {
    let mut rig = Rig::new(flows)?;
    let cases = case::all(first)?;
    let mut tables = Tables::new(&mut rig, stage.pins(), first)?;
    let mut rows: Vec<Row> = cases.iter().map(Row::new).collect();
    for _ in 0..effort.rounds {
        for (case, row) in cases.iter().zip(&mut rows) {
            let measured = tables.measure(&mut rig, case, effort.packets);
            row.add(measured.with_context(|| format!("row {}", case.name))?);
        }
    }
    Ok(rows)
}
