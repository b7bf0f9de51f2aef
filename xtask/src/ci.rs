//! What continuous integration runs, in order, and nothing else. Every step runs, also after one that failed.

use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;
use std::{env, fs};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use crate::{build_ebpf, proto, size};

/// What a step does, in the checkout's folder.
type Step = fn(&Path) -> Result<Done>;

/// The steps by name.
const STEPS: [(&str, Step); 10] = [
    ("format", format),
    ("clippy, host", clippy_host),
    ("clippy, BPF target", clippy_bpf),
    ("size", file_size),
    ("docs", docs),
    ("deny", deny),
    ("generated protobuf", generated),
    ("kernel object", object),
    ("tests", tests),
    ("demo", demo),
];

/// How a step ended that did not fail.
enum Done {
    /// All of it was run.
    Passed,
    /// It could not be run here, for this reason.
    LeftOut(String),
    /// Tests were run.
    Tests(Count),
}

/// Tests by how they ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Count {
    passed: u64,
    failed: u64,
    skipped: u64,
}

/// Runs all steps; fails if one of them does.
pub(crate) fn run() -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask has no parent folder")?;
    let mut total = Count::default();
    let mut report = Vec::new();
    for (name, step) in STEPS {
        println!("\n== {name}");
        let begin = Instant::now();
        let (word, note) = match step(root) {
            Ok(Done::Passed) => ("passed", String::new()),
            Ok(Done::LeftOut(why)) => {
                total.skipped += 1;
                println!("left out: {name}: {why}");
                ("left out", why)
            }
            Ok(Done::Tests(count)) => {
                total.passed += count.passed;
                total.skipped += count.skipped;
                total.failed += count.failed;
                (if count.failed > 0 { "FAILED" } else { "passed" }, String::new())
            }
            Err(error) => {
                total.failed += 1;
                println!("FAILED: {name}: {error:#}");
                ("FAILED", format!("{error:#}"))
            }
        };
        report.push(format!("{word:<8} {name:<20} {:>6.1} s  {note}", begin.elapsed().as_secs_f64()));
    }
    println!("\n{}\n", report.join("\n"));
    println!("{} passed, {} failed, {} skipped", total.passed, total.failed, total.skipped);
    if total.failed > 0 {
        // An error's text would come after the closing line.
        std::process::exit(1);
    }
    Ok(())
}

fn format(root: &Path) -> Result<Done> {
    cargo(root, ["fmt", "--all", "--", "--check"])
}

fn clippy_host(root: &Path) -> Result<Done> {
    cargo(root, ["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"])
}

fn clippy_bpf(root: &Path) -> Result<Done> {
    if let Some(why) = no_core_source() {
        return Ok(Done::LeftOut(why));
    }
    if !answers("cargo", ["+nightly", "clippy", "--version"]) {
        return Ok(Done::LeftOut("the nightly toolchain has no clippy".into()));
    }
    let what = ["+nightly", "clippy", "--package", "proxy-ebpf", "--lib", "--bins", "--profile", "bpf"];
    let target = ["--target", "bpfel-unknown-none", "-Zbuild-std=core", "--locked", "--", "-D", "warnings"];
    cargo(root, what.into_iter().chain(target))
}

fn file_size(root: &Path) -> Result<Done> {
    size::run(root).map(|()| Done::Passed)
}

fn docs(root: &Path) -> Result<Done> {
    let mut command = Command::new("cargo");
    command.args(["doc", "--workspace", "--no-deps", "--locked"]).env("RUSTDOCFLAGS", "-D warnings");
    finish(root, &mut command)
}

fn deny(root: &Path) -> Result<Done> {
    if !answers("cargo", ["deny", "--version"]) {
        return Ok(Done::LeftOut("cargo-deny is not installed".into()));
    }
    println!("deny: advisories are left out: their database is a git clone, which may be out of reach");
    cargo(root, ["deny", "--log-level", "error", "check", "licenses", "bans", "sources"])
}

fn object(_root: &Path) -> Result<Done> {
    if let Some(why) = no_core_source() {
        return Ok(Done::LeftOut(why));
    }
    if !answers("bpf-linker", ["--version"]) {
        return Ok(Done::LeftOut("bpf-linker is not installed".into()));
    }
    build_ebpf::run(true).map(|()| Done::Passed)
}

fn generated(_root: &Path) -> Result<Done> {
    proto::run(true).map(|()| Done::Passed)
}

/// The README's own test command.
fn tests(root: &Path) -> Result<Done> {
    let line = readme_command(root, "cargo test")?;
    println!("$ {line}");
    let mut command = Command::new("sh");
    command.current_dir(root).args(["-c", &format!("exec {line} 2>&1")]);
    let mut child = start(&mut command)?;
    let mut count = Count::default();
    let out = child.stdout.take().context("the tests have no output")?;
    for line in BufReader::new(out).split(b'\n') {
        let line = line.context("reading the tests' output")?;
        let line = String::from_utf8_lossy(&line);
        println!("{line}");
        count.add(&line);
    }
    let status = child.wait().context("waiting for the tests")?;
    if !status.success() && count.failed == 0 {
        bail!("`{line}`: {status}, with no failed test: it did not build, or it crashed");
    }
    ensure!(count.passed > 0, "no test ran");
    Ok(Done::Tests(count))
}

/// The README's demo, its numbers checked.
fn demo(root: &Path) -> Result<Done> {
    if !rustix::process::geteuid().is_root() {
        return Ok(Done::LeftOut("the demo needs root".into()));
    }
    let line = readme_command(root, "cargo run --release -p proxy-user -- demo")?;
    println!("$ {line} -o json");
    let mut command = Command::new("sh");
    command.current_dir(root).args(["-c", &format!("exec {line} -o json")]);
    let output = start(&mut command)?.wait_with_output().context("running the demo")?;
    let text = String::from_utf8(output.stdout).context("the demo's output is not UTF-8")?;
    print!("{text}");
    ensure!(output.status.success(), "the demo ended with {}", output.status);
    let json: Value = serde_json::from_str(&text).context("the demo's output is not one JSON object")?;
    check_demo(&json)?;
    Ok(Done::Passed)
}

/// What the demo must have seen.
fn check_demo(json: &Value) -> Result<()> {
    let number =
        |key: &str| json.get(key).and_then(Value::as_f64).with_context(|| format!("no number `{key}`"));
    let connections = number("connections")?;
    ensure!(connections >= 200.0 && number("failed")? == 0.0, "not all of 200 connections worked");
    let backends = json.get("per_backend").and_then(Value::as_object).context("no object `per_backend`")?;
    let counts: Vec<f64> = backends.values().filter_map(Value::as_f64).collect();
    ensure!(counts.len() >= 2 && counts.iter().all(|count| *count > 0.0), "a backend had no connection");
    ensure!(counts.iter().sum::<f64>() == connections, "the backends' connections are not all");
    ensure!(number("denied_sent")? > 0.0, "nothing was sent while the client was denied");
    ensure!(
        number("denied_dropped_in_xdp")? >= number("denied_sent")?,
        "denied packets were not dropped in XDP"
    );
    ensure!(number("denied_reached_backend")? == 0.0, "denied packets reached a backend");
    ensure!(json.get("xdp_mode").and_then(Value::as_str) == Some("native"), "not attached in native mode");
    ensure!(number("ns_per_packet")? > 0.0 && number("floor_ns")? > 0.0, "no time for a packet");
    ensure!(number("elapsed_ms")? < 10_000.0, "it took longer than 10 s");
    Ok(())
}

impl Count {
    /// Adds what a line of the tests' output says.
    fn add(&mut self, line: &str) {
        if line.trim_start().starts_with("left out:") {
            self.skipped += 1;
        }
        // Whatever a test has written without an end of line stands before it.
        let Some((_, result)) = line.split_once("test result: ") else { return };
        for part in result.split([';', '.']) {
            let mut words = part.split_whitespace();
            let (Some(number), Some(word)) = (words.next(), words.next()) else { continue };
            let Ok(number) = number.parse::<u64>() else { continue };
            match word {
                "passed" => self.passed += number,
                "failed" => self.failed += number,
                "ignored" => self.skipped += number,
                _ => {}
            }
        }
    }
}

/// The first command of the README's code blocks that begins with these words.
fn readme_command(root: &Path, begin: &str) -> Result<String> {
    let readme = fs::read_to_string(root.join("README.md")).context("reading README.md")?;
    let mut in_block = false;
    for line in readme.lines() {
        if line.starts_with("```") {
            in_block = !in_block;
        } else if in_block && line.starts_with(begin) {
            let command = line.split_once(" #").map_or(line, |(command, _)| command);
            return Ok(command.trim_end().to_owned());
        }
    }
    bail!("README.md has no command `{begin}`")
}

/// Why the core library cannot be built, if it cannot.
fn no_core_source() -> Option<String> {
    let output = Command::new("rustc").args(["+nightly", "--print", "sysroot"]).output();
    let Some(output) = output.ok().filter(|output| output.status.success()) else {
        return Some("there is no nightly toolchain".into());
    };
    let sysroot = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    let source = Path::new(&sysroot).join("lib/rustlib/src/rust/library/core/src/lib.rs");
    (!source.exists()).then(|| "the nightly toolchain has no rust-src".into())
}

fn answers<'a>(program: &str, args: impl IntoIterator<Item = &'a str>) -> bool {
    let mut command = Command::new(program);
    command.args(args).env_remove("RUSTUP_TOOLCHAIN").stdin(Stdio::null());
    command.output().is_ok_and(|output| output.status.success())
}

fn cargo<A: AsRef<OsStr>>(root: &Path, args: impl IntoIterator<Item = A>) -> Result<Done> {
    finish(root, Command::new("cargo").args(args))
}

fn finish(root: &Path, command: &mut Command) -> Result<Done> {
    // `cargo run` names its toolchain to its children; each step names its own.
    command.current_dir(root).env_remove("RUSTUP_TOOLCHAIN").stdin(Stdio::null());
    let status = command.status().with_context(|| format!("starting {command:?}"))?;
    ensure!(status.success(), "{command:?}: {status}");
    Ok(Done::Passed)
}

fn start(command: &mut Command) -> Result<std::process::Child> {
    command.env_remove("RUSTUP_TOOLCHAIN").stdin(Stdio::null()).stdout(Stdio::piped());
    command.spawn().with_context(|| format!("starting {command:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn result_lines_are_summed() {
        let mut count = Count::default();
        count.add("noise test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 3 filtered out; finished in 0.1s");
        count.add("test result: FAILED. 2 passed; 3 failed; 0 ignored; 0 measured; 0 filtered out; finished in 9.05s");
        count.add("left out: a test that needs root");
        count.add("test a ... ok");
        assert_eq!(count, Count { passed: 14, failed: 3, skipped: 2 });
    }

    #[test]
    fn the_readme_has_both_commands() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        assert_eq!(readme_command(root, "cargo test").unwrap(), "cargo test --workspace");
        readme_command(root, "cargo run --release -p proxy-user -- demo").unwrap();
        assert!(readme_command(root, "rm").is_err());
    }

    #[test]
    fn a_demo_that_leaks_is_refused() {
        let mut json = serde_json::json!({"connections": 200, "failed": 0, "per_backend": {"a": 99, "b": 101},
            "denied_sent": 20, "denied_dropped_in_xdp": 20, "denied_reached_backend": 0, "xdp_mode": "native",
            "ns_per_packet": 90.5, "floor_ns": 40, "elapsed_ms": 2500});
        check_demo(&json).unwrap();
        json["denied_reached_backend"] = 1.into();
        assert!(check_demo(&json).unwrap_err().to_string().contains("reached a backend"));
    }
}
