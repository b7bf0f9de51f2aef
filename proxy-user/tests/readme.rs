//! The README says what is so: its links lead somewhere, its commands can be read, and, as root, they work one after the
//! other on an interface `eth0` of a network namespace. Its `cargo` commands are run by `cargo xtask ci`.
#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail loudly")]

use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use clap::Parser as _;
use proxy_user::cli::Cli;
use proxy_user::lab::{Namespace, Veth, left_out, run_in};

/// Lines of code blocks that this test leaves to `cargo xtask ci` or to the reader.
const ELSEWHERE: [&str; 3] = ["cargo ", "rustup ", "sudo install "];
const PAGES: [&str; 10] = [
    "README.md",
    "ARCHITECTURE.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "docs/api.md",
    "docs/cli.md",
    "docs/configuration.md",
    "docs/l7-bench.md",
    "docs/l7-processes.md",
    "docs/tutorial-sofa.md",
];

#[test]
fn links_and_named_files_exist() {
    let mut missing = Vec::new();
    for page in PAGES {
        let text = fs::read_to_string(root().join(page)).unwrap();
        let folder = root().join(page).parent().unwrap().to_owned();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let path = link.split('#').next().unwrap();
            if !path.is_empty() && !link.contains("://") && !folder.join(path).exists() {
                missing.push(format!("{page}: {link}"));
            }
        }
        // `some/path.rs` and `some/folder/` in code spans.
        for span in text.split('`').skip(1).step_by(2) {
            let is_path =
                span.contains('/') && span.chars().all(|c| c.is_ascii_alphanumeric() || "/._-".contains(c));
            let is_ours = is_path && TOP.iter().any(|top| span.starts_with(top));
            if is_ours && !root().join(span).exists() {
                missing.push(format!("{page}: `{span}`"));
            }
        }
    }
    assert!(missing.is_empty(), "not there: {}", missing.join(", "));
}

/// Beginnings of paths that pages name from the top of the checkout.
const TOP: [&str; 11] = [
    "proxy-common/",
    "proxy-ebpf/",
    "proxy-user/",
    "tests/",
    "xtask/",
    "docs/",
    "examples/",
    "packaging/",
    ".ci/",
    ".cargo/",
    "LICENSE",
];

#[test]
fn commands_can_be_read() {
    let commands = commands();
    let weir = commands.iter().filter_map(|line| line.split_once("weir ").map(|(_, rest)| rest));
    let mut read = 0;
    for line in weir.clone() {
        let line = line.replace('\'', "\"");
        let words = line.split('"').enumerate().flat_map(|(place, part)| match place % 2 {
            0 => part.split_whitespace().map(str::to_owned).collect(),
            _ => vec![part.to_owned()],
        });
        Cli::try_parse_from(std::iter::once("weir".to_owned()).chain(words))
            .unwrap_or_else(|e| panic!("{line}: {e}"));
        read += 1;
    }
    assert!(read > 15, "the README has its weir commands in ```console blocks");
}

#[test]
fn commands_work_in_their_order() {
    if !nix::unistd::geteuid().is_root() {
        return left_out("the README's commands need root");
    }
    let (here, there) = (Namespace::new("readme").unwrap(), Namespace::new("far").unwrap());
    let (eth0, far) = Veth::pair((&here, "eth0"), (&there, "far0")).unwrap();
    eth0.add_address("10.0.0.1/24".parse().unwrap()).unwrap();
    for address in ["10.0.0.11/24", "10.0.0.12/24"] {
        far.add_address(address.parse().unwrap()).unwrap();
    }
    run_in(&here, || {
        let mut place = Place::new();
        commands().iter().for_each(|line| place.run(line));
        assert!(place.daemon.is_none(), "the README ends with a running daemon");
    })
    .unwrap();
}

/// A folder in which the commands are run as they stand: `sudo` does nothing there, and `weir` keeps its files in it.
struct Place {
    dir: tempfile::TempDir,
    daemon: Option<Child>,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        symlink(root().join("examples"), dir.path().join("examples")).unwrap();
        let place = Self { dir, daemon: None };
        fs::create_dir(place.path("bin")).unwrap();
        let (run, state) = (place.path("run"), place.path("state"));
        let weir = format!(
            "#!/bin/sh\ncase $1 in\nrun|detach) exec {weir} \"$@\" --run-dir {run} --state-dir {state} ;;\n\
             check) exec {weir} \"$@\" ;;\n*) exec {weir} --socket {run}/weir.sock \"$@\" ;;\nesac\n",
            weir = env!("CARGO_BIN_EXE_weir"),
            run = run.display(),
            state = state.display(),
        );
        for (name, text) in [("sudo", "#!/bin/sh\nexec \"$@\"\n"), ("weir", &weir)] {
            let path = place.path("bin").join(name);
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn shell(&self, line: &str) -> Command {
        let mut command = Command::new("sh");
        let path = format!("{}:{}", self.path("bin").display(), std::env::var("PATH").unwrap());
        command.args(["-c", line]).current_dir(self.dir.path()).env("PATH", path).stdin(Stdio::null());
        command
    }

    fn run(&mut self, line: &str) {
        if line.contains("weir run ") {
            return self.start(line);
        }
        let output = self.shell(line).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "`{line}`: {}\n{said}{}", output.status, self.log());
        if line.contains("weir detach") {
            let mut daemon = self.daemon.take().unwrap();
            let status = until("the daemon's end", || daemon.try_wait().unwrap());
            assert!(status.success(), "the daemon ended with {status}\n{}", self.log());
        }
    }

    /// Starts a daemon, which stays in the foreground of its own terminal.
    fn start(&mut self, line: &str) {
        assert!(self.daemon.is_none(), "`{line}`: a daemon runs already");
        let log = File::create(self.path("log")).unwrap();
        let child = self.shell(&format!("exec {line}")).stdout(Stdio::null()).stderr(log).spawn().unwrap();
        self.daemon = Some(child);
        until("the daemon's answer", || {
            if let Some(status) = self.daemon.as_mut().unwrap().try_wait().unwrap() {
                panic!("`{line}`: {status}\n{}", self.log());
            }
            self.shell("weir status").output().unwrap().status.success().then_some(())
        });
    }

    fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            let _ = daemon.kill();
            let _ = daemon.wait();
            let _ = self.shell("weir detach").output();
        }
        // Weir's own bpffs, if it is still there.
        let _ = nix::mount::umount2(&self.path("run/bpf"), nix::mount::MntFlags::MNT_DETACH);
    }
}

fn until<T>(what: &str, mut attempt: impl FnMut() -> Option<T>) -> T {
    let begin = Instant::now();
    loop {
        if let Some(value) = attempt() {
            return value;
        }
        assert!(begin.elapsed() < Duration::from_secs(30), "{what} did not come");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// The commands of the README's console blocks that are run here, in their order.
fn commands() -> Vec<String> {
    let text = fs::read_to_string(root().join("README.md")).unwrap();
    let blocks = text.split("```console\n").skip(1).filter_map(|rest| rest.split("```").next());
    let lines =
        blocks.flat_map(str::lines).filter(|line| !ELSEWHERE.iter().any(|begin| line.starts_with(begin)));
    lines.map(str::to_owned).collect()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}
