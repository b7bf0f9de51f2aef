//! The proxies: each a fresh process on one core.

use std::collections::BTreeMap;
use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use proxy_user::l7::process::channel::Channel;
use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::CpuSet;

use super::wire::Speech;
use super::{peers, weir};

/// Who forwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Which {
    Floor,
    Weir,
    Haproxy,
    Nginx,
    Mosn,
}

impl Which {
    pub(super) const ALL: [Self; 5] = [Self::Floor, Self::Weir, Self::Haproxy, Self::Nginx, Self::Mosn];

    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Floor => "floor",
            Self::Weir => "weir",
            Self::Haproxy => "haproxy",
            Self::Nginx => "nginx",
            Self::Mosn => "mosn",
        }
    }

    /// Whether it speaks the protocol.
    pub(super) fn speaks(self, speech: Speech) -> bool {
        match self {
            Self::Floor | Self::Weir | Self::Mosn => true,
            Self::Haproxy => speech != Speech::Bolt,
            Self::Nginx => speech == Speech::Http1 || (speech != Speech::Bolt && peers::nginx_streams()),
        }
    }
}

/// A proxy that runs. Dropping it ends it.
pub(super) struct Proxy {
    child: Child,
    pub(super) at: SocketAddr,
    daemon: Option<Channel>,
    _dir: tempfile::TempDir,
}

impl Proxy {
    /// Starts it on core 0, in front of a backend. This thread is on core 1 afterwards.
    pub(super) fn start(which: Which, speech: Speech, backend: SocketAddr) -> Result<Self> {
        pin(0)?;
        let started = Self::begin(which, speech, backend);
        pin(1)?;
        started.with_context(|| format!("starting {}", which.label()))
    }

    /// The same with all its processes, for their memory: weir's daemon too.
    pub(super) fn start_whole(which: Which, speech: Speech, backend: SocketAddr) -> Result<Self> {
        if which != Which::Weir {
            return Self::start(which, speech, backend);
        }
        ensure!(rustix::process::geteuid().is_root(), "weir's daemon needs root");
        pin(0)?;
        let started = weir::start_whole(speech, backend);
        pin(1)?;
        started.context("starting weir's daemon")
    }

    fn begin(which: Which, speech: Speech, backend: SocketAddr) -> Result<Self> {
        if which == Which::Weir {
            return weir::start(speech, backend);
        }
        let program = peers::program(which).map_err(|why| anyhow!(why))?;
        let (at, dir) = (free_port()?, tempfile::tempdir()?);
        let config = dir.path().join("config.json");
        let text = match which {
            Which::Floor | Which::Weir => String::new(),
            Which::Haproxy => peers::haproxy(speech, at, backend),
            Which::Nginx => peers::nginx(speech, at, backend, dir.path()),
            Which::Mosn => peers::mosn(speech, at, backend, dir.path()),
        };
        fs::write(&config, text)?;
        let mut command = tied(&program);
        match which {
            Which::Floor | Which::Weir => {
                command.args(["l7-floor", &at.to_string(), &backend.to_string()]);
            }
            Which::Haproxy => {
                command.args(["-db", "-f"]).arg(&config);
            }
            Which::Nginx | Which::Mosn => {
                command.arg("-c").arg(&config).env("GOMAXPROCS", "1");
            }
        }
        let said = fs::File::create(dir.path().join("said"))?;
        command.stdin(Stdio::null()).stdout(said.try_clone()?).stderr(said);
        Self::new(command.spawn()?, at, dir).listens()
    }

    pub(super) fn new(child: Child, at: SocketAddr, dir: tempfile::TempDir) -> Self {
        Self { child, at, daemon: None, _dir: dir }
    }

    /// Keeps the channel on which its daemon speaks to it.
    pub(super) fn with_daemon(self, channel: Channel) -> Self {
        let mut proxy = self;
        proxy.daemon = Some(channel);
        proxy
    }

    pub(super) fn listens(mut self) -> Result<Self> {
        let end = Instant::now() + Duration::from_secs(10);
        while TcpStream::connect(self.at).is_err() {
            if let Some(status) = self.child.try_wait()? {
                let said = fs::read_to_string(self._dir.path().join("said")).unwrap_or_default();
                bail!("it ended at once, {status}: {}", said.lines().last().unwrap_or_default());
            }
            ensure!(Instant::now() < end, "it does not listen on {}", self.at);
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(self)
    }

    /// Time on a CPU so far, of all its processes.
    pub(super) fn cpu(&self) -> Duration {
        self.processes().into_iter().map(cpu_of).sum()
    }

    /// Resident memory of each of its processes, in bytes.
    pub(super) fn resident(&self) -> BTreeMap<u32, u64> {
        self.processes().into_iter().map(|pid| (pid, resident_of(pid))).collect()
    }

    /// The same, but what processes share counts once: none where the kernel does not tell.
    pub(super) fn proportional(&self) -> Option<u64> {
        self.processes().into_iter().map(proportional_of).sum()
    }

    /// It and its children.
    fn processes(&self) -> Vec<u32> {
        let pid = self.child.id();
        // A child is listed by the thread that started it.
        let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
        let lists = threads.filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
        let children = lists.flat_map(|list| {
            list.split_whitespace().filter_map(|child| child.parse().ok()).collect::<Vec<u32>>()
        });
        std::iter::once(pid).chain(children).collect()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // The first one first, since it would start another child in place of one that is gone.
        for pid in self.processes() {
            if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
                let _ = kill_process(pid, Signal::KILL);
            }
        }
        let _ = self.child.wait();
    }
}

/// A program that is told to end also when this process is killed.
pub(super) fn tied(program: &Path) -> Command {
    match Path::new(SETPRIV).exists() {
        true => {
            let mut command = Command::new(SETPRIV);
            command.args(["--pdeathsig", "TERM", "--"]).arg(program);
            command
        }
        false => Command::new(program),
    }
}

/// Puts this thread, and what it starts, on a core.
pub(super) fn pin(core: usize) -> Result<()> {
    let mut set = CpuSet::new();
    set.set(core);
    Ok(rustix::thread::sched_setaffinity(None, &set)?)
}

fn cpu_of(pid: u32) -> Duration {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let nanos = tasks.filter_map(|task| {
        let text = fs::read_to_string(task.path().join("schedstat")).ok()?;
        text.split(' ').next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(nanos.sum())
}

fn resident_of(pid: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/statm")).unwrap_or_default();
    text.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0) * 4096
}

fn proportional_of(pid: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
}

fn free_port() -> Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

const SETPRIV: &str = "/usr/bin/setpriv";
