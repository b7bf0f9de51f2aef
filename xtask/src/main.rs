//! Everything a weir developer runs by name: `cargo xtask TASK`.

mod bench;
mod build_ebpf;
mod ci;
mod proto;
mod size;

use std::path::Path;

use anyhow::Context as _;
use clap::{Parser, Subcommand};

/// weir's developer tasks.
#[derive(Parser)]
#[command(name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Rebuild the kernel object from source (needs nightly, rust-src and bpf-linker).
    BuildEbpf {
        /// Change nothing; fail if the committed object is not byte for byte what the source gives.
        #[arg(long)]
        check: bool,
    },
    /// Make the Rust code for registries that speak Protobuf from `proxy-user/proto`.
    Proto {
        /// Change nothing; fail if the committed code is not what the descriptions give.
        #[arg(long)]
        check: bool,
    },
    /// All that continuous integration runs.
    Ci,
    /// Refuse source files that are too long.
    Size,
    /// Measure the packet path: nanoseconds per packet net of the harness, and frames over a veth pair (needs root).
    Bench {
        /// One JSON object a line.
        #[arg(long)]
        json: bool,
        /// Fewer packets a round: under a minute, less exact.
        #[arg(long)]
        quick: bool,
    },
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().task {
        Task::BuildEbpf { check } => build_ebpf::run(check),
        Task::Proto { check } => proto::run(check),
        Task::Ci => ci::run(),
        Task::Size => {
            size::run(Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask has no parent folder")?)
        }
        Task::Bench { json, quick } => bench::run(json, quick),
    }
}
