//! Everything a weir developer runs by name: `cargo xtask TASK`.

mod bench;
mod build_ebpf;
mod ci;
mod fuzz;
mod proto;
mod size;

use std::path::Path;
use std::process::ExitCode;

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
    /// Look for faults in what reads bytes from outside: damaged bytes without end, on stable Rust.
    Fuzz {
        /// What to fuzz (a wrong name lists them), or `all`.
        target: String,
        /// How long, for each target.
        #[arg(long, default_value_t = 60)]
        seconds: u64,
        /// Replays a run.
        #[arg(long)]
        seed: Option<u64>,
    },
    /// Refuse source files that are too long.
    Size,
    /// The forwarder that `bench l7` compares with.
    #[command(hide = true)]
    L7Floor {
        /// Where to listen
        listen: std::net::SocketAddr,
        /// Where to forward
        to: std::net::SocketAddr,
    },
    /// Measure (needs root): nanoseconds per packet net of the harness and frames over a veth pair, or registry pushes.
    Bench {
        /// What to measure
        #[arg(value_enum, default_value = "packets")]
        what: What,
        /// One JSON object a line.
        #[arg(long)]
        json: bool,
        /// Fewer packets a round: under a minute, less exact.
        #[arg(long)]
        quick: bool,
    },
}

/// What a benchmark measures.
#[derive(Clone, Copy, clap::ValueEnum)]
enum What {
    /// A packet through the loaded object.
    Packets,
    /// A registry's push, from its last byte to the maps.
    Registry,
    /// A request through an L7 worker, beside a bare forwarder, HAProxy and nginx.
    L7,
}

/// weir's own commands by which `bench l7` starts what it measures: this binary is weir then.
const WEIRS: [&str; 2] = ["run", "l7-worker"];

fn main() -> anyhow::Result<ExitCode> {
    if std::env::args().nth(1).is_some_and(|first| WEIRS.contains(&first.as_str())) {
        return Ok(proxy_user::cli::main());
    }
    task().map(|()| ExitCode::SUCCESS)
}

fn task() -> anyhow::Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask has no parent folder")?;
    match Arguments::parse().task {
        Task::BuildEbpf { check } => build_ebpf::run(check),
        Task::Proto { check } => proto::run(check),
        Task::Ci => ci::run(),
        Task::Fuzz { target, seconds, seed } => fuzz::run(root, &target, seconds, seed),
        Task::Size => size::run(root),
        Task::Bench { what: What::Packets, json, quick } => bench::run(json, quick),
        Task::Bench { what: What::Registry, json, quick } => bench::registry::run(json, quick),
        Task::Bench { what: What::L7, json, quick } => bench::l7::run(json, quick),
        Task::L7Floor { listen, to } => bench::l7::floor::run(listen, to),
    }
}
