//! The kernel objects: built with the nightly compiler, stripped of debug sections, kept with its BTF, committed. The
//! checkout's and cargo's folders are mapped away, so that the bytes depend on the source and the tools only.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use anyhow::{Context as _, Result, bail, ensure};

/// An object and where it is kept.
struct Object {
    /// Name of the bin.
    bin: &'static str,
    /// The committed object.
    path: &'static str,
    /// What made it.
    tools: &'static str,
}

const OBJECTS: [Object; 2] = [
    Object { bin: "weir-xdp", path: "proxy-user/bpf/weir.bpf.o", tools: "proxy-user/bpf/weir.bpf.tools" },
    Object { bin: "weir-bench", path: "xtask/bpf/bench.bpf.o", tools: "xtask/bpf/bench.bpf.tools" },
];

/// Builds the objects; writes them, or compares them with the committed ones.
pub(crate) fn run(check: bool) -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask has no parent folder")?;
    let tools = tools()?;
    OBJECTS.iter().try_for_each(|object| make(root, &tools, object, check))
}

fn make(
    root: &Path,
    tools: &str,
    Object { bin, path, tools: made_with }: &Object,
    check: bool,
) -> Result<()> {
    if check {
        let committed = fs::read_to_string(root.join(made_with))
            .with_context(|| format!("reading which tools made {path}"))?;
        if committed != tools {
            println!(
                "build-ebpf: left out: {path} was made with\n{committed}and here are\n{tools}so a difference would say nothing"
            );
            return Ok(());
        }
    }
    let object = strip(&build(root, bin)?)?;
    if check {
        let committed = fs::read(root.join(path)).with_context(|| format!("reading the committed {path}"))?;
        ensure!(
            committed == object,
            "{path} is not what the source gives ({} bytes committed, {} built): run `cargo xtask build-ebpf` and commit it",
            committed.len(),
            object.len()
        );
        println!("build-ebpf: {path} is what the source gives ({} bytes)", object.len());
    } else {
        fs::write(root.join(path), &object).with_context(|| format!("writing {path}"))?;
        fs::write(root.join(made_with), tools).with_context(|| format!("writing {made_with}"))?;
        println!("build-ebpf: wrote {path} ({} bytes)", object.len());
    }
    Ok(())
}

/// The compiler's commit and the linker's version, one a line.
fn tools() -> Result<String> {
    let rustc = output(Command::new("rustc").args(["+nightly", "--version", "--verbose"]))
        .context("the nightly compiler: `rustup toolchain install nightly --component rust-src`")?;
    let commit = rustc.lines().find(|line| line.starts_with("commit-hash")).unwrap_or("commit-hash: unknown");
    let linker = output(Command::new("bpf-linker").arg("--version"))
        .context("bpf-linker: `cargo +nightly install bpf-linker --version 0.10.3 --locked`")?;
    Ok(format!("rustc {commit}\n{}\n", linker.trim()))
}

fn build(root: &Path, bin: &str) -> Result<PathBuf> {
    let target =
        env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from).join("ebpf");
    let cargo_home = env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".cargo")))
        .context("neither CARGO_HOME nor HOME is set")?;
    let sysroot = output(Command::new("rustc").args(["+nightly", "--print", "sysroot"]))?;
    let flags = [
        format!("--remap-path-prefix={}=/weir", root.display()),
        format!("--remap-path-prefix={}=/cargo", cargo_home.display()),
        format!("--remap-path-prefix={}=/rust", sysroot.trim()),
        "-Cdebuginfo=2".into(),
        "-Clink-arg=--btf".into(),
        // Otherwise every memset becomes a call of a byte loop.
        "-Clink-arg=--disable-expand-memcpy-in-order".into(),
        "-Ctarget-cpu=v3".into(),
        // Byte-array headers are read by words; x86-64 and arm64 allow it, and the verifier knows.
        "-Ctarget-feature=+allows-misaligned-mem-access".into(),
        "-Cpanic=abort".into(),
    ];
    let status = Command::new("cargo")
        .current_dir(root)
        .args(["+nightly", "build", "--package", "proxy-ebpf", "--bin", bin, "--profile", "bpf"])
        .args(["--target", "bpfel-unknown-none", "-Zbuild-std=core", "--locked"])
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"))
        .env("CARGO_TARGET_DIR", &target)
        // Incremental builds cut the code in other pieces, and give another object.
        .env("CARGO_INCREMENTAL", "0")
        .env_remove("RUSTUP_TOOLCHAIN")
        .env_remove("RUSTFLAGS")
        .env_remove("RUSTC")
        .status()
        .context("starting cargo")?;
    ensure!(status.success(), "building the kernel object failed");
    Ok(target.join("bpfel-unknown-none/bpf").join(bin))
}

/// Takes out the debug sections; BTF stays.
fn strip(path: &Path) -> Result<Vec<u8>> {
    let data = fs::read(path).with_context(|| format!("reading {}", path.display()))?;
    let mut builder = object::build::elf::Builder::read(data.as_slice()).context("reading the object")?;
    for section in &mut builder.sections {
        let name = section.name.as_slice();
        section.delete = name.starts_with(b".debug_") || name.starts_with(b".rel.debug_");
    }
    // LLVM keeps symbol and section names in one table, the writer in two.
    let names = builder.sections.add();
    names.name = b".shstrtab"[..].into();
    names.sh_type = object::elf::SHT_STRTAB;
    names.sh_addralign = 1;
    names.data = object::build::elf::SectionData::SectionString;
    builder.delete_orphans();
    let mut stripped = Vec::new();
    builder.write(&mut stripped).context("writing the stripped object")?;
    Ok(stripped)
}

fn output(command: &mut Command) -> Result<String> {
    let output =
        command.env_remove("RUSTUP_TOOLCHAIN").output().with_context(|| format!("running {command:?}"))?;
    if !output.status.success() {
        bail!("{command:?} failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    String::from_utf8(output.stdout).context("output is not UTF-8")
}
