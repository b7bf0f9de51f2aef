//! Everything a weir developer runs by name: `cargo xtask TASK`.

mod bench;
mod build_ebpf;

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
        Task::Bench { json, quick } => bench::run(json, quick),
    }
}
