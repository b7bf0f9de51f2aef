//! A Java virtual machine that is small and starts soon.

use std::path::Path;
use std::process::Command;

/// The command line of a main class. `home` takes its logs and temporary files.
pub(crate) fn java(
    class_path: &str,
    home: &Path,
    heap_mb: u32,
    properties: &[String],
    main: &str,
) -> Command {
    std::fs::create_dir_all(home).unwrap();
    let mut command = Command::new("java");
    command.args([
        &format!("-Xms{heap_mb}m"),
        &format!("-Xmx{heap_mb}m"),
        "-XX:+UseSerialGC",
        "-XX:TieredStopAtLevel=1",
        "-XX:-UsePerfData",
        // Hessian looks into exceptions.
        "--add-opens",
        "java.base/java.lang=ALL-UNNAMED",
        "-Djava.net.preferIPv4Stack=true",
    ]);
    for key in ["user.home", "java.io.tmpdir"] {
        command.arg(format!("-D{key}={}", home.display()));
    }
    command.args(properties).arg("-cp").arg(class_path).arg(main);
    command.current_dir(home).env_remove("JAVA_TOOL_OPTIONS");
    command
}
