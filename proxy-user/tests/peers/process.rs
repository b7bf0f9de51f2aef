//! A peer's process: inside a namespace, and gone with the thread that started it.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::FileExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use nix::sched::{CloneFlags, setns};
use nix::sys::prctl;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use proxy_user::lab::Namespace;

use crate::wait::{wait_some, wait_until};

/// Dropping it kills it.
#[derive(Debug)]
pub(crate) struct Process {
    name: String,
    child: Child,
    input: Option<ChildStdin>,
    /// What it has written to standard output, if that is not the log.
    lines: Arc<Mutex<Vec<String>>>,
    log: File,
}

impl Process {
    /// Starts it; its output is the log, a file in `dir`.
    pub(crate) fn start(name: &str, space: &Namespace, dir: &Path, command: &mut Command) -> Self {
        let log = log_file(dir, name);
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap());
        Self::spawn(name, space, log, command)
    }

    /// Starts it to be spoken with over standard input and output, line by line.
    pub(crate) fn talk(name: &str, space: &Namespace, dir: &Path, command: &mut Command) -> Self {
        let log = log_file(dir, name);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = Self::spawn(name, space, log, command);
        process.input = process.child.stdin.take();
        let output = process.child.stdout.take().unwrap();
        let lines = Arc::clone(&process.lines);
        thread::spawn(move || {
            for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
                let line = String::from_utf8_lossy(&line).into_owned();
                lines.lock().unwrap_or_else(PoisonError::into_inner).push(line);
            }
        });
        process
    }

    fn spawn(name: &str, space: &Namespace, log: File, command: &mut Command) -> Self {
        let inside = space.clone();
        let before_exec = move || {
            setns(inside.fd(), CloneFlags::CLONE_NEWNET)?;
            Ok(prctl::set_pdeathsig(Signal::SIGKILL)?)
        };
        // SAFETY: two system calls that allocate nothing, which is what may run between fork and exec.
        unsafe { command.pre_exec(before_exec) };
        let child = command.stderr(log.try_clone().unwrap()).spawn();
        let child = child.unwrap_or_else(|error| panic!("cannot start {name} ({command:?}): {error}"));
        Self { name: name.to_owned(), child, input: None, lines: Arc::default(), log }
    }

    /// Sends a line.
    pub(crate) fn say(&mut self, line: &str) {
        let said = writeln!(self.input.as_ref().unwrap(), "{line}");
        said.unwrap_or_else(|error| panic!("cannot say {line:?} to {}: {error}\n{}", self.name, self.log()));
    }

    /// All lines of its standard output so far.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits for the first line, from number `from` on, that `pick` takes; its number too.
    pub(crate) fn wait_line<T>(
        &mut self,
        what: &str,
        from: usize,
        limit: Duration,
        pick: impl Fn(&str) -> Option<T>,
    ) -> (usize, T) {
        wait_some(&format!("{what} from {}", self.name), limit, || {
            let lines = self.lines();
            let mut rest = lines.iter().enumerate().skip(from);
            let found = rest.find_map(|(number, line)| Some((number, pick(line)?)));
            if found.is_none() {
                self.assert_alive();
            }
            found
        })
    }

    /// Whether it has ended by itself.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Fails with its log if it has ended.
    pub(crate) fn assert_alive(&mut self) {
        if let Some(status) = self.child.try_wait().unwrap() {
            panic!("{} has ended ({status}): {:?}\n{}", self.name, self.lines(), self.log());
        }
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().try_into().unwrap())
    }

    /// Stops it as it is (SIGSTOP): its connections stay, nobody answers.
    pub(crate) fn freeze(&self) {
        kill(self.pid(), Signal::SIGSTOP).unwrap();
        wait_until("the stop", Duration::from_secs(5), || self.state() == Some('T'));
    }

    /// Lets it go on.
    pub(crate) fn thaw(&self) {
        kill(self.pid(), Signal::SIGCONT).unwrap();
    }

    /// Ends it as a crash does.
    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Waits until it ends by itself.
    pub(crate) fn wait_end(&mut self) {
        let what = format!("the end of {}", self.name);
        wait_until(&what, Duration::from_secs(20), || self.child.try_wait().unwrap().is_some());
    }

    /// The end of what it has logged.
    pub(crate) fn log(&self) -> String {
        let length = self.log.metadata().map(|meta| meta.len()).unwrap_or_default();
        let mut tail = vec![0; usize::try_from(length.min(MAX_LOG)).unwrap()];
        // A log that has just been cut short.
        let _ = self.log.read_exact_at(&mut tail, length - length.min(MAX_LOG));
        String::from_utf8_lossy(&tail).into_owned()
    }

    fn state(&self) -> Option<char> {
        let text = std::fs::read_to_string(format!("/proc/{}/stat", self.pid())).ok()?;
        text.rsplit_once(") ")?.1.chars().next()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("{} said {:#?} and logged:\n{}", self.name, self.lines(), self.log());
        }
        self.kill();
    }
}

fn log_file(dir: &Path, name: &str) -> File {
    std::fs::create_dir_all(dir).unwrap();
    File::options().create(true).append(true).read(true).open(dir.join(format!("{name}.log"))).unwrap()
}

const MAX_LOG: u64 = 8 * 1024;
