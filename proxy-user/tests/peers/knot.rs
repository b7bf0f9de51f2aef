//! The name server knot, changed by dynamic updates.

use std::fs;
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use proxy_user::lab::{Namespace, left_out, run_in};

use crate::process::Process;
use crate::wait::wait_until;

/// A running knot. Dropping it kills it.
#[derive(Debug)]
pub(crate) struct Knot {
    space: Namespace,
    address: Ipv4Addr,
    dir: PathBuf,
    process: Process,
}

impl Knot {
    /// Starts it in a namespace that has the address, with zones: name and records as in a zone file (without SOA), and
    /// waits until it answers. A zone with [`BROKEN`] answers SERVFAIL. None, and it is said why, if it is not
    /// installed.
    pub(crate) fn start(
        space: &Namespace,
        address: Ipv4Addr,
        dir: &Path,
        zones: &[(&str, &str)],
    ) -> Option<Self> {
        for (tool, package) in [("knotd", "knot"), ("knsupdate", "knot-dnsutils"), ("kdig", "knot-dnsutils")]
        {
            if tool_command(tool).arg("--version").stdout(Stdio::null()).status().is_err() {
                left_out(&format!("{tool} is not installed (Debian: {package})"));
                return None;
            }
        }
        let dir = dir.join(format!("knot-{address}"));
        fs::create_dir_all(&dir).unwrap();
        for (zone, records) in zones {
            fs::write(dir.join(format!("{zone}.zone")), zone_file(records)).unwrap();
        }
        fs::write(dir.join("knot.conf"), configuration(address, &dir, zones)).unwrap();
        let process = launch(space, &dir);
        let mut knot = Self { space: space.clone(), address, dir, process };
        knot.wait_ready();
        Some(knot)
    }

    /// Where it answers, over UDP and TCP.
    pub(crate) fn endpoint(&self) -> SocketAddr {
        SocketAddr::new(self.address.into(), PORT)
    }

    /// Changes a zone: lines for knsupdate, such as `add a.example. 5 A 10.0.0.1` and `del a.example. A`.
    pub(crate) fn update(&self, zone: &str, lines: &[&str]) {
        let text = format!(
            "server {} {PORT}\nzone {zone}\norigin {zone}\n{}\nsend\nquit\n",
            self.address,
            lines.join("\n")
        );
        let output = run_in(&self.space, || {
            let mut command = tool_command("knsupdate");
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
            let mut child = command.spawn()?;
            child.stdin.take().map(|mut input| input.write_all(text.as_bytes())).transpose()?;
            child.wait_with_output()
        });
        let output = output.unwrap().unwrap();
        let said = said(&output);
        assert!(output.status.success() && said.trim().is_empty(), "knsupdate {lines:?}: {said}");
    }

    /// Asks it: kdig's text with header and answer.
    pub(crate) fn ask(&self, name: &str, kind: &str) -> String {
        let server = format!("@{}", self.address);
        let run = || tool_command("kdig").args([&server, name, kind, "+time=1", "+retry=0"]).output();
        said(&run_in(&self.space, run).unwrap().unwrap())
    }

    /// Stops it as it is: nobody answers.
    pub(crate) fn freeze(&self) {
        self.process.freeze();
    }

    /// Lets it go on.
    pub(crate) fn thaw(&self) {
        self.process.thaw();
    }

    /// Ends it as a crash does.
    pub(crate) fn kill(&mut self) {
        self.process.kill();
    }

    /// Ends it as a crash does and starts it anew, with the zones as they were at first.
    pub(crate) fn restart(&mut self) {
        self.process.kill();
        self.process = launch(&self.space, &self.dir);
        self.wait_ready();
    }

    /// What a zone has after the next start.
    pub(crate) fn write(&self, zone: &str, records: &str) {
        fs::write(self.dir.join(format!("{zone}.zone")), zone_file(records)).unwrap();
    }

    fn wait_ready(&mut self) {
        wait_until("knot", Duration::from_secs(30), || {
            self.process.assert_alive();
            self.ask("weir.ready", "SOA").contains("status:")
        });
    }
}

/// A name server's packages are often outside of the users' search path.
fn tool_command(tool: &str) -> Command {
    let mut command = Command::new(tool);
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{path}:/usr/sbin:/sbin"));
    command
}

fn launch(space: &Namespace, dir: &Path) -> Process {
    let mut command = tool_command("knotd");
    command.arg("--config").arg(dir.join("knot.conf"));
    Process::start("knot", space, dir, &mut command)
}

fn zone_file(records: &str) -> String {
    if records == BROKEN {
        return records.to_owned();
    }
    format!("@ 5 SOA ns admin 1 3600 600 86400 2\n@ 5 NS ns\nns 5 A 127.0.0.1\n{records}\n")
}

fn configuration(address: Ipv4Addr, dir: &Path, zones: &[(&str, &str)]) -> String {
    let dir = dir.display();
    let mut text = format!(
        "server:\n  rundir: \"{dir}\"\n  listen: [\"{address}@{PORT}\"]\ndatabase:\n  storage: \"{dir}\"\n\
         log:\n  - target: stderr\n    any: info\n\
         acl:\n  - id: all\n    address: [0.0.0.0/0]\n    action: [update, transfer]\n\
         template:\n  - id: default\n    storage: \"{dir}\"\n    zonefile-sync: -1\n    zonefile-load: whole\n\
         \x20   journal-content: none\n    acl: [all]\nzone:\n"
    );
    for (zone, _) in zones {
        text.push_str(&format!("  - domain: \"{zone}\"\n    file: \"{zone}.zone\"\n"));
    }
    text
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// Records that are none.
pub(crate) const BROKEN: &str = "@ 5 SOA this is no zone\n";

const PORT: u16 = 53;
