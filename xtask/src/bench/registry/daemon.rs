//! The daemon under test: the release build of this checkout.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use proxy_user::control::client::Client;
use proxy_user::lab::{Namespace, run_in};
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};

/// A running daemon; it is killed and its files go with the value. Its namespace takes the attached program along.
pub(super) struct Daemon {
    process: Child,
    client: Client,
    runtime: Runtime,
    dir: TempDir,
}

/// Builds `weir` and answers where it is.
pub(super) fn build() -> Result<PathBuf> {
    let status =
        Command::new("cargo").args(["build", "--release", "--quiet", "-p", "proxy-user"]).status()?;
    ensure!(status.success(), "weir does not build");
    let own = std::env::current_exe()?;
    let target = own.parent().and_then(Path::parent).context("xtask is not in a target folder")?;
    Ok(target.join("release/weir"))
}

impl Daemon {
    pub(super) fn start(binary: &Path, namespace: &Namespace, config: &str) -> Result<Self> {
        let dir = TempDir::new()?;
        let file = dir.path().join("weir.toml");
        std::fs::write(&file, config)?;
        let log = std::fs::File::create(dir.path().join("log"))?;
        let mut command = Command::new(binary);
        command.arg("run").arg("--config").arg(&file);
        command.arg("--run-dir").arg(dir.path().join("run")).arg("--state-dir").arg(dir.path().join("state"));
        command.env_remove("NOTIFY_SOCKET").stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let process = run_in(namespace, move || command.spawn())??;
        let client = Client::new(dir.path().join("run/weir.sock")).timeout(Duration::from_secs(30));
        Ok(Self { process, client, runtime: Builder::new_current_thread().enable_all().build()?, dir })
    }

    /// Waits until it answers and is attached.
    pub(super) fn wait_ready(&self) -> Result<()> {
        self.until("attached", || {
            let status = self.runtime.block_on(self.client.status())?;
            Ok(status.value.interfaces.iter().all(|interface| interface.attached))
        })
    }

    /// Waits until a service has so many backends that are up.
    pub(super) fn wait_endpoints(&self, service: &str, count: usize) -> Result<()> {
        self.until(service, || {
            let found = self.runtime.block_on(self.client.service(service))?;
            Ok(found.value.backends.iter().filter(|backend| backend.health.up).count() == count)
        })
    }

    /// Sum and number of what the metric has observed.
    pub(super) fn applied(&self) -> Result<(Duration, u64)> {
        let text = self.runtime.block_on(self.client.metrics())?;
        let value = |name: &str| -> Result<f64> {
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            Ok(line.with_context(|| format!("there is no metric {name}"))?.trim().parse()?)
        };
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small count")]
        let count = value("weir_registry_apply_seconds_count ")? as u64;
        Ok((Duration::from_secs_f64(value("weir_registry_apply_seconds_sum ")?), count))
    }

    /// Resident memory, megabytes.
    pub(super) fn rss_mb(&self) -> Result<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kilobytes = line.and_then(|line| line.split_whitespace().next()).context("no VmRSS")?;
        Ok(kilobytes.parse::<f64>()? / 1024.0)
    }

    fn until(&self, what: &str, done: impl Fn() -> Result<bool>) -> Result<()> {
        let end = Instant::now() + PATIENCE;
        loop {
            let last = match done() {
                Ok(true) => return Ok(()),
                Ok(false) => "not yet".to_owned(),
                Err(error) => format!("{error:#}"),
            };
            if Instant::now() > end {
                let log = std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default();
                let tail: Vec<_> = log.lines().rev().take(20).collect();
                let tail: Vec<_> = tail.into_iter().rev().collect();
                anyhow::bail!("{what}: {last}; the daemon's log ends:\n{}", tail.join("\n"));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It takes its program, pins and addresses along.
        if self.runtime.block_on(self.client.detach()).is_err() {
            let _ = self.process.kill();
        }
        let _ = self.process.wait();
    }
}

const PATIENCE: Duration = Duration::from_secs(30);
