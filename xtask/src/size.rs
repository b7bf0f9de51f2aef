//! One file is one idea: a source file with more lines than people read in one go is refused. What is made by
//! `cargo xtask proto` is not read by people: files of that name do not count.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};

/// Folders with source files.
const FOLDERS: [&str; 5] = ["proxy-common", "proxy-ebpf", "proxy-user", "tests", "xtask"];
/// Name of files that a tool has made.
const GENERATED: &str = "generated.rs";
/// From here on a file is named.
const MANY: usize = 300;
/// Above this a file is refused.
const TOO_MANY: usize = 400;

/// Counts the lines of every source file under `root`.
pub(crate) fn run(root: &Path) -> Result<()> {
    let mut long = Vec::new();
    for folder in FOLDERS {
        walk(&root.join(folder), &mut long)?;
    }
    long.sort_unstable_by(|one, other| other.cmp(one));
    for (lines, name) in &long {
        let name = Path::new(name).strip_prefix(root).unwrap_or(Path::new(name)).display();
        println!("size: {name}: {lines} lines");
    }
    let refused = long.iter().filter(|(lines, _)| *lines > TOO_MANY).count();
    ensure!(refused == 0, "{refused} files have more than {TOO_MANY} lines: split them by idea");
    println!("size: no file has more than {TOO_MANY} lines, {} have more than {MANY}", long.len());
    Ok(())
}

fn walk(folder: &Path, long: &mut Vec<(usize, String)>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            walk(&path, long)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") && !path.ends_with(GENERATED) {
            let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
            let lines = text.lines().count();
            if lines > MANY {
                long.push((lines, path.to_string_lossy().into_owned()));
            }
        }
    }
    Ok(())
}
