//! The commands of `docs/tutorial-sofa.md` work as they stand, one block after the other in one shell.
#![cfg(feature = "sofa")]
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests fail loudly"
)]

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use proxy_user::lab::left_out;
use serde_json::Value;

#[test]
fn sofa_commands_work_in_their_order() {
    if !nix::unistd::geteuid().is_root() {
        return left_out("the tutorial's commands need root");
    }
    for (tool, package) in [("ip", "iproute2"), ("ethtool", "ethtool"), ("curl", "curl"), ("bash", "bash")] {
        if Command::new(tool).arg("--help").output().is_err() {
            return left_out(&format!("the tutorial: {tool} is not installed (Debian: {package})"));
        }
    }
    for peer in ["registry6", "rpc"] {
        let fetched =
            Command::new("timeout").arg("600").arg(root().join("tests/peers/java/fetch")).arg(peer).output();
        let fetched = fetched.unwrap();
        if !fetched.status.success() {
            let why = String::from_utf8_lossy(&fetched.stderr).into_owned();
            return left_out(&format!(
                "the tutorial: `tests/peers/java/fetch {peer}` fails, try it by hand: {why}"
            ));
        }
    }
    // Mounts of its own, in which the named namespaces are, and end.
    thread::spawn(|| {
        unshare(CloneFlags::CLONE_NEWNS).unwrap();
        mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>).unwrap();
        fs::create_dir_all("/run/netns").unwrap();
        mount(Some("netns"), "/run/netns", Some("tmpfs"), MsFlags::empty(), None::<&str>).unwrap();
        run();
    })
    .join()
    .unwrap();
}

fn run() {
    let place = tempfile::tempdir().unwrap();
    let dir = place.path();
    fs::create_dir(dir.join("bin")).unwrap();
    // The daemon's files are in the folder.
    let weir = format!(
        "#!/bin/sh\ncase $1 in\nrun) exec {weir} \"$@\" --run-dir {dir}/run --state-dir {dir}/state ;;\n\
         check) exec {weir} \"$@\" ;;\n*) exec {weir} --socket {dir}/run/weir.sock \"$@\" ;;\nesac\n",
        weir = env!("CARGO_BIN_EXE_weir"),
        dir = dir.display(),
    );
    let path = dir.join("bin/weir");
    fs::write(&path, weir).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(dir.join("script"), script()).unwrap();
    let (out, err) = (dir.join("out"), dir.join("err"));
    let mut command = Command::new("bash");
    command.args(["-e", "-x"]).arg(dir.join("script")).current_dir(root()).process_group(0);
    command.env("PATH", format!("{}/bin:{}", dir.display(), std::env::var("PATH").unwrap()));
    command.env("TMPDIR", dir).stdin(Stdio::null());
    command.stdout(File::create(&out).unwrap()).stderr(File::create(&err).unwrap());
    let mut shell = Shell(command.spawn().unwrap());

    let begin = Instant::now();
    let status = loop {
        if let Some(status) = shell.0.try_wait().unwrap() {
            break Some(status);
        }
        if begin.elapsed() > LIMIT {
            break None;
        }
        thread::sleep(Duration::from_millis(100));
    };
    let [said, told] = [out, err].map(|path| fs::read_to_string(path).unwrap());
    assert!(status.is_some_and(|status| status.success()), "{status:?}:\n{said}\n{told}{}", logs(dir));
    let summaries: Vec<Value> = said.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let [first, last] = summaries.as_slice() else { panic!("two summaries: {said}") };
    assert!([first, last].iter().all(|one| one["failed"] == 0 && one["ok"] == 50), "{said}");
    assert!(
        first["by"]["one"].is_u64() && last["by"]["one"].is_null() && last["by"]["two"].is_u64(),
        "{said}"
    );
}

/// The ends of the logs that the script's programs wrote.
fn logs(dir: &Path) -> String {
    let folders = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir());
    let files = folders.flat_map(|folder| fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()));
    let logs = files.filter(|path| path.extension().is_some_and(|extension| extension == "log"));
    let ends = logs.map(|path| {
        let text = String::from_utf8_lossy(&fs::read(&path).unwrap()).into_owned();
        let lines: Vec<&str> = text.lines().collect();
        let end = lines[lines.len().saturating_sub(40)..].join("\n");
        format!("\n--- {}\n{end}", path.display())
    });
    ends.collect()
}

/// All of the script's processes end with it.
struct Shell(Child);

impl Drop for Shell {
    fn drop(&mut self) {
        let _ = killpg(Pid::from_raw(self.0.id().try_into().unwrap()), Signal::SIGKILL);
        let _ = self.0.wait();
    }
}

/// All console blocks.
fn script() -> String {
    let text = fs::read_to_string(root().join("docs/tutorial-sofa.md")).unwrap();
    let blocks = text.split("```console\n").skip(1).filter_map(|rest| rest.split("```").next());
    blocks.collect()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// The registry alone takes 13 to 100 s to start, more than once if a start fails.
const LIMIT: Duration = Duration::from_secs(480);
