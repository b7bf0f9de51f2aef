//! What the Java peers need, from Maven Central by `tests/peers/java/fetch`, which keeps it in the user's cache.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use proxy_user::lab::left_out;

/// A Maven project below `tests/peers/java`.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Project {
    /// SOFARegistry's server 6.3.0.
    Registry6,
    /// SOFARegistry's server 5.4.3.
    Registry5,
    /// Its clients, and SOFARPC.
    Rpc,
}

impl Project {
    /// The class path; none, and it is said why, if it cannot be had here.
    pub(crate) fn class_path(self) -> Option<String> {
        static FOUND: [OnceLock<Result<PathBuf, String>>; 3] = [const { OnceLock::new() }; 3];
        let (name, slot) = match self {
            Self::Registry6 => ("registry6", &FOUND[0]),
            Self::Registry5 => ("registry5", &FOUND[1]),
            Self::Rpc => ("rpc", &FOUND[2]),
        };
        match slot.get_or_init(|| fetch(name)) {
            Ok(folder) => Some(format!("{0}/classes:{0}/lib/*", folder.display())),
            Err(why) => {
                left_out(&format!("the Java peer {name}: {why}"));
                None
            }
        }
    }
}

fn fetch(name: &str) -> Result<PathBuf, String> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/peers/java/fetch");
    let output = Command::new("timeout").args(["600"]).arg(&script).arg(name).output();
    let output = output.map_err(|error| format!("cannot run {}: {error}", script.display()))?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        let last: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
        let last = last.get(last.len().saturating_sub(2)..).unwrap_or_default().join(" ");
        return Err(format!("`tests/peers/java/fetch {name}` failed, try it by hand: {last}"));
    }
    Ok(PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()))
}
